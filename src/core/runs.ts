// Arithmetic of runs: [submission, from, to, attempt], `to` excluded. Leader and worker compare what they hold with it.

import type { EventRun } from "./event.ts";

/** Runs by the node that they are on. */
export function addTo(runs_of: Map<string, EventRun[]>, node: string, run: EventRun): void {
  const runs = runs_of.get(node);
  if (runs === undefined) runs_of.set(node, [run]);
  else runs.push(run);
}

function sameTask(a: EventRun, b: EventRun): boolean {
  return a[0] === b[0] && a[3] === b[3];
}

/** What of `run` none of `others` covers, in order. */
export function uncovered(run: EventRun, others: readonly EventRun[]): EventRun[] {
  let left: EventRun[] = [run];
  for (const other of others) {
    if (!sameTask(run, other)) continue;
    const next: EventRun[] = [];
    for (const piece of left) {
      const [number, from, to, attempt] = piece;
      const start = Math.max(from, other[1]);
      const end = Math.min(to, other[2]);
      if (start >= end) {
        next.push(piece);
        continue;
      }
      if (from < start) next.push([number, from, start, attempt]);
      if (end < to) next.push([number, end, to, attempt]);
    }
    left = next;
    if (left.length === 0) break;
  }
  return left;
}

/** The members of `runs` that `others` do not hold with the same attempt. */
export function without(runs: readonly EventRun[], others: readonly EventRun[]): EventRun[] {
  const by_task = new Map<string, EventRun[]>();
  for (const other of others) {
    const key = `${other[0]}/${other[3]}`;
    const list = by_task.get(key);
    if (list === undefined) by_task.set(key, [other]);
    else list.push(other);
  }
  return runs.flatMap((run) => uncovered(run, by_task.get(`${run[0]}/${run[3]}`) ?? []));
}
