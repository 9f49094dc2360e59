// The newest of the log's batches, in memory: whoever watches wants what comes next, and many who watch would each ask the
// broker for the same. Kept as the bytes that are there anyway, so that it costs nothing while nobody watches; read once,
// for all, when somebody does.

import { LIMITS } from "../common/limits.ts";
import type { LogEntry } from "../communication/log.ts";
import type { Batch } from "../core/event.ts";
import { decodeBatch } from "./replica.ts";

export interface NumberedBatch {
  readonly sequence: number;
  readonly batch: Batch;
}

class Kept implements NumberedBatch {
  readonly sequence: number;
  readonly bytes: number;
  #payload: Uint8Array | undefined;
  #batch: Batch | undefined;

  constructor({ sequence, payload }: LogEntry) {
    this.sequence = sequence;
    this.bytes = payload.length;
    this.#payload = payload;
  }

  get batch(): Batch {
    if (this.#batch === undefined && this.#payload !== undefined) {
      this.#batch = decodeBatch(this.sequence, this.#payload);
      this.#payload = undefined;
    }
    return this.#batch as Batch;
  }
}

export class RecentBatches {
  #kept: Kept[] = [];
  #bytes = 0;

  /** The first and the last that are here; undefined when none is. */
  get extent(): { first: number; last: number } | undefined {
    const [first, last] = [this.#kept[0], this.#kept.at(-1)];
    return first === undefined || last === undefined ? undefined : { first: first.sequence, last: last.sequence };
  }

  add(entry: LogEntry): void {
    const last = this.#kept.at(-1);
    // Between two terms, and when it began anew, a coordinator has taken batches of which nobody was told.
    if (last !== undefined && entry.sequence !== last.sequence + 1) {
      this.#kept = [];
      this.#bytes = 0;
    }
    this.#kept.push(new Kept(entry));
    this.#bytes += entry.payload.length;
    while (this.#kept.length > LIMITS.recent_batches || this.#bytes > LIMITS.recent_bytes) {
      this.#bytes -= this.#kept.shift()?.bytes ?? 0;
    }
  }

  /** Those from `sequence` on, which is inside the extent or just behind it. */
  from(sequence: number): readonly NumberedBatch[] {
    return this.#kept.slice(sequence - (this.#kept[0]?.sequence ?? sequence));
  }
}
