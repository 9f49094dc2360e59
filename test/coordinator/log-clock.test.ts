// Log time under wall clocks that jump, at the beginning of a term and within one.

import { expect, test } from "bun:test";
import { LogClock } from "../../src/coordinator/log-clock.ts";

const HOUR_MS = 3_600_000;
const START = 1_700_000_000_000;

test("a follower whose wall clock is an hour ahead takes over: log time is a minute ahead, not an hour", () => {
  const clock = new LogClock({ at: START, monotonic_ms: 5_000 });
  expect(clock.read({ wall_ms: START + HOUR_MS, monotonic_ms: 7_000 }, START)).toBe(START + 2_000 + 60_000);
  expect(clock.read({ wall_ms: START + HOUR_MS + 10_000, monotonic_ms: 17_000 }, START)).toBe(START + 12_000 + 60_000);
});

test("one that was not there before believes its wall clock: nobody knows how long it was away", () => {
  const clock = new LogClock(undefined);
  expect(clock.read({ wall_ms: START + HOUR_MS, monotonic_ms: 7 }, START)).toBe(START + HOUR_MS);
});

test("a wall clock that is set back, or was behind from the first: timers go on, nine tenths as fast", () => {
  const clock = new LogClock({ at: START, monotonic_ms: 0 });
  expect(clock.read({ wall_ms: START, monotonic_ms: 0 }, START)).toBe(START);
  for (let now = 1; now <= 10_000; now++) clock.read({ wall_ms: START - HOUR_MS, monotonic_ms: now }, START);
  expect(clock.read({ wall_ms: START - HOUR_MS, monotonic_ms: 10_000 }, START)).toBeCloseTo(START + 9_000, -1);
  expect(clock.read({ wall_ms: START + 9_500, monotonic_ms: 11_000 }, START)).toBeCloseTo(START + 9_900, -1);
  expect(clock.read({ wall_ms: START + 12_000, monotonic_ms: 12_000 }, START)).toBe(START + 12_000);
});

test("a log that is far ahead of what was watched goes on from where it is", () => {
  const clock = new LogClock({ at: START, monotonic_ms: 0 });
  const latest = START + HOUR_MS;
  expect(clock.read({ wall_ms: START + 5_000, monotonic_ms: 5_000 }, latest)).toBe(latest);
  expect(clock.read({ wall_ms: START + 15_000, monotonic_ms: 15_000 }, latest)).toBe(latest + 9_000);
});

test("never goes back, whatever the clocks and the log say", () => {
  const clock = new LogClock({ at: START, monotonic_ms: 0 });
  let last = 0;
  for (const [wall, monotonic_ms, latest] of [
    [START + 5_000, 1_000, START],
    [START, 1_001, START + 20_000],
    [START + 1, 1_002, START],
    [START + 90_000, 1_003, START],
  ] as const) {
    const at = clock.read({ wall_ms: wall, monotonic_ms }, latest);
    expect(at).toBeGreaterThanOrEqual(Math.max(last, latest));
    last = at;
  }
});
