// What a worker reports, against the attempts that it holds by the log: a report of an attempt that was superseded makes
// no event. One worker's message makes few events, whatever number of tasks it tells of.

import type { TaskResult, UpMessage } from "../communication/messages.ts";
import { drawFor, momentAfter } from "../core/backoff.ts";
import { currentPieces, startedOf, stoppedOutcome } from "../core/decide.ts";
import type { Event, EventRun } from "../core/event.ts";
import type { State } from "../core/state.ts";
import { verdictOf } from "../core/verdict.ts";
import type { Scheduler } from "./scheduler.ts";

type Report = Extract<UpMessage, { type: "task.start" | "task.complete" | "task.fail" }>;

/** What reading a report needs beside it. */
export interface ReportContext {
  state: State;
  scheduler: Scheduler;
  /** From 0 up to 1. */
  chance: () => number;
}

/** `at` is log time. */
export function reportEvents(context: ReportContext, node: string, message: Report, at: number): Event[] {
  switch (message.type) {
    case "task.start":
      return startEvents(context.state, node, message, at);
    case "task.complete":
      return [...plainEvents(context, node, message.runs, at), ...resultEvents(context, node, message.results, at)];
    case "task.fail":
      return [
        ...resultEvents(context, node, message.results, at),
        ...releaseEvents(context, node, message.released, at),
      ];
  }
}

function startEvents(
  state: State,
  node: string,
  message: Extract<Report, { type: "task.start" }>,
  at: number,
): Event[] {
  const runs: [number, number, number, number, number][] = [];
  for (const [number, from, to, attempt, started_at] of message.runs) {
    for (const piece of currentPieces(state, node, number, from, to, attempt)) {
      if (piece.status === "scheduled") runs.push([number, piece.from, piece.to, attempt, started_at]);
    }
  }
  return runs.length > 0 ? [{ t: "started", node, runs, at }] : [];
}

function plainEvents(
  context: ReportContext,
  node: string,
  reported: Extract<Report, { type: "task.complete" }>["runs"],
  at: number,
): Event[] {
  const { state, scheduler } = context;
  const runs: typeof reported = [];
  const again: TaskResult[] = [];
  for (const [number, from, to, attempt, started_at, ended_at] of reported) {
    const submission = state.submissions.get(number);
    if (submission === undefined) continue;
    for (const { from: start, to: end } of currentPieces(state, node, number, from, to, attempt)) {
      if (submission.policy.daemon) {
        for (const one of ends(number, start, end, attempt, started_at, ended_at)) again.push(one);
        continue;
      }
      const last = runs.at(-1);
      if (last?.[0] === number && last[2] === start && last[3] === attempt && last[4] === started_at) last[2] = end;
      else runs.push([number, start, end, attempt, started_at, ended_at]);
      scheduler.measured(node, submission, end - start, ended_at - started_at, true);
    }
  }
  const events: Event[] = runs.length > 0 ? [{ t: "succeeded", node, runs }] : [];
  return [...events, ...resultEvents(context, node, again, at)];
}

/** Plain successes one by one: a daemon's end is followed by another attempt. */
function ends(number: number, from: number, to: number, attempt: number, started_at: number, ended_at: number) {
  return Array.from({ length: to - from }, (_, at): TaskResult => {
    const outcome = { status: "completed", reason: "exit", exit_code: 0, started_at, ended_at, inline: true } as const;
    return { task: [number, from + at, attempt], outcome };
  });
}

type Retried = Extract<Event, { t: "retried" }>["results"][number];

function resultEvents(
  { state, scheduler, chance }: ReportContext,
  node: string,
  reported: readonly TaskResult[],
  at: number,
): Event[] {
  const results: TaskResult[] = [];
  const retried: Retried[] = [];
  const drained: EventRun[] = [];
  const started: number[] = [];
  const seen = new Set<string>();
  for (const { task, outcome } of reported) {
    const [number, index, attempt] = task;
    const key = `${number}.${index}`;
    const [piece] = currentPieces(state, node, number, index, index + 1, attempt);
    const submission = state.submissions.get(number);
    if (seen.has(key) || piece === undefined || submission === undefined) continue;
    seen.add(key);
    const took_ms = Math.max(0, outcome.ended_at - outcome.started_at);
    scheduler.measured(node, submission, 1, took_ms, outcome.status === "completed");
    // A program that is not found has an exit code, as a shell has it; here nothing was begun.
    const unbegun = outcome.reason === "not_found" && outcome.exit_code === undefined;
    const { folder } = state.needsOf(submission);
    if (unbegun && folder !== undefined) scheduler.folders.missed(node, folder);
    const draw = drawFor(submission, index, piece.failures ?? 0, chance);
    const verdict = verdictOf(submission.policy, piece, outcome, draw);
    if (verdict.kind === "over") results.push({ task, outcome: verdict.outcome });
    else if (verdict.kind === "drained") {
      drained.push([number, index, index + 1, attempt]);
      started.push(piece.status === "running" || took_ms > 0 ? outcome.started_at : 0);
    } else {
      const not_before = momentAfter(submission, at, verdict.backoff);
      retried.push({ task, outcome, not_before, failures: verdict.failures });
    }
  }
  const events: Event[] = [];
  if (results.length > 0) events.push({ t: "ended", node, results });
  if (retried.length > 0) events.push({ t: "retried", node, results: retried, at });
  if (drained.length > 0) {
    events.push({ t: "requeued", node, runs: drained, ...startedOf(started), reason: "drained", at });
  }
  return events;
}

/** Given back unstarted: they wait again, unless they were to be stopped anyway. */
function releaseEvents(
  { state, scheduler }: ReportContext,
  node: string,
  released: readonly EventRun[],
  at: number,
): Event[] {
  const runs: EventRun[] = [];
  const events: Event[] = [];
  for (const [number, from, to, attempt] of released) {
    for (const piece of currentPieces(state, node, number, from, to, attempt)) {
      const outcome = stoppedOutcome(piece, at);
      if (outcome === undefined) {
        runs.push([number, piece.from, piece.to, attempt]);
        continue;
      }
      for (let index = piece.from; index < piece.to; index++) {
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
