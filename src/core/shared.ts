// What many submissions say alike is kept once, for as long as one of them is there: a cluster that runs for years is asked
// for more different things than it could remember.

export class Shared<T> {
  readonly #kept = new Map<string, { value: T; users: number }>();

  get size(): number {
    return this.#kept.size;
  }

  get(key: string): T | undefined {
    return this.#kept.get(key)?.value;
  }

  /** One more has it: gives what the first one had. */
  share(key: string, value: T): T {
    const kept = this.#kept.get(key) ?? { value, users: 0 };
    kept.users += 1;
    this.#kept.set(key, kept);
    return kept.value;
  }

  /** One of those that have it is gone. */
  release(key: string): void {
    const kept = this.#kept.get(key);
    if (kept === undefined) throw new Error(`nobody shares ${key}`);
    kept.users -= 1;
    if (kept.users === 0) this.#kept.delete(key);
  }
}
