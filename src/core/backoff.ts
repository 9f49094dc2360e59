// The wait between a task's attempts, and how the members of a large array wait together. Each that had a moment of its own
// would be a segment of its own (segments.ts), and every batch carries all segments of what it touches: so a large array
// waits in parts, and on a grid of moments, wherever its members ran and whoever reported them.

import { LIMITS } from "../common/limits.ts";
import type { Retry } from "../common/models.ts";
import { mix } from "./held.ts";
import type { Submission } from "./state.ts";

/** As many moments as lie in a step: on them the members of a large array try again. */
const GRID = 32;

export interface Backoff {
  delay_ms: number;
  /** The longest that the delay could have been. */
  step_ms: number;
}

/**
 * Wait before the next attempt after `failures` of them. One that grows lies anywhere in the upper half of its step, so that
 * a thousand tasks that failed together do not come back together; a fixed one is what was asked for.
 */
export function backoffOf({ backoff_ms, backoff_max_ms }: Retry, failures: number, chance: number): Backoff {
  if (backoff_max_ms <= backoff_ms) return { delay_ms: backoff_ms, step_ms: backoff_ms };
  const step_ms = Math.min(backoff_max_ms, backoff_ms * 2 ** Math.min(failures - 1, 40));
  return { delay_ms: Math.round(step_ms * (0.5 + chance / 2)), step_ms };
}

type Sized = Pick<Submission, "number" | "count">;

function waitsInParts({ count }: Sized): boolean {
  return count > LIMITS.backoff_parts;
}

/**
 * From 0 up to 1, for the wait of a member that failed so often before: by chance for each, and in a large array one number
 * for each part of it. That one is the same whenever it is asked for, because neighbours fail on many nodes and are
 * reported one by one.
 */
export function drawFor(submission: Sized, index: number, failures: number, chance: () => number): number {
  if (!waitsInParts(submission)) return chance();
  const part = Math.floor((index * LIMITS.backoff_parts) / submission.count);
  return (mix(submission.number, part, failures) >>> 0) / 2 ** 32;
}

/** The moment before which the next attempt must not begin: in a large array late by a 32nd of the step at most. */
export function momentAfter(submission: Sized, at: number, { delay_ms, step_ms }: Backoff): number {
  if (!waitsInParts(submission)) return at + delay_ms;
  const grid_ms = Math.max(1, Math.floor(step_ms / GRID));
  return Math.ceil((at + delay_ms) / grid_ms) * grid_ms;
}
