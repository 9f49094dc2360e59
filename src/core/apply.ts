// The one fold: live traffic, replay after a restart and a restored snapshot all go through `apply`. It never refuses:
// what may happen was decided before the log, so an event that does not fit is a bug and throws.

import type { Outcome } from "../common/models.ts";
import type { TaskStatus } from "../common/vocabulary.ts";
import type { Touched } from "./changes.ts";
import { withSettings } from "./configure.ts";
import type { Event, EventRun } from "./event.ts";
import { Held } from "./held.ts";
import { appendSegment, changeRange, isReady, type Segment } from "./segments.ts";
import { addUse, emptyCounts, emptyUsed, isOver, type Node, type State, type Submission, termsOf } from "./state.ts";
import { requireLegal, type Transition } from "./transitions.ts";

type EventOf<T extends Event["t"]> = Extract<Event, { t: T }>;

export function apply(state: State, event: Event, touched: Touched): void {
  switch (event.t) {
    case "cluster":
      state.cluster_id = event.cluster_id;
      state.name = event.name;
      state.created_at = event.at;
      return;
    case "term":
      if (event.epoch <= state.epoch) throw new Error(`epoch ${event.epoch} after ${state.epoch}`);
      state.epoch = event.epoch;
      state.leader = event.leader;
      return;
    case "submitted":
      applySubmitted(state, event, touched);
      return;
    case "extended":
      applyExtended(state, event, touched);
      return;
    case "closed":
      applyClosed(state, event, touched);
      return;
    case "registered":
    case "node":
    case "cordoned":
    case "skills":
    case "resumed":
    case "configured":
    case "removed":
      applyNode(state, event, touched);
      return;
    case "placement":
      state.placement = Object.keys(event.placement).length === 0 ? undefined : event.placement;
      return;
    case "pruned":
      applyPruned(state, event, touched);
      return;
    case "assigned":
      applyAssigned(state, event, touched);
      return;
    case "started":
      applyStarted(state, event, touched);
      return;
    case "succeeded":
      applySucceeded(state, event, touched);
      return;
    case "ended":
      applyEnded(state, event, touched);
      return;
    case "retried":
      applyRetried(state, event, touched);
      return;
    case "due":
      applyDue(state, event, touched);
      return;
    case "requeued":
      applyRequeued(state, event, touched);
      return;
    case "dropped":
      finish(state, touched, "dropped", [event.number, event.from, event.to, 0], "", event.outcome);
      return;
    case "stopping":
      applyStopping(state, event, touched);
      return;
  }
}

function submissionOf(state: State, number: number): Submission {
  const submission = state.submissions.get(number);
  if (submission === undefined) throw new Error(`no live submission ${number}`);
  return submission;
}

function openSubmission(state: State, number: number): Submission {
  const submission = submissionOf(state, number);
  if (!submission.open) throw new Error(`submission ${number} is closed`);
  return submission;
}

/** Only the attempt that stands may change anything; whoever made the event had to know. */
function requireCurrent(piece: Segment, number: number, attempt: number, node: string): void {
  if (piece.node !== node || piece.attempt !== attempt) {
    throw new Error(`attempt ${attempt} of ${number}.${piece.from} on ${node} is not the current one`);
  }
}

function nodeOf(state: State, id: string): Node {
  const node = state.nodes.get(id);
  if (node === undefined) throw new Error(`no node ${id}`);
  return node;
}

function applyNode(
  state: State,
  event: EventOf<"registered" | "node" | "cordoned" | "skills" | "resumed" | "configured" | "removed">,
  touched: Touched,
): void {
  touched.nodes.add(event.node);
  if (event.t === "registered") {
    applyRegistered(state, event);
    return;
  }
  const node = nodeOf(state, event.node);
  switch (event.t) {
    case "node":
      node.status = event.status;
      node.reason = event.reason;
      node.offline_at = event.status === "offline" ? (node.offline_at ?? event.at) : undefined;
      return;
    case "cordoned": {
      const { reason, by, at, drain_at, shutdown } = event;
      const more = { ...(drain_at === undefined ? {} : { drain_at }), ...(shutdown === true ? { shutdown } : {}) };
      node.cordon = { reason, by, at, ...more };
      return;
    }
    case "skills":
      node.skills = { hash: event.hash, list: event.skills };
      return;
    case "resumed":
      node.cordon = undefined;
      return;
    case "configured":
      node.settings = Object.keys(event.settings).length === 0 ? undefined : event.settings;
      node.info = withSettings(node.declared, node.settings);
      return;
    case "removed":
      if (node.held.count > 0) throw new Error(`node ${event.node} still holds attempts`);
      state.nodes.delete(event.node);
      return;
  }
}

function applyPruned(state: State, { numbers, counts, at }: EventOf<"pruned">, touched: Touched): void {
  for (const number of numbers) {
    const submission = state.submissions.get(number);
    if (submission === undefined) continue;
    if (!isOver(submission)) throw new Error(`submission ${number} is not over`);
    state.rows.exchange(submission.row_hash, 0);
    state.forget(submission);
    touched.submissions.delete(number);
  }
  for (const status of ["completed", "failed", "cancelled", "timeout"] as const) {
    state.totals[status] -= counts[status];
    state.totals.total -= counts[status];
  }
  touched.pruned.push({ numbers, at });
}

function applySubmitted(state: State, event: EventOf<"submitted">, touched: Touched): void {
  if (event.number !== state.next_number) throw new Error(`submission ${event.number}, not ${state.next_number}`);
  state.next_number += 1;
  const submission: Submission = {
    number: event.number,
    nonce: event.nonce,
    by: event.by,
    at: event.at,
    array: event.array,
    ids: event.ids,
    ...termsOf(state, event.spec, event.ids, event.at),
    count: 0,
    open: event.open ?? false,
    cut_short: undefined,
    extended_at: event.at,
    segments: [],
    counts: emptyCounts(),
    ready: 0,
    row_hash: 0,
  };
  state.submissions.set(event.number, submission);
  const { number, nonce, by, at, array, ids } = submission;
  touched.submitted.push({
    number,
    nonce,
    by,
    at,
    array,
    ids,
    specification: event.spec,
    ...(event.source === undefined ? {} : { source: event.source }),
  });
  if (event.inputs !== undefined && event.inputs.length > 0) {
    touched.inputs.push({ number, offset: 0, inputs: event.inputs });
  }
  grow(state, submission, event.count, event.at);
  touched.submissions.add(number);
}

function applyExtended(state: State, event: EventOf<"extended">, touched: Touched): void {
  const submission = openSubmission(state, event.number);
  if (event.offset !== submission.count) throw new Error(`inputs at ${event.offset}, not ${submission.count}`);
  if (event.inputs.length > 0) {
    touched.inputs.push({ number: event.number, offset: event.offset, inputs: event.inputs });
  }
  submission.extended_at = event.at;
  grow(state, submission, event.inputs.length, event.at);
  touched.submissions.add(event.number);
}

function applyClosed(state: State, { number, at, abandoned }: EventOf<"closed">, touched: Touched): void {
  const submission = openSubmission(state, number);
  submission.open = false;
  const overdue = at >= (submission.deadline_at ?? Number.POSITIVE_INFINITY);
  if (abandoned === true) submission.cut_short = "abandoned";
  else if (abandoned === false) submission.cut_short = overdue ? "deadline" : "cancelled";
  touched.submissions.add(number);
}

/** `count` more waiting members at the end. */
function grow(state: State, submission: Submission, count: number, at: number): void {
  if (count === 0) return;
  const from = submission.count;
  const { start_at } = submission;
  const early = start_at !== undefined && start_at > at ? { not_before: start_at } : {};
  appendSegment(submission.segments, { from, to: from + count, status: "pending", attempt: 0, ...early });
  submission.count += count;
  for (const counts of [submission.counts, state.totals]) {
    counts.total += count;
    counts.pending += count;
  }
  if (early.not_before !== undefined) return;
  submission.ready += count;
  state.ready.add(submission, count);
}

function applyRegistered(state: State, event: EventOf<"registered">): void {
  const known = state.nodes.get(event.node);
  if (known === undefined) {
    state.nodes.set(event.node, {
      id: event.node,
      incarnation: event.incarnation,
      declared: event.info,
      settings: undefined,
      info: event.info,
      status: "online",
      reason: "",
      registered_at: event.at,
      offline_at: undefined,
      cordon: undefined,
      skills: undefined,
      completed: 0,
      failed: 0,
      used: emptyUsed(),
      held: new Held(),
    });
  } else {
    // Whoever starts a worker again that was shut down wants it to work.
    if (known.cordon?.shutdown === true && known.incarnation !== event.incarnation) known.cordon = undefined;
    known.incarnation = event.incarnation;
    known.declared = event.info;
    known.info = withSettings(event.info, known.settings);
    known.status = "online";
    known.reason = "";
    known.registered_at = event.at;
    known.offline_at = undefined;
  }
}

function applyAssigned(state: State, event: EventOf<"assigned">, touched: Touched): void {
  const { node, at } = event;
  for (const [number, from, to, attempt] of event.runs) {
    move(state, touched, "assigned", number, from, to, (piece) => {
      if (!isReady(piece) || attempt <= piece.attempt) throw new Error(`task ${number}.${from} is not to be assigned`);
      return { ...piece, status: "scheduled", attempt, node, since: at };
    });
  }
}

function applyStarted(state: State, event: EventOf<"started">, touched: Touched): void {
  for (const [number, from, to, attempt] of event.runs) {
    move(state, touched, "started", number, from, to, (piece) => {
      requireCurrent(piece, number, attempt, event.node);
      const { since: _assigned, ...rest } = piece;
      return { ...rest, status: "running", ...(event.at === undefined ? {} : { since: event.at }) };
    });
  }
}

function applyStopping(state: State, event: EventOf<"stopping">, touched: Touched): void {
  for (const [number, from, to, attempt] of event.runs) {
    move(state, touched, "stopping", number, from, to, (piece) => {
      requireCurrent(piece, number, attempt, event.node);
      return { ...piece, stopping: event.reason };
    });
  }
}

function applySucceeded(state: State, event: EventOf<"succeeded">, touched: Touched): void {
  for (const [number, from, to, attempt, started_at, ended_at] of event.runs) {
    const outcome: Outcome = { status: "completed", reason: "exit", exit_code: 0, started_at, ended_at, inline: true };
    finish(state, touched, "succeeded", [number, from, to, attempt], event.node, outcome);
  }
}

function applyEnded(state: State, event: EventOf<"ended">, touched: Touched): void {
  for (const { task, outcome } of event.results) {
    const [number, index, attempt] = task;
    finish(state, touched, "ended", [number, index, index + 1, attempt], event.node, outcome);
  }
}

function applyRetried(state: State, event: EventOf<"retried">, touched: Touched): void {
  const { node, at } = event;
  for (const { task, outcome, not_before, failures } of event.results) {
    const [number, index, attempt] = task;
    move(state, touched, "retried", number, index, index + 1, (piece) => {
      requireCurrent(piece, number, attempt, node);
      return waiting(piece, { failures, not_before: Math.max(not_before, at), lost: piece.lost });
    });
    const { reason } = outcome;
    touched.attempts.push({ number, from: index, to: index + 1, attempt, node, reason, at, outcome });
    const holder = nodeOf(state, node);
    if (outcome.status === "completed") holder.completed += 1;
    else holder.failed += 1;
    touched.nodes.add(node);
  }
}

function applyDue(state: State, event: EventOf<"due">, touched: Touched): void {
  for (const [number, from, to] of event.runs) {
    move(state, touched, "due", number, from, to, (piece) => {
      const { not_before, ...ready } = piece;
      if (not_before === undefined) throw new Error(`task ${number}.${piece.from} waits for no time`);
      return ready;
    });
  }
}

function applyRequeued(state: State, event: EventOf<"requeued">, touched: Touched): void {
  const { node, reason, at, started = [] } = event;
  for (const [place, [number, from, to, attempt]] of event.runs.entries()) {
    const lost = reason === "lost" ? 1 : 0;
    move(state, touched, "requeued", number, from, to, (piece) => {
      requireCurrent(piece, number, attempt, node);
      return waiting(piece, { failures: piece.failures, lost: (piece.lost ?? 0) + lost });
    });
    if (reason === "released") continue;
    const { [place]: started_at = 0 } = started;
    const began = started_at > 0 ? { started_at } : {};
    touched.attempts.push({ number, from, to, attempt, node, reason, at, ...began });
  }
}

/** What of an attempt stays with a task that waits again. */
function waiting(
  { from, to, attempt }: Segment,
  { failures = 0, lost = 0, not_before }: { [K in "failures" | "lost" | "not_before"]?: number | undefined },
): Segment {
  return {
    from,
    to,
    status: "pending",
    attempt,
    ...(not_before === undefined ? {} : { not_before }),
    ...(failures > 0 ? { failures } : {}),
    ...(lost > 0 ? { lost } : {}),
  };
}

function finish(
  state: State,
  touched: Touched,
  transition: Transition,
  [number, from, to, attempt]: EventRun,
  node: string,
  outcome: Outcome,
): void {
  move(
    state,
    touched,
    transition,
    number,
    from,
    to,
    (piece) => {
      if (node !== "") requireCurrent(piece, number, attempt, node);
      return { from: piece.from, to: piece.to, status: "over", attempt: 0 };
    },
    outcome.status,
  );
  state.results += 1;
  touched.results.push({ position: state.results, number, from, to, attempt, node, outcome });
  const holder = state.nodes.get(node);
  if (holder === undefined) return;
  if (outcome.status === "completed") holder.completed += to - from;
  else holder.failed += to - from;
  touched.nodes.add(node);
}

/**
 * The only place where a member changes status, and where that is checked: counts, resources, the ready lanes and held
 * attempts follow. `ended_as` is how those that are over by it have ended.
 */
function move(
  state: State,
  touched: Touched,
  transition: Transition,
  number: number,
  from: number,
  to: number,
  change: (piece: Segment) => Segment,
  ended_as?: Outcome["status"],
): void {
  const submission = submissionOf(state, number);
  let taken = 0;
  let added = 0;
  let moved = 0;
  changeRange(submission.segments, from, to, (piece) => {
    const { from: start, to: end, node, attempt } = piece;
    if (piece.status === "over") throw new Error(`task ${number}.${start} is over already`);
    const next = change(piece);
    const size = end - start;
    const status = next.status === "over" ? overAs(ended_as) : next.status;
    requireLegal(transition, piece.status, status, `${number}.${start}`);
    moved += size;
    recount(submission, state, piece.status, status, size);
    if (node !== undefined && next.node === undefined) holdLess(state, submission, node, start, end, attempt);
    if (node === undefined && next.node !== undefined) holdMore(state, submission, next.node, start, end, next.attempt);
    if (isReady(piece) && !isReady(next)) taken += size;
    if (!isReady(piece) && isReady(next)) added += size;
    return next;
  });
  if (moved !== to - from) throw new Error(`submission ${number} has no members ${from} to ${to}`);
  const { counts } = submission;
  submission.ready += added - taken;
  if (added > 0) state.ready.add(submission, added);
  if (taken > 0) state.ready.take(submission, taken);
  if (counts.scheduled + counts.running > 0) state.active.add(number);
  else state.active.delete(number);
  touched.submissions.add(number);
}

function overAs(ended_as: Outcome["status"] | undefined): Outcome["status"] {
  if (ended_as === undefined) throw new Error("what is over has ended in some way, once");
  return ended_as;
}

function recount(submission: Submission, state: State, before: TaskStatus, after: TaskStatus, size: number): void {
  for (const counts of [submission.counts, state.totals]) {
    counts[before] -= size;
    counts[after] += size;
  }
}

function holdMore(state: State, submission: Submission, id: string, from: number, to: number, attempt: number): void {
  const node = nodeOf(state, id);
  addUse(node.used, state.needsOf(submission), to - from);
  node.held.add(submission.number, from, to, attempt);
}

function holdLess(state: State, submission: Submission, id: string, from: number, to: number, attempt: number): void {
  const node = nodeOf(state, id);
  addUse(node.used, state.needsOf(submission), from - to);
  node.held.remove(submission.number, from, to, attempt);
}

/** Members of a live submission that a node holds. */
export interface HeldPiece {
  number: number;
  piece: Segment;
}

export function heldBy(state: State, id: string): HeldPiece[] {
  return heldByEach(state, new Set([id])).get(id) ?? [];
}

/** What of each of these nodes `keep` accepts, in one look at all that runs; who holds nothing of it is not in the answer. */
export function heldByEach(
  state: State,
  ids: ReadonlySet<string>,
  keep: (piece: Segment, node: string) => boolean = () => true,
): Map<string, HeldPiece[]> {
  const found = new Map<string, HeldPiece[]>();
  if (ids.size === 0) return found;
  for (const number of state.active) {
    for (const segment of submissionOf(state, number).segments) {
      const { node } = segment;
      if (node === undefined || !ids.has(node) || !keep(segment, node)) continue;
      const held = { number, piece: { ...segment } };
      const there = found.get(node);
      if (there === undefined) found.set(node, [held]);
      else there.push(held);
    }
  }
  return found;
}
