// What is forgotten of what is over: by age, by number, and never what a retry stands on.

import { describe, expect, test } from "bun:test";
import { decidePruned, type FindPrunable, type Prunable } from "../../src/core/prune.ts";

const NOW = 1_000_000;

/** Submissions of ten tasks each, over since these times. */
function view(...over_at: number[]): FindPrunable {
  const rows = over_at.map((at, number): Prunable & { at: number } => {
    return { number, completed: 7, failed: 1, cancelled: 1, timeout: 1, retry: 0, at };
  });
  return (before, limit) => rows.filter(({ at }) => at < before).slice(0, limit);
}

const none = (): boolean => false;

describe("what is over", () => {
  test("is forgotten when it is older than it has to be, with its counts", () => {
    const event = decidePruned(view(10, 20, NOW - 5), none, 30, { age_ms: 1_000, tasks: 100 }, NOW);
    const counts = { completed: 14, failed: 2, cancelled: 2, timeout: 2 };
    expect(event).toEqual({ t: "pruned", numbers: [0, 1], counts, at: NOW });
  });

  test("is forgotten from the oldest on where there is too much, and no more than that", () => {
    const all = view(...Array.from({ length: 50 }, (_, at) => NOW - 50 + at));
    expect(decidePruned(all, none, 500, { age_ms: 1_000, tasks: 475 }, NOW)?.numbers).toEqual([0, 1, 2]);
    expect(decidePruned(all, none, 500, { age_ms: 1_000, tasks: 500 }, NOW)).toBeUndefined();
  });

  test("counts once, old or too much", () => {
    const all = view(1, 2, NOW - 3, NOW - 2);
    expect(decidePruned(all, none, 40, { age_ms: 1_000, tasks: 15 }, NOW)?.numbers).toEqual([0, 1, 2]);
  });

  test("stays as long as a retry stands on it", () => {
    const retention = { age_ms: 1_000, tasks: 0 };
    expect(decidePruned(view(1, 2, 3), (number) => number === 1, 30, retention, NOW)?.numbers).toEqual([0, 2]);
    expect(decidePruned(view(1), () => true, 10, retention, NOW)).toBeUndefined();
  });
});
