// Folders that tasks ask for: whom the leader asks, when again, what it believes, and what a plan waits for.

import { afterEach, describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Needs, PlanView } from "../../src/common/models.ts";
import { Folders } from "../../src/coordinator/folders.ts";
import { type Cluster, specificationOf } from "../cluster.ts";
import { needsOf, nodeOf } from "../core/placing-model.ts";
import { until } from "../until.ts";
import { closeScene, join, one, open } from "./one-node.ts";
import type { PlayedNode } from "./played-node.ts";

const OLD_MS = 10_000;
const LOST_MS = 2_000;
const wants = (folder: string, more: Partial<Needs> = {}): Needs => needsOf({ folder, ...more });

describe("what is asked", () => {
  const a = nodeOf("a", {}, { tags: ["fast"] });
  const b = nodeOf("b");
  const asks = (folders: Folders, needs: readonly Needs[], now_ms: number, nodes = [a, b]) =>
    Object.fromEntries(folders.ask(needs, nodes, now_ms));

  test("of open nodes that suit otherwise, once; again when no answer came, and when it is old", () => {
    const folders = new Folders();
    const needs = [wants("/x"), wants("/y", { tags: ["fast"] }), wants("/x", { cpu_millis: 1 })];
    expect(asks(folders, needs, 0, [a, b, { ...nodeOf("c"), open: false }])).toEqual({ a: ["/x", "/y"], b: ["/x"] });
    folders.said("a", [["/x", true]], 10);
    folders.said("b", [["/x", false]], 10);
    expect(asks(folders, needs, LOST_MS - 1)).toEqual({});
    expect(asks(folders, needs, LOST_MS)).toEqual({ a: ["/y"] });
    expect(asks(folders, needs, OLD_MS)).toEqual({ a: ["/y"] });
    expect(asks(folders, needs, OLD_MS + 10)).toEqual({ a: ["/x"], b: ["/x"] });
    // What was said counts until something else is.
    expect([folders.of("a")?.get("/x"), folders.of("a")?.get("/y"), folders.of("b")?.get("/x")]).toEqual([
      true,
      undefined,
      false,
    ]);
    expect(folders.of("c")).toBeUndefined();
  });

  test("anew when a task missed it, and of a node that is another one now", () => {
    const folders = new Folders();
    asks(folders, [wants("/x")], 0);
    for (const node of ["a", "b"]) folders.said(node, [["/x", true]], 1);
    folders.missed("a", "/x");
    folders.forget("b");
    expect([folders.of("a")?.get("/x"), folders.of("b")]).toEqual([undefined, undefined]);
    expect(asks(folders, [wants("/x")], 2)).toEqual({ a: ["/x"], b: ["/x"] });
  });

  test("and an answer to what was not is none", () => {
    const folders = new Folders();
    folders.said("a", [["/x", true]], 0);
    asks(folders, [wants("/x")], 1);
    folders.said("a", [["/z", true]], 2);
    expect([folders.of("a")?.get("/x"), folders.of("a")?.get("/z")]).toEqual([undefined, undefined]);
  });

  test("for a plan: until all that may have it have said so lately", () => {
    const folders = new Folders();
    const needs = wants("/x");
    expect(folders.awaits(needsOf(), [a], 0)).toBe(false);
    expect(folders.awaits(needs, [a, b], 0)).toBe(true);
    asks(folders, [needs], 0);
    folders.said("a", [["/x", true]], 5);
    expect([folders.awaits(needs, [a], 5), folders.awaits(needs, [a, b], 5)]).toEqual([false, true]);
    expect(folders.awaits(needs, [a, { ...b, open: false }], 5)).toBe(false);
    expect(folders.awaits(wants("/x", { tags: ["fast"] }), [a, b], 5)).toBe(false);
    expect(folders.awaits(needs, [a], 5 + OLD_MS)).toBe(true);
  });

  test("is bounded, in a message and in what is remembered of a node; and all have their turn", () => {
    const folders = new Folders();
    const many = Array.from({ length: LIMITS.node_folders * 2 + 7 }, (_, at) => wants(`/x/${at}`));
    const seen = new Set<string>();
    const round = (now_ms: number): number => {
      let count = 0;
      for (;;) {
        const { a: asked = [] } = asks(folders, many, now_ms, [a]);
        if (asked.length === 0) return count;
        expect(asked.length).toBeLessThanOrEqual(LIMITS.look_folders);
        for (const folder of asked) seen.add(folder);
        folders.said(
          "a",
          asked.map((folder) => [folder, false]),
          now_ms,
        );
        count += asked.length;
      }
    };
    expect(round(0)).toBe(LIMITS.node_folders);
    expect(round(OLD_MS - 1)).toBe(0);
    expect(round(OLD_MS)).toBe(LIMITS.node_folders);
    expect(seen.size).toBe(LIMITS.node_folders * 2);
    expect([folders.of("a")?.get("/x/0"), folders.of("a")?.get(`/x/${LIMITS.node_folders}`)]).toEqual([
      undefined,
      false,
    ]);
    round(OLD_MS * 2);
    expect(seen.size).toBe(many.length);
  });
});

describe("a leader", () => {
  afterEach(closeScene);

  const FOLDER = "/data/x";
  const submit = (cluster: Cluster, more: Partial<Needs> = {}) =>
    cluster.submit({ needs: { cpu_millis: 100, folder: FOLDER, ...more } });
  const asked = async (node: PlayedNode): Promise<string[]> => (await node.control("look")).folders;
  const says = (node: PlayedNode, usable: boolean): void =>
    node.send({ type: "node.folders", incarnation: node.incarnation, folders: [[FOLDER, usable]] });
  /** What it said before has come to the leader, which answers each heartbeat. */
  const heard = async (node: PlayedNode): Promise<void> => {
    const { pings } = node;
    node.heartbeat([]);
    await until(() => node.pings > pings, "a ping");
  };
  const waiting = async (cluster: Cluster, number: number) => (await cluster.show(number)).waiting;
  const plan = async (cluster: Cluster): Promise<PlanView> => {
    const specification = specificationOf({ needs: { cpu_millis: 100, folder: FOLDER } });
    return (await cluster.client.query("task.plan", { specification })).plan;
  };

  async function two(): Promise<{ cluster: Cluster; first: PlayedNode; second: PlayedNode }> {
    const cluster = await open();
    const [first, second] = [await join(cluster, "first"), await join(cluster, "second")];
    await first.register();
    await second.register();
    return { cluster, first, second };
  }

  test("gives it to a node that has said that it has the folder, and to no other", async () => {
    const { cluster, first, second } = await two();
    const { number } = await submit(cluster);
    expect([await asked(first), await asked(second)]).toEqual([[FOLDER], [FOLDER]]);
    says(first, false);
    await heard(first);
    const summary = `needs the folder ${FOLDER}, which no node is known to have: second has not said yet`;
    expect(await waiting(cluster, number)).toEqual({
      summary,
      nodes: [
        { node: "first", reason: `has no folder ${FOLDER}` },
        { node: "second", reason: `has not said yet whether it has the folder ${FOLDER}` },
      ],
      change: [
        `that folder on a node that suits otherwise: mkdir -p ${FOLDER}, unless something else has that name there`,
      ],
    });
    says(second, true);
    const run = await second.run();
    expect(run).toEqual([number, 0, 1, 1]);
    await second.complete(run);
    // It is believed for the next one, too.
    const { number: next } = await submit(cluster);
    expect(await second.run()).toEqual([next, 0, 1, 1]);
    expect(first.heard.filter(({ type }) => type === "task.assign")).toEqual([]);
  });

  test("waits while none has it, and asks again until one has", async () => {
    const { cluster, node } = await one();
    const { number } = await submit(cluster);
    await asked(node);
    cluster.runtime.skip(LOST_MS);
    await asked(node);
    says(node, false);
    expect((await plan(cluster)).waiting?.summary).toBe(`needs the folder ${FOLDER}, which no node has`);
    expect((await cluster.client.query("cluster.status", {})).status.waiting).toMatchObject([
      { needs: `the folder ${FOLDER}, 0.1 cpu`, why: `needs the folder ${FOLDER}, which no node has` },
    ]);
    cluster.runtime.skip(OLD_MS);
    await asked(node);
    says(node, true);
    expect(await node.run()).toEqual([number, 0, 1, 1]);
  });

  test("asks nobody for a task without one, and no node that would not do", async () => {
    const { cluster, node } = await one();
    const { number } = await submit(cluster, { tags: ["fast"] });
    expect((await waiting(cluster, number))?.summary).toBe("needs the tag fast, which no node has");
    await cluster.submit({ needs: { cpu_millis: 100 } });
    await node.run();
    expect(node.heard.filter((message) => JSON.stringify(message).includes("look"))).toEqual([]);
  });

  test("believes no earlier life of a node, and no answer of one", async () => {
    const { cluster, node } = await one();
    const { number: before } = await submit(cluster);
    await asked(node);
    says(node, true);
    await node.complete(await node.run());
    expect((await cluster.finished(before)).status).toBe("completed");
    const old = node.incarnation;
    node.begin();
    await node.register();
    const { number } = await submit(cluster);
    await asked(node);
    node.send({ type: "node.folders", incarnation: old, folders: [[FOLDER, true]] });
    node.send({ type: "node.folders", incarnation: node.incarnation, folders: [["/another", true]] });
    await heard(node);
    expect((await waiting(cluster, number))?.summary).toContain("played has not said yet");
    says(node, true);
    expect(await node.run()).toEqual([number, 0, 1, 1]);
  });

  test("forgets that a node has it when a task did not find it there", async () => {
    const { cluster, first, second } = await two();
    const { number } = await cluster.submit({
      needs: { cpu_millis: 1000, folder: FOLDER },
      retry: { limit: 1, backoff_ms: 0, backoff_max_ms: 0 },
    });
    await asked(first);
    await asked(second);
    says(first, true);
    const [, , , attempt] = await first.run();
    const message = `the folder ${FOLDER} does not exist on this node`;
    await first.end([number, 0, attempt], { reason: "not_found", exit_code: undefined, message });
    expect(await asked(first)).toEqual([FOLDER]);
    says(first, false);
    says(second, true);
    expect(await second.run()).toEqual([number, 0, 1, 2]);
  });

  test("answers a plan when the nodes have said it, at the latest after two seconds", async () => {
    const { cluster, first, second } = await two();
    const planned = plan(cluster);
    await asked(first);
    await asked(second);
    says(first, false);
    says(second, true);
    expect(await planned).toMatchObject({
      node: second.id,
      nodes: [{ reason: `has no folder ${FOLDER}` }, { room: 10 }],
    });
    // It is known for a while: nobody is asked.
    expect((await plan(cluster)).node).toBe(second.id);
    expect([...first.heard, ...second.heard].filter(({ type }) => type === "node.control")).toEqual([]);
    cluster.runtime.skip(OLD_MS);
    const late = plan(cluster);
    await asked(first);
    await asked(second);
    says(second, false);
    await heard(second);
    cluster.runtime.skip(LOST_MS);
    expect((await late).waiting?.summary).toBe(`needs the folder ${FOLDER}, which no node has`);
  });

  test("refuses a folder that no node can have", async () => {
    const { cluster } = await one();
    for (const folder of ["data/x", "/data\0"]) {
      const specification = specificationOf({ needs: { folder } });
      const refused = { code: "bad_request", field: "needs.folder" };
      expect(await cluster.client.query("task.plan", { specification }).catch((error) => error)).toMatchObject(refused);
      expect(await cluster.submit({ needs: { folder } }).catch((error) => error)).toMatchObject(refused);
    }
  });
});
