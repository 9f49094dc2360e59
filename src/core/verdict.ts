// What the end of an attempt means for its task: it is over, it tries again later, or the attempt does not count. Pure;
// the choice of the moment within the backoff's range is the caller's (`chance`), because the log has to keep it.

import { exitCodeOf } from "../common/exit-code.ts";
import { LIMITS } from "../common/limits.ts";
import type { Outcome, Retry } from "../common/models.ts";
import { type Backoff, backoffOf } from "./backoff.ts";
import { planted } from "./canary.ts";
import type { Segment } from "./segments.ts";
import type { Policy } from "./state.ts";

export type Verdict =
  | { kind: "over"; outcome: Outcome }
  /** After a wait; `failures` count from then on. */
  | { kind: "again"; backoff: Backoff; failures: number }
  /** The node was being emptied: that it was stopped there says nothing of the task. */
  | { kind: "drained" };

const DAEMON: Retry = { limit: LIMITS.retries, backoff_ms: 1_000, backoff_max_ms: 300_000 };
/** Nothing ends a daemon that cannot run: one that asked for no wait keeps nobody busy all the same. */
const DAEMON_LEAST_MS = 100;
/** A daemon that ran for so long is well: its next end is its first failure. */
const WELL_MS = 60_000;

/** `chance` is from 0 up to 1. */
export function verdictOf(policy: Policy, piece: Segment, outcome: Outcome, chance: number): Verdict {
  const { stopping } = piece;
  if (outcome.reason === "cancelled") {
    if (stopping === "drain")
      return policy.on_lost === "fail" ? { kind: "over", outcome: onceOnly(outcome) } : { kind: "drained" };
    return { kind: "over", outcome: stopping === "deadline" ? overdue(outcome) : outcome };
  }
  if (stopping === "cancel" || stopping === "deadline") return { kind: "over", outcome };
  if (policy.daemon) {
    const ran_ms = outcome.ended_at - outcome.started_at;
    const failures = ran_ms >= WELL_MS ? 1 : (piece.failures ?? 0) + 1;
    const { delay_ms, step_ms } = backoffOf(policy.retry ?? DAEMON, failures, chance);
    return { kind: "again", backoff: { delay_ms: Math.max(DAEMON_LEAST_MS, delay_ms), step_ms }, failures };
  }
  const failures = (piece.failures ?? 0) + 1;
  const { retry } = policy;
  const unlimited = planted("retries_unlimited");
  if (retry === undefined || !worthIt(retry, outcome) || (failures > retry.limit && !unlimited)) {
    return { kind: "over", outcome };
  }
  return { kind: "again", backoff: backoffOf(retry, failures, chance), failures };
}

/** It had begun on a node that was emptied, and must not begin again. */
function onceOnly(outcome: Outcome): Outcome {
  return { ...outcome, status: "failed", reason: "drained", message: "stopped for maintenance; it must not run twice" };
}

/** What the deadline ended is a timeout, whatever its node called it. */
export function overdue(outcome: Outcome): Outcome {
  return { ...outcome, status: "timeout", reason: "deadline", message: "its deadline passed" };
}

/** Ends that say something of the task, or of its luck with a node. */
const WORTH_IT: ReadonlySet<Outcome["reason"]> = new Set(["exit", "timeout", "not_found", "spawn", "memory"]);

/** Codes are those that `claw run` would end with: a killed program has one, and one that was not found. */
function worthIt({ on }: Retry, outcome: Outcome): boolean {
  const { status, reason } = outcome;
  if (status === "completed") return false;
  if (on === undefined) return WORTH_IT.has(reason);
  return on.some((one) => one === reason || (WORTH_IT.has(reason) && one === exitCodeOf(outcome)));
}
