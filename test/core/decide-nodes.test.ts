// Nodes out of service and back, as decisions: what is refused, what is said again, what becomes of what they hold.

import { describe, expect, test } from "bun:test";
import { decideDrains, decideManage, type Manage, mayEnd } from "../../src/core/decide-nodes.ts";
import { AT, Cluster } from "./cluster.ts";

function two(): Cluster {
  const cluster = new Cluster();
  cluster.register("n1");
  cluster.register("n2");
  cluster.submit(4);
  cluster.assign("n1", 1, 0, 3);
  cluster.start("n1", 1, 0, 1);
  return cluster;
}

function manage(cluster: Cluster, command: Omit<Manage, "nodes"> & { nodes?: string[] }, now = AT) {
  const decision = decideManage(cluster.state, { nodes: ["n1"], ...command }, "client_1", now);
  cluster.add(...decision.events);
  cluster.check();
  return decision;
}

const cordonOf = (cluster: Cluster) => cluster.state.nodes.get("n1")!.cordon;

describe("cordon", () => {
  test("says who, why and since when; what is there stays", () => {
    const cluster = two();
    const { stop } = manage(cluster, { action: "cordon", reason: "new disk" });
    expect(cordonOf(cluster)).toEqual({ reason: "new disk", by: "client_1", at: AT });
    expect(stop.size).toBe(0);
    expect(cluster.members(1)).toBe("rssp");
  });

  test("holds through another life of the node, until it is taken back", () => {
    const cluster = two();
    manage(cluster, { action: "cordon" });
    cluster.add({ t: "node", node: "n1", status: "offline", reason: "silent", at: AT });
    cluster.register("n1", "2");
    expect(cordonOf(cluster)?.reason).toBe("cordoned");
    manage(cluster, { action: "resume" });
    expect(cordonOf(cluster)).toBeUndefined();
    expect(manage(cluster, { action: "resume" }).events).toEqual([]);
  });
});

describe("shutdown", () => {
  test("empties as a drain does, and is over with the next life of the node", () => {
    const cluster = two();
    const { stop } = manage(cluster, { action: "shutdown", deadline_ms: 500 });
    expect([...stop]).toEqual([["n1", [[1, 1, 3, 1]]]]);
    expect(cordonOf(cluster)).toEqual({
      reason: "shut down",
      by: "client_1",
      at: AT,
      drain_at: AT + 500,
      shutdown: true,
    });
    const node = cluster.state.nodes.get("n1")!;
    expect(mayEnd(node)).toBe(false);
    expect([...decideDrains(cluster.state, AT + 500).stop]).toEqual([["n1", [[1, 0, 1, 1]]]]);
    cluster.register("n1", "1");
    expect(cordonOf(cluster)?.shutdown).toBe(true);
    cluster.add({ t: "node", node: "n1", status: "offline", reason: "goodbye", at: AT });
    expect(mayEnd(node)).toBe(false);
    // There is nothing to end.
    expect(manage(cluster, { action: "shutdown" }).events).toEqual([]);
    cluster.register("n1", "2");
    expect(cordonOf(cluster)).toBeUndefined();
  });

  test("ends only what holds nothing, and not once it is taken back", () => {
    const cluster = two();
    manage(cluster, { action: "shutdown", nodes: ["n2"] });
    const node = cluster.state.nodes.get("n2")!;
    expect(mayEnd(node)).toBe(true);
    manage(cluster, { action: "resume", nodes: ["n2"] });
    expect(mayEnd(node)).toBe(false);
  });
});

describe("drain", () => {
  test("takes back what has not begun, and lets the rest end", () => {
    const cluster = two();
    const { stop } = manage(cluster, { action: "drain" });
    expect([...stop]).toEqual([["n1", [[1, 1, 3, 1]]]]);
    expect(decideDrains(cluster.state, AT + 1_000_000).events).toEqual([]);
  });

  test("with a deadline stops the rest then, once", () => {
    const cluster = two();
    manage(cluster, { action: "drain", deadline_ms: 500 });
    expect(decideDrains(cluster.state, AT + 499).events).toEqual([]);
    const { events, stop } = decideDrains(cluster.state, AT + 500);
    expect([...stop]).toEqual([["n1", [[1, 0, 1, 1]]]]);
    cluster.add(...events);
    expect(decideDrains(cluster.state, AT + 501).events).toEqual([]);
  });

  test("what is not said again stays: the deadline, the reason and that it ends; a resume lifts all", () => {
    const cluster = two();
    manage(cluster, { action: "drain", deadline_ms: 500, reason: "new disk" });
    const held = { reason: "new disk", by: "client_1", drain_at: AT + 500 };
    for (const action of ["drain", "cordon"] as const) {
      manage(cluster, { action }, AT + 7);
      expect(cordonOf(cluster)).toEqual({ ...held, at: AT + 7 });
    }
    expect([...decideDrains(cluster.state, AT + 500).stop.keys()]).toEqual(["n1"]);
    manage(cluster, { action: "shutdown", deadline_ms: 900 });
    manage(cluster, { action: "cordon", reason: "new fan" });
    expect(cordonOf(cluster)).toMatchObject({ reason: "new fan", drain_at: AT + 900, shutdown: true });
    manage(cluster, { action: "resume" });
    manage(cluster, { action: "cordon" });
    manage(cluster, { action: "drain" });
    // A reason that nobody gave is not kept.
    expect(cordonOf(cluster)).toEqual({ reason: "drained", by: "client_1", at: AT });
  });

  test("of what was shut down and is gone says nothing of then", () => {
    const cluster = two();
    manage(cluster, { action: "shutdown", deadline_ms: 500, reason: "new disk" });
    cluster.add({ t: "node", node: "n1", status: "offline", reason: "goodbye", at: AT });
    manage(cluster, { action: "cordon" });
    expect(cordonOf(cluster)).toEqual({ reason: "cordoned", by: "client_1", at: AT });
  });

  test("at once stops everything", () => {
    const { stop } = manage(two(), { action: "drain", deadline_ms: 0 });
    expect([...stop]).toEqual([
      [
        "n1",
        [
          [1, 0, 1, 1],
          [1, 1, 3, 1],
        ],
      ],
    ]);
  });
});

describe("remove", () => {
  test("is for nodes that are offline; what they held runs elsewhere", () => {
    const cluster = two();
    expect(() => manage(cluster, { action: "remove" })).toThrow("only a node that is offline");
    cluster.add({ t: "node", node: "n1", status: "offline", reason: "silent", at: AT });
    manage(cluster, { action: "remove" });
    expect(cluster.state.nodes.has("n1")).toBe(false);
    expect(cluster.members(1)).toBe("pppp");
  });
});

test("one unknown node refuses the whole command", () => {
  const cluster = two();
  expect(() => manage(cluster, { action: "cordon", nodes: ["n1", "n9"] })).toThrow("there is no node n9");
  expect(cordonOf(cluster)).toBeUndefined();
});
