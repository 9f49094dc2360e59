// Which of what is over is forgotten: what is older than it has to be, and the oldest where there are more results than
// there have to be, but nothing that ended just now. Whole submissions, and never one that a retry stands on.

import type { Event } from "./event.ts";

/** A submission that is over, and how its members ended. */
export interface Prunable {
  number: number;
  /** So many have to be kept for a while: one of an array, one of each task that was submitted beside others. */
  ids: number;
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

/** Submissions of one event. */
const MOST = 200;
/** Ids of one event, but for the last submission's: each costs the view what a submission does. */
const MOST_IDS = 500;

export interface Pruning {
  event: Extract<Event, { t: "pruned" }> | undefined;
  /** Results that are too many still. */
  surplus: number;
  /** The event is full, or what comes next had to wait for it: there may be more to forget. */
  more: boolean;
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
  const chosen = new Map<number, Prunable>();
  let left = surplus;
  let ids = 0;
  let more = false;
  const choose = (one: Prunable): void => {
    chosen.set(one.number, one);
    ids += one.ids;
    if (left > 0) left -= past.resultsOf(one.number);
    more = chosen.size >= MOST || ids >= MOST_IDS;
  };
  // Behind the age everything goes; before it only as much as is too much.
  for (const one of past.prunable(now - age_ms, MOST)) {
    if (more) break;
    if (!kept(one.number)) choose(one);
  }
  if (left > 0 && !more) {
    for (const one of past.prunable(now - keep_ms, MOST)) {
      if (left <= 0 || more) break;
      if (chosen.has(one.number) || kept(one.number)) continue;
      choose(one);
      // What it stands on is older than the rest: that comes next.
      if (one.retry === 1) more = true;
    }
  }
  if (chosen.size === 0) return { event: undefined, surplus: left, more };
  const counts = { completed: 0, failed: 0, cancelled: 0, timeout: 0 };
  for (const one of chosen.values())
    for (const status of Object.keys(counts) as (keyof typeof counts)[]) counts[status] += one[status];
  return { event: { t: "pruned", numbers: [...chosen.keys()], counts, at: now }, surplus: left, more };
}
