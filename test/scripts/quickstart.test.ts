// The quickstart against a stand-in for claw (a shell script with its command line): that it sees a wrong answer, a worker
// that did nothing and a service that dies, and that it takes everything away. With claw itself, .ci/run runs it.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { findProcesses } from "../../scripts/processes.ts";

const ROOT = join(import.meta.dir, "../..");
const STAND_IN = `#!/usr/bin/env bash
all=$(dirname "$CLAW_HOME")
case "$1 $2" in
  "up " | "--role worker")
    if [ "$FAULT" = dies ] && [ "$1" = --role ]; then echo "cannot reach it"; exit 69; fi
    if [ "$1" = --role ]; then [ "$4" = nats://127.0.0.1:7 ] && [ "$(cat "$6")" = secret ] || exit 77; fi
    mkdir -p "$CLAW_HOME"; touch "$CLAW_HOME/online"
    trap 'rm -rf "$CLAW_HOME"; exit 0' TERM
    while :; do sleep 0.05 & wait $!; done ;;
  "status --json") [ -f "$CLAW_HOME/online" ] && echo '{"nats_url": "nats://127.0.0.1:7", "more": 1}' || exit 69 ;;
  "credentials export") echo secret ;;
  "nodes --json")
    list=
    for node in a b; do
      done=$(cat "$all/$node/done" 2>/dev/null || echo 0)
      [ -f "$all/$node/online" ] &&
        list="$list\${list:+,}{\\"id\\":\\"node_$node\\",\\"name\\":\\"x\\",\\"status\\":\\"online\\",\\"completed\\":$done,\\"failed\\":0}"
    done
    echo "[$list]" ;;
  "run --each")
    list=$(cat); count=$(wc -l <<<"$list")
    if [ "$FAULT" = idle ]; then idle=$count; else idle=10; fi
    echo $idle >"$all/a/done"; echo $((count - idle)) >"$all/b/done"
    tr '\\n' '\\0' <<<"$list" | xargs -0 sha256sum | if [ "$FAULT" = wrong ]; then sed '70s/^./x/'; else cat; fi ;;
  *) exit 64 ;;
esac
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "quickstart-test-"));
  writeFileSync(join(folder, "claw"), STAND_IN);
  chmodSync(join(folder, "claw"), 0o755);
  mkdirSync(join(folder, "tree/deep"), { recursive: true });
  for (let i = 0; i < 100; i++) writeFileSync(join(folder, `tree/${i % 2 ? "deep/" : ""}a file ${i}`), `${i}`);
});
afterAll(() => rmSync(folder, { recursive: true }));

async function quickstart(fault: string) {
  const temporary = join(folder, `tmp-${fault}`);
  mkdirSync(temporary);
  const child = Bun.spawn([process.execPath, join(ROOT, "scripts/quickstart.ts"), join(folder, "tree")], {
    env: { ...process.env, CLAW_BIN: join(folder, "claw"), TMPDIR: temporary, FAULT: fault },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect(readdirSync(temporary)).toEqual([]);
  expect(findProcesses(basename(folder))).toEqual([]);
  return { out, err, code };
}

test("all is well", async () => {
  const { out, err, code } = await quickstart("none");
  expect({ err, code }).toEqual({ err: "", code: 0 });
  expect(out).toMatch(/^100 files hashed in [\d.]+ s, \d+ tasks\/s; every answer is sha256sum's own\.$/m);
  expect(out).toContain("node_a  x  10 tasks\n  node_b  x  90 tasks");
  expect(out).toContain("claw up");
});

test("a wrong answer is found and shown", async () => {
  const { err, code } = await quickstart("wrong");
  expect(err).toMatch(/^quickstart: line 70 differs from sha256sum's:\n {2}expected [0-9a-f]+ .*\n {2}got {6}x/);
  expect(code).toBe(1);
});

test("a worker that did nothing is found", async () => {
  const { err, code } = await quickstart("idle");
  expect(err).toStartWith("quickstart: node_b did nothing of it");
  expect(code).toBe(1);
});

test("a worker that ends is shown with what it said", async () => {
  const { err, code } = await quickstart("dies");
  expect(err).toBe(
    "quickstart: the second worker ended with 69\nthe last lines of the second worker:\ncannot reach it\n\n",
  );
  expect(code).toBe(1);
});
