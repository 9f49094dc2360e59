// Which of what is over is forgotten: what is older than it has to be, and the oldest where there are more results than
// there have to be, but nothing that ended just now. Whole submissions, and never one that a retry stands on.

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
  /** What ended less long ago stays, however many there are. */
  keep_ms: number;
  /** Results of finished tasks that are kept: members that ended alike, one after the other, have one together. */
  tasks: number;
}

/** What is asked of the view. */
export interface PastResults {
  /** Submissions that are over since before `before`, the oldest first. */
  prunable(before: number, limit: number): readonly Prunable[];
  /** Results that it has of everything that is over. */
  finishedResults(): number;
  resultsOf(number: number): number;
}

/** Of one event. */
const MOST = 200;

export interface Pruning {
  event: Extract<Event, { t: "pruned" }> | undefined;
  /** Results that are too many still. */
  surplus: number;
}

/**
 * `kept`: whether this leader knows of a retry of it that the view may not have yet; `surplus`: how many results are too
 * many.
 */
export function decidePruned(
  past: PastResults,
  kept: (number: number) => boolean,
  surplus: number,
  { age_ms, keep_ms }: Retention,
  now: number,
): Pruning {
  let left = surplus;
  const count = (one: Prunable): void => {
    if (left > 0) left -= past.resultsOf(one.number);
  };
  // Behind the age everything goes; before it only as much as is too much.
  const old = past.prunable(now - age_ms, MOST).filter(({ number }) => !kept(number));
  const chosen = [...old];
  for (const one of old) count(one);
  if (left > 0 && chosen.length < MOST) {
    const taken = new Set(old.map(({ number }) => number));
    for (const one of past.prunable(now - keep_ms, MOST)) {
      if (left <= 0) break;
      if (taken.has(one.number) || kept(one.number)) continue;
      chosen.push(one);
      count(one);
      // What it stands on is older than the rest: that comes next.
      if (one.retry === 1) break;
    }
  }
  if (chosen.length === 0) return { event: undefined, surplus: left };
  const counts = { completed: 0, failed: 0, cancelled: 0, timeout: 0 };
  for (const one of chosen)
    for (const status of Object.keys(counts) as (keyof typeof counts)[]) counts[status] += one[status];
  return { event: { t: "pruned", numbers: chosen.map(({ number }) => number), counts, at: now }, surplus: left };
}
