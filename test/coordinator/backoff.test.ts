// An array whose members fail, as workers report it: what waits for its next attempt stays in one piece where its
// neighbours wait, however few a report tells of and whatever nodes they ran on.

import { describe, expect, test } from "bun:test";
import type { Retry } from "../../src/common/models.ts";
import { reportEvents } from "../../src/coordinator/reports.ts";
import { Scheduler } from "../../src/coordinator/scheduler.ts";
import type { EventRun } from "../../src/core/event.ts";
import type { Segment } from "../../src/core/segments.ts";
import { AT, Cluster, outcomeOf, specificationOf } from "../core/cluster.ts";
import { DEFAULT_PLACEMENT } from "../core/placing-model.ts";
import { Chance } from "../sim/chance.ts";

const NODES = ["n0", "n1", "n2", "n3"];
const INCARNATION = "0".repeat(16);

/** All members fail once within a second, in their order, each on another node than the one before it. */
function failed(count: number, retry: Retry, reported: number): readonly Segment[] {
  const cluster = new Cluster();
  for (const node of NODES) cluster.register(node);
  const number = cluster.submit(count, { spec: specificationOf({ retry }) });
  const chance = new Chance(1);
  const { state } = cluster;
  const scheduler = new Scheduler(state, DEFAULT_PLACEMENT, () => 0);
  const context = { state, scheduler, chance: () => chance.below(1_000) / 1_000 };
  const held = NODES.length * reported;
  for (let from = 0; from < count; from += held) {
    for (const [first, node] of NODES.entries()) {
      const members: number[] = [];
      for (let at = from + first; at < Math.min(count, from + held); at += NODES.length) members.push(at);
      if (members.length === 0) continue;
      const at = AT + Math.floor((from / count) * 1_000) + first;
      cluster.add({ t: "assigned", node, runs: members.map((index): EventRun => [number, index, index + 1, 1]), at });
      const results = members.map((index) => {
        return { task: [number, index, 1] as [number, number, number], outcome: outcomeOf() };
      });
      const report = { type: "task.fail" as const, incarnation: INCARNATION, seq: 1, results, released: [] };
      cluster.add(...reportEvents(context, node, report, at));
    }
  }
  const { segments } = state.submissions.get(number)!;
  expect(segments.every(({ not_before, failures }) => not_before !== undefined && failures === 1)).toBe(true);
  return segments;
}

describe.each([512, 8, 1])("with %p members a report", (reported) => {
  test("a wait that grows: about as many segments as parts, spread over the upper half of it", () => {
    const segments = failed(8_000, { limit: 3, backoff_ms: 60_000, backoff_max_ms: 3_600_000 }, reported);
    expect(segments.length).toBeLessThanOrEqual(1_024);
    const moments = new Set(segments.map(({ not_before }) => not_before));
    expect(moments.size).toBeWithin(16, 19);
    for (const at of moments) expect(at).toBeWithin(AT + 30_000, AT + 1_004 + 60_000 + 1_875);
  });

  test("a fixed wait: a few where a moment follows another", () => {
    const segments = failed(8_000, { limit: 3, backoff_ms: 60_000, backoff_max_ms: 60_000 }, reported);
    expect(segments.length).toBeLessThanOrEqual(16);
    for (const { not_before } of segments) expect(not_before).toBeWithin(AT + 60_000, AT + 1_004 + 60_000 + 1_875);
  });
});

test("in a small one each has its own moment", () => {
  const segments = failed(1_000, { limit: 3, backoff_ms: 60_000, backoff_max_ms: 3_600_000 }, 512);
  expect(new Set(segments.map(({ not_before }) => not_before)).size).toBeGreaterThan(500);
});
