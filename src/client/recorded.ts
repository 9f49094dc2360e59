// What the results of an array say of its members at once, before each of them is asked for: most have nothing to show.

import { LIMITS } from "../common/limits.ts";
import type { ResultRow } from "../communication/queries.ts";
import type { RequestClient } from "../communication/request.ts";
import type { Range } from "../core/members.ts";

/** A result each is as much to read as the members themselves: beyond so many pages they are looked at one by one. */
const MOST_PAGES = 200;

/** Whether members of this row had attempts before the one that it tells of, as far as the row says so. */
export function wasTried({ attempt, tried = [] }: Pick<ResultRow, "attempt" | "tried">, index: number): boolean {
  return attempt > 1 || tried.some(({ from, to }) => index >= from && index < to);
}

export class Recorded {
  readonly #client: RequestClient;
  readonly #number: number;
  readonly #tried: Range[] = [];
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
      for (const row of answer.results) this.#tried.push(...(row.tried ?? []));
    }
  }

  /** Whether it was called off after an attempt, before the next one began. */
  tried(index: number): boolean {
    return this.#tried.some(({ from, to }) => index >= from && index < to);
  }
}
