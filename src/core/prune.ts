// Which of what is over is forgotten: what is older than it has to be, and the oldest where there is more than there has
// to be. Whole submissions, and never one that a retry stands on.

import type { Event } from "./event.ts";

/** A submission that is over, and how its members ended. */
export interface Prunable {
  number: number;
  completed: number;
  failed: number;
  cancelled: number;
  timeout: number;
  /** 1 for a retry: what it stands on may go once it has gone. */
  retry: number;
}

export interface Retention {
  age_ms: number;
  /** Finished tasks that are kept. */
  tasks: number;
}

/** What is asked of the view. */
export type FindPrunable = (before: number, limit: number) => readonly Prunable[];

/** Of one event. */
const MOST = 200;

const membersOf = ({ completed, failed, cancelled, timeout }: Prunable): number =>
  completed + failed + cancelled + timeout;

/**
 * `finished`: how many tasks are over; `kept`: whether this leader knows of a retry of it that the view may not have yet.
 */
export function decidePruned(
  find: FindPrunable,
  kept: (number: number) => boolean,
  finished: number,
  { age_ms, tasks }: Retention,
  now: number,
): Extract<Event, { t: "pruned" }> | undefined {
  let surplus = finished - tasks;
  // Behind the age everything goes; before it only as much as is too much.
  const old = find(now - age_ms, MOST).filter(({ number }) => !kept(number));
  const chosen = [...old];
  for (const one of old) surplus -= membersOf(one);
  if (surplus > 0 && chosen.length < MOST) {
    const taken = new Set(old.map(({ number }) => number));
    for (const one of find(Number.MAX_SAFE_INTEGER, MOST)) {
      if (surplus <= 0) break;
      if (taken.has(one.number) || kept(one.number)) continue;
      chosen.push(one);
      surplus -= membersOf(one);
      // What it stands on is older than the rest: that comes next.
      if (one.retry === 1) break;
    }
  }
  if (chosen.length === 0) return undefined;
  const counts = { completed: 0, failed: 0, cancelled: 0, timeout: 0 };
  for (const one of chosen)
    for (const status of Object.keys(counts) as (keyof typeof counts)[]) counts[status] += one[status];
  return { t: "pruned", numbers: chosen.map(({ number }) => number), counts, at: now };
}
