// Starts that were put off and deadlines, and the alarms that remind a leader of them.

import { describe, expect, test } from "bun:test";
import { Alarms } from "../../src/coordinator/alarms.ts";
import { decideDue } from "../../src/core/due.ts";
import { Chance } from "../sim/chance.ts";
import { AT, Cluster, outcomeOf, specificationOf } from "./cluster.ts";

function submitted(cluster: Cluster, count: number, more: Parameters<typeof specificationOf>[0]): number {
  const number = cluster.state.next_number;
  const spec = specificationOf(more);
  cluster.add({ t: "submitted", number, nonce: "n", by: "c", at: AT, spec, array: true, ids: [number], count });
  return number;
}

describe("a start that was put off", () => {
  test("waits for no node until its time has come", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    const number = submitted(cluster, 3, { start_after_ms: 500 });
    expect(cluster.state.ready.lanes()).toEqual([]);
    expect(() => cluster.assign("n1", number, 0, 1)).toThrow("not to be assigned");
    expect(decideDue(cluster.state, number, AT + 499).events).toEqual([]);
    const { events } = decideDue(cluster.state, number, AT + 500);
    expect(events).toEqual([{ t: "due", runs: [[number, 0, 3]], at: AT + 500 }]);
    cluster.check();
    const ready = new Cluster();
    ready.register("n1");
    submitted(ready, 3, { start_after_ms: 500 });
    ready.add(...events);
    ready.check();
    ready.assign("n1", number, 0, 3);
    expect(decideDue(ready.state, number, AT + 501).events).toEqual([]);
  });

  test("is over for members side by side in one run, whatever else of them differs", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    const number = submitted(cluster, 7, {});
    cluster.assign("n1", number, 0, 7);
    const failed = [0, 1, 2, 4, 5].map((index) => ({
      task: [number, index, 1] as [number, number, number],
      outcome: outcomeOf("failed"),
      not_before: AT + 10 + index,
      failures: index + 1,
    }));
    cluster.add({ t: "retried", node: "n1", results: failed, at: AT });
    const { events } = decideDue(cluster.state, number, AT + 20);
    const runs: [number, number, number][] = [
      [number, 0, 3],
      [number, 4, 6],
    ];
    expect(events).toEqual([{ t: "due", runs, at: AT + 20 }]);
    cluster.add(...events);
    cluster.check();
    expect(cluster.state.submissions.get(number)!.ready).toBe(5);
  });

  test("at a wall time that is over already is none", () => {
    const cluster = new Cluster();
    submitted(cluster, 1, { start_at: AT - 1 });
    expect(cluster.state.submissions.get(1)!.ready).toBe(1);
  });
});

describe("a deadline", () => {
  test("ends what waits at once, and tells nodes to stop the rest", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    const number = submitted(cluster, 4, { deadline_ms: 1_000 });
    cluster.assign("n1", number, 0, 2);
    cluster.start("n1", number, 0, 1);
    expect(decideDue(cluster.state, number, AT + 999).events).toEqual([]);
    const { events, stop } = decideDue(cluster.state, number, AT + 1_000);
    expect([...stop]).toEqual([
      [
        "n1",
        [
          [number, 0, 1, 1],
          [number, 1, 2, 1],
        ],
      ],
    ]);
    cluster.add(...events);
    cluster.check();
    expect(cluster.members(number)).toBe("rstt");
    expect(cluster.touched.results[0]!.outcome).toMatchObject({ status: "timeout", reason: "deadline" });
    // Said once: its node is reminded by its heartbeats.
    expect(decideDue(cluster.state, number, AT + 2_000).events).toEqual([]);
  });

  test("closes an open array", () => {
    const cluster = new Cluster();
    const spec = specificationOf({ deadline_ms: 10 });
    cluster.add({
      t: "submitted",
      number: 1,
      nonce: "n",
      by: "c",
      at: AT,
      spec,
      array: true,
      ids: [1],
      count: 0,
      open: true,
    });
    cluster.add(...decideDue(cluster.state, 1, AT + 10).events);
    expect(cluster.state.submissions.get(1)).toMatchObject({ open: false, cut_short: "deadline" });
  });
});

describe("the alarms", () => {
  test("ring in the order of their times, each submission once", () => {
    const cluster = new Cluster();
    const chance = new Chance(5);
    for (let at = 0; at < 200; at++) submitted(cluster, 1, { deadline_ms: 1 + chance.below(50) });
    const alarms = new Alarms(cluster.state);
    const rung: number[] = [];
    for (let now = AT; now <= AT + 60; now++) {
      for (const number of alarms.take(now)) {
        expect(cluster.state.submissions.get(number)!.deadline_at).toBe(now);
        rung.push(number);
      }
      expect(alarms.next ?? now + 1).toBeGreaterThan(now);
    }
    expect(new Set(rung).size).toBe(200);
    expect(rung.length).toBe(200);
  });

  test("follow what was folded, and a new leader has the same", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    const number = submitted(cluster, 2, {});
    const alarms = new Alarms(cluster.state);
    expect(alarms.next).toBeUndefined();
    cluster.assign("n1", number, 0, 1);
    const retried = {
      t: "retried" as const,
      node: "n1",
      results: [
        {
          task: [number, 0, 1] as [number, number, number],
          outcome: outcomeOf("failed"),
          not_before: AT + 70,
          failures: 1,
        },
      ],
      at: AT,
    };
    cluster.add(retried);
    alarms.noted(cluster.state, retried);
    expect(alarms.next).toBe(AT + 70);
    expect(new Alarms(cluster.state).next).toBe(AT + 70);
    expect(alarms.take(AT + 69).size).toBe(0);
    expect([...alarms.take(AT + 70)]).toEqual([number]);
  });
});
