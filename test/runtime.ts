// A Runtime for tests: the system's own, with clocks that a test can push forward, and a list of the timers that are still
// to fire, so that a test can end with the check that none was left.

import { type Runtime, systemRuntime, type Timer } from "../src/common/runtime.ts";

interface Pending {
  action: () => void;
  due_ms: number;
  timer: Timer;
  /** Where it was set, for whoever forgot it. */
  origin: string;
}

export class TestRuntime implements Runtime {
  readonly #pending = new Set<Pending>();
  #ahead_ms = 0;

  wall_ms(): number {
    return systemRuntime.wall_ms() + this.#ahead_ms;
  }

  monotonic_ms(): number {
    return systemRuntime.monotonic_ms() + this.#ahead_ms;
  }

  random_bytes(length: number): Uint8Array {
    return systemRuntime.random_bytes(length);
  }

  soon(action: () => void): void {
    systemRuntime.soon(action);
  }

  after(delay_ms: number, action: () => void): Timer {
    const origin = (new Error().stack ?? "").split("\n").slice(2, 5).join("\n");
    const pending = { action, due_ms: this.monotonic_ms() + delay_ms, origin, timer: { cancel: () => undefined } };
    this.#arm(pending);
    this.#pending.add(pending);
    return {
      cancel: () => {
        pending.timer.cancel();
        this.#pending.delete(pending);
      },
    };
  }

  #arm(pending: Pending): void {
    pending.timer = systemRuntime.after(Math.max(0, pending.due_ms - this.monotonic_ms()), () => {
      this.#pending.delete(pending);
      pending.action();
    });
  }

  /** Both clocks go on by so much at once, as after a long pause of the machine; what became due meanwhile fires. */
  skip(ahead_ms: number): void {
    this.#ahead_ms += ahead_ms;
    for (const pending of [...this.#pending].sort((a, b) => a.due_ms - b.due_ms)) {
      pending.timer.cancel();
      this.#arm(pending);
    }
  }

  /** Where each timer that has not fired yet was set. */
  get waiting(): string[] {
    return [...this.#pending].map(
      ({ origin, due_ms }) => `in ${Math.round(due_ms - this.monotonic_ms())} ms:\n${origin}`,
    );
  }
}
