// Requests that wait: what ends each of them, how many there may be, and that nothing of one that is over is left.

import { expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import { Waiters } from "../../src/coordinator/waiters.ts";
import { TestRuntime } from "../runtime.ts";

const LONG_MS = 60_000;

/** A request that is answered when it is late, and what it was called with. */
function patient(): { attempt: (late: boolean) => boolean; calls: boolean[] } {
  const calls: boolean[] = [];
  return {
    calls,
    attempt(late) {
      calls.push(late);
      return late;
    },
  };
}

test("one whose asker leaves is over at once", () => {
  const runtime = new TestRuntime();
  const waiters = new Waiters(runtime);
  const left = new AbortController();
  const [one, other] = [patient(), patient()];
  waiters.wait(1, LONG_MS, left.signal, one.attempt);
  waiters.wait(1, LONG_MS, undefined, other.attempt);
  waiters.changed(1);
  left.abort();
  expect([one.calls, other.calls]).toEqual([
    [false, false, true],
    [false, false],
  ]);
  waiters.changed(1);
  expect([one.calls.length, other.calls.length, runtime.waiting.length]).toEqual([3, 3, 1]);
  waiters.close();
  expect([other.calls, waiters.has(1), runtime.waiting]).toEqual([[false, false, false, true], false, []]);
});

test("one whose asker had left before does not begin to wait", () => {
  const runtime = new TestRuntime();
  const waiters = new Waiters(runtime);
  const { attempt, calls } = patient();
  waiters.wait(1, LONG_MS, AbortSignal.abort(), attempt);
  expect([calls, waiters.has(1), runtime.waiting]).toEqual([[true], false, []]);
});

test("there may be so many, and one more when one has left", () => {
  const runtime = new TestRuntime();
  const waiters = new Waiters(runtime);
  const left = new AbortController();
  for (let at = 0; at < LIMITS.watchers; at++) waiters.wait(at % 7, LONG_MS, left.signal, patient().attempt);
  expect(() => waiters.wait(1, LONG_MS, undefined, patient().attempt)).toThrow("too many requests wait");
  left.abort();
  expect(runtime.waiting).toEqual([]);
  waiters.wait(1, LONG_MS, undefined, patient().attempt);
  waiters.close();
});
