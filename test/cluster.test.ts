// The tests' own cluster: it is a real one, several live side by side, and it notices what is left.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { findProcesses } from "../scripts/processes.ts";
import { type Cluster, type ClusterOptions, openCluster, runCli } from "./cluster.ts";

const clusters: Cluster[] = [];

async function open(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await openCluster(options);
  clusters.push(cluster);
  return cluster;
}

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

describe("a cluster in the test's process", () => {
  test("runs a task and gives its result, next to another one", async () => {
    const [one, other] = await Promise.all([open({ workers: 2 }), open()]);
    expect(one.coordinator.nats_url).not.toBe(other.coordinator.nats_url);
    const { number } = await one.submit({ needs: { executor: "shell" }, argv: ["echo out; exit 3"] });
    const task = await one.finished(number);
    expect([task.status, task.outcome?.exit_code, task.outcome?.stdout_tail]).toEqual(["failed", 3, "out\n"]);
    const { nodes } = await one.client.query("node.list", {});
    expect(nodes.map(({ name }) => name).sort()).toEqual(["worker-1", "worker-2"]);
    expect((await other.client.query("task.list", { limit: 10 })).tasks).toEqual([]);
  });

  test("has a command line with input, output and exit code", async () => {
    const cluster = await open();
    const run = await cluster.runCli(["run", "-k", "--each", "echo got {}"], { stdin: "a\nb\n" });
    expect([run.code, run.stdout]).toEqual([0, "got a\ngot b\n"]);
    const failed = await cluster.runCli(["run", "--", "sh", "-c", "echo out; echo oh >&2; exit 7"]);
    expect([failed.code, failed.stdout, failed.stderr]).toEqual([7, "out\n", "oh\n"]);
  });

  test("gives a command that is under way signals and a closed output", async () => {
    const cluster = await open();
    const run = cluster.startCli(["run", "--", "sh", "-c", "echo ready; exec sleep 60"]);
    await run.says("ready");
    await run.listening();
    run.signal("SIGINT");
    run.signal("SIGINT");
    const { code, stdout } = await run.done;
    expect([code > 128, stdout]).toEqual([true, "ready\n"]);
    const many = cluster.startCli(["run", "--", "sh", "-c", "for i in $(seq 1000); do echo y; sleep 0.01; done"]);
    await many.says("y");
    many.closeOutput();
    await many.done;
    expect(many.stdout).toStartWith("y\n");
  });

  test("leaves nothing: no process, no folder, no timer", async () => {
    const cluster = await open();
    const { number } = await cluster.submit({ argv: ["sleep", "600"] });
    await cluster.started(number);
    expect(cluster.processes().map(({ command }) => command)).toContain("sleep 600");
    await clusters.pop()?.close();
    expect(findProcesses(cluster.home)).toEqual([]);
    expect(existsSync(cluster.home)).toBe(false);
    expect(cluster.runtime.waiting).toEqual([]);
  });

  test("fails when something was left running", async () => {
    const cluster = await open({ workers: 0 });
    const strange = Bun.spawn(["sleep", "60"], { cwd: cluster.cwd });
    const closing = clusters.pop()?.close();
    expect(closing).rejects.toThrow("still running: sleep 60");
    await closing?.catch(() => undefined);
    strange.kill("SIGKILL");
    await strange.exited;
  });
});

test("a command that needs no cluster runs without one, and one that needs it says so", async () => {
  const { code, stdout } = await runCli(["version"]);
  expect([code, stdout.startsWith("claw cluster ")]).toEqual([0, true]);
  const { code: refused } = await runCli(["ls"], { env: { CLAW_HOME: "/nowhere" } });
  expect(refused).toBe(69);
});
