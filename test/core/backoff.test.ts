// The waits between attempts, and that those of a large array do not cut it to pieces.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Retry } from "../../src/common/models.ts";
import { backoffOf, drawFor, momentAfter } from "../../src/core/backoff.ts";
import { AT } from "./cluster.ts";

const RETRY: Retry = { limit: 2, backoff_ms: 1_000, backoff_max_ms: 10_000 };

describe("the wait before a retry", () => {
  const waits = (retry: Retry, failures: number, chance: number) => backoffOf(retry, failures, chance).delay_ms;

  test("doubles up to its most, somewhere in the upper half of the step", () => {
    const steps = [1_000, 2_000, 4_000, 8_000, 10_000, 10_000];
    expect(steps.map((_, at) => waits(RETRY, at + 1, 0))).toEqual(steps.map((step) => step / 2));
    expect(steps.map((_, at) => waits(RETRY, at + 1, 1))).toEqual(steps);
    expect(waits(RETRY, 1_000_000, 1)).toBe(10_000);
  });

  test("is just what was asked for when it is fixed", () => {
    expect(waits({ ...RETRY, backoff_max_ms: 1_000 }, 7, 0.3)).toBe(1_000);
    expect(waits({ ...RETRY, backoff_ms: 0, backoff_max_ms: 0 }, 7, 0.3)).toBe(0);
  });
});

describe("up to so many members", () => {
  const small = { number: 7, count: LIMITS.backoff_parts };

  test("each draws by chance, and has just the moment that it drew", () => {
    const drawn = [0.25, 0.5];
    expect([0, 1].map((index) => drawFor(small, index, 0, () => drawn[index]!))).toEqual(drawn);
    expect(momentAfter(small, AT + 1, { delay_ms: 777, step_ms: 1_000 })).toBe(AT + 778);
  });
});

describe("in a larger array", () => {
  const large = { number: 7, count: 100_000 };
  const never = (): number => {
    throw new Error("a part does not draw by chance");
  };
  const draws = (failures: number, number = large.number): number[] =>
    Array.from({ length: large.count }, (_, index) => drawFor({ ...large, number }, index, failures, never));

  test("neighbours draw together, and there are as many draws as parts", () => {
    const drawn = draws(0);
    const changes = drawn.filter((one, at) => at > 0 && one !== drawn[at - 1]);
    expect(changes.length).toBe(LIMITS.backoff_parts - 1);
    expect(drawFor({ ...large, count: LIMITS.array_members }, LIMITS.array_members - 1, 0, never)).toBeNumber();
  });

  test("the parts lie anywhere between 0 and 1, elsewhere after another failure and in another array", () => {
    const all = [draws(0), draws(1), draws(0, 8)];
    for (const drawn of all) {
      const tenths = new Array(10).fill(0);
      for (const one of new Set(drawn)) tenths[Math.floor(one * 10)] += 1;
      for (const parts of tenths) expect(parts).toBeWithin(60, 150);
    }
    const [first = [], second = [], other = []] = all;
    const apart = (a: number[], b: number[]) => a.filter((one, at) => Math.abs(one - b[at]!) > 0.05).length;
    expect(apart(first, second)).toBeGreaterThan(large.count * 0.8);
    expect(apart(first, other)).toBeGreaterThan(large.count * 0.8);
  });

  test.each([0, 1, 31, 32, 60_000, 3_600_000])("of %p ms: never early, late by a 32nd of it at most", (step_ms) => {
    const late = Array.from({ length: 200 }, (_, at) => {
      const begun = AT + at * 977;
      return momentAfter(large, begun, { delay_ms: step_ms, step_ms }) - begun - step_ms;
    });
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...late)).toBeLessThanOrEqual(step_ms / 32);
  });
});
