// The life of a task as data: which event takes it from where to where. The fold checks every move against it, in one
// place, and test/golden prints it.

import type { TaskStatus } from "../common/vocabulary.ts";
import type { Event } from "./event.ts";

export type Transition = Extract<
  Event["t"],
  "assigned" | "started" | "succeeded" | "ended" | "retried" | "requeued" | "due" | "dropped" | "stopping"
>;

const HELD = ["scheduled", "running"] as const;

export const TRANSITIONS: Record<Transition, { from: readonly TaskStatus[]; to: readonly TaskStatus[] }> = {
  assigned: { from: ["pending"], to: ["scheduled"] },
  started: { from: ["scheduled"], to: ["running"] },
  succeeded: { from: HELD, to: ["completed"] },
  ended: { from: HELD, to: ["completed", "failed", "cancelled", "timeout"] },
  /** It failed and may try again. */
  retried: { from: HELD, to: ["pending"] },
  /** The attempt gave no result: its node was lost or emptied, or gave it back. */
  requeued: { from: HELD, to: ["pending"] },
  /** The time before which it must not start is over. */
  due: { from: ["pending"], to: ["pending"] },
  /** It will never run. */
  dropped: { from: ["pending"], to: ["cancelled", "timeout"] },
  /** Its node was told to stop it, and will report the end. */
  stopping: { from: HELD, to: HELD },
};

/** Throws where an event would take a task where it cannot go: whoever made the event had to know. */
export function requireLegal(transition: Transition, from: TaskStatus, to: TaskStatus, task: string): void {
  const legal = TRANSITIONS[transition];
  if (legal.from.includes(from) && legal.to.includes(to)) return;
  throw new Error(`task ${task} cannot go from ${from} to ${to} by ${transition}`);
}
