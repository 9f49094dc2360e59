// Which node is being emptied for a task that is too large for the gaps, and for how long: what runs there may never end by
// itself. So a node that was emptied for long in vain is left alone for twice as long, and others are tried meanwhile; the
// next try for the same lasts twice as long as the one before. Nothing stands empty for more than half of the time, and
// what ends some day makes way in the end. Of one term: the next leader tries anew.

export interface Emptied {
  node: string;
  /** What the task needs (`Lane.group`). */
  group: string;
}

/** The first try lasts so many times as long as a task waits before a node is emptied for it, and at least so long. */
const PATIENCE = 10;
const PATIENCE_MS = 60_000;
/** Doubled no further: some weeks. */
const DOUBLINGS = 14;

export class Emptying {
  #now: (Emptied & { since: number }) | undefined;
  /** Tries in vain, by group. */
  readonly #tries = new Map<string, number>();
  /** Until when a node is left alone, in log time. */
  readonly #rests = new Map<string, number>();

  get reserved(): Emptied | undefined {
    return this.#now;
  }

  /** Nodes that are left alone now. */
  rested(at: number, reserve_after_ms: number): ReadonlySet<string> {
    const { node, group, since } = this.#now ?? { node: "", group: "", since: at };
    const tries = this.#tries.get(group) ?? 0;
    const patience_ms = Math.max(PATIENCE_MS, PATIENCE * reserve_after_ms) * 2 ** Math.min(tries, DOUBLINGS);
    if (at - since >= patience_ms) {
      this.#tries.set(group, tries + 1);
      this.#rests.set(node, at + 2 * patience_ms);
    }
    for (const [one, until] of this.#rests) if (until <= at) this.#rests.delete(one);
    return new Set(this.#rests.keys());
  }

  /** What placing decided in this turn; `waiting`: the groups of which something waits. */
  decided(reserved: Emptied | undefined, waiting: ReadonlySet<string>, at: number): void {
    const same = reserved?.node === this.#now?.node && reserved?.group === this.#now?.group;
    if (!same) this.#now = reserved === undefined ? undefined : { ...reserved, since: at };
    for (const group of this.#tries.keys()) if (!waiting.has(group)) this.#tries.delete(group);
  }

  /** Something of it was placed. */
  served(group: string): void {
    this.#tries.delete(group);
  }
}
