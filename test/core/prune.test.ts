// What is forgotten of what is over: by age, by number, never what ended just now, and never what a retry stands on.

import { describe, expect, test } from "bun:test";
import { decidePruned, type PastResults, type Prunable } from "../../src/core/prune.ts";

const NOW = 1_000_000;
const RETENTION = { age_ms: 1_000, keep_ms: 10, tasks: 0 };

/** Submissions of ten tasks and five results each, over since these times. */
function view(...over_at: number[]): PastResults {
  const rows = over_at.map((at, number): Prunable & { at: number } => {
    return { number, ids: 1, completed: 7, failed: 1, cancelled: 1, timeout: 1, retry: 0, at };
  });
  return {
    prunable: (before, limit) => rows.filter(({ at }) => at < before).slice(0, limit),
    finishedResults: () => rows.length * 5,
    resultsOf: () => 5,
  };
}

const many = (one: Prunable): Prunable => ({ ...one, ids: 200 });
const none = (): boolean => false;

describe("what is over", () => {
  test("is forgotten when it is older than it has to be, with its counts", () => {
    const { event } = decidePruned(view(10, 20, NOW - 5), none, 0, RETENTION, NOW);
    const counts = { completed: 14, failed: 2, cancelled: 2, timeout: 2 };
    expect(event).toEqual({ t: "pruned", numbers: [0, 1], counts, at: NOW });
  });

  test("is forgotten from the oldest on where there is too much, and no more than that", () => {
    const all = view(...Array.from({ length: 50 }, (_, at) => NOW - 100 + at));
    expect(decidePruned(all, none, 12, RETENTION, NOW).event?.numbers).toEqual([0, 1, 2]);
    expect(decidePruned(all, none, 0, RETENTION, NOW).event).toBeUndefined();
  });

  test("counts once, old or too much", () => {
    const all = view(1, 2, NOW - 30, NOW - 20);
    expect(decidePruned(all, none, 12, RETENTION, NOW).event?.numbers).toEqual([0, 1, 2]);
  });

  test("is forgotten a few hundred at a time, and tasks that were submitted together count one by one", () => {
    const old = Array.from({ length: 201 }, (_, at) => at);
    const some = decidePruned(view(...old), none, 0, RETENTION, NOW);
    expect([some.event?.numbers.length, some.more]).toEqual([200, true]);
    const all = decidePruned(view(...old.slice(2)), none, 0, RETENTION, NOW);
    expect([all.event?.numbers.length, all.more]).toEqual([199, false]);
    const rows = view(...old);
    const together: PastResults = { ...rows, prunable: (...asked) => rows.prunable(...asked).map(many) };
    const few = decidePruned(together, none, 0, RETENTION, NOW);
    expect([few.event?.numbers, few.more]).toEqual([[0, 1, 2], true]);
    expect(decidePruned(together, none, 10_000, { ...RETENTION, age_ms: NOW }, NOW)).toMatchObject({
      event: { numbers: [0, 1, 2] },
      more: true,
    });
  });

  test("goes before what it stands on, which comes next", () => {
    const rows = view(NOW - 30, NOW - 20);
    const retries: PastResults = {
      ...rows,
      prunable: (...asked) => rows.prunable(...asked).map((one) => ({ ...one, retry: 1 })),
    };
    const { event, more } = decidePruned(retries, none, 100, RETENTION, NOW);
    expect([event?.numbers, more]).toEqual([[0], true]);
  });

  test("stays for a while after its end, however much there is", () => {
    const all = view(NOW - 12, NOW - 10, NOW - 1, NOW);
    const { event, surplus } = decidePruned(all, none, 1_000_000, RETENTION, NOW);
    expect(event?.numbers).toEqual([0]);
    expect(surplus).toBe(999_995);
    expect(decidePruned(view(NOW - 10, NOW), none, 1_000_000, RETENTION, NOW).event).toBeUndefined();
  });

  test("stays as long as a retry stands on it", () => {
    expect(decidePruned(view(1, 2, 3), (number) => number === 1, 30, RETENTION, NOW).event?.numbers).toEqual([0, 2]);
    expect(decidePruned(view(1), () => true, 10, RETENTION, NOW).event).toBeUndefined();
  });
});
