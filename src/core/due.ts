// What time brings to tasks: a start that was put off, a deadline that passed. Asked for a submission when its alarm
// rings; the alarms are the leader's (coordinator/alarms.ts).

import type { Outcome } from "../common/models.ts";
import type { Event, EventRun } from "./event.ts";
import { addTo } from "./runs.ts";
import { piecesOf, type Segment, spansOf } from "./segments.ts";
import type { State, Submission } from "./state.ts";
import { overdue } from "./verdict.ts";

export interface DueDecision {
  events: Event[];
  /** What to tell which node to stop. */
  stop: Map<string, EventRun[]>;
}

/** `now` is log time. */
export function decideDue(state: State, number: number, now: number): DueDecision {
  const submission = state.submissions.get(number);
  const stop = new Map<string, EventRun[]>();
  if (submission === undefined) return { events: [], stop };
  if (submission.deadline_at !== undefined && submission.deadline_at <= now) {
    return { events: decideOverdue(submission, now, stop), stop };
  }
  const due = ({ not_before }: Segment): boolean => not_before !== undefined && not_before <= now;
  const spans = spansOf(piecesOf(submission.segments, 0, submission.count, due));
  const runs = spans.map(({ from, to }): [number, number, number] => [number, from, to]);
  return { events: runs.length > 0 ? [{ t: "due", runs, at: now }] : [], stop };
}

function decideOverdue(submission: Submission, now: number, stop: Map<string, EventRun[]>): Event[] {
  const { number } = submission;
  const events: Event[] = [];
  if (submission.open) events.push({ t: "closed", number, at: now, abandoned: false });
  const outcome: Outcome = overdue({ status: "timeout", reason: "deadline", started_at: now, ended_at: now });
  const pieces = piecesOf(submission.segments, 0, submission.count, (piece) => piece.status !== "over");
  const waiting = pieces.filter(({ status }) => status === "pending");
  for (const { from, to } of spansOf(waiting)) events.push({ t: "dropped", number, from, to, outcome });
  for (const { from, to, attempt, node, stopping } of pieces) {
    if (node === undefined || stopping === "cancel" || stopping === "deadline") continue;
    addTo(stop, node, [number, from, to, attempt]);
  }
  for (const [node, runs] of stop) events.push({ t: "stopping", node, runs, reason: "deadline", at: now });
  return events;
}

/** When the submission has to be looked at again, if ever: its deadline, and each start that was put off. */
export function* alarmsOf({ deadline_at, segments }: Submission): Iterable<number> {
  if (deadline_at !== undefined) yield deadline_at;
  let last = 0;
  for (const { not_before } of segments) {
    if (not_before !== undefined && not_before !== last) yield not_before;
    last = not_before ?? last;
  }
}
