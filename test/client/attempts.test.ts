// What whoever watches a task sees of the attempts before its last one, and of the time before its first.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, openCluster } from "../cluster.ts";

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
