// What the view answers: ids, lists, one task, results in the order in which they were recorded. Read only.

import type { Database } from "bun:sqlite";
import { LIMITS } from "../common/limits.ts";
import type { AttemptView, Outcome, Specification, TaskCounts } from "../common/models.ts";
import { type CutShort, type EndReason, isTerminal, type Priority, type TaskStatus } from "../common/vocabulary.ts";
import { contentOf, type KnownId, type KnownKey } from "../core/decide.ts";
import { firstWhere } from "../core/first-where.ts";
import type { Range } from "../core/members.ts";
import type { Prunable } from "../core/prune.ts";
import { type Segment, segmentAt } from "../core/segments.ts";
import { guarded } from "./database.ts";
import { VIEW_REMEDY } from "./view.ts";

export interface SubmissionRecord {
  number: number;
  nonce: string;
  by: string;
  at: number;
  array: boolean;
  ids: number[];
  specification: Specification;
  open: boolean;
  /** Log time of the last extension of an open one. */
  extended_at: number;
  /** It was closed, and not by its client. */
  cut_short?: CutShort;
  live: boolean;
  segments: Segment[];
  counts: TaskCounts;
  /** It is a retry of these members (core/members.ts). */
  source?: { number: number; members: string };
}

/** How far a submission is, without what is known of each member: that may be long. */
export type Standing = Pick<SubmissionRecord, "array" | "open" | "cut_short" | "live" | "counts">;

/** What of submissions is asked for, as far as their rows tell it at once. */
export interface Wanted {
  name?: string | undefined;
  priority?: Priority | undefined;
  /** Some label is. */
  labelled?: boolean;
  statuses?: readonly TaskStatus[] | undefined;
  /** Submitted then or later. */
  since?: number | undefined;
}

export interface RecordedResult {
  position: number;
  from: number;
  to: number;
  attempt: number;
  node: string;
  outcome: Outcome;
}

interface RawStanding extends Omit<TaskCounts, "total"> {
  is_array: number;
  count: number;
  open: number;
  cut_short: CutShort | null;
  live: number;
}

interface Raw extends RawStanding {
  number: number;
  nonce: string;
  by: string;
  at: number;
  ids: string;
  extended_at: number;
  specification: string;
  segments: string;
  source: string | null;
}

interface RawResult {
  position: number;
  first: number;
  past: number;
  attempt: number;
  node: string;
  outcome: string;
}

export class Queries {
  readonly #of: { readonly database: Database };

  /** A view, whichever file it has by then. */
  constructor(of: { readonly database: Database }) {
    this.#of = of;
  }

  get #database(): Database {
    return this.#of.database;
  }

  #guarded<T>(action: () => T): T {
    return guarded(this.#database, VIEW_REMEDY, action);
  }

  findIds(ids: readonly number[]): Map<number, KnownId> {
    const query = this.#database.query<{ number: number; nonce: string; count: number; inputs: number }, [number]>(
      `SELECT ids.number, nonce, count, EXISTS (SELECT 1 FROM inputs WHERE inputs.number = ids.number) AS inputs
       FROM ids JOIN submissions USING (number) WHERE id = ?`,
    );
    const pruned = this.#database.query<KnownId, [number]>("SELECT number, nonce, count FROM pruned WHERE id = ?");
    return this.#guarded(() => {
      const found = new Map<number, KnownId>();
      for (const id of ids) {
        const row = query.get(id);
        if (row !== null) {
          const { number, nonce, count, inputs } = row;
          found.set(id, { number, nonce, count, counted: count > 0 && inputs === 0 });
          continue;
        }
        const gone = pruned.get(id);
        if (gone !== null) found.set(id, gone);
      }
      return found;
    });
  }

  /**
   * Submissions that are over since before `before`, the oldest first, with how their members ended: but for those that a
   * retry stands on.
   */
  prunable(before: number, limit: number): Prunable[] {
    const query = this.#database.query<Prunable, [number, number]>(
      // The plus: as a plain number it is looked up in the index, as a column it would be compared with every retry.
      `SELECT number, iif(is_array, 1, count) AS ids, completed, failed, cancelled, timeout, source IS NOT NULL AS retry
       FROM submissions AS s WHERE over_at IS NOT NULL AND over_at < ? AND NOT EXISTS
       (SELECT 1 FROM submissions AS r WHERE r.source IS NOT NULL AND r.source ->> '$.number' = +s.number)
       ORDER BY over_at LIMIT ?`,
    );
    return this.#guarded(() => query.all(before, limit));
  }

  /** Rows of results of everything that is over: those of what was pruned go bit by bit, and are none any more. */
  finishedResults(): number {
    const query = this.#database.query<{ rows: number }, []>(
      "SELECT count(*) AS rows FROM results WHERE number IN (SELECT number FROM submissions WHERE over_at IS NOT NULL)",
    );
    return this.#guarded(() => query.get()?.rows ?? 0);
  }

  resultsOf(number: number): number {
    const query = this.#database.query<{ rows: number }, [number]>(
      "SELECT count(*) AS rows FROM results WHERE number = ?",
    );
    return this.#guarded(() => query.get(number)?.rows ?? 0);
  }

  /** Which members of a submission the retries of it stand for (core/members.ts) that were made behind another one. */
  retries(root: number, after: number): string[] {
    const query = this.#database.query<{ members: string }, [number, number]>(
      `SELECT source ->> '$.members' AS members FROM submissions
       WHERE source IS NOT NULL AND source ->> '$.number' = ? AND number > ?`,
    );
    return this.#guarded(() => query.all(root, after).map(({ members }) => members));
  }

  /** Retries that stand on a submission and were made behind another one, the newest first. */
  newestRetries(root: number, after: number, limit: number): { ids: number[]; array: boolean; members: string }[] {
    const query = this.#database.query<{ ids: string; is_array: number; members: string }, [number, number, number]>(
      `SELECT ids, is_array, source ->> '$.members' AS members FROM submissions
       WHERE source IS NOT NULL AND source ->> '$.number' = ? AND number > ? ORDER BY number DESC LIMIT ?`,
    );
    const rows = this.#guarded(() => query.all(root, after, limit));
    return rows.map(({ ids, is_array, members }) => ({
      ids: JSON.parse(ids) as number[],
      array: is_array === 1,
      members,
    }));
  }

  /** Whether a submission that is kept runs this script. */
  needsScript(sha256: string): boolean {
    const query = this.#database.query<{ number: number }, [string]>(
      "SELECT number FROM submissions WHERE specification ->> '$.script.sha256' = ? LIMIT 1",
    );
    return this.#guarded(() => query.get(sha256) !== null);
  }

  wasPruned(number: number): boolean {
    const query = this.#database.query<{ at: number }, [number]>("SELECT at FROM pruned WHERE number = ? LIMIT 1");
    return this.#guarded(() => query.get(number) !== null);
  }

  /** When the submission with an id between these was pruned, while that is known. */
  prunedBetween(low: number, high: number): number | undefined {
    const query = this.#database.query<{ at: number }, [number, number]>(
      "SELECT at FROM pruned WHERE id BETWEEN ? AND ? LIMIT 1",
    );
    return this.#guarded(() => query.get(low, high)?.at);
  }

  /** The submission that was made under this idempotency key. */
  findKey(key: string): KnownKey | undefined {
    const query = this.#database.query<
      { number: number; ids: string; specification: string; is_array: number; count: number },
      [string]
    >(`SELECT number, ids, specification, is_array, count FROM submissions WHERE specification ->> '$.key' = ?`);
    return this.#guarded(() => {
      const row = query.get(key);
      if (row === null) return undefined;
      const [id = 0] = JSON.parse(row.ids) as number[];
      const content = contentOf(JSON.parse(row.specification) as Specification, row.is_array === 1, row.count);
      return { number: row.number, id, content };
    });
  }

  /** Ids between two, at most `limit`: what a prefix stands for. */
  idsBetween(
    low: number,
    high: number,
    limit: number,
  ): { id: number; number: number; member: number; array: boolean }[] {
    const query = this.#database.query<
      { id: number; number: number; member: number; is_array: number },
      [number, number, number]
    >(
      `SELECT id, number, member, is_array FROM ids JOIN submissions USING (number)
       WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?`,
    );
    const rows = this.#guarded(() => query.all(low, high, limit));
    return rows.map(({ id, number, member, is_array }) => ({ id, number, member, array: is_array === 1 }));
  }

  /** What its members are called, while that is known. */
  idsOf(number: number): { ids: number[]; array: boolean } | undefined {
    const query = this.#database.query<{ ids: string; is_array: number }, [number]>(
      "SELECT ids, is_array FROM submissions WHERE number = ?",
    );
    const row = this.#guarded(() => query.get(number));
    return row === null ? undefined : { ids: JSON.parse(row.ids) as number[], array: row.is_array === 1 };
  }

  submission(number: number): SubmissionRecord | undefined {
    const query = this.#database.query<Raw, [number]>("SELECT * FROM submissions WHERE number = ?");
    const row = this.#guarded(() => query.get(number));
    return row === null ? undefined : recordOf(row);
  }

  standing(number: number): Standing | undefined {
    const query = this.#database.query<RawStanding, [number]>(
      `SELECT is_array, count, open, cut_short, live, pending, scheduled, running, completed, failed, cancelled, timeout
       FROM submissions WHERE number = ?`,
    );
    const row = this.#guarded(() => query.get(number));
    return row === null ? undefined : standingOf(row);
  }

  /**
   * Submissions below `before`, newest first, that may have what is asked for; `next` is the newest one that was not looked
   * at, where there are more. Whoever leads answers nothing else meanwhile, so only so many rows are looked at.
   */
  submissions(before: number, wanted: Wanted, most: number): { records: SubmissionRecord[]; next?: number } {
    const { name, priority, labelled, statuses, since } = wanted;
    const first = since === undefined ? 1 : this.#firstSince(since);
    const live = statuses !== undefined && statuses.length > 0 && statuses.every((status) => !isTerminal(status));
    const low = Math.max(first, name !== undefined || live ? 0 : this.#below(before, LIMITS.list_scanned));
    const conditions = [
      "number < ?1 AND number >= ?2",
      ...(name === undefined ? [] : ["name = ?3"]),
      ...(priority === undefined ? [] : ["priority = ?4"]),
      ...(labelled === true ? [`instr(specification, '"labels":') > 0`] : []),
      ...(live ? ["live = 1"] : []),
      // An array without members, or that waits for more, is what its life says; one that was cut short what that is worth.
      ...(statuses === undefined
        ? []
        : [
            `(count = 0 OR open = 1 OR cut_short IS NOT NULL OR ${statuses.map((status) => `${status} > 0`).join(" OR ") || "0"})`,
          ]),
    ];
    const query = this.#database.query<Raw, [number, number, string, string, number]>(
      `SELECT * FROM submissions${name === undefined && live ? " INDEXED BY submissions_live" : ""} WHERE ${conditions.join(" AND ")} ORDER BY number DESC LIMIT ?5`,
    );
    return this.#guarded(() => {
      const rows = query.all(before, low, name ?? "", priority ?? "", most);
      const next = rows.length === most ? (rows.at(-1)?.number ?? 0) - 1 : low - 1;
      return { records: rows.map(recordOf), ...(next < first ? {} : { next }) };
    });
  }

  /** The lowest number that was submitted then or later: time and numbers rise together. */
  #firstSince(at: number): number {
    const query = this.#database.query<{ number: number; at: number }, [number]>(
      "SELECT number, at FROM submissions WHERE number >= ? ORDER BY number LIMIT 1",
    );
    const last = this.#database.query<{ last: number | null }, []>("SELECT max(number) AS last FROM submissions");
    return this.#guarded(() => {
      let low = 1;
      let high = (last.get()?.last ?? 0) + 1;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        const row = query.get(middle);
        if (row === null || row.at >= at) high = middle;
        else low = row.number + 1;
      }
      return low;
    });
  }

  /** The number of the last of so many rows below another; 0 where there are fewer. */
  #below(before: number, rows: number): number {
    const query = this.#database.query<{ number: number }, [number, number]>(
      "SELECT number FROM submissions WHERE number < ? ORDER BY number DESC LIMIT 1 OFFSET ?",
    );
    return this.#guarded(() => query.get(before, rows - 1)?.number ?? 0);
  }

  resultOf(number: number, index: number): RecordedResult | undefined {
    // No two have a member in common, so none before the nearest one has this member.
    const query = this.#database.query<RawResult, [number, number, number]>(
      `SELECT * FROM (SELECT * FROM results WHERE number = ? AND first <= ? ORDER BY first DESC LIMIT 1)
       WHERE past > ?`,
    );
    const row = this.#guarded(() => query.get(number, index, index));
    return row === null ? undefined : resultOf(row);
  }

  /**
   * Results of a submission behind `cursor` (a position), in the order of the log, and where to go on: past the results of
   * others, too, so that whoever asks again and again does not make them be read each time.
   */
  results(number: number, cursor: number, limit: number): { found: RecordedResult[]; cursor: number } {
    const query = this.#database.query<RawResult, [number, number, number]>(
      "SELECT * FROM results WHERE position > ? AND +number = ? ORDER BY position LIMIT ?",
    );
    return this.#guarded(() => {
      const start = cursor > 0 ? cursor : this.#firstPosition(number) - 1;
      const found = query.all(start, number, limit).map(resultOf);
      const next = found.length === limit ? found.at(-1)?.position : this.#lastPosition();
      return { found, cursor: Math.max(cursor, next ?? 0) };
    });
  }

  #lastPosition(): number {
    return (
      this.#database.query<{ last: number | null }, []>("SELECT max(position) AS last FROM results").get()?.last ?? 0
    );
  }

  #firstPosition(number: number): number {
    const row = this.#database
      .query<{ first: number | null }, [number]>("SELECT min(position) AS first FROM results WHERE number = ?")
      .get(number);
    return row?.first ?? Number.MAX_SAFE_INTEGER;
  }

  /** Members of [from, to) that ended in one of these ways, in their order, as ranges. */
  *ended(number: number, from: number, to: number, statuses: readonly TaskStatus[]): Iterable<Range> {
    const query = this.#database.query<{ first: number; past: number }, [number, number, number, string]>(
      `SELECT first, past FROM results WHERE number = ? AND first >= ? AND first < ?
       AND status IN (SELECT value FROM json_each(?)) ORDER BY first LIMIT 256`,
    );
    // The range that `from` stands in may begin before it.
    const first = this.resultOf(number, from);
    if (first !== undefined && from < to && statuses.includes(first.outcome.status)) {
      yield { from, to: Math.min(first.to, to) };
    }
    let next = first?.to ?? from;
    while (next < to) {
      const rows = this.#guarded(() => query.all(number, next, to, JSON.stringify(statuses)));
      for (const { first, past } of rows) yield { from: first, to: Math.min(past, to) };
      const last = rows.at(-1);
      if (last === undefined) return;
      next = last.past;
    }
  }

  /** Which of the members [from, to) had an attempt that another one was to follow, in order; beyond so many, all. */
  tried(number: number, from: number, to: number): Range[] {
    const query = this.#database.query<{ first: number; past: number }, [number, number, number, number]>(
      "SELECT DISTINCT first, past FROM attempts WHERE number = ? AND first < ? AND past > ? ORDER BY first LIMIT ?",
    );
    const rows = this.#guarded(() => query.all(number, to, from, LIMITS.tried_read));
    const found: Range[] = [];
    for (const { first, past } of rows) {
      const last = found.at(-1);
      if (last !== undefined && first <= last.to) last.to = Math.max(last.to, Math.min(past, to));
      else found.push({ from: Math.max(first, from), to: Math.min(past, to) });
    }
    const last = found.at(-1);
    if (last !== undefined && rows.length === LIMITS.tried_read) last.to = to;
    return found;
  }

  attempts(number: number, index: number): AttemptView[] {
    const query = this.#database.query<
      {
        attempt: number;
        node: string;
        reason: EndReason;
        at: number;
        started_at: number | null;
        outcome: string | null;
      },
      [number, number, number]
    >(
      `SELECT attempt, node, reason, at, started_at, outcome FROM attempts WHERE number = ? AND first <= ? AND past > ?
       ORDER BY attempt`,
    );
    const rows = this.#guarded(() => query.all(number, index, index));
    return rows.map(({ outcome, started_at, ...row }) => ({
      ...row,
      ...(started_at === null ? {} : { started_at }),
      ...(outcome === null ? {} : { outcome: JSON.parse(outcome) as Outcome }),
    }));
  }
}

/** Those parts of ranges in order that are in [from, to); too many are one. */
export function within(ranges: readonly Range[], from: number, to: number): Range[] {
  const parts: Range[] = [];
  for (let at = firstWhere(ranges, (range) => range.to > from); ; at++) {
    const range = ranges[at];
    if (range === undefined || range.from >= to) return parts;
    const last = parts.at(-1);
    if (last !== undefined && parts.length === LIMITS.tried_ranges) last.to = Math.min(range.to, to);
    else parts.push({ from: Math.max(range.from, from), to: Math.min(range.to, to) });
  }
}

function standingOf(row: RawStanding): Standing {
  const { pending, scheduled, running, completed, failed, cancelled, timeout, count: total } = row;
  return {
    array: row.is_array === 1,
    open: row.open === 1,
    ...(row.cut_short === null ? {} : { cut_short: row.cut_short }),
    live: row.live === 1,
    counts: { total, pending, scheduled, running, completed, failed, cancelled, timeout },
  };
}

function recordOf(row: Raw): SubmissionRecord {
  return {
    ...standingOf(row),
    number: row.number,
    nonce: row.nonce,
    by: row.by,
    at: row.at,
    extended_at: row.extended_at,
    ids: JSON.parse(row.ids) as number[],
    specification: JSON.parse(row.specification) as Specification,
    segments: JSON.parse(row.segments) as Segment[],
    ...(row.source === null ? {} : { source: JSON.parse(row.source) as NonNullable<SubmissionRecord["source"]> }),
  };
}

function resultOf(row: RawResult): RecordedResult {
  const { position, first, past, attempt, node, outcome } = row;
  return { position, from: first, to: past, attempt, node, outcome: JSON.parse(outcome) as Outcome };
}

/** A member's segment: its status, attempt and holder. */
export function memberOf(record: SubmissionRecord, index: number): Segment | undefined {
  return record.segments[segmentAt(record.segments, index)];
}

/** What an array is worth at best whose inputs may be missing. */
const CUT_SHORT_STATUS = { abandoned: "failed", cancelled: "cancelled", deadline: "timeout" } as const satisfies Record<
  CutShort,
  TaskStatus
>;

/** One word for a submission: what it does while it lives, the worst end of its members, or of its inputs, afterwards. */
export function overallStatus(record: Pick<SubmissionRecord, "live" | "counts" | "cut_short">): TaskStatus {
  const { counts, live, cut_short } = record;
  if (live) {
    if (counts.running > 0) return "running";
    return counts.scheduled > 0 ? "scheduled" : "pending";
  }
  const cut = cut_short === undefined ? undefined : CUT_SHORT_STATUS[cut_short];
  for (const status of ["failed", "timeout", "cancelled"] as const) {
    if (counts[status] > 0 || cut === status) return status;
  }
  return "completed";
}
