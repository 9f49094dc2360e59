// What is told of a task that a node holds: since when it runs, that it is being stopped, and what comes of it when its
// node is gone.

import { afterEach, expect, test } from "bun:test";
import { formatTaskId } from "../../src/core/ids.ts";
import type { Cluster, Wanted } from "../cluster.ts";
import { until } from "../until.ts";
import { closeScene, HEARTBEAT_MS, one, statusIs } from "./one-node.ts";

afterEach(closeScene);

async function running(on_lost: "fail" | "retry", needs: Wanted["needs"] = {}) {
  const { cluster, node } = await one();
  const { id, number } = await cluster.submit({ on_lost, needs });
  const [of, from, to, attempt] = await node.run();
  const { incarnation } = node;
  const started_at = Date.now();
  node.send({ type: "task.start", incarnation, runs: [[of, from, to, attempt, started_at]] });
  await until(async () => (await cluster.show(number)).status === "running", "a start");
  return { cluster, node, number, id: formatTaskId(id) };
}

async function text(cluster: Cluster, id: string): Promise<string> {
  return (await cluster.runCli(["show", id])).stdout;
}

test("since when it runs, and that it is being stopped", async () => {
  const { cluster, id, number } = await running("retry");
  expect(await text(cluster, id)).toMatch(/^status +running since 2\S+Z \(for \d+s\)$/m);
  const before = await cluster.show(number);
  expect(before).toMatchObject({ started_at: expect.any(Number), node_status: "online" });
  expect(before.stopping).toBeUndefined();
  expect((await cluster.runCli(["cancel", id])).code).toBe(0);
  expect(await text(cluster, id)).toMatch(
    /^status +running since \S+ \(for \d+s\), being stopped since 2\S+Z \(cancel\)$/m,
  );
  const json = JSON.parse((await cluster.runCli(["show", id, "--json"])).stdout) as object;
  expect(json).toMatchObject({ stopping: "cancel", stopping_since: expect.stringMatching(/Z$/) });
});

test("of a node that is emptied it is being stopped since its deadline, not since it was asked for", async () => {
  const { cluster, node, id, number } = await running("retry");
  expect((await cluster.runCli(["nodes", "drain", "played", "--deadline", "30s"])).code).toBe(0);
  const [view] = (await cluster.client.query("node.list", { node: node.id })).nodes;
  const drain_at = view?.cordon?.drain_at ?? 0;
  expect((await cluster.show(number)).stopping).toBeUndefined();
  cluster.runtime.skip(30_000);
  await until(async () => (await cluster.show(number)).stopping === "drain", "the deadline");
  const { stopping_since = 0 } = await cluster.show(number);
  expect(stopping_since).toBeGreaterThanOrEqual(drain_at);
  expect(await text(cluster, id)).toMatch(/, being stopped since \S+ \(drain\)$/m);
});

test.each([
  ["retry", {}, "is given up and runs elsewhere"],
  ["retry", { node: "played" }, "is given up and waits for played again"],
  ["fail", { node: "played" }, "is given up and fails, as it must not run twice"],
] as const)("that its node is offline, and when it is given up: --on-lost %s %j", async (on_lost, needs, says) => {
  const { cluster, node, id, number } = await running(on_lost, needs);
  cluster.runtime.skip(HEARTBEAT_MS * 2);
  await until(async () => (await cluster.show(number)).node_silent_ms !== undefined, "silence");
  expect(await text(cluster, id)).toMatch(/^which is +not heard for 2m/m);
  cluster.runtime.skip(HEARTBEAT_MS * 3);
  await statusIs(cluster, node, "offline");
  const { lost_at = 0, node_offline_since = 0, started_at = 0 } = await cluster.show(number);
  // It had run for as long as its node was waited for.
  expect(lost_at - node_offline_since).toBe(node_offline_since - started_at);
  expect(await text(cluster, id)).toMatch(
    new RegExp(
      `^which is +offline since \\S+Z: its heartbeats stopped; if it stays so until \\S+Z, the task ${says}$`,
      "m",
    ),
  );
  expect((await cluster.runCli(["ls"])).stdout).toContain("running  played (offline)");
  const [listed] = JSON.parse((await cluster.runCli(["ls", "--json"])).stdout) as object[];
  expect(listed).toMatchObject({ status: "running", node_status: "offline", lost_at: new Date(lost_at).toISOString() });
  cluster.runtime.skip(lost_at - node_offline_since - 30_000);
  expect((await cluster.show(number)).status).toBe("running");
  cluster.runtime.skip(31_000);
  await until(async () => (await cluster.show(number)).status !== "running", "an attempt to be given up");
  const after = await cluster.show(number);
  const attempts = on_lost === "fail" ? [after.outcome] : after.attempts;
  expect(attempts).toMatchObject([{ started_at, reason: "lost" }]);
  expect(after.node_status).toBeUndefined();
});

test("what it had written stays readable when it is given up for good with its node", async () => {
  const { cluster, node, id, number } = await running("fail");
  const { attempt = 0 } = await cluster.show(number);
  await node.write(cluster, number, attempt, "charged 17\n");
  const following = cluster.runCli(["logs", "-f", id]);
  cluster.runtime.skip(HEARTBEAT_MS * 5);
  await statusIs(cluster, node, "offline");
  const { lost_at = 0, node_offline_since = 0 } = await cluster.show(number);
  cluster.runtime.skip(lost_at - node_offline_since);
  await until(async () => (await cluster.show(number)).status === "failed", "the task to be given up");
  for (const { code, stdout } of [await cluster.runCli(["logs", id]), await following]) {
    expect([code, stdout]).toEqual([0, "charged 17\n"]);
  }
});
