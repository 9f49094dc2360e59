// The log as a fault-ridden server has it: requests that get lost or come late, acknowledgements that get lost, and the
// fence, which never fails.

import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import type { AppendResult, Log, LogEntry, LogExtent, LogUpkeep } from "../../src/communication/log.ts";
import { Batch } from "../../src/core/event.ts";
import type { Chance } from "./chance.ts";
import type { Clock } from "./clock.ts";

interface Stored extends LogEntry {
  nonce: string;
}

export class SimLog implements LogUpkeep {
  created = "simulated";
  /** Appends that the fence kept out. */
  refused = 0;
  /** Everything that was ever stored: the audit folds it from the beginning, however short the log is now. */
  readonly entries: Stored[] = [];
  /** The first that can still be read. */
  #first = 1;
  /** Attempts whose end is in the log, as number.index.attempt. */
  readonly concluded = new Set<string>();
  /** Told of each entry, the moment it is there. */
  stored: ((entry: LogEntry) => void) | undefined;
  /** Set while the faults last. */
  faulty = true;
  /** In a run that is directed: the next append comes so much later, and nobody hears of it. */
  late_ms: number | undefined;
  /** Who waits for the next entry. */
  readonly #followers: (() => void)[] = [];
  /** Appends under way, by their terms' nonces. */
  readonly #flying = new Map<string, number>();
  readonly #clock: Clock;
  readonly #chance: Chance;

  constructor(clock: Clock, chance: Chance) {
    this.#clock = clock;
    this.#chance = chance;
  }

  /** What the server does with a request, the moment it arrives. */
  #store(sequence: number, nonce: string, payload: Uint8Array): boolean {
    if (this.entries.length !== sequence - 1) {
      this.refused += 1;
      return false;
    }
    this.entries.push({ sequence, nonce, payload });
    this.#conclude(payload);
    this.stored?.({ sequence, payload });
    for (const tell of this.#followers.splice(0)) this.#clock.after(this.#chance.between(0, 3), tell);
    return true;
  }

  #conclude(payload: Uint8Array): void {
    for (const event of Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events) {
      if (event.t === "ended" || event.t === "retried")
        for (const { task } of event.results) this.concluded.add(task.join("."));
      if (event.t !== "succeeded" && event.t !== "requeued") continue;
      for (const [number, from, to, attempt] of event.runs) {
        for (let index = from; index < to; index++) this.concluded.add(`${number}.${index}.${attempt}`);
      }
    }
  }

  append(sequence: number, nonce: string, payload: Uint8Array): Promise<AppendResult> {
    const flying = (this.#flying.get(nonce) ?? 0) + 1;
    this.#flying.set(nonce, flying);
    if (flying > LIMITS.appends_in_flight) throw new Error(`${flying} appends of a term in flight`);
    if (payload.length > LIMITS.message_bytes) throw new Error(`a batch of ${payload.length} bytes`);
    return new Promise((resolve) => {
      const late_ms = this.late_ms;
      this.late_ms = undefined;
      const lost = (this.faulty && this.#chance.once(40)) || late_ms !== undefined;
      const unheard = this.faulty && this.#chance.once(30);
      const late = lost && (this.#chance.once(2) || late_ms !== undefined);
      const arrive = (): void => {
        this.#store(sequence, nonce, payload);
      };
      if (lost) {
        // It may land long after everybody gave it up: the fence has to hold then.
        if (late) this.#clock.after(late_ms ?? this.#chance.between(1, 20_000), arrive);
      } else {
        this.#clock.after(this.#chance.between(0, 2), arrive);
      }
      const answer_ms = lost || unheard ? 5_000 : this.#chance.between(2, 6);
      this.#clock.after(answer_ms, () => {
        this.#flying.set(nonce, (this.#flying.get(nonce) ?? 0) - 1);
        resolve(this.#look(sequence, nonce));
      });
    });
  }

  #look(sequence: number, nonce: string): AppendResult {
    const found = this.entries[sequence - 1];
    if (found === undefined || sequence < this.#first) return "unknown";
    return found.nonce === nonce ? "stored" : "deposed";
  }

  last(): Promise<number> {
    return Promise.resolve(this.entries.length);
  }

  async *read(sequence: number): AsyncIterable<LogEntry> {
    const end = this.entries.length;
    this.#requireFrom(sequence);
    for (let at = sequence - 1; at < end; at++) yield this.entries[at]!;
  }

  #requireFrom(sequence: number): void {
    if (sequence >= this.#first) return;
    throw new ClawError("behind", `the log begins at ${this.#first}, the view needs it from ${sequence}`);
  }

  async *follow(sequence: number, stop: AbortSignal): AsyncIterable<LogEntry> {
    for (let next = sequence; !stop.aborted; ) {
      this.#requireFrom(next);
      const entry = this.entries[next - 1];
      if (entry !== undefined) {
        next += 1;
        yield entry;
        continue;
      }
      await new Promise<void>((resolve) => {
        this.#followers.push(resolve);
        stop.addEventListener("abort", () => resolve());
      });
    }
  }

  extent(): Promise<LogExtent> {
    const there = this.entries.slice(this.#first - 1);
    const bytes = there.reduce((sum, { payload }) => sum + payload.length, 0);
    return Promise.resolve({ first: this.#first, last: this.entries.length, bytes });
  }

  truncate(sequence: number): Promise<void> {
    this.#first = Math.max(this.#first, Math.min(sequence, this.entries.length) + 1);
    return Promise.resolve();
  }

  /** Another log under the same name, with nothing in it. */
  recreate(): void {
    this.entries.length = 0;
    this.concluded.clear();
    this.#first = 1;
    this.stored = undefined;
    this.created = "simulated anew";
  }

  /** The log as it would be had nothing been removed. */
  whole(): Log {
    const { created, entries } = this;
    return {
      created,
      append: () => Promise.reject(new Error("only to read")),
      last: () => Promise.resolve(entries.length),
      async *read(sequence) {
        yield* entries.slice(sequence - 1);
      },
      async *follow(sequence) {
        yield* entries.slice(sequence - 1);
      },
    };
  }
}
