// What the view answers: ids by prefix, lists from the newest on, one member, results in the order of the log.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Outcome } from "../../src/common/models.ts";
import type { TaskStatus } from "../../src/common/vocabulary.ts";
import type { Event, EventRun } from "../../src/core/event.ts";
import { memberOf, overallStatus, Queries, type Wanted, within } from "../../src/storage/queries.ts";
import { View } from "../../src/storage/view.ts";
import { AT, outcomeOf, specificationOf } from "../core/cluster.ts";
import { Fold } from "./fold.ts";

let view: View;
let fold: Fold;
let queries: Queries;

beforeEach(() => {
  view = new View(":memory:");
  fold = new Fold();
  queries = new Queries(view);
  fold.found(view);
});

afterEach(() => view.close());

function commit(...events: Event[]): void {
  fold.commit([view], ...events);
  view.flush();
}

const assigned = (number: number, from: number, to: number, attempt = 1, node = "n1"): Event => {
  return { t: "assigned", node, runs: [[number, from, to, attempt]], at: AT };
};
const succeeded = (number: number, from: number, to: number, attempt = 1): Event => {
  return { t: "succeeded", node: "n1", runs: [[number, from, to, attempt, AT, AT + 5]] };
};
const ended = (number: number, index: number, outcome: Outcome, attempt = 1): Event => {
  return { t: "ended", node: "n1", results: [{ task: [number, index, attempt], outcome }] };
};

describe("ids", () => {
  test("of tasks and arrays are known with their submission and its nonce", () => {
    commit(fold.tasks([5, 9]));
    commit(fold.array({ ids: [7], nonce: "b".repeat(32) }));
    commit(fold.array({ ids: [11], count: 2, inputs: ["a", "b"] }));
    const known = queries.findIds([5, 7, 8, 9, 11]);
    expect([...known].sort(([a], [b]) => a - b)).toEqual([
      [5, { number: 1, nonce: "a".repeat(32), count: 2, counted: true }],
      [7, { number: 2, nonce: "b".repeat(32), count: 3, counted: true }],
      [9, { number: 1, nonce: "a".repeat(32), count: 2, counted: true }],
      [11, { number: 3, nonce: "a".repeat(32), count: 2, counted: false }],
    ]);
    expect(queries.findIds([]).size).toBe(0);
  });

  test("between two, both included, in order and at most so many: what a prefix stands for", () => {
    commit(fold.tasks([0x1000_0000, 0x1fff_ffff, 0x2000_0000]));
    commit(fold.array({ ids: [0x1234_5678] }));
    const found = queries.idsBetween(0x1000_0000, 0x1fff_ffff, 9);
    expect(found).toEqual([
      { id: 0x1000_0000, number: 1, member: 0, array: false },
      { id: 0x1234_5678, number: 2, member: 0, array: true },
      { id: 0x1fff_ffff, number: 1, member: 1, array: false },
    ]);
    expect(queries.idsBetween(0x1000_0000, 0x1fff_ffff, 2)).toEqual(found.slice(0, 2));
    expect(queries.idsBetween(0xffff_ffff, 0xffff_ffff, 2)).toEqual([]);
  });
});

describe("a submission", () => {
  test("is told with its counts and its members' ways", () => {
    const spec = specificationOf({ name: "nightly", priority: "high" });
    commit(fold.array({ ids: [7], count: 6, spec, open: true }));
    commit(assigned(1, 0, 4), { t: "started", node: "n1", runs: [[1, 0, 1, 1, AT]], at: AT }, succeeded(1, 2, 3));
    commit(ended(1, 3, outcomeOf("timeout")));
    const record = queries.submission(1)!;
    expect(record).toMatchObject({ number: 1, by: "client", at: AT, array: true, ids: [7], open: true, live: true });
    expect(record.specification).toEqual(spec);
    expect(record.counts).toEqual({
      total: 6,
      pending: 2,
      scheduled: 1,
      running: 1,
      completed: 1,
      failed: 0,
      cancelled: 0,
      timeout: 1,
    });
    const statuses = Array.from({ length: 6 }, (_, index) => memberOf(record, index)?.status);
    expect(statuses).toEqual(["running", "scheduled", "over", "over", "pending", "pending"]);
    expect(memberOf(record, 6)).toBeUndefined();
    expect(memberOf(record, 0)).toMatchObject({ node: "n1", attempt: 1 });
    expect(queries.submission(2)).toBeUndefined();
  });

  test("is listed from the newest on, so many at a time", () => {
    for (let at = 0; at < 150; at++) fold.commit([view], fold.array({ ids: [at + 1] }));
    view.flush();
    const numbers = (before: number, most: number): [number[], number | undefined] => {
      const { records, next } = queries.submissions(before, {}, most);
      return [records.map(({ number }) => number), next];
    };
    const all = Array.from({ length: 150 }, (_, at) => 150 - at);
    expect(numbers(Number.MAX_SAFE_INTEGER, 151)).toEqual([all, undefined]);
    expect(numbers(Number.MAX_SAFE_INTEGER, 100)).toEqual([all.slice(0, 100), 50]);
    expect(numbers(51, 50)).toEqual([all.slice(100), undefined]);
    expect(numbers(1, 9)).toEqual([[], undefined]);
  });

  test("is looked for among so many at a time, and those that live and those of a name among all", () => {
    commit(fold.array({ ids: [1], count: 2, spec: specificationOf({ name: "first", labels: { a: "b" } }) }));
    for (let at = 2; at <= LIMITS.list_scanned + 10; at++) fold.commit([view], fold.tasks([at]));
    view.flush();
    commit(...Array.from({ length: LIMITS.list_scanned + 9 }, (_, at) => assigned(at + 2, 0, 1)));
    commit(...Array.from({ length: LIMITS.list_scanned + 9 }, (_, at) => succeeded(at + 2, 0, 1)));
    const find = (wanted: Wanted, before = Number.MAX_SAFE_INTEGER): [number[], number | undefined] => {
      const { records, next } = queries.submissions(before, wanted, 5);
      return [records.map(({ number }) => number), next];
    };
    // What only the oldest has takes two looks, or an index.
    for (const wanted of [{ labelled: true }, { statuses: ["failed", "pending"] as const }]) {
      expect(find(wanted)).toEqual([[], 10]);
      expect(find(wanted, 11)).toEqual([[1], undefined]);
    }
    expect(find({ statuses: ["pending"] })).toEqual([[1], undefined]);
    expect(find({ name: "first" })).toEqual([[1], undefined]);
    expect(find({ name: "first", statuses: ["completed"] })).toEqual([[], undefined]);
    expect(find({ statuses: ["completed"] })[0]).toHaveLength(5);
    expect(find({ priority: "low" })).toEqual([[], 10]);
  });

  test("is found by when it was submitted, wherever others were forgotten", () => {
    for (let at = 0; at < 20; at++) commit(fold.array({ ids: [at], at: AT + Math.floor(at / 2) * 10, count: 0 }));
    const listed = (since: number, most = 100): unknown => {
      const { records, next } = queries.submissions(Number.MAX_SAFE_INTEGER, { since }, most);
      return [records.map(({ number }) => number), next];
    };
    expect(listed(AT + 80)).toEqual([[20, 19, 18, 17], undefined]);
    expect(listed(AT + 81)).toEqual([[20, 19], undefined]);
    expect(listed(AT + 80, 2)).toEqual([[20, 19], 18]);
    expect(listed(AT + 91)).toEqual([[], undefined]);
    view.database.run("DELETE FROM submissions WHERE number IN (4, 5, 6, 17, 20)");
    expect(listed(AT + 80)).toEqual([[19, 18], undefined]);
    expect((listed(0) as [number[]])[0]).toHaveLength(15);
  });

  test("has one word: what it does while it lives, the worst end afterwards", () => {
    const counts = {
      total: 9,
      pending: 0,
      scheduled: 0,
      running: 0,
      completed: 0,
      failed: 0,
      cancelled: 0,
      timeout: 0,
    };
    const word = (live: boolean, more: Partial<typeof counts>) =>
      overallStatus({ live, counts: { ...counts, ...more } });
    expect(word(true, { running: 1, scheduled: 1, pending: 1, failed: 1 })).toBe("running");
    expect(word(true, { scheduled: 1, pending: 1, failed: 1 })).toBe("scheduled");
    expect(word(true, { pending: 1, completed: 8 })).toBe("pending");
    expect(word(true, { completed: 9 })).toBe("pending");
    expect(word(false, { completed: 6, cancelled: 1, timeout: 1, failed: 1 })).toBe("failed");
    expect(word(false, { completed: 6, cancelled: 1, timeout: 2 })).toBe("timeout");
    expect(word(false, { completed: 6, cancelled: 3 })).toBe("cancelled");
    expect(word(false, { completed: 9 })).toBe("completed");
  });
});

describe("results", () => {
  test("come in the order of the log, from a cursor on, so many at a time", () => {
    commit(fold.array({ ids: [1], count: 10 }));
    commit(assigned(1, 0, 10));
    commit(succeeded(1, 5, 8), ended(1, 0, outcomeOf()));
    commit(succeeded(1, 1, 3));
    const spans = (found: { from: number; to: number }[]): number[][] => found.map(({ from, to }) => [from, to]);
    const all = queries.results(1, 0, 100);
    expect(spans(all.found)).toEqual([
      [5, 8],
      [0, 1],
      [1, 3],
    ]);
    expect(all.found.map(({ outcome }) => outcome.status)).toEqual(["completed", "failed", "completed"]);
    const first = queries.results(1, 0, 2);
    expect([spans(first.found), first.cursor]).toEqual([
      [
        [5, 8],
        [0, 1],
      ],
      2,
    ]);
    const second = queries.results(1, first.cursor, 2);
    expect([spans(second.found), second.cursor]).toEqual([[[1, 3]], 3]);
    expect(queries.results(1, second.cursor, 2)).toEqual({ found: [], cursor: 3 });
  });

  test("of others are passed by once, and none of one's own is missed", () => {
    commit(fold.array({ ids: [1], count: 3 }));
    commit(fold.array({ ids: [2], count: 50 }));
    commit(assigned(1, 0, 3), assigned(2, 0, 50));
    expect(queries.results(1, 0, 10)).toEqual({ found: [], cursor: 0 });
    commit(succeeded(1, 0, 1));
    commit(...Array.from({ length: 50 }, (_, index) => ended(2, index, outcomeOf())));
    const one = queries.results(1, 0, 10);
    expect([one.found.length, one.cursor]).toEqual([1, 51]);
    expect(queries.results(2, 0, 10).cursor).toBe(11);
    commit(ended(1, 2, outcomeOf("timeout")));
    const two = queries.results(1, one.cursor, 10);
    expect([two.found.map(({ from }) => from), two.cursor]).toEqual([[2], 52]);
    expect(queries.results(3, 0, 10)).toEqual({ found: [], cursor: 52 });
  });

  test("of one member: its own, or that of the run that it is in", () => {
    commit(fold.array({ ids: [1], count: 10 }));
    commit(assigned(1, 0, 10));
    commit(succeeded(1, 2, 7), ended(1, 8, outcomeOf()));
    for (const index of [2, 6]) {
      expect(queries.resultOf(1, index)).toMatchObject({ from: 2, to: 7, attempt: 1, node: "n1" });
      expect(queries.resultOf(1, index)!.outcome).toMatchObject({
        status: "completed",
        started_at: AT,
        ended_at: AT + 5,
      });
    }
    expect(queries.resultOf(1, 8)).toMatchObject({ from: 8, to: 9, outcome: { status: "failed", exit_code: 1 } });
    for (const index of [1, 7, 9]) expect(queries.resultOf(1, index)).toBeUndefined();
  });

  test("of a part of an array, by how they ended: no more than that part", () => {
    commit(fold.array({ ids: [1], count: 1_000 }));
    commit(assigned(1, 0, 1_000));
    commit(succeeded(1, 2, 7), ...Array.from({ length: 600 }, (_, at) => ended(1, 10 + at, outcomeOf())));
    const of = (from: number, to: number, ...statuses: TaskStatus[]): number[][] =>
      [...queries.ended(1, from, to, statuses)].map((range) => [range.from, range.to]);
    expect(of(0, 12, "completed", "failed")).toEqual([
      [2, 7],
      [10, 11],
      [11, 12],
    ]);
    expect(of(3, 5, "completed")).toEqual([[3, 5]]);
    expect(of(3, 11, "failed")).toEqual([[10, 11]]);
    expect(of(0, 1_000, "failed")).toHaveLength(600);
    for (const [from, to] of [
      [7, 10],
      [610, 1_000],
      [10, 10],
    ] as const)
      expect(of(from, to, "failed")).toEqual([]);
  });

  test("that gave none are attempts: each with its node and its reason, in their order", () => {
    commit(fold.array({ ids: [1], count: 3 }));
    commit(assigned(1, 0, 3));
    commit({ t: "requeued", node: "n1", runs: [[1, 0, 2, 1]], reason: "lost", at: AT });
    commit(assigned(1, 0, 1, 2, "n2"));
    commit({ t: "requeued", node: "n2", runs: [[1, 0, 1, 2]], started: [AT + 2], reason: "lost", at: AT + 9 });
    commit({ t: "requeued", node: "n1", runs: [[1, 2, 3, 1]], reason: "released", at: AT });
    expect(queries.attempts(1, 0)).toEqual([
      { attempt: 1, node: "n1", reason: "lost", at: AT },
      { attempt: 2, node: "n2", reason: "lost", at: AT + 9, started_at: AT + 2 },
    ]);
    expect(queries.attempts(1, 1)).toHaveLength(1);
    expect(queries.attempts(1, 2)).toEqual([]);
  });

  test("that had attempts are told as ranges, and beyond so many as one", () => {
    const count = 3 * LIMITS.tried_ranges;
    commit(fold.array({ ids: [1], count }));
    commit(assigned(1, 0, count));
    commit({
      t: "requeued",
      node: "n1",
      runs: [
        [1, 0, 2, 1],
        [1, 2, 3, 1],
        [1, 9, 12, 1],
      ],
      reason: "lost",
      at: AT,
    });
    commit(assigned(1, 0, 1, 2, "n2"));
    commit({ t: "requeued", node: "n2", runs: [[1, 0, 1, 2]], reason: "lost", at: AT });
    expect(queries.tried(1, 0, count)).toEqual([
      { from: 0, to: 3 },
      { from: 9, to: 12 },
    ]);
    expect(queries.tried(1, 1, 10)).toEqual([
      { from: 1, to: 3 },
      { from: 9, to: 10 },
    ]);
    expect(queries.tried(1, 3, 9)).toEqual([]);
    const scattered = Array.from({ length: 1_400 }, (_, at): EventRun => [1, 20 + 2 * at, 21 + 2 * at, 1]);
    commit({ t: "requeued", node: "n1", runs: scattered, reason: "lost", at: AT });
    const all = queries.tried(1, 0, count);
    expect(all).toHaveLength(1_402);
    const found = within(all, 1, 2_800);
    expect([found.length, found[0], found.at(-2), found.at(-1)]).toEqual([
      LIMITS.tried_ranges,
      { from: 1, to: 3 },
      { from: 2_012, to: 2_013 },
      { from: 2_014, to: 2_799 },
    ]);
    expect([within(all, 12, 20), within(all, 10, 20)]).toEqual([[], [{ from: 10, to: 12 }]]);
  });
});
