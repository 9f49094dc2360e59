// What whoever watches a task sees of the attempts before its last one, and of the time before its first.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

/** Says which attempt it is, after as many bytes as it was told, and succeeds with the third. */
const COUNTING = `n=$(($(cat count 2>/dev/null || echo 0) + 1)); echo $n > count
head -c $SIZE /dev/zero | tr '\\0' x; echo "out $n"; echo "err $n" >&2; [ $n -ge 3 ]`;

function counting(size: number): string[] {
  writeFileSync(join(cluster.cwd, "count"), "0");
  const retries = ["--retries", "5", "--backoff", "10ms", "--env", `SIZE=${size}`];
  return [...retries, "--", "sh", "-c", COUNTING];
}

const told = (id: string): string =>
  `err 1\nclaw: ${id}: attempt 1 ended: exit code 1\nerr 2\nclaw: ${id}: attempt 2 ended: exit code 1\nerr 3\n`;
interface JsonPiece {
  attempt: number;
  node: string;
  stream: string;
  text: string;
}
const outOf = (size: number): string => [1, 2, 3].map((n) => `${"x".repeat(size)}out ${n}\n`).join("");

describe("every attempt's output is shown, and how it ended", () => {
  test.each([0, 300_000])("as they come, and afterwards; %d bytes each", async (size) => {
    const run = await cluster.runCli(["run", "--name", `n${size}`, ...counting(size)]);
    const id = (await cluster.runCli(["ls", "--quiet", "--name", `n${size}`])).stdout.trim();
    expect([run.code, run.stdout === outOf(size), run.stderr]).toEqual([0, true, told(id)]);
    const logs = await cluster.runCli(["logs", id]);
    expect([logs.code, logs.stdout === outOf(size), logs.stderr]).toEqual([0, true, told(id)]);
    const pieces = JSON.parse((await cluster.runCli(["logs", "--json", id])).stdout) as JsonPiece[];
    const text = (attempt: number, stream: string): string =>
      pieces.map((one) => (one.attempt === attempt && one.stream === stream ? one.text : "")).join("");
    expect([1, 2, 3].map((n) => text(n, "stdout")).join("") === outOf(size)).toBe(true);
    expect([1, 2, 3].map((n) => text(n, "stderr"))).toEqual(["err 1\n", "err 2\n", "err 3\n"]);
    const [{ id: node }] = JSON.parse((await cluster.runCli(["nodes", "--json"])).stdout) as [{ id: string }];
    expect(pieces.filter((one) => one.node !== node)).toEqual([]);
  });

  test("of one that runs again just now", async () => {
    writeFileSync(join(cluster.cwd, "again"), "");
    const line = "echo up; if [ -e again ]; then rm again; exit 9; fi; echo stays; sleep 60";
    const words = ["--type", "daemon", "--backoff", "10ms", "--", "sh", "-c", line];
    const id = (await cluster.runCli(["submit", ...words])).stdout.trim();
    const following = cluster.startCli(["logs", "-f", id]);
    await following.says("stays");
    const now = await cluster.runCli(["logs", id]);
    expect(now.stdout).toBe("up\nup\nstays\n");
    expect(now.stderr).toContain(`claw: ${id}: attempt 1 ended: exit code 9\n`);
    await cluster.runCli(["cancel", id]);
    const { stdout, stderr } = await following.done;
    expect([stdout, stderr]).toEqual(["up\nup\nstays\n", `claw: ${id}: attempt 1 ended: exit code 9\n`]);
  });
});

describe("members that were tried before", () => {
  /** Attempts that are over, of one that there may not be yet. */
  const triesOf = async (id: string): Promise<number> => {
    const { code, stdout } = await cluster.runCli(["show", "--json", id]);
    return code === 0 ? ((JSON.parse(stdout) as { attempts?: object[] }).attempts ?? []).length : 0;
  };
  const ended = (id: string, index: number): string => `claw: ${id}.${index}: attempt 1 ended: exit code ${index}\n`;

  test("show it in the array's logs, while they wait and when they were called off then", async () => {
    const retries = ["--retries", "1", "--backoff", "30s"];
    const line = "echo m$CLAW_TASK_INDEX; exit $CLAW_TASK_INDEX";
    const submitted = await cluster.runCli(["submit", "--array", "4", ...retries, "--", "sh", "-c", line]);
    const id = submitted.stdout.trim();
    for (const index of [1, 2, 3]) {
      await until(async () => ((await triesOf(`${id}.${index}`)) === 1 ? true : undefined), `attempt 1 of ${index}`);
    }
    const all = "0: m0\n1: m1\n2: m2\n3: m3\n";
    const waiting = await cluster.runCli(["logs", id]);
    expect(waiting.stdout).toBe(all);
    for (const index of [1, 2, 3]) expect(waiting.stderr).toContain(ended(id, index));
    await cluster.runCli(["cancel", `${id}.2`]);
    await cluster.runCli(["cancel", id]);
    const over = await cluster.runCli(["logs", id]);
    expect([over.stdout, over.stderr]).toEqual([all, ended(id, 1) + ended(id, 2) + ended(id, 3)]);
  });

  test.each([
    ["as they end", []],
    ["in their order", ["--keep-order"]],
  ])("show it in run --each, %s", async (_, order) => {
    const failed = join(cluster.cwd, `failed${order.length}`);
    const line = `echo try {}; [ {} = b ] || [ -e ${failed} ] || { touch ${failed}; exit 3; }`;
    const retries = ["--retries", "1", "--backoff", "10ms"];
    const { code, stdout, stderr } = await cluster.runCli(["run", "--each", line, ...retries, ...order], {
      stdin: "a\nb\n",
    });
    expect([code, stdout.split("\n").sort()]).toEqual([0, ["", "try a", "try a", "try b"]]);
    expect(stderr).toMatch(/^claw: task_\w+\.0: attempt 1 ended: exit code 3\n/);
  });

  test("show it in run --each that is called off before they are tried again", async () => {
    const line = "echo try {}; [ {} = b ] || exit 3; until [ -e go ]; do sleep 0.02; done";
    const retries = ["--retries", "1", "--backoff", "30s", "--halt", "now,done=1", "--name", "halts"];
    const run = cluster.startCli(["run", "--each", line, ...retries], { stdin: "a\nb\n" });
    const id = await until(async () => {
      const { stdout } = await cluster.runCli(["ls", "--quiet", "--name", "halts"]);
      return stdout === "" ? undefined : stdout.trim();
    }, "the array");
    await until(async () => ((await triesOf(`${id}.0`)) === 1 ? true : undefined), "attempt 1");
    writeFileSync(join(cluster.cwd, "go"), "");
    const { stdout, stderr } = await run.done;
    expect(stdout.split("\n").sort()).toEqual(["", "try a", "try b"]);
    expect(stderr).toContain(`claw: ${id}.0: attempt 1 ended: exit code 3\n`);
  });
});

describe("work that does not begin", () => {
  test("says why, once, unless it is to be quiet", async () => {
    const waiting = cluster.startCli(["run", "--node", "nowhere", "--", "true"]);
    await waiting.says("waits: ", "stderr");
    const each = cluster.startCli(["run", "--node", "nowhere", "--each", "true"], { stdin: "a\nb\n" });
    await each.says("waits: ", "stderr");
    const { stdout: ids } = await cluster.runCli(["ls", "--quiet", "--status", "pending"]);
    await cluster.runCli(["cancel", ...ids.trim().split("\n")]);
    for (const run of [waiting, each]) {
      const { stderr } = await run.done;
      expect(stderr.match(/waits: /g)).toHaveLength(1);
      expect(stderr).toMatch(/^claw: task_\w{8} waits: .*nowhere.*\n/);
    }
  });
});

test("a script that is not here: its name was sent as a program's, and that is said", async () => {
  const { code, stderr } = await cluster.runCli(["run", "missing.ts"]);
  expect(code).toBe(127);
  expect(stderr).toContain(`and there is no file ${join(cluster.cwd, "missing.ts")} here that could be sent\n`);
});
