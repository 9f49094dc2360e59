// A log that the test holds in its hand: it says when an append arrives, whether its acknowledgement does, and what
// somebody else wrote meanwhile.

import type { AppendResult, Log, LogEntry } from "../../src/communication/log.ts";
import { Batch } from "../../src/core/event.ts";
import { until } from "../until.ts";

interface Flying {
  sequence: number;
  nonce: string;
  payload: Uint8Array;
  resolve: (result: AppendResult) => void;
}

export class ScriptedLog implements Log {
  created = "then";
  readonly entries: (LogEntry & { nonce: string })[] = [];
  /** What the next reads fail with, before they work again. */
  readonly failing: Error[] = [];
  #flying: Flying[] = [];
  #listeners: (() => void)[] = [];
  #held = false;

  append(sequence: number, nonce: string, payload: Uint8Array): Promise<AppendResult> {
    const { promise, resolve } = Promise.withResolvers<AppendResult>();
    const flying = { sequence, nonce, payload, resolve };
    if (this.#held) this.#flying.push(flying);
    else resolve(this.#store(flying));
    return promise;
  }

  #store({ sequence, nonce, payload }: Flying): AppendResult {
    if (this.entries.length === sequence - 1) {
      this.entries.push({ sequence, nonce, payload });
      for (const tell of this.#listeners.splice(0)) tell();
    }
    return this.entries[sequence - 1]?.nonce === nonce ? "stored" : "deposed";
  }

  /** From now on appends wait for the test. */
  hold(): void {
    this.#held = true;
  }

  /** Stores and acknowledges what waits, and whatever comes after. */
  release(): void {
    this.#held = false;
    for (const flying of this.#flying.splice(0)) flying.resolve(this.#store(flying));
  }

  /** Stores what waits as another would have written it, and never says so. */
  releaseAs(change: (batch: Batch) => object): void {
    for (const flying of this.#flying.splice(0)) {
      const batch = Batch.parse(JSON.parse(new TextDecoder().decode(flying.payload)));
      this.#store({ ...flying, payload: new TextEncoder().encode(JSON.stringify(change(batch))) });
    }
  }

  /** Waits for an append; `stored` says whether it gets into the log although nobody hears of it. */
  async unknown(stored: boolean): Promise<void> {
    const flying = await until(() => this.#flying.shift(), "an append");
    if (stored) this.#store(flying);
    this.#held = false;
    flying.resolve("unknown");
  }

  /** Stores an append of which its leader hears when what this gives is called. */
  async stored(): Promise<() => void> {
    const flying = await until(() => this.#flying.shift(), "an append");
    this.#held = false;
    const result = this.#store(flying);
    return () => flying.resolve(result);
  }

  async arrived(): Promise<void> {
    await until(() => this.#flying.length > 0, "an append");
  }

  async last(): Promise<number> {
    await Promise.resolve();
    const error = this.failing.shift();
    if (error !== undefined) throw error;
    return this.entries.length;
  }

  async *read(sequence: number): AsyncIterable<LogEntry> {
    await Promise.resolve();
    yield* this.entries.slice(sequence - 1);
  }

  async *follow(sequence: number, stop: AbortSignal): AsyncIterable<LogEntry> {
    for (let next = sequence; ; next++) {
      while (!stop.aborted && this.entries[next - 1] === undefined) await this.#news(stop);
      if (stop.aborted) return;
      yield this.entries[next - 1]!;
    }
  }

  #news(stop: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#listeners.push(resolve);
      stop.addEventListener("abort", () => resolve());
    });
  }

  batch(sequence: number): Batch {
    return Batch.parse(JSON.parse(new TextDecoder().decode(this.entries[sequence - 1]!.payload)));
  }

  /** Another stream of the same name. */
  replace(): void {
    this.created = "later";
  }

  /** Another's words in the place of a batch. */
  rewrite(sequence: number, change: (batch: Batch) => object): void {
    const payload = new TextEncoder().encode(JSON.stringify(change(this.batch(sequence))));
    this.entries[sequence - 1] = { ...this.entries[sequence - 1]!, payload };
  }

  /** What happened, batch by batch. */
  get told(): string[] {
    return this.entries.map(({ sequence }) => {
      const { events } = this.batch(sequence);
      return events.map((event) => (event.t === "term" ? `term ${event.epoch}` : event.t)).join(" ");
    });
  }
}
