// The leader and its nodes: registration, heartbeats, lives that end and begin, messages that are lost on the way. The
// nodes are played by the test over real connections, because a real worker does none of this wrong.

import { afterEach, describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Run } from "../../src/communication/messages.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";
import { PlayedNode } from "./played-node.ts";

const HEARTBEAT_MS = 60_000;
const clusters: Cluster[] = [];
const nodes: PlayedNode[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.close();
  for (const cluster of clusters.splice(0)) await cluster.close();
});

async function open(): Promise<Cluster> {
  const cluster = await openCluster({ workers: 0, coordinator: { "heartbeat.interval": `${HEARTBEAT_MS}ms` } });
  clusters.push(cluster);
  return cluster;
}

async function join(cluster: Cluster, name = "played"): Promise<PlayedNode> {
  const node = await PlayedNode.join(cluster, name);
  nodes.push(node);
  return node;
}

/** A cluster with one registered node. */
async function one(): Promise<{ cluster: Cluster; node: PlayedNode }> {
  const cluster = await open();
  const node = await join(cluster);
  await node.register();
  return { cluster, node };
}

async function viewOf(cluster: Cluster, node: PlayedNode) {
  const { nodes: all } = await cluster.client.query("node.list", {});
  const found = all.find(({ id }) => id === node.id);
  if (found === undefined) throw new Error(`${node.name} is not there`);
  return found;
}

const statusIs = (cluster: Cluster, node: PlayedNode, status: string) =>
  until(async () => (await viewOf(cluster, node)).status === status, `${node.name} to be ${status}`);

describe("a registration", () => {
  test("is welcomed with the cluster's id and the heartbeats that it wants; the node is there with what it has", async () => {
    const cluster = await open();
    const node = await join(cluster);
    const registered = { type: "node.register", v: 1, incarnation: node.incarnation, info: node.info(), held: [] };
    node.send(registered as Parameters<PlayedNode["send"]>[0]);
    const welcome = await node.control("welcome");
    const { status } = await cluster.client.query("cluster.status", {});
    expect(welcome).toEqual({ kind: "welcome", cluster_id: status.cluster_id, heartbeat_ms: HEARTBEAT_MS });
    expect(status.nodes).toEqual({ total: 1, online: 1 });
    expect(await viewOf(cluster, node)).toMatchObject({ ...node.info(), status: "online", held: 0 });
  });

  test("of another cluster's node is refused, and nothing of it stays", async () => {
    const cluster = await open();
    const node = await join(cluster);
    const info = node.info();
    node.send({ type: "node.register", v: 1, incarnation: node.incarnation, info, held: [], cluster_id: "another" });
    const refusal = await node.control("refuse");
    expect(refusal).toMatchObject({ code: "wrong_cluster", message: expect.stringContaining("another") });
    expect((await cluster.client.query("node.list", {})).nodes).toEqual([]);
  });

  test("again, with another capacity, changes what it is given", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit({ needs: { cpu_millis: 3000 } });
    expect((await cluster.show(number)).waiting?.summary).toContain(
      "needs 3 cpu, the most that a node has is 1 cpu (played)",
    );
    await node.register({ capacity: { cpu_millis: 4000 } });
    expect(await node.run()).toEqual([number, 0, 1, 1]);
  });
});

describe("heartbeats", () => {
  test("say how loaded the node is", async () => {
    const { cluster, node } = await one();
    node.heartbeat([], { c: 42, m: 1234 });
    await until(async () => (await viewOf(cluster, node)).cpu_percent === 42, "the load");
    const view = await viewOf(cluster, node);
    expect(view.free_memory_mib).toBe(1234);
    expect(view.last_heartbeat_ms_ago).toBeLessThan(5_000);
  });

  test("of a life that the leader does not know make it register", async () => {
    const { node } = await one();
    node.begin();
    node.heartbeat([]);
    expect(await node.control("register")).toEqual({ kind: "register" });
  });

  test("that stop: no new work, and again at the next one; what it ran goes on", async () => {
    const { cluster, node } = await one();
    const { number: first } = await cluster.submit({ needs: { cpu_millis: 600 } });
    const running = await node.run();
    cluster.runtime.skip(HEARTBEAT_MS * 4);
    await statusIs(cluster, node, "offline");
    const { number: second } = await cluster.submit({ needs: { cpu_millis: 100 } });
    expect((await cluster.show(second)).waiting?.nodes).toEqual([
      { node: "played", reason: expect.stringMatching(/^is offline since .*: its heartbeats stopped$/) as string },
    ]);
    expect((await cluster.show(first)).status).toBe("scheduled");
    node.heartbeat([running]);
    expect(await node.run()).toEqual([second, 0, 1, 1]);
    await node.complete(running);
    expect((await cluster.finished(first)).attempt).toBe(1);
    await statusIs(cluster, node, "online");
  });

  test("for good: its work runs elsewhere, and what it tells when it comes back after all is dropped", async () => {
    const { cluster, node } = await one();
    const { number: often } = await cluster.submit({ needs: { cpu_millis: 100 } });
    const lost = await node.run();
    const { number: once } = await cluster.submit({ needs: { cpu_millis: 100 }, on_lost: "fail" });
    const unsure = await node.run();
    cluster.runtime.skip(HEARTBEAT_MS * 4);
    await statusIs(cluster, node, "offline");
    const other = await join(cluster, "other");
    await other.register();
    // As long as it had run, by all that the leader knows.
    for (const part_ms of [HEARTBEAT_MS * 2, HEARTBEAT_MS * 3]) {
      cluster.runtime.skip(part_ms);
      other.heartbeat([]);
    }
    expect(await other.run()).toEqual([often, 0, 1, 2]);
    // What must not run twice is not tried again.
    const failed = await cluster.finished(once);
    expect([failed.status, failed.outcome?.reason, failed.attempt]).toEqual(["failed", "lost", 1]);
    node.heartbeat([lost, unsure]);
    await statusIs(cluster, node, "online");
    await node.complete(lost);
    await node.complete(unsure);
    expect((await cluster.show(often)).status).toBe("scheduled");
    expect((await cluster.show(once)).outcome?.reason).toBe("lost");
    await other.complete([often, 0, 1, 2]);
    const task = await cluster.finished(often);
    expect([task.attempt, task.node, task.attempts?.map(({ reason }) => reason)]).toEqual([2, other.id, ["lost"]]);
  });
});

describe("what is lost on the way", () => {
  test("an assignment that never came is sent again", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    const run = await node.run();
    for (let beat = 0; beat < 2; beat++) node.heartbeat([]);
    const { list } = await node.control("list");
    node.send({ type: "node.held", incarnation: node.incarnation, list, last: true, held: [] });
    expect(await node.run()).toEqual(run);
    await node.complete(run);
    expect(await cluster.finished(number)).toMatchObject({ status: "completed", attempt: 1 });
  });

  test("one heartbeat that differs is none yet: a message may be on its way", async () => {
    const { cluster, node } = await one();
    await cluster.submit();
    const run = await node.run();
    node.heartbeat([]);
    node.heartbeat([run]);
    node.heartbeat([]);
    await node.register();
    expect(node.heard.filter(({ type }) => type === "node.control")).toEqual([]);
  });

  test("an acknowledgement that never came: the report comes again and is answered again, and counts once", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    const run = await node.run();
    await node.complete(run);
    await node.complete(run);
    await node.end([number, 0, 1]);
    const task = await cluster.finished(number);
    expect(task).toMatchObject({ status: "completed", attempt: 1 });
    expect(await viewOf(cluster, node)).toMatchObject({ completed: 1, failed: 0, held: 0 });
    const { status } = await cluster.client.query("cluster.status", {});
    expect(status.tasks).toMatchObject({ total: 1, completed: 1, failed: 0 });
  });

  test("a cancel that never came is sent again", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    const run = await node.run();
    await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
    expect(await node.cancelled()).toMatchObject({ runs: [run], reason: "cancelled" });
    node.heartbeat([run]);
    expect(await node.cancelled()).toMatchObject({ runs: [run], reason: "cancelled" });
    await node.end([number, 0, 1], { status: "cancelled", reason: "cancelled" });
    expect((await cluster.finished(number)).status).toBe("cancelled");
    node.heartbeat([]);
    await node.register();
    expect(node.heard).toEqual([]);
  });

  test("what a node holds and nobody gave it is stopped, and the rest goes on", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    const run = await node.run();
    const strange: Run = [number + 7, 3, 5, 1];
    for (let beat = 0; beat < 2; beat++) node.heartbeat([run, strange]);
    const { list } = await node.control("list");
    node.send({ type: "node.held", incarnation: node.incarnation, list, last: false, held: [run] });
    node.send({ type: "node.held", incarnation: node.incarnation, list, last: true, held: [strange] });
    expect(await node.cancelled()).toMatchObject({ reason: "superseded", runs: [strange] });
    await node.complete(run);
    expect(await cluster.finished(number)).toMatchObject({ status: "completed", attempt: 1 });
  });

  test("a list that was not asked for, or by another life, changes nothing", async () => {
    const { cluster, node } = await one();
    await cluster.submit();
    const run = await node.run();
    for (let beat = 0; beat < 2; beat++) node.heartbeat([]);
    const { list } = await node.control("list");
    node.send({ type: "node.held", incarnation: node.incarnation, list: list + 1, last: true, held: [] });
    node.send({ type: "node.held", incarnation: "0".repeat(16), list, last: true, held: [] });
    node.send({ type: "node.held", incarnation: node.incarnation, list, last: true, held: [run] });
    await node.register();
    expect(node.heard).toEqual([]);
  });
});

describe("a new life of a node", () => {
  test("gives its tasks another attempt at once, and the earlier one's report is answered and dropped", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    const first = await node.run();
    node.begin();
    await node.register();
    const second = await node.run();
    expect([first, second]).toEqual([
      [number, 0, 1, 1],
      [number, 0, 1, 2],
    ]);
    await node.complete(first);
    expect((await cluster.show(number)).status).toBe("scheduled");
    await node.end([number, 0, 2], { exit_code: 9 });
    const task = await cluster.show(number, 0);
    expect([task.status, task.attempt, task.outcome?.exit_code]).toEqual(["failed", 2, 9]);
    expect(task.attempts).toEqual([
      { attempt: 1, node: node.id, node_name: "played", reason: "lost", at: expect.any(Number) },
    ]);
  });

  test("keeps the results that wait in its outbox", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit({ needs: { cpu_millis: 500 } }, { count: 2 });
    const held = (await node.assigned()).items.map(({ run }) => run);
    expect(held).toEqual([[number, 0, 2, 1]]);
    node.begin();
    await node.register({ held: [[number, 0, 1, 1]] });
    expect(await node.run()).toEqual([number, 1, 2, 2]);
    await node.complete([number, 0, 1, 1]);
    await node.complete([number, 1, 2, 2]);
    const members = [await cluster.finished(number, 0), await cluster.finished(number, 1)];
    expect(members.map(({ status, attempt }) => [status, attempt])).toEqual([
      ["completed", 1],
      ["completed", 2],
    ]);
  });

  test("again and again with the same task ends that task as a poison one", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    for (let life = 1; life <= LIMITS.lost_attempts; life++) {
      expect(await node.run()).toEqual([number, 0, 1, life]);
      node.begin();
      await node.register();
    }
    const task = await cluster.finished(number);
    expect([task.status, task.outcome?.reason]).toEqual(["failed", "poison"]);
    expect(task.outcome?.message).toContain(`${LIMITS.lost_attempts} times`);
  });

  test("ends what was to be cancelled instead of trying it again", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    await node.run();
    await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
    node.begin();
    await node.register();
    expect((await cluster.finished(number)).status).toBe("cancelled");
  });
});

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
    const again = await node.twin(cluster);
    nodes.push(again);
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

describe("another process with the same key", () => {
  async function two() {
    const { cluster, node } = await one();
    const other = await node.twin(cluster);
    nodes.push(other);
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

describe("work that comes back", () => {
  test("unstarted goes to another node, as another attempt", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit({ needs: { cpu_millis: 800 } });
    const run = await node.run();
    const other = await join(cluster, "other");
    await other.register({ capacity: { cpu_millis: 2000, memory_mib: 2000 } });
    await node.release(run);
    expect(await other.run()).toEqual([number, 0, 1, 2]);
    await other.complete([number, 0, 1, 2]);
    const task = await cluster.show(number, 0);
    expect([task.status, task.attempt, task.node_name]).toEqual(["completed", 2, "other"]);
  });

  test("that was to be cancelled is over when it comes back unstarted", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    const run = await node.run();
    await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
    await node.release(run);
    expect((await cluster.finished(number)).status).toBe("cancelled");
  });

  test("with a goodbye runs elsewhere at once", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    await node.run();
    const other = await join(cluster, "other");
    await other.register();
    node.send({ type: "node.shutdown", incarnation: "0".repeat(16), reason: "another life's" });
    node.send({ type: "node.shutdown", incarnation: node.incarnation, reason: "service" });
    expect(await other.run()).toEqual([number, 0, 1, 2]);
    expect((await viewOf(cluster, node)).status).toBe("offline");
    await other.complete([number, 0, 1, 2]);
    expect((await cluster.finished(number)).status).toBe("completed");
  });
});

test("a start that is told makes the task running, and once it is over it makes nothing", async () => {
  const { cluster, node } = await one();
  const { number } = await cluster.submit();
  const run = await node.run();
  const started = { type: "task.start", incarnation: node.incarnation, runs: [[...run, 12_345]] };
  node.send(started as Parameters<PlayedNode["send"]>[0]);
  expect((await cluster.started(number)).status).toBe("running");
  await node.complete(run);
  node.send(started as Parameters<PlayedNode["send"]>[0]);
  await node.register();
  expect((await cluster.show(number)).status).toBe("completed");
});
