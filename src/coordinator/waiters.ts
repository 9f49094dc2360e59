// Requests that wait for a submission to change. Each has a deadline, after which it is answered with what is; their
// number is capped.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Runtime, Timer } from "../common/runtime.ts";

interface Waiter {
  /** True when it has answered. */
  attempt(late: boolean): boolean;
  timer: Timer;
  left: AbortSignal | undefined;
  /** Answers with what is. */
  end: () => void;
}

export class Waiters {
  readonly #runtime: Runtime;
  readonly #waiting = new Map<number, Set<Waiter>>();
  #count = 0;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /**
   * Calls `attempt` now and whenever the submission changes, until it says true; with `late` at the deadline, or when who
   * asked has left.
   */
  wait(number: number, wait_ms: number, left: AbortSignal | undefined, attempt: (late: boolean) => boolean): void {
    if (attempt(wait_ms === 0 || left?.aborted === true)) return;
    if (this.#count >= LIMITS.watchers) throw new ClawError("too_many", "too many requests wait on this coordinator");
    const set = this.#waiting.get(number) ?? new Set<Waiter>();
    this.#waiting.set(number, set);
    const end = (): void => {
      this.#remove(number, waiter);
      attempt(true);
    };
    const waiter: Waiter = { attempt, timer: this.#runtime.after(wait_ms, end), left, end };
    left?.addEventListener("abort", end);
    set.add(waiter);
    this.#count += 1;
  }

  has(number: number): boolean {
    return this.#waiting.has(number);
  }

  changed(number: number): void {
    for (const waiter of this.#waiting.get(number) ?? []) {
      if (waiter.attempt(false)) this.#remove(number, waiter);
    }
  }

  /** Answers everybody now: the coordinator stops or steps down. */
  close(): void {
    for (const set of this.#waiting.values()) {
      for (const waiter of set) waiter.end();
    }
  }

  #remove(number: number, waiter: Waiter): void {
    waiter.timer.cancel();
    waiter.left?.removeEventListener("abort", waiter.end);
    const set = this.#waiting.get(number);
    if (set?.delete(waiter) === true) this.#count -= 1;
    if (set?.size === 0) this.#waiting.delete(number);
  }
}
