// `task.retry`: what is over, anew, as submissions of their own that name the old ones. They say which members they stand
// for instead of repeating their inputs, so a million of them cost one event.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Specification } from "../common/models.ts";
import type { TerminalStatus } from "../common/vocabulary.ts";
import type { Decision, FindIds } from "./decide.ts";
import type { Event } from "./event.ts";
import { formatTaskId } from "./ids.ts";
import { encodeMembers, Members, type Range } from "./members.ts";
import type { State } from "./state.ts";

export interface Retry {
  nonce: string;
  targets: readonly {
    /** The new submission's. */
    id: number;
    number: number;
    /** One member; absent: all of an array. */
    index?: number | undefined;
  }[];
  /** Only members that ended so. */
  statuses: readonly TerminalStatus[];
  /** Leaves out the members that a later retry stands for. */
  fresh?: boolean | undefined;
  /** Nothing is made: only what would be is answered. */
  dry?: boolean | undefined;
}

/** What a retry needs to know of what is over: the view has it. */
export interface Retryable {
  array: boolean;
  specification: Specification;
  /** It is a retry itself, of these members. */
  source: { number: number; members: string } | undefined;
}

export interface PastView {
  findIds: FindIds;
  retryable(number: number): Retryable | undefined;
  /** Members that ended in one of these ways, in order. */
  ended(number: number, statuses: readonly TerminalStatus[]): Iterable<Range>;
  /** The members of `root` for which later submissions than `after` stand. */
  retries(root: number, after: number): Iterable<string>;
}

export interface RetryAnswer {
  /** One for each target that had something to retry, in their order. */
  retried: { id: number; number: number; of: number; count: number }[];
  /** Positions of the targets that had nothing. */
  skipped: number[];
  /** Members that `fresh` left out. */
  left_out: number;
}

/** `now` is log time; `by` the client. Sent again, the same nonce gets the same answer. */
export function decideRetry(
  state: State,
  view: PastView,
  command: Retry,
  by: string,
  now: number,
): Decision<RetryAnswer> {
  const answer: RetryAnswer = { retried: [], skipped: [], left_out: 0 };
  const events: Event[] = [];
  const ids = command.targets.map(({ id }) => id);
  if (new Set(ids).size !== ids.length) throw new ClawError("bad_request", "the same id twice", { field: "targets" });
  const known = view.findIds(ids);
  for (const [position, target] of command.targets.entries()) {
    const before = known.get(target.id);
    if (before !== undefined && before.nonce !== command.nonce) {
      throw new ClawError("id_taken", `${formatTaskId(target.id)} is taken`, { field: formatTaskId(target.id) });
    }
    const old = view.retryable(target.number);
    if (old === undefined) throw new ClawError("not_found", `there is no submission ${target.number}`);
    const { id, number: of, index } = target;
    if (before !== undefined) {
      answer.retried.push({
        id,
        number: before.number,
        of,
        count: state.submissions.get(before.number)?.count ?? before.count ?? 1,
      });
      continue;
    }
    const ended = [...endedOf(view, of, index, command.statuses)];
    const ranges = command.fresh === true ? without(ended, retriedOf(view, of, old), old) : ended;
    answer.left_out += countOf(ended) - countOf(ranges);
    const source = sourceOf(of, ranges, old);
    if (source === undefined) {
      answer.skipped.push(position);
      continue;
    }
    const number = state.next_number + events.length;
    const spec = again(old.specification);
    const whole = old.array && index === undefined;
    const base = { nonce: command.nonce, by, at: now, spec, array: whole, ids: [id], source };
    const count = countOf(ranges);
    events.push({ t: "submitted", number, count, ...base });
    answer.retried.push({ id, number, of, count });
  }
  return { events: command.dry === true ? [] : events, answer };
}

function countOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}

function* endedOf(
  view: PastView,
  number: number,
  index: number | undefined,
  statuses: readonly TerminalStatus[],
): Iterable<Range> {
  for (const { from, to } of view.ended(number, statuses)) {
    if (index === undefined) yield { from, to };
    else if (from <= index && index < to) yield { from: index, to: index + 1 };
  }
}

/** The members behind it all: a retry of a retry stands for those of the first. */
function sourceOf(number: number, ranges: readonly Range[], { source }: Retryable): Retryable["source"] {
  if (ranges.length === 0) return undefined;
  if (source === undefined) return within({ number, members: encodeMembers(ranges) });
  const members = new Members(source.members);
  const first = ranges.flatMap(({ from, to }) => [...members.standFor(from, to)]);
  return within({ number: source.number, members: encodeMembers(first) });
}

function within(source: { number: number; members: string }): { number: number; members: string } {
  if (source.members.length <= LIMITS.retry_members_bytes) return source;
  throw new ClawError("too_large", "these members lie too scattered to be retried at once", {
    hint: "retry those of one status, or retry members one by one",
  });
}

/** What later retries stand for, as ascending ranges of the members behind it all. */
function retriedOf(view: PastView, number: number, { source }: Retryable): Range[] {
  const ranges: Range[] = [];
  for (const text of view.retries(source?.number ?? number, number)) {
    const members = new Members(text);
    ranges.push(...members.standFor(0, members.count));
  }
  return ranges.sort((a, b) => a.from - b.from);
}

/** Those of the members in `ranges` that stand for nothing in `taken`. */
function without(ranges: readonly Range[], taken: readonly Range[], { source }: Retryable): Range[] {
  const members = source === undefined ? undefined : new Members(source.members);
  const left: Range[] = [];
  let first = 0;
  for (const { from, to } of ranges) {
    let member = from;
    for (const old of members?.standFor(from, to) ?? [{ from, to }]) {
      // What a member is behind the one that it stands for.
      const ahead = member - old.from;
      let at = old.from;
      while (first < taken.length && (taken[first]?.to ?? 0) <= at) first += 1;
      for (let next = first; at < old.to; next++) {
        const { from: begin, to: end } = taken[next] ?? { from: old.to, to: old.to };
        const past = Math.min(begin, old.to);
        if (past > at) left.push({ from: at + ahead, to: past + ahead });
        at = Math.max(at, end);
      }
      member += old.to - old.from;
    }
  }
  return left;
}

/** It is asked for now: what put the first one off is over. */
function again({ start_after_ms: _after, start_at: _at, key: _key, ...spec }: Specification): Specification {
  return spec;
}
