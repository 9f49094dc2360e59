// The words that tasks and nodes are described with. No schemas here: a command that only names them does not load those.

import type { Outcome, TaskCounts } from "./models.ts";

export const TASK_STATUSES = [
  "pending",
  "scheduled",
  "running",
  "completed",
  "failed",
  "cancelled",
  "timeout",
] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];
export const TERMINAL_STATUSES = ["completed", "failed", "cancelled", "timeout"] as const;
export type TerminalStatus = (typeof TERMINAL_STATUSES)[number];

export function isTerminal(status: TaskStatus): status is TerminalStatus {
  return (TERMINAL_STATUSES as readonly string[]).includes(status);
}

export function finishedCount(counts: TaskCounts): number {
  return counts.completed + counts.failed + counts.cancelled + counts.timeout;
}

export const TASK_TYPES = ["interactive", "batch", "compute", "io", "daemon"] as const;
export type TaskType = (typeof TASK_TYPES)[number];

/** Highest first: the position is the rank. */
export const PRIORITIES = ["critical", "high", "normal", "low"] as const;
export type Priority = (typeof PRIORITIES)[number];

export const EXECUTORS = ["command", "shell", "script", "noop"] as const;
export type ExecutorKind = (typeof EXECUTORS)[number];

/** How a node is chosen among those that fit (core/strategies.ts). */
export const STRATEGIES = ["best_fit", "least_tasks", "round_robin", "pack", "random", "affinity"] as const;
export type Strategy = (typeof STRATEGIES)[number];

/** What a type of task needs when nobody said: presets and nothing more. */
export const TYPE_PRESETS: Record<TaskType, { cpu_millis: number; priority: Priority }> = {
  interactive: { cpu_millis: 100, priority: "high" },
  batch: { cpu_millis: 500, priority: "normal" },
  compute: { cpu_millis: 1000, priority: "normal" },
  io: { cpu_millis: 100, priority: "normal" },
  daemon: { cpu_millis: 100, priority: "normal" },
};

/** Failures that a retry may be worth: by how the attempt ended, or by its exit code. */
export const RETRY_REASONS = ["exit", "timeout", "not_found", "spawn", "memory"] as const;

/** The waits of one who asked for retries and said nothing of them. */
export const RETRY_BACKOFF = { backoff_ms: 1_000, backoff_max_ms: 300_000 } as const;

/** When the node of an attempt is lost: run it elsewhere, or leave it, so that it never runs twice. */
export const ON_LOST = ["retry", "fail"] as const;
export type OnLost = (typeof ON_LOST)[number];

/** Why an attempt ended as it did, when the status alone does not say it. */
export const END_REASONS = [
  "exit", // by its own exit code or signal
  "timeout",
  "cancelled",
  "not_found", // the program, folder or script was not there
  "spawn", // the node could not start it
  "memory", // it used more than it had asked for, and its node held it to that
  "input", // the template could not take the input
  "lost", // the node went away or began a new life
  "released", // given back before it began
  "stopped", // its worker ended while it ran
  "poison", // several nodes were lost under it
  "abandoned", // nobody extended its array
  "deadline", // the time for all of it was over
  "drained", // its node was emptied for maintenance
] as const;
export type EndReason = (typeof END_REASONS)[number];

/** Attempts of which nobody told how they ended, in words that follow "was". */
export const CUT_OFF: Partial<Record<EndReason, string>> = {
  lost: "lost with its node",
  stopped: "stopped with its worker",
};

/** Ends that are told of attempts of which nobody may have heard that they began. */
const UNHEARD: ReadonlySet<EndReason> = new Set(["cancelled", "deadline", "lost", "poison", "drained"]);

/** Whether it is known to have begun: for what is not, its end stands in the place of its start, and nothing was told of it. */
export function hasBegun(outcome: Outcome): boolean {
  const { started_at, ended_at, reason, exit_code, signal, stdout, stderr } = outcome;
  if (started_at !== ended_at || !UNHEARD.has(reason)) return true;
  // It may have begun and ended within one millisecond.
  return [exit_code, signal, stdout, stderr].some((told) => told !== undefined);
}

/** How an array was closed when its client had not said that there are no more inputs: nobody extended it, a cancel, its deadline. */
export const CUT_SHORT = ["abandoned", "cancelled", "deadline"] as const;
export type CutShort = (typeof CUT_SHORT)[number];

/** How it ended, in a few words. */
export function endOf(outcome: Pick<Outcome, "status" | "reason" | "exit_code" | "signal" | "message">): string {
  if (outcome.message !== undefined) return outcome.message;
  if (outcome.status === "timeout") return "its timeout ended it";
  if (outcome.signal !== undefined) return `ended by ${outcome.signal}`;
  if (outcome.exit_code !== undefined) return `exit code ${outcome.exit_code}`;
  return outcome.reason;
}

export const NODE_STATUSES = ["online", "offline", "maintenance", "error"] as const;
export type NodeStatus = (typeof NODE_STATUSES)[number];

/** What a node can hold its tasks to: their memory, their share of the processors, their number of processes. */
export const LIMIT_KINDS = ["memory", "cpu", "pids"] as const;
export type LimitKind = (typeof LIMIT_KINDS)[number];

/** Why a node was told to stop an attempt: somebody cancelled it, its time is over, or the node is being emptied. */
export const STOP_REASONS = ["cancel", "deadline", "drain"] as const;
export type StopReason = (typeof STOP_REASONS)[number];
