// Answers that last: how many there may be, and what ends them.

import { expect, test } from "bun:test";
import { LIMITS } from "../../../src/common/limits.ts";
import { Streams } from "../../../src/coordinator/http/streams.ts";

const never = (): AbortSignal => new AbortController().signal;

test("there may be so many, and one more when one has ended", () => {
  const streams = new Streams();
  const open = Array.from({ length: LIMITS.http_streams }, () => streams.open(never()));
  expect(() => streams.open(never())).toThrow("follow something already");
  open[0]!.end();
  streams.open(never());
  expect(() => streams.open(never())).toThrow("follow something already");
});

test("one ends with whoever asked for it, all end with the endpoint", () => {
  const streams = new Streams();
  const asked = new AbortController();
  const [one, other] = [streams.open(asked.signal), streams.open(never())];
  asked.abort();
  expect([one.signal.aborted, other.signal.aborted]).toEqual([true, false]);
  expect(streams.open(asked.signal).signal.aborted).toBe(true);
  streams.close();
  expect(other.signal.aborted).toBe(true);
});
