// Nodes that stay away: how long each attempt is waited for. Nodes that leave: what becomes of what they held.

import { describe, expect, test } from "bun:test";
import { heldBy } from "../../src/core/apply.ts";
import { decideLost } from "../../src/core/decide.ts";
import { decideDrains, decideManage } from "../../src/core/decide-nodes.ts";
import type { Event } from "../../src/core/event.ts";
import { decideGone, decideUnheard } from "../../src/core/lost.ts";
import { AT, Cluster } from "./cluster.ts";

const FOREVER = Number.MAX_SAFE_INTEGER;

/** One attempt that has run for `ran_ms` when its node goes away, one that was only assigned then. */
function gone(ran_ms: number): { cluster: Cluster; at: number } {
  const cluster = new Cluster();
  cluster.register("n1");
  cluster.submit(2);
  cluster.assign("n1", 1, 0, 1);
  cluster.start("n1", 1, 0, 1);
  const at = AT + ran_ms;
  cluster.add({ t: "assigned", node: "n1", runs: [[1, 1, 2, 1]], at });
  cluster.add({ t: "node", node: "n1", status: "offline", reason: "silent", at });
  return { cluster, at };
}

/** Members that are lost after `gone_ms`. */
function lost({ cluster, at }: ReturnType<typeof gone>, gone_ms: number, watched_ms = FOREVER, after?: number): string {
  const again = cluster.members(1);
  const events = decideGone(cluster.state, at + gone_ms, watched_ms, after);
  expect(cluster.members(1)).toBe(again);
  return events
    .flatMap((event) => (event.t === "requeued" ? event.runs : []))
    .flatMap(([, from, to]) => (to - from === 2 ? ["0", "1"] : [String(from)]))
    .join("");
}

describe("an attempt of a node that stays away is lost", () => {
  test("after half a minute when it had hardly begun", () => {
    const node = gone(0);
    expect(lost(node, 29_999)).toBe("");
    expect(lost(node, 30_000)).toBe("01");
  });

  test("after as long as it had run", () => {
    const node = gone(120_000);
    expect(lost(node, 119_999)).toBe("1");
    expect(lost(node, 120_000)).toBe("01");
  });

  test("after ten minutes at the latest", () => {
    const node = gone(86_400_000);
    expect(lost(node, 599_999)).toBe("1");
    expect(lost(node, 600_000)).toBe("01");
  });

  test("after what was asked for, whatever it had run", () => {
    const node = gone(86_400_000);
    expect(lost(node, 4_999, FOREVER, 5_000)).toBe("");
    expect(lost(node, 5_000, FOREVER, 5_000)).toBe("01");
  });

  test("only by a leader that has been looking for so long itself", () => {
    const node = gone(0);
    expect(lost(node, 1_000_000, 29_999)).toBe("");
    expect(lost(node, 1_000_000, 30_000)).toBe("01");
  });
});

test("what is lost waits again, counted; the node that comes back is not offline any more", () => {
  const { cluster, at } = gone(0);
  cluster.add(...decideGone(cluster.state, at + 60_000, FOREVER, undefined));
  cluster.check();
  expect(cluster.members(1)).toBe("pp");
  expect(cluster.state.submissions.get(1)!.segments[0]!.lost).toBe(1);
  expect(decideGone(cluster.state, at + 90_000, FOREVER, undefined)).toEqual([]);
  cluster.add({ t: "node", node: "n1", status: "online", reason: "", at: at + 90_000 });
  expect(cluster.state.nodes.get("n1")!.offline_at).toBeUndefined();
});

/** Nodes in pairs of an attempt each that runs and one that was only assigned, and how often all that runs was looked through. */
function watched(nodes: number): { cluster: Cluster; ids: string[]; looks: () => number } {
  const cluster = new Cluster();
  const ids = Array.from({ length: nodes }, (_, at) => `n${at}`);
  cluster.submit(nodes * 2);
  for (const [at, id] of ids.entries()) {
    cluster.register(id);
    cluster.assign(id, 1, at * 2, at * 2 + 2);
    cluster.start(id, 1, at * 2, at * 2 + 1);
  }
  let count = 0;
  const { active } = cluster.state;
  active[Symbol.iterator] = () => {
    count += 1;
    return active.values();
  };
  return { cluster, ids, looks: () => count };
}

describe("however many nodes it is about, what runs is looked through once", () => {
  const runsOf = (events: readonly Event[]) =>
    events.flatMap((one) => (one.t === "requeued" || one.t === "stopping" ? one.runs : []));

  test("for those that are offline", () => {
    const { cluster, ids, looks } = watched(20);
    const { state } = cluster;
    for (const node of ids) cluster.add({ t: "node", node, status: "offline", reason: "silent", at: AT + 120_000 });
    expect(runsOf(decideGone(state, AT + 150_000, FOREVER, undefined))).toEqual([]);
    expect(looks()).toBe(1);
    const events = decideGone(state, AT + 240_000, FOREVER, undefined);
    expect(events.map((event) => "node" in event && event.node)).toEqual(ids);
    expect(runsOf(events).length).toBe(40);
    expect(looks()).toBe(2);
  });

  test("for those that are deaf", () => {
    const { cluster, ids, looks } = watched(20);
    const deaf_ms = new Map(ids.map((id, at) => [id, at === 0 ? 29_999 : 30_000]));
    const events = decideUnheard(cluster.state, deaf_ms, AT + 30_000, undefined);
    expect(runsOf(events)).toEqual(ids.slice(1).map((_, at) => [1, at * 2 + 3, at * 2 + 4, 1]));
    expect(looks()).toBe(1);
  });

  test("for those that are emptied, and when their time is up", () => {
    const { cluster, ids, looks } = watched(20);
    const drain = { action: "drain", nodes: ids, deadline_ms: 5_000 } as const;
    const { events } = decideManage(cluster.state, drain, "client", AT);
    expect(runsOf(events).length).toBe(20);
    expect(looks()).toBe(1);
    cluster.add(...events);
    expect(runsOf(decideDrains(cluster.state, AT + 5_000).events).length).toBe(20);
    expect(looks()).toBe(2);
  });
});

describe("attempts that a node gives back as it leaves", () => {
  test("wait again uncounted, but for those that were to stop: they are cancelled", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.submit(3);
    cluster.assign("n1", 1, 0, 3);
    cluster.add({ t: "stopping", node: "n1", runs: [[1, 1, 2, 1]], reason: "cancel", at: AT });
    const held = cluster.state.submissions.get(1)!.segments.map((piece) => ({ number: 1, piece: { ...piece } }));
    cluster.add(...decideLost(cluster.state, "n1", held, AT, "released"));
    cluster.check();
    expect(cluster.members(1)).toBe("pcp");
    expect(cluster.state.submissions.get(1)!.segments[0]!.lost).toBeUndefined();
    expect(cluster.touched.attempts).toEqual([]);
  });

  test("wait again uncounted, and stay in the history with when they began; what had not begun does not", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.submit(3);
    cluster.assign("n1", 1, 0, 3);
    cluster.add({ t: "started", node: "n1", runs: [[1, 1, 3, 1, AT]], at: AT + 5 });
    const held = heldBy(cluster.state, "n1");
    cluster.add(...decideLost(cluster.state, "n1", held, AT + 90, "released"));
    cluster.check();
    expect(cluster.members(1)).toBe("ppp");
    expect(cluster.state.submissions.get(1)!.segments.map(({ lost }) => lost ?? 0)).toEqual([0]);
    const stopped = { number: 1, from: 1, to: 3, attempt: 1, node: "n1", reason: "stopped" } as const;
    expect(cluster.touched.attempts).toEqual([{ ...stopped, at: AT + 90, started_at: AT + 5 }]);
  });
});
