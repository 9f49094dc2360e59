// What the end of an attempt means: a table of ends, policies and orders to stop, and the waits between retries.

import { describe, expect, test } from "bun:test";
import type { Outcome, Retry } from "../../src/common/models.ts";
import type { StopReason } from "../../src/common/vocabulary.ts";
import type { Policy } from "../../src/core/state.ts";
import { verdictOf } from "../../src/core/verdict.ts";
import { AT } from "./cluster.ts";

const RETRY: Retry = { limit: 2, backoff_ms: 1_000, backoff_max_ms: 10_000 };
const PLAIN: Policy = { daemon: false, retry: undefined, on_lost: "retry" };
const TWICE: Policy = { ...PLAIN, retry: RETRY };
const DAEMON: Policy = { ...PLAIN, daemon: true };

const end = (status: Outcome["status"], more: Partial<Outcome> = {}): Outcome => ({
  status,
  reason: "exit",
  started_at: AT,
  ended_at: AT + 10,
  ...more,
});
const FAILED = end("failed", { exit_code: 3 });
const CANCELLED = end("cancelled", { reason: "cancelled" });

function verdict(policy: Policy, outcome: Outcome, stopping?: StopReason, failures = 0, chance = 0) {
  const piece = {
    from: 0,
    to: 1,
    status: "running",
    attempt: 1,
    failures,
    ...(stopping === undefined ? {} : { stopping }),
  };
  return verdictOf(policy, piece as Parameters<typeof verdictOf>[1], outcome, chance);
}

describe("without retries", () => {
  test.each([end("completed"), FAILED, end("timeout", { reason: "timeout" })])("%o is the end", (outcome) => {
    expect(verdict(PLAIN, outcome)).toEqual({ kind: "over", outcome });
  });
});

describe("with retries", () => {
  test("a failure is tried again until the limit", () => {
    expect(verdict(TWICE, FAILED, undefined, 0)).toMatchObject({ kind: "again", failures: 1 });
    expect(verdict(TWICE, FAILED, undefined, 1)).toMatchObject({ kind: "again", failures: 2 });
    expect(verdict(TWICE, FAILED, undefined, 2)).toEqual({ kind: "over", outcome: FAILED });
  });

  test("a success is not", () => {
    const outcome = end("completed");
    expect(verdict(TWICE, outcome)).toEqual({ kind: "over", outcome });
  });

  test("neither is what would happen again anywhere", () => {
    const outcome = end("failed", { reason: "input" });
    expect(verdict(TWICE, outcome)).toEqual({ kind: "over", outcome });
  });

  test.each([
    [["timeout"], end("timeout", { reason: "timeout" }), "again"],
    [["timeout"], FAILED, "over"],
    [[75], FAILED, "over"],
    [[75, 3], FAILED, "again"],
    [["exit"], FAILED, "again"],
    [[126], end("failed", { reason: "spawn", exit_code: 126 }), "again"],
    [[127], end("failed", { reason: "not_found", exit_code: 127 }), "again"],
    [[137], end("failed", { signal: "SIGKILL" }), "again"],
    [[137], end("failed", { reason: "memory", signal: "SIGKILL" }), "again"],
    [[137], end("failed", { signal: "SIGTERM" }), "over"],
    [[124], end("timeout", { reason: "timeout", signal: "SIGTERM" }), "again"],
    [[143, 3], end("timeout", { reason: "timeout", exit_code: 3 }), "over"],
    [[125], end("failed", { reason: "input" }), "over"],
  ] as const)("on %p: %o is %s", (on, outcome, kind) => {
    expect(verdict({ ...TWICE, retry: { ...RETRY, on: [...on] } }, outcome).kind).toBe(kind);
  });
});

describe("a daemon", () => {
  test("is kept running however it ends", () => {
    for (const outcome of [end("completed", { exit_code: 0 }), FAILED, end("timeout", { reason: "timeout" })]) {
      expect(verdict(DAEMON, outcome, undefined, 5_000)).toMatchObject({ kind: "again" });
    }
  });

  test("that ran for a minute begins to count anew", () => {
    expect(verdict(DAEMON, FAILED, undefined, 4)).toMatchObject({ failures: 5 });
    expect(verdict(DAEMON, { ...FAILED, ended_at: AT + 60_000 }, undefined, 4)).toMatchObject({ failures: 1 });
  });

  test("that asked for no wait has a short one, so that one which cannot run is no busy loop", () => {
    const delayOf = (backoff_ms: number, backoff_max_ms: number): unknown =>
      verdict({ ...DAEMON, retry: { limit: 0, backoff_ms, backoff_max_ms } }, FAILED);
    expect(delayOf(0, 0)).toMatchObject({ backoff: { delay_ms: 100 } });
    expect(delayOf(1, 50)).toMatchObject({ backoff: { delay_ms: 100 } });
    expect(delayOf(150, 150)).toMatchObject({ backoff: { delay_ms: 150 } });
    expect(verdict({ ...TWICE, retry: { ...RETRY, backoff_ms: 0, backoff_max_ms: 0 } }, FAILED)).toMatchObject({
      backoff: { delay_ms: 0 },
    });
  });

  test("that was cancelled is over", () => {
    expect(verdict(DAEMON, CANCELLED, "cancel")).toEqual({ kind: "over", outcome: CANCELLED });
    expect(verdict(DAEMON, FAILED, "cancel")).toEqual({ kind: "over", outcome: FAILED });
  });
});

describe("what was told to stop", () => {
  test("is cancelled by a cancel, and not tried again", () => {
    expect(verdict(TWICE, CANCELLED, "cancel")).toEqual({ kind: "over", outcome: CANCELLED });
    expect(verdict(TWICE, FAILED, "cancel")).toEqual({ kind: "over", outcome: FAILED });
  });

  test("is a timeout when its deadline passed", () => {
    const found = verdict(TWICE, CANCELLED, "deadline");
    expect(found).toMatchObject({ kind: "over", outcome: { status: "timeout", reason: "deadline" } });
  });

  test("waits again when its node was being emptied, unless it had ended by itself", () => {
    expect(verdict(PLAIN, CANCELLED, "drain")).toEqual({ kind: "drained" });
    expect(verdict(PLAIN, FAILED, "drain")).toEqual({ kind: "over", outcome: FAILED });
    expect(verdict(TWICE, FAILED, "drain")).toMatchObject({ kind: "again" });
  });
});
