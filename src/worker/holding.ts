// The attempts that this node holds, from the assignment until their reports are in the log: by submission, so that a
// message that comes twice is noticed without looking at everything, with the count and hash that heartbeats carry.

import type { Run } from "../communication/messages.ts";
import { Held } from "../core/held.ts";
import { uncovered } from "../core/runs.ts";

export class Holding {
  readonly #held = new Held();
  /** Disjoint runs by submission number. */
  readonly #runs = new Map<number, Run[]>();

  get count(): number {
    return this.#held.count;
  }

  /** Eight hex digits. */
  get hash(): string {
    return this.#held.hash;
  }

  get runs(): Run[] {
    return [...this.#runs.values()].flat();
  }

  /** What of `run` is not held with the same attempt. */
  news(run: Run): Run[] {
    const mine = this.#runs.get(run[0]);
    return mine === undefined ? [run] : uncovered(run, mine);
  }

  /** `run` is news. */
  add(run: Run): void {
    this.#held.add(...run);
    const [number, from, to, attempt] = run;
    const runs = this.#runs.get(number);
    const last = runs?.at(-1);
    if (runs === undefined) this.#runs.set(number, [[...run]]);
    else if (last !== undefined && last[2] === from && last[3] === attempt) last[2] = to;
    else runs.push([...run]);
  }

  /** Keeps only so many submissions: those that came last. */
  keepNewest(most: number): void {
    for (const [number, runs] of this.#runs) {
      if (this.#runs.size <= most) return;
      for (const run of runs) this.#held.remove(...run);
      this.#runs.delete(number);
    }
  }

  /** Every member of `run` is held. */
  remove(run: Run): void {
    this.#held.remove(...run);
    const left = (this.#runs.get(run[0]) ?? []).flatMap((own) => uncovered(own, [run]));
    if (left.length === 0) this.#runs.delete(run[0]);
    else this.#runs.set(run[0], left);
  }
}
