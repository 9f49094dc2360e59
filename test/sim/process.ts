// A process in the simulation: it may be killed between any two of its effects, stopped for a while (SIGSTOP) and cut off
// from the broker. Its clocks, its timers and everything that it asks of the world go through here.

import { ClawError } from "../../src/common/errors.ts";
import type { Runtime, Timer } from "../../src/common/runtime.ts";
import type { World } from "./world.ts";

/** Thrown between two effects: everything that was only in memory is gone. */
export class Crash extends Error {}

const never = new Promise<never>(() => undefined);

export class SimProcess {
  readonly #world: World;
  #life = 0;
  #asleep_until_ms = 0;
  #cut_until_ms = 0;
  /** How far its wall clock is off. */
  skew_ms = 0;

  constructor(world: World) {
    this.#world = world;
  }

  get life(): number {
    return this.#life;
  }

  /** Ends what the present life has begun: none of it comes back. */
  die(): void {
    this.#life += 1;
    this.#asleep_until_ms = 0;
  }

  sleep(duration_ms: number): void {
    this.#asleep_until_ms = this.#world.clock.now_ms + duration_ms;
  }

  cutOff(duration_ms: number): void {
    this.#cut_until_ms = this.#world.clock.now_ms + duration_ms;
  }

  get cut(): boolean {
    return this.#world.clock.now_ms < this.#cut_until_ms;
  }

  now() {
    const { wall_ms, monotonic_ms } = this.#world.now();
    return { wall_ms: wall_ms + this.skew_ms, monotonic_ms };
  }

  /** Runs it in this life and none other, when the process is awake. */
  run(life: number, action: () => void): void {
    if (life !== this.#life) return;
    const { clock } = this.#world;
    if (clock.now_ms < this.#asleep_until_ms) {
      clock.after(this.#asleep_until_ms - clock.now_ms, () => this.run(life, action));
      return;
    }
    action();
  }

  runtime(): Runtime {
    const { clock, chance } = this.#world;
    const life = this.#life;
    return {
      wall_ms: () => this.now().wall_ms,
      monotonic_ms: () => clock.now_ms,
      random_bytes: (length) => Buffer.from(chance.hex(length), "hex"),
      after: (delay_ms, action): Timer => {
        let wanted = true;
        clock.after(delay_ms, () => this.run(life, () => (wanted ? action() : undefined)));
        return {
          cancel: () => {
            wanted = false;
          },
        };
      },
      soon: (action) => clock.after(0, () => this.run(life, action)),
    };
  }

  /**
   * The same thing as this life of the process sees it: asking may be the last that it does (`dies`), answers come when it
   * is awake, never to another life, and not at all while it is cut off. What is asked for in steps is a step each.
   */
  port<T extends object>(thing: T, dies: () => boolean, silence: (name: string) => Promise<unknown>): T {
    const life = this.#life;
    return new Proxy(thing, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]): unknown => {
          const ask = (): unknown => (value as (...given: unknown[]) => unknown).apply(target, args);
          const gone = life !== this.#life || dies();
          if (value.constructor.name === "AsyncGeneratorFunction") {
            const reached = gone ? never : this.cut ? silence(String(name)) : Promise.resolve();
            return this.#entries(life, reached, ask as () => AsyncIterable<unknown>);
          }
          if (gone) return never;
          const answer = this.cut ? silence(String(name)) : ask();
          return answer instanceof Promise ? this.#answered(life, answer) : answer;
        };
      },
    });
  }

  async #answered<T>(life: number, answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } finally {
      await this.#awake(life);
    }
  }

  async *#entries<T>(life: number, reached: Promise<unknown>, ask: () => AsyncIterable<T>): AsyncIterable<T> {
    await reached;
    for await (const entry of ask()) {
      await this.#awake(life);
      if (this.cut) throw new ClawError("broker", "cut off");
      yield entry;
    }
    await this.#awake(life);
  }

  #awake(life: number): Promise<void> {
    if (life !== this.#life) return never;
    if (this.#world.clock.now_ms >= this.#asleep_until_ms) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#world.clock.after(this.#asleep_until_ms - this.#world.clock.now_ms, () => this.run(life, resolve));
    return promise;
  }
}
