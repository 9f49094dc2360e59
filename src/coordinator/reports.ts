// What a worker reports, against the attempts that it holds by the log: a report of an attempt that was superseded makes
// no event. One worker's message makes few events, whatever number of tasks it tells of.

import type { TaskResult, UpMessage } from "../communication/messages.ts";
import { currentPieces } from "../core/decide.ts";
import type { Event, EventRun } from "../core/event.ts";
import type { State } from "../core/state.ts";
import type { Scheduler } from "./scheduler.ts";

type Report = Extract<UpMessage, { type: "task.start" | "task.complete" | "task.fail" }>;

export function reportEvents(state: State, scheduler: Scheduler, node: string, message: Report, at: number): Event[] {
  switch (message.type) {
    case "task.start":
      return startEvents(state, node, message);
    case "task.complete":
      return [
        ...plainEvents(state, scheduler, node, message.runs),
        ...resultEvents(state, scheduler, node, message.results),
      ];
    case "task.fail":
      return [
        ...resultEvents(state, scheduler, node, message.results),
        ...releaseEvents(state, scheduler, node, message.released, at),
      ];
  }
}

function startEvents(state: State, node: string, message: Extract<Report, { type: "task.start" }>): Event[] {
  const runs: [number, number, number, number, number][] = [];
  for (const [number, from, to, attempt, started_at] of message.runs) {
    for (const piece of currentPieces(state, node, number, from, to, attempt)) {
      if (piece.status === "scheduled") runs.push([number, piece.from, piece.to, attempt, started_at]);
    }
  }
  return runs.length > 0 ? [{ t: "started", node, runs }] : [];
}

function plainEvents(
  state: State,
  scheduler: Scheduler,
  node: string,
  reported: Extract<Report, { type: "task.complete" }>["runs"],
): Event[] {
  const runs: typeof reported = [];
  for (const [number, from, to, attempt, started_at, ended_at] of reported) {
    for (const piece of currentPieces(state, node, number, from, to, attempt)) {
      const last = runs.at(-1);
      const { from: start, to: end } = piece;
      if (
        last !== undefined &&
        last[0] === number &&
        last[2] === start &&
        last[3] === attempt &&
        last[4] === started_at
      ) {
        last[2] = end;
      } else {
        runs.push([number, start, end, attempt, started_at, ended_at]);
      }
      const submission = state.submissions.get(number);
      if (submission !== undefined) scheduler.measured(node, submission, end - start, ended_at - started_at);
    }
  }
  return runs.length > 0 ? [{ t: "succeeded", node, runs }] : [];
}

function resultEvents(state: State, scheduler: Scheduler, node: string, reported: readonly TaskResult[]): Event[] {
  const results: TaskResult[] = [];
  const seen = new Set<string>();
  for (const result of reported) {
    const [number, index, attempt] = result.task;
    const key = `${number}.${index}`;
    if (seen.has(key) || currentPieces(state, node, number, index, index + 1, attempt).length === 0) continue;
    seen.add(key);
    results.push(result);
    const submission = state.submissions.get(number);
    const { started_at, ended_at } = result.outcome;
    if (submission !== undefined) scheduler.measured(node, submission, 1, Math.max(0, ended_at - started_at));
  }
  return results.length > 0 ? [{ t: "ended", node, results }] : [];
}

/** Given back unstarted: they wait again, unless they were to be cancelled anyway. */
function releaseEvents(
  state: State,
  scheduler: Scheduler,
  node: string,
  released: readonly EventRun[],
  at: number,
): Event[] {
  const runs: EventRun[] = [];
  const events: Event[] = [];
  for (const [number, from, to, attempt] of released) {
    for (const piece of currentPieces(state, node, number, from, to, attempt)) {
      if (piece.stopping !== true) {
        runs.push([number, piece.from, piece.to, attempt]);
        continue;
      }
      for (let index = piece.from; index < piece.to; index++) {
        const outcome = { status: "cancelled", reason: "cancelled", started_at: at, ended_at: at } as const;
        events.push({ t: "ended", node, results: [{ task: [number, index, attempt], outcome }] });
      }
    }
  }
  if (runs.length > 0) {
    scheduler.gaveBack(node);
    events.push({ t: "requeued", node, runs, reason: "released", at });
  }
  return events;
}
