// What the results of an array say of its members at once, before each of them is asked for: most have nothing to show.

import { LIMITS } from "../common/limits.ts";
import { isSilent } from "../communication/follow.ts";
import type { ResultRow } from "../communication/queries.ts";
import type { RequestClient } from "../communication/request.ts";
import { firstWhere } from "../core/first-where.ts";
import type { Range } from "../core/members.ts";

/** A result each is as much to read as the members themselves: beyond so many pages they are looked at one by one. */
const MOST_PAGES = 200;
/** Passing over fewer of them costs more than to get them with the others. */
const WORTH_MEMBERS = 100;

/** Whether members of this row had attempts before the one that it tells of, as far as the row says so. */
export function wasTried({ attempt, tried = [] }: Pick<ResultRow, "attempt" | "tried">, index: number): boolean {
  return attempt > 1 || tried.some(({ from, to }) => index >= from && index < to);
}

export class Recorded {
  readonly #client: RequestClient;
  readonly #number: number;
  /** In their order, with gaps between them; so are members with nothing to show, and the ranges of them that are long. */
  #tried: Range[] = [];
  #silent: Range[] = [];
  #long: Range[] = [];
  #cursor = 0;
  #pages = 0;

  constructor(client: RequestClient, number: number) {
    this.#client = client;
    this.#number = number;
  }

  /** What was recorded since the last time. */
  async read(): Promise<void> {
    for (let more = true; more && this.#pages < MOST_PAGES; ) {
      const request = { number: this.#number, cursor: this.#cursor, limit: LIMITS.list_rows, wait_ms: 0 };
      const answer = await this.#client.query("task.results", request);
      this.#cursor = answer.cursor;
      more = answer.more;
      if (more) this.#pages += 1;
      this.#tried = merged(
        this.#tried,
        answer.results.flatMap(({ tried = [] }) => tried),
      );
      this.#pass(answer.results.flatMap(silentOf));
    }
  }

  #pass(more: readonly Range[]): void {
    if (more.length === 0) return;
    this.#silent = merged(this.#silent, more);
    this.#long = this.#silent.filter(({ from, to }) => to - from >= WORTH_MEMBERS);
  }

  /** The next members from `index` on that have to be looked at. */
  next(index: number): Range {
    const at = firstWhere(this.#long, ({ to }) => to > index);
    const [here, after] = [this.#long[at], this.#long[at + 1]];
    if (here === undefined) return { from: index, to: Number.POSITIVE_INFINITY };
    if (here.from > index) return { from: index, to: here.from };
    return { from: here.to, to: after?.from ?? Number.POSITIVE_INFINITY };
  }

  /** Whether it was called off after an attempt, before the next one began. */
  tried(index: number): boolean {
    const range = this.#tried[firstWhere(this.#tried, ({ to }) => to > index)];
    return range !== undefined && range.from <= index;
  }
}

function merged(some: Range[], more: readonly Range[]): Range[] {
  if (more.length === 0) return some;
  const all: Range[] = [];
  for (const { from, to } of [...some, ...more].sort((a, b) => a.from - b.from)) {
    const last = all.at(-1);
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to);
    else all.push({ from, to });
  }
  return all;
}

/** The parts of a row that neither wrote anything nor had an attempt before. */
function silentOf({ from, to, attempt, outcome, tried = [] }: ResultRow): Range[] {
  if (attempt > 1 || !isSilent(outcome)) return [];
  const starts = [from, ...tried.map((one) => one.to)];
  const ends = [...tried.map((one) => one.from), to];
  return starts.map((start, at) => ({ from: start, to: ends[at] ?? to })).filter((one) => one.from < one.to);
}
