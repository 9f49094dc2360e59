// May it happen? Commands and reports against the state: the events that follow, or a typed rejection. Nothing here
// changes anything; the leader folds the events.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Outcome, Specification } from "../common/models.ts";
import type { EndReason, TaskStatus } from "../common/vocabulary.ts";
import { planted } from "./canary.ts";
import { checkInputs, checkSpecification } from "./decide-specification.ts";
import type { Event, EventRun } from "./event.ts";
import { formatTaskId } from "./ids.ts";
import { addTo } from "./runs.ts";
import { isReady, piecesOf, type Segment, spansOf } from "./segments.ts";
import type { Policy, State, Submission } from "./state.ts";
import { overdue } from "./verdict.ts";

/** A submission that the state no longer, or the view not yet, knows by its id. */
export interface KnownId {
  number: number;
  nonce: string;
  /** Its members, as the view has them: the state forgets a submission that is over. */
  count?: number;
  /** Its members have no inputs: there are so many of them. */
  counted?: boolean;
}

/** Looks ids up in everything that was ever submitted and not pruned: open batches, memory, view. */
export type FindIds = (ids: readonly number[]) => Map<number, KnownId>;

/** A submission that was made under an idempotency key, by its first id. */
export interface KnownKey {
  number: number;
  id: number;
  /** See `contentOf`. */
  content: string;
}

/** Looks a key up where ids are looked up. */
export type FindKey = (key: string) => KnownKey | undefined;

/** What two submissions under one key have to agree in: not in where they were typed, nor in the order of names. */
export function contentOf({ origin: _origin, ...spec }: Specification, array: boolean, count: number): string {
  return JSON.stringify([spec, array, count], (_name, value: unknown) =>
    typeof value !== "object" || value === null || Array.isArray(value)
      ? value
      : Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1))),
  );
}

export interface Submit {
  nonce: string;
  specifications: readonly Specification[];
  tasks?: readonly (readonly [number, number])[] | undefined;
  array?:
    | { id: number; count?: number | undefined; inputs?: string[] | undefined; open?: boolean | undefined }
    | undefined;
}

export interface Decision<T> {
  events: Event[];
  answer: T;
}

/**
 * A submission once, however often it is sent: the same nonce gets the same answer, another one `id_taken`. The same
 * idempotency key gets the id of the submission that has it (`existing`), `conflict` when that is another one.
 */
export function decideSubmit(
  state: State,
  find: { ids: FindIds; key: FindKey },
  command: Submit,
  by: string,
  now: number,
): Decision<{ number: number; existing?: number }> {
  const ids = idsOf(command);
  const known = find.ids(ids);
  if (known.size > 0) {
    const taken = ids.filter((id) => known.get(id) !== undefined && known.get(id)?.nonce !== command.nonce);
    if (taken.length > 0) {
      const names = taken.map((id) => formatTaskId(id)).join(", ");
      throw new ClawError("id_taken", `${taken.length} ids are taken: ${names}`, { field: names });
    }
    const first = known.get(ids[0] ?? 0);
    if (first === undefined || known.size !== ids.length) {
      throw new ClawError("conflict", "this nonce was used for another submission", { field: "nonce" });
    }
    return { events: [], answer: { number: first.number } };
  }
  const keyed = existing(command, find.key);
  if (keyed !== undefined) return { events: [], answer: { number: keyed.number, existing: keyed.id } };
  const events = command.array === undefined ? separate(state, command, by, now) : [array(state, command, by, now)];
  return { events, answer: { number: state.next_number } };
}

function existing(command: Submit, find: FindKey): KnownKey | undefined {
  const key = command.specifications.find((spec) => spec.key !== undefined)?.key;
  if (key === undefined) return undefined;
  const [spec, other] = command.specifications;
  if (spec === undefined || other !== undefined || command.array?.open === true) {
    throw new ClawError("bad_request", "a key is for a submission of one specification, sent as a whole", {
      field: "key",
    });
  }
  const known = find(key);
  if (known === undefined) return undefined;
  const { array, tasks } = command;
  const count = array === undefined ? (tasks?.length ?? 0) : (array.inputs?.length ?? array.count ?? 0);
  if (known.content === contentOf(spec, array !== undefined, count)) return known;
  throw new ClawError("conflict", `the key '${key}' is ${formatTaskId(known.id)}'s, which runs something else`, {
    field: "key",
    hint: `claw show ${formatTaskId(known.id)}; another submission wants a key of its own`,
  });
}

function idsOf(command: Submit): number[] {
  if ((command.tasks === undefined) === (command.array === undefined)) {
    throw new ClawError("bad_request", "a submission has either tasks or an array", { field: "tasks" });
  }
  if (command.array !== undefined) return [command.array.id];
  const ids = (command.tasks ?? []).map(([id]) => id);
  if (ids.length === 0) throw new ClawError("bad_request", "a submission without tasks", { field: "tasks" });
  if (new Set(ids).size !== ids.length) {
    throw new ClawError("bad_request", "the same id twice in one submission", { field: "tasks" });
  }
  return ids;
}

/** Separate tasks of one specification are one range inside, so a thousand of them cost one row. */
function separate(state: State, command: Submit, by: string, now: number): Event[] {
  const ids_of = new Map<number, number[]>();
  for (const [id, spec] of command.tasks ?? []) {
    if (command.specifications[spec] === undefined) {
      throw new ClawError("bad_request", `there is no specification ${spec}`, { field: "tasks" });
    }
    const list = ids_of.get(spec);
    if (list === undefined) ids_of.set(spec, [id]);
    else list.push(id);
  }
  const events: Event[] = [];
  for (const [position, ids] of ids_of) {
    const spec = command.specifications[position];
    if (spec === undefined) continue;
    inPlace(command, position, () => checkSpecification(state, spec, now));
    const number = state.next_number + events.length;
    const { nonce } = command;
    events.push({ t: "submitted", number, nonce, by, at: now, spec, array: false, ids, count: ids.length });
  }
  return events;
}

/** Of several the field says which one is at fault. */
function inPlace({ specifications }: Submit, position: number, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof ClawError) || error.field === undefined || specifications.length === 1) throw error;
    throw ClawError.fromWire({ ...error.toWire(), field: `specifications.${position}.${error.field}` });
  }
}

function array(state: State, command: Submit, by: string, now: number): Event {
  const wanted = command.array;
  const spec = command.specifications[0];
  if (wanted === undefined || spec === undefined || command.specifications.length !== 1) {
    throw new ClawError("bad_request", "an array has one specification", { field: "specifications" });
  }
  checkSpecification(state, spec, now);
  const { inputs } = wanted;
  checkInputs(inputs ?? []);
  if (inputs !== undefined && wanted.count !== undefined && wanted.count !== inputs.length) {
    throw new ClawError("bad_request", "count and inputs differ", { field: "array.count" });
  }
  const count = inputs?.length ?? wanted.count ?? 0;
  if (count === 0 && wanted.open !== true) {
    throw new ClawError("bad_request", "an array without members", { field: "array.count" });
  }
  if (count > 0 && inputs === undefined && wanted.open === true) {
    throw new ClawError("bad_request", "an open array has inputs, and no count", { field: "array.count" });
  }
  return {
    t: "submitted",
    number: state.next_number,
    nonce: command.nonce,
    by,
    at: now,
    spec,
    array: true,
    ids: [wanted.id],
    count,
    ...(wanted.open === true ? { open: true } : {}),
    ...(inputs === undefined ? {} : { inputs }),
  };
}

export interface Extend {
  id: number;
  nonce: string;
  offset: number;
  inputs: readonly string[];
  close?: { total: number } | undefined;
}

/** More inputs for an open array: a repeat is answered, a gap refused. */
export function decideExtend(state: State, find: FindIds, command: Extend, now: number): Decision<{ total: number }> {
  const known = find([command.id]).get(command.id);
  const name = formatTaskId(command.id);
  if (known === undefined) throw new ClawError("not_found", `there is no array ${name}`);
  if (known.nonce !== command.nonce) throw new ClawError("conflict", `${name} is another submission`);
  if (known.counted === true && command.inputs.length > 0) {
    throw new ClawError("bad_request", `${name} was submitted by its count: it takes no inputs`, { field: "inputs" });
  }
  const submission = state.submissions.get(known.number);
  const total = command.close?.total;
  const end = command.offset + command.inputs.length;
  if (submission === undefined || !submission.open) {
    const count = submission?.count ?? known.count;
    if (count === undefined) throw new Error(`submission ${known.number} is neither in the state nor in the view`);
    if (end <= count && (total === undefined || total === count)) return { events: [], answer: { total: count } };
    throw new ClawError("conflict", `${name} is closed with ${count} members`);
  }
  if (command.offset > submission.count) {
    throw new ClawError("gap", `${name} has ${submission.count} inputs, these begin at ${command.offset}`, {
      field: "offset",
    });
  }
  checkInputs(command.inputs);
  if (end > LIMITS.array_members) throw new ClawError("too_large", `an array has at most ${LIMITS.array_members}`);
  const fresh = command.inputs.slice(submission.count - command.offset);
  const count = Math.max(end, submission.count);
  if (total !== undefined && total !== count) {
    throw new ClawError("conflict", `${name} has ${count} inputs, not ${total}`, { field: "close.total" });
  }
  const { number } = submission;
  const events: Event[] = [];
  if (fresh.length > 0 || total === undefined) {
    events.push({ t: "extended", number, offset: submission.count, inputs: fresh, at: now });
  }
  if (total !== undefined) events.push({ t: "closed", number, at: now });
  return { events, answer: { total: count } };
}

export interface CancelAnswer {
  /** Had not begun and never will. */
  cancelled: number;
  /** Told to stop. */
  stopping: number;
  /** Were over already. */
  finished: number;
  /** Arrays to which more inputs might have come; absent: none. */
  closed?: number;
}

export interface CancelDecision extends Decision<CancelAnswer> {
  /** What to tell which node. */
  stop: Map<string, EventRun[]>;
}

/** Throws for what never was: all of the command is refused, then, and none of it done. */
export function requireTargets(
  state: State,
  targets: readonly { number: number; from: number; to?: number | undefined }[],
): void {
  for (const { number, from, to } of targets) {
    const submission = state.submissions.get(number);
    const count = submission === undefined || submission.open ? LIMITS.array_members : submission.count;
    if (number < 1 || number >= state.next_number) {
      throw new ClawError("not_found", `there is no submission ${number}`, { field: "targets" });
    }
    if (from >= count || (to ?? 0) > LIMITS.array_members) {
      throw new ClawError("not_found", `submission ${number} has no members ${from} to ${to}`, { field: "targets" });
    }
  }
}

/** Cancels members [from, to): waiting ones are over at once, the others when their node says that they are gone. */
export function decideCancel(
  state: State,
  number: number,
  from: number,
  to: number | undefined,
  now: number,
  only?: readonly TaskStatus[],
): CancelDecision {
  const answer: CancelAnswer = { cancelled: 0, stopping: 0, finished: 0 };
  const events: Event[] = [];
  const stop = new Map<string, EventRun[]>();
  const submission = state.submissions.get(number);
  if (submission === undefined) {
    answer.finished = (to ?? from + 1) - from;
    return { events, answer, stop };
  }
  if (to === undefined && submission.open && closes(only)) {
    events.push({ t: "closed", number, at: now, abandoned: false });
    answer.closed = 1;
  }
  const outcome: Outcome = { status: "cancelled", reason: "cancelled", started_at: now, ended_at: now };
  const dropped: Segment[] = [];
  const stopping = new Map<string, EventRun[]>();
  for (const piece of piecesOf(submission.segments, from, to ?? submission.count, () => true)) {
    const size = piece.to - piece.from;
    if (only !== undefined && piece.status !== "over" && !only.includes(piece.status)) continue;
    if (piece.status === "pending") {
      dropped.push(piece);
      answer.cancelled += size;
    } else if (piece.node !== undefined) {
      const run: EventRun = [number, piece.from, piece.to, piece.attempt];
      if (piece.stopping !== "cancel" && piece.stopping !== "deadline") addTo(stopping, piece.node, run);
      addTo(stop, piece.node, run);
      answer.stopping += size;
    } else {
      answer.finished += size;
    }
  }
  for (const span of spansOf(dropped)) events.push({ t: "dropped", number, ...span, outcome });
  for (const [node, runs] of stopping) events.push({ t: "stopping", node, runs, reason: "cancel", at: now });
  return { events, answer, stop };
}

/** An array is closed by a cancel of what it has not yet, too. */
function closes(only: readonly TaskStatus[] | undefined): boolean {
  return only === undefined || only.includes("pending");
}

/** The parts of [from, to) whose current attempt is this node's: only those may be reported. */
export function currentPieces(
  state: State,
  node: string,
  number: number,
  from: number,
  to: number,
  attempt: number,
): Segment[] {
  const submission = state.submissions.get(number);
  if (submission === undefined) return [];
  const current = (piece: Segment): boolean => piece.node === node && piece.attempt === attempt;
  // A planted bug: a report of any attempt is taken for the current one's.
  const any = (piece: Segment): boolean => piece.node !== undefined;
  return piecesOf(submission.segments, from, to, planted("attempt_ignored") ? any : current);
}

/**
 * Attempts that a node lost, or gave back when it said goodbye: back to waiting, or over when they were to be stopped, when
 * they must not run twice, or when too many nodes were lost under them.
 */
export function decideLost(
  state: State,
  node: string,
  pieces: readonly { number: number; piece: Segment }[],
  now: number,
  reason: "lost" | "released" = "lost",
): Event[] {
  const events: Event[] = [];
  const back = new Map<EndReason, { runs: EventRun[]; started: number[] }>();
  for (const { number, piece } of pieces) {
    const policy = state.submissions.get(number)?.policy;
    if (policy === undefined) throw new Error(`node ${node} holds a member of ${number}, which is not live`);
    const verdict = lostOutcome(policy, piece, now, reason);
    if (verdict === undefined) {
      const why = reason === "released" && piece.status === "running" ? "stopped" : reason;
      const group = back.get(why) ?? { runs: [], started: [] };
      back.set(why, group);
      group.runs.push([number, piece.from, piece.to, piece.attempt]);
      group.started.push(begunAt(piece) ?? 0);
      continue;
    }
    for (let index = piece.from; index < piece.to; index++) {
      events.push({ t: "ended", node, results: [{ task: [number, index, piece.attempt], outcome: verdict }] });
    }
  }
  for (const [why, { runs, started }] of back) {
    events.push({ t: "requeued", node, runs, ...startedOf(started), reason: why, at: now });
  }
  return events;
}

/** When an attempt began, as far as its node told. */
function begunAt({ status, since }: Segment): number | undefined {
  return status === "running" ? since : undefined;
}

/** What an event says of when its attempts began, if any did. */
export function startedOf(started: number[]): { started?: number[] } {
  return started.some((at) => at > 0) ? { started } : {};
}

function lostOutcome(policy: Policy, piece: Segment, now: number, reason: "lost" | "released"): Outcome | undefined {
  const times = { started_at: begunAt(piece) ?? now, ended_at: now };
  const stopped = stoppedOutcome(piece, now);
  if (stopped !== undefined) return stopped;
  if (policy.on_lost === "fail") {
    const message = "lost with its node; it may have run, and must not run twice";
    return { status: "failed", reason: "lost", ...times, message };
  }
  if (reason === "released" || policy.daemon || (piece.lost ?? 0) + 1 < LIMITS.lost_attempts) return undefined;
  const message = `lost with its node ${LIMITS.lost_attempts} times`;
  return { status: "failed", reason: "poison", ...times, message };
}

/** How a task ends that was to be stopped and whose node tells no more of it; undefined where it goes on elsewhere. */
export function stoppedOutcome(piece: Segment, now: number): Outcome | undefined {
  const { stopping } = piece;
  if (stopping === undefined || stopping === "drain") return undefined;
  const started_at = begunAt(piece) ?? now;
  const outcome: Outcome = { status: "cancelled", reason: "cancelled", started_at, ended_at: now };
  return stopping === "deadline" ? overdue(outcome) : outcome;
}

/** Log time until which an open array waits for its client; `started_at`: since when its leader could be told anything. */
export function abandonedAt(
  { extended_at }: Pick<Submission, "extended_at">,
  started_at: number,
  after_ms: number,
): number {
  return Math.max(extended_at, started_at) + after_ms;
}

/** Open arrays that nobody extended for ten minutes are closed: their client is gone. */
export function decideAbandoned(state: State, now: number, after_ms: number): Event[] {
  const events: Event[] = [];
  for (const submission of state.submissions.values()) {
    if (submission.open && now > abandonedAt(submission, 0, after_ms)) {
      events.push({ t: "closed", number: submission.number, at: now, abandoned: true });
    }
  }
  return events;
}

/** The next `count` waiting members of a lane's submissions as runs of one attempt each. */
export function takeWaiting(submissions: Iterable<Submission>, count: number): EventRun[] {
  const runs: EventRun[] = [];
  let left = count;
  for (const submission of submissions) {
    for (const piece of submission.segments) {
      if (left === 0) return runs;
      if (!isReady(piece)) continue;
      const size = Math.min(left, piece.to - piece.from);
      runs.push([submission.number, piece.from, piece.from + size, piece.attempt + 1]);
      left -= size;
    }
    if (left === 0) return runs;
  }
  return runs;
}
