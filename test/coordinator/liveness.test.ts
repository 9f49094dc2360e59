// Nodes that are there and not well, or claimed by two: in error, deaf, taken. Played by the test over real connections.

import { afterEach, describe, expect, test } from "bun:test";
import type { Cluster } from "../cluster.ts";
import { until } from "../until.ts";
import { closeScene, HEARTBEAT_MS, join, one, statusIs, twin, viewOf } from "./one-node.ts";
import type { PlayedNode } from "./played-node.ts";

afterEach(closeScene);

describe("a node in error", () => {
  test("for what it says of itself: no new work, and the reason for whoever waits, until it registers without", async () => {
    const { cluster, node } = await one();
    const { number: held } = await cluster.submit({ needs: { cpu_millis: 100 } });
    const run = await node.run();
    await node.register({ trouble: "no room left" });
    expect(await viewOf(cluster, node)).toMatchObject({ status: "error", reason: "no room left" });
    const { number } = await cluster.submit({ needs: { cpu_millis: 100 } });
    expect((await cluster.show(number)).waiting?.summary).toBe("played is in error: no room left");
    node.heartbeat([run]);
    await node.complete(run);
    expect((await cluster.finished(held)).status).toBe("completed");
    // Another leader knows it from the log, and does not take a heartbeat for a recovery.
    await cluster.stopCoordinator();
    await cluster.startCoordinator();
    const again = await twin(cluster, node);
    again.incarnation = node.incarnation;
    again.heartbeat([]);
    await until(() => again.pings > 0, "a ping");
    expect((await viewOf(cluster, again)).status).toBe("error");
    await again.register();
    expect(await viewOf(cluster, again)).toMatchObject({ status: "online" });
    expect((await viewOf(cluster, again)).reason).toBeUndefined();
    expect(await again.run()).toEqual([number, 0, 1, 1]);
  });

  test("because it is heard and answers no ping: what it may never have got runs elsewhere; it comes back with an answer", async () => {
    const { cluster, node } = await one();
    const { number: running } = await cluster.submit({ needs: { cpu_millis: 100 } });
    const begun = await node.run();
    node.send({ type: "task.start", incarnation: node.incarnation, runs: [[...begun, 12_345]] });
    await cluster.started(running);
    const { number } = await cluster.submit({ needs: { cpu_millis: 100 } });
    const unheard = await node.run();
    for (let beat = 0; beat < 2; beat++) {
      cluster.runtime.skip(HEARTBEAT_MS * 2);
      node.heartbeat([begun], { p: undefined });
      await until(() => node.pings > beat, "a ping");
    }
    await statusIs(cluster, node, "error");
    expect((await viewOf(cluster, node)).reason).toBe("it is heard and does not hear: it answers no ping");
    const other = await join(cluster, "other");
    await other.register();
    expect(await other.run()).toEqual([number, 0, 1, 2]);
    expect((await cluster.show(running)).status).toBe("running");
    await node.complete(begun);
    expect((await cluster.finished(running)).attempt).toBe(1);
    node.heartbeat([unheard], { p: 3 });
    await statusIs(cluster, node, "online");
    await node.complete(unheard);
    expect((await cluster.show(number)).status).toBe("scheduled");
    await other.complete([number, 0, 1, 2]);
  });

  test("not because its pings have no answer when it is not heard either: it is offline then", async () => {
    const { cluster, node } = await one();
    const silent = await join(cluster, "silent");
    await silent.register();
    cluster.runtime.skip(HEARTBEAT_MS * 2);
    node.heartbeat([], { p: undefined });
    await until(() => node.pings > 0, "a ping");
    cluster.runtime.skip(HEARTBEAT_MS * 2);
    // In the same look at who is there.
    await statusIs(cluster, silent, "offline");
    expect((await viewOf(cluster, node)).status).toBe("online");
    cluster.runtime.skip(HEARTBEAT_MS * 2);
    await statusIs(cluster, node, "offline");
    expect((await viewOf(cluster, node)).reason).toBe("its heartbeats stopped");
  });

  test("that registers again and again and hears no welcome is in error, and not online for ever", async () => {
    const { cluster, node } = await one();
    for (let skipped = 0; skipped < 2; skipped++) {
      cluster.runtime.skip(HEARTBEAT_MS * 2);
      await node.register();
    }
    await statusIs(cluster, node, "error");
    node.heartbeat([]);
    await statusIs(cluster, node, "online");
  });
});

describe("how well it is, and what it did not begin", () => {
  const shown = async (cluster: Cluster, node: PlayedNode) =>
    (await cluster.client.query("node.list", { node: node.id })).nodes[0]!;

  test("load, memory and disk as heartbeats tell them; another leader knows nothing yet", async () => {
    const { cluster, node } = await one();
    expect((await viewOf(cluster, node)).health.score).toBe(100);
    node.heartbeat([], { c: 100, m: 0 });
    node.heartbeat([], { c: 100, d: 0 });
    await until(async () => (await viewOf(cluster, node)).disk_free_percent === 0, "the disk");
    const { score, parts } = (await viewOf(cluster, node)).health;
    expect(score).toBe(100 - 15 - 25 - 30);
    expect(parts.find(({ sign }) => sign === "memory")?.says).toContain("0 free");
    await cluster.stopCoordinator();
    await cluster.startCoordinator();
    expect((await viewOf(cluster, node)).health.score).toBe(100);
  });

  test("what it gave back and could not start, the latest ten; what it was told to leave is no refusal", async () => {
    const { cluster, node } = await one();
    expect((await shown(cluster, node)).refused).toEqual([]);
    const { number, id } = await cluster.submit({ needs: { cpu_millis: 500 } }, { count: 2 });
    const run = (await node.assigned()).items[0]!.run;
    await node.release(run, "no room for it in 500 ms");
    const again = (await node.assigned()).items[0]!.run;
    expect(again).toEqual([number, 0, 2, 2]);
    const task = `task_${id.toString(16).padStart(8, "0")}`;
    expect((await shown(cluster, node)).refused).toEqual([
      { at: expect.any(Number), task: `${task}.0`, count: 2, reason: "no room for it in 500 ms" },
    ]);
    await node.end([number, 1, 2], { reason: "spawn", message: "no process could be started" });
    const { refused, health } = await shown(cluster, node);
    expect(refused?.map(({ task: one, count, reason }) => [one, count, reason])).toEqual([
      [`${task}.1`, 1, "no process could be started"],
      [`${task}.0`, 2, "no room for it in 500 ms"],
    ]);
    expect(health.score).toBe(94);
    expect((await viewOf(cluster, node)).refused).toBeUndefined();
    // Told to leave it: a drain.
    await cluster.client.command("node.manage", { v: 1, action: "drain", nodes: [node.id] });
    await node.cancelled();
    await node.release([number, 0, 1, 2]);
    expect((await shown(cluster, node)).refused).toHaveLength(2);
    await cluster.client.command("node.manage", { v: 1, action: "resume", nodes: [node.id] });
    for (let attempt = 3; attempt < 15; attempt++) await node.release(await node.run(), `refusal ${attempt}`);
    const latest = (await shown(cluster, node)).refused ?? [];
    expect([latest.length, latest[0]?.reason, latest[9]?.reason]).toEqual([10, "refusal 14", "refusal 5"]);
  });
});

describe("another process with the same key", () => {
  async function two() {
    const { cluster, node } = await one();
    const other = await twin(cluster, node);
    return { cluster, node, other };
  }

  /** As a worker does: again and again until it is told. What two connections say may come in any order. */
  async function refused(claiming: PlayedNode) {
    const is = (message: (typeof claiming.heard)[number]) =>
      message.type === "node.control" && message.action.kind === "refuse";
    await until(() => {
      claiming.claim();
      return claiming.heard.some(is);
    }, "a refusal");
    return await claiming.control("refuse");
  }

  test("waits, and is refused when the one that stands is heard; that one goes on undisturbed", async () => {
    const { cluster, node, other } = await two();
    const { number } = await cluster.submit();
    const run = await node.run();
    other.claim();
    expect((await other.control("wait")).message).toMatch(
      /node_\w{8} is played, process 1 on this machine, since .* ago/,
    );
    expect(await node.control("ping")).toEqual({ kind: "ping", answer: true });
    node.heartbeat([run]);
    expect(await refused(other)).toMatchObject({
      code: "node_taken",
      message: expect.stringMatching(/is alive$/),
    });
    expect((await viewOf(cluster, node)).incarnation).toBe(node.incarnation);
    await node.complete(run);
    expect(await cluster.finished(number)).toMatchObject({ status: "completed", attempt: 1 });
  });

  test("takes its place when it is silent for longer than heartbeats may be apart, and not before", async () => {
    const { cluster, node, other } = await two();
    const { number } = await cluster.submit();
    await node.run();
    cluster.runtime.skip(HEARTBEAT_MS * 1.4);
    other.claim();
    await other.control("wait");
    cluster.runtime.skip(HEARTBEAT_MS * 0.2);
    other.claim();
    await other.control("welcome");
    expect(await other.run()).toEqual([number, 0, 1, 2]);
    // The first comes back after all: it is asked who it is, and refused.
    node.heartbeat([]);
    await node.control("register");
    node.claim();
    await node.control("wait");
    other.heartbeat([[number, 0, 1, 2]]);
    expect((await refused(node)).code).toBe("node_taken");
  });

  test("takes its place at once when it said goodbye", async () => {
    const { cluster, node, other } = await two();
    node.send({ type: "node.shutdown", incarnation: node.incarnation, reason: "stopped" });
    await statusIs(cluster, node, "offline");
    await other.register();
    expect((await viewOf(cluster, other)).incarnation).toBe(other.incarnation);
  });

  test("has no say while it is not that node: its reports count for nothing, and are not acknowledged", async () => {
    const { cluster, node, other } = await two();
    const { number } = await cluster.submit();
    const run = await node.run();
    const results = { runs: [[...run, 1, 2] as [number, number, number, number, number, number]], results: [] };
    other.send({ type: "task.complete", incarnation: other.incarnation, seq: 1, ...results });
    other.send({ type: "task.start", incarnation: other.incarnation, runs: [[...run, 1]] });
    other.send({ type: "node.shutdown", incarnation: other.incarnation, reason: "stopped" });
    other.claim();
    await other.control("wait");
    expect((await cluster.show(number)).status).toBe("scheduled");
    expect((await viewOf(cluster, node)).status).toBe("online");
    expect(other.heard).toEqual([]);
  });
});
