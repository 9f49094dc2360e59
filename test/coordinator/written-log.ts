// A log that the test writes, for who reads it: it is shortened when the test says so, and what is asked of it is counted.

import { ClawError } from "../../src/common/errors.ts";
import type { ReadableLog } from "../../src/coordinator/feed.ts";
import type { Event } from "../../src/core/event.ts";

export const AT = 1_764_000_000_000;

/** Batches from `first` on; what is asked for and read is counted. */
export class WrittenLog implements ReadableLog {
  extents = 0;
  reads = 0;
  read_batches = 0;
  /** Called before each batch is read, and where reading begins, with its sequence. */
  before: (sequence: number) => void = () => undefined;
  readonly last: number;
  readonly #batches: Event[][];
  readonly begin: number;
  #first: number;

  constructor(batches: Event[][], first = 1) {
    this.#batches = batches;
    this.begin = first;
    this.#first = first;
    this.last = first + batches.length - 1;
  }

  extent() {
    this.extents += 1;
    return Promise.resolve({ first: this.#first, last: this.last, bytes: 0 });
  }

  /** As below a snapshot. */
  cut(first: number): void {
    this.#first = first;
  }

  entry(sequence: number) {
    const events = this.#batches[sequence - this.begin]!;
    const batch = { v: 1, cluster_id: "c", epoch: 1, prev: "", at: AT, events };
    return { sequence, payload: new TextEncoder().encode(JSON.stringify(batch)) };
  }

  async *read(sequence: number) {
    this.reads += 1;
    for (let at = sequence; at <= this.last; at++) {
      this.before(at);
      if (at < this.#first) throw new ClawError("behind", `the log begins at ${this.#first}`);
      this.read_batches += 1;
      yield this.entry(at);
      await Promise.resolve();
    }
  }
}
