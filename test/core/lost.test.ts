// Nodes that stay away: how long each attempt is waited for.

import { describe, expect, test } from "bun:test";
import { decideGone } from "../../src/core/lost.ts";
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
