// The leader and its nodes: registration, heartbeats, lives that end and begin, messages that are lost on the way. The
// nodes are played by the test over real connections, because a real worker does none of this wrong.

import { afterEach, describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Run } from "../../src/communication/messages.ts";
import { until } from "../until.ts";
import { closeScene, HEARTBEAT_MS, join, one, open, statusIs, viewOf } from "./one-node.ts";
import type { PlayedNode } from "./played-node.ts";

afterEach(closeScene);

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
    for (const held of [[run], [], [run], []]) node.heartbeat(held);
    await node.register();
    expect(node.heard.filter(({ type }) => type === "node.control")).toEqual([]);
  });

  test("the first one after a connection that is new is: what was sent to the one before may be lost", async () => {
    const { cluster, node } = await one();
    const { number } = await cluster.submit();
    const run = await node.run();
    node.heartbeat([run]);
    await node.register();
    node.heartbeat([]);
    const { list } = await node.control("list");
    node.send({ type: "node.held", incarnation: node.incarnation, list, last: true, held: [] });
    expect(await node.run()).toEqual(run);
    await node.complete(run);
    expect(await cluster.finished(number)).toMatchObject({ status: "completed", attempt: 1 });
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
