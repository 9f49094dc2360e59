// A coordinator that goes away and comes again: whatever had begun goes on by itself, and says once what it waits for.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitCommand } from "../../src/client/commands/tasks.ts";
import { followsWork } from "../../src/client/options.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { type RunningCli, testIo } from "../cli.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { within } from "../until.ts";

const WAITING = "waiting for the coordinator";
const MOST_MS = 30_000;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

/** Stops the coordinator, waits until the command has said so, and starts it again. */
async function outage(run: RunningCli, meanwhile: () => void = () => undefined): Promise<void> {
  await cluster.stopCoordinator();
  await run.says(WAITING, "stderr");
  meanwhile();
  await cluster.startCoordinator();
}

const gate = (name: string): string => join(cluster.cwd, name);
const behind = (name: string): string => `while [ ! -e ${gate(name)} ]; do sleep 0.02; done`;
const times = (text: string, of: string): number => text.split(of).length - 1;

describe("while the coordinator is away", () => {
  test(
    "run shows what its task writes, and exits with its code",
    async () => {
      const run = cluster.startCli(["run", "--", "sh", "-c", `echo up; ${behind("run")}; echo down; exit 3`]);
      await run.says("up");
      await outage(run, () => writeFileSync(gate("run"), ""));
      const { code, stdout, stderr } = await within(run.done, "the end of run", MOST_MS);
      expect([code, stdout, times(stderr, WAITING)]).toEqual([3, "up\ndown\n", 1]);
    },
    MOST_MS,
  );

  test(
    "--each takes further lines, and shows each result once",
    async () => {
      const { promise: more, resolve: go } = Promise.withResolvers<void>();
      async function* stdin(): AsyncGenerator<string> {
        yield "1\n2\n3\n";
        await more;
        yield "4\n5\n";
      }
      const run = cluster.startCli(["run", "-k", "--each", "echo member {}"], { stdin: stdin() });
      await run.says("member 3");
      await outage(run, go);
      const { code, stdout, stderr } = await within(run.done, "the end of --each", MOST_MS);
      expect([code, stdout]).toEqual([0, "member 1\nmember 2\nmember 3\nmember 4\nmember 5\n"]);
      expect([times(stderr, WAITING), stderr.includes("5 succeeded")]).toEqual([1, true]);
    },
    MOST_MS,
  );

  test(
    "wait and logs -f go on",
    async () => {
      const line = `echo up; ${behind("both")}; echo down`;
      const { stdout: id } = await cluster.runCli(["submit", "--", "sh", "-c", line]);
      const wait = cluster.startCli(["wait", id.trim()]);
      const logs = cluster.startCli(["logs", "-f", id.trim()]);
      await logs.says("up");
      await outage(wait, () => writeFileSync(gate("both"), ""));
      const waited = await within(wait.done, "the end of wait", MOST_MS);
      const logged = await within(logs.done, "the end of logs -f", MOST_MS);
      expect([waited.code, waited.stdout, times(waited.stderr, WAITING)]).toEqual([0, "", 1]);
      expect([logged.code, logged.stdout]).toEqual([0, "up\ndown\n"]);
    },
    MOST_MS,
  );

  test("only who follows work waits without an end, and wait no longer than its --timeout", async () => {
    expect(followsWork("logs", {})).toBe(false);
    expect(followsWork("events", {})).toBe(false);
    expect(followsWork("events", { follow: true })).toBe(true);
    expect(followsWork("run", { detach: true })).toBe(false);
    const query = (type: string): Promise<unknown> =>
      type === "task.resolve" ? Promise.resolve({ refs: [{ number: 1 }] }) : Promise.withResolvers().promise;
    const deaf = { query } as unknown as RequestClient;
    const waited = waitCommand(testIo(), deaf, ["35f0"], { timeout: "10ms" });
    expect(await within(waited, "the end of --timeout")).toBe(75);
  });

  test(
    "Ctrl-C twice leaves a run that waits for it, and a new command is told at once",
    async () => {
      const run = cluster.startCli(["run", "--", "sh", "-c", `echo up; ${behind("left")}`]);
      await run.says("up");
      await cluster.stopCoordinator();
      await run.says(WAITING, "stderr");
      const { code: refused, stderr } = await cluster.runCli(["ls"]);
      expect([refused, stderr.includes("claw up")]).toEqual([69, true]);
      run.signal("SIGINT");
      run.signal("SIGINT");
      expect((await within(run.done, "the end of a run that was left", 3_000)).code).toBe(130);
      writeFileSync(gate("left"), "");
      await cluster.startCoordinator();
    },
    MOST_MS,
  );
});
