// `task.retry`: what is over, anew, as submissions of their own that name the old ones. They say which members they stand
// for instead of repeating their inputs, so a million of them cost one event.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Specification } from "../common/models.ts";
import type { TerminalStatus } from "../common/vocabulary.ts";
import type { Decision, FindIds } from "./decide.ts";
import type { Event } from "./event.ts";
import { firstWhere } from "./first-where.ts";
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
  /** Members of [from, to) that ended in one of these ways, in order. */
  ended(number: number, from: number, to: number, statuses: readonly TerminalStatus[]): Iterable<Range>;
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

/** A submission of which something is asked for: read once, however many of its members are. */
interface Old extends Retryable {
  number: number;
  /** What a retry's own members stand for. */
  members: Members | undefined;
  /** What later retries stand for, as ascending ranges of the members behind it all, with gaps between them. */
  taken: Range[];
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
  const read = new Map<number, Old>();
  for (const [position, target] of command.targets.entries()) {
    const before = known.get(target.id);
    if (before !== undefined && before.nonce !== command.nonce) {
      throw new ClawError("id_taken", `${formatTaskId(target.id)} is taken`, { field: formatTaskId(target.id) });
    }
    const { id, number: of, index } = target;
    const old = read.get(of) ?? readOld(view, of, command.fresh === true);
    read.set(of, old);
    if (before !== undefined) {
      answer.retried.push({
        id,
        number: before.number,
        of,
        count: state.submissions.get(before.number)?.count ?? before.count ?? 1,
      });
      continue;
    }
    const [from, to] = index === undefined ? [0, LIMITS.array_members] : [index, index + 1];
    const ended = [...view.ended(of, from, to, command.statuses)];
    const ranges = without(ended, old);
    answer.left_out += countOf(ended) - countOf(ranges);
    const source = sourceOf(ranges, old);
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

function readOld(view: PastView, number: number, fresh: boolean): Old {
  const found = view.retryable(number);
  if (found === undefined) throw new ClawError("not_found", `there is no submission ${number}`);
  const { source } = found;
  const members = source === undefined ? undefined : new Members(source.members);
  const taken = fresh ? retriedOf(view, source?.number ?? number, number) : [];
  return { ...found, number, members, taken };
}

/** The members behind it all: a retry of a retry stands for those of the first. */
function sourceOf(ranges: readonly Range[], { number, source, members }: Old): Retryable["source"] {
  if (ranges.length === 0) return undefined;
  if (source === undefined || members === undefined) return within({ number, members: encodeMembers(ranges) });
  const first = ranges.flatMap(({ from, to }) => [...members.standFor(from, to)]);
  return within({ number: source.number, members: encodeMembers(first) });
}

function within(source: { number: number; members: string }): { number: number; members: string } {
  if (source.members.length <= LIMITS.retry_members_bytes) return source;
  throw new ClawError("too_large", "these members lie too scattered to be retried at once", {
    hint: "retry those of one status, or retry members one by one",
  });
}

/** What of `root` later retries than `after` stand for: two of them may stand for the same. */
function retriedOf(view: PastView, root: number, after: number): Range[] {
  const ranges: Range[] = [];
  for (const text of view.retries(root, after)) {
    const members = new Members(text);
    for (const range of members.standFor(0, members.count)) ranges.push(range);
  }
  const merged: Range[] = [];
  for (const { from, to } of ranges.sort((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else merged.push({ from, to });
  }
  return merged;
}

/** Those of the members in `ranges` for which nothing stands yet. */
function without(ranges: readonly Range[], { members, taken }: Old): Range[] {
  if (taken.length === 0) return [...ranges];
  const left: Range[] = [];
  for (const { from, to } of ranges) {
    let member = from;
    for (const old of members?.standFor(from, to) ?? [{ from, to }]) {
      // What a member is behind the one that it stands for.
      const ahead = member - old.from;
      let at = old.from;
      for (let next = firstWhere(taken, (range) => range.to > at); at < old.to; next++) {
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
