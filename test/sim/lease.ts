// The lease as a fault-ridden server has it: requests and answers get lost, and a restart of the server forgets it.

import { ClawError } from "../../src/common/errors.ts";
import type { Lease, LeaseEntry, LeaseRecord, LeaseWritten } from "../../src/communication/lease.ts";
import type { Chance } from "./chance.ts";
import type { Clock } from "./clock.ts";

const PATIENCE_MS = 2_000;

export class SimLease implements Lease {
  /** Set while the faults last. */
  faulty = true;
  readonly #clock: Clock;
  readonly #chance: Chance;
  #bucket = 1;
  #entry: LeaseEntry = { record: undefined, revision: 0, bucket: "1" };
  readonly #watchers = new Set<() => void>();

  constructor(clock: Clock, chance: Chance) {
    this.#clock = clock;
    this.#chance = chance;
  }

  /** What a server that keeps it in memory knows after a restart. */
  forget(): void {
    this.#bucket += 1;
    this.#entry = { record: undefined, revision: 0, bucket: String(this.#bucket) };
  }

  read(): Promise<LeaseEntry> {
    return this.#asked(() => this.#entry);
  }

  write(record: LeaseRecord, revision: number): Promise<LeaseWritten | undefined> {
    const written = this.#asked(() => {
      if (this.#entry.revision !== revision) return undefined;
      this.#entry = { ...this.#entry, record, revision: revision + 1 };
      return this.#entry;
    });
    // Whoever watches hears of the attempt, at times before it is there.
    for (const tell of this.#watchers) this.#clock.after(this.#chance.between(0, 6), tell);
    return written;
  }

  #asked<T>(action: () => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const lost = this.faulty && this.#chance.once(60);
    const unheard = this.faulty && this.#chance.once(60);
    this.#clock.after(this.#chance.between(1, 4), () => {
      if (lost) return;
      const answer = action();
      if (!unheard) this.#clock.after(this.#chance.between(0, 3), () => resolve(answer));
    });
    if (lost || unheard) {
      const silence = new ClawError("broker", "no answer");
      this.#clock.after(PATIENCE_MS, () => reject(silence));
    }
    return promise;
  }

  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }
}
