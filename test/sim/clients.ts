// What clients ask for in a run: submissions of every kind, under keys, extended bit by bit, cancelled, asked for again; and
// what they look at meanwhile.

import type { Needs, Specification } from "../../src/common/models.ts";
import { STRATEGIES } from "../../src/common/vocabulary.ts";
import { FOLDERS } from "./folders.ts";
import type { World } from "./world.ts";

/** Every eighth submission wants its nodes for itself, every eighth keeps apart, many have a strategy of their own, or a folder. */
function placed(id: number, folders: boolean): Partial<Needs> {
  const folder = FOLDERS[(id >>> 20) % (FOLDERS.length * 2)];
  const strategy = STRATEGIES[(id >>> 8) % (STRATEGIES.length * 2)];
  return {
    ...(id % 8 === 0 ? { exclusive: true } : {}),
    ...(id % 8 === 1 ? { spread: { by: "node" } } : {}),
    ...(strategy === undefined ? {} : { strategy }),
    ...(folders && folder !== undefined ? { folder } : {}),
  };
}

export class Clients {
  /** Submissions that somebody asked to cancel. */
  readonly unwanted = new Set<number>();
  tasks = 0;
  readonly #world: World;
  /** With what is over its key is forgotten, and may be had again. */
  readonly #prunes: boolean;

  constructor(world: World, prunes: boolean) {
    this.#world = world;
    this.#prunes = prunes;
  }

  /** How it is placed is drawn from the id, so that what else the seed has stays what it was. */
  #specification(id: number): Specification {
    const { chance } = this.#world;
    const noop = chance.once(4);
    const specification: Specification = {
      type: "batch",
      priority: chance.once(5) ? "high" : "normal",
      needs: {
        executor: noop ? "noop" : "command",
        cpu_millis: chance.once(3) ? 1_000 : 250,
        memory_mib: 0,
        gpus: 0,
        ...placed(id, this.#world.folders),
      },
      argv: ["true"],
      ...(chance.once(3) ? { retry: { limit: chance.between(1, 3), backoff_ms: 200, backoff_max_ms: 5_000 } } : {}),
      ...(chance.once(6) ? { start_after_ms: chance.between(1, 20_000) } : {}),
      ...(chance.once(6) ? { deadline_ms: chance.between(5_000, 90_000) } : {}),
      ...(chance.once(5) ? { on_lost: "fail" } : {}),
    };
    // It counts from the submission on: one that has passed at the start would be refused.
    const { deadline_ms, start_after_ms = 0 } = specification;
    return deadline_ms === undefined ? specification : { ...specification, deadline_ms: deadline_ms + start_after_ms };
  }

  /** Something of some kind, as the seed has it. */
  submit(): void {
    const { chance } = this.#world;
    const nonce = chance.hex(16);
    const id = chance.u32();
    const specifications = [this.#specification(id)];
    const count = chance.between(1, 40);
    this.tasks += count;
    const done = (answer: object): void => {
      const { number, existing } = answer as { number: number; existing?: number };
      this.#world.acknowledge(existing ?? id, number);
      this.#read(number);
      if (chance.once(8)) {
        const targets = [{ number, from: 0, to: chance.between(1, count) }];
        this.unwanted.add(number);
        this.#world.clock.after(chance.between(0, 2_000), () =>
          this.#world.wish({ type: "task.cancel", payload: { v: 1, targets }, done: () => undefined }),
        );
      } else if (chance.once(3)) this.#world.clock.after(chance.between(2_000, 30_000), () => this.#retry(number));
    };
    const kind = chance.below(4);
    if (kind === 0) this.#submitKeyed(id, nonce, count, done);
    else if (kind === 1) {
      const tasks = Array.from({ length: count }, (_, at) => [(id + at) >>> 0, 0]);
      this.#world.wish({ type: "task.submit", payload: { v: 1, nonce, specifications, tasks }, done });
    } else if (kind === 2) {
      this.#world.wish({ type: "task.submit", payload: { v: 1, nonce, specifications, array: { id, count } }, done });
    } else {
      const array = { id, open: true };
      this.#world.wish({
        type: "task.submit",
        payload: { v: 1, nonce, specifications, array },
        done: (answer) => {
          done(answer);
          this.#extend(id, nonce, 0, count);
        },
      });
    }
  }

  /** The same under one key, twice, by two who know nothing of each other. */
  #submitKeyed(id: number, nonce: string, count: number, done: (answer: object) => void): void {
    const { chance } = this.#world;
    const specifications = [{ ...this.#specification(id), key: `key ${id}` }];
    const array = { id, count };
    const told = new Set<number>();
    const alike = (answer: object): void => {
      told.add((answer as { number: number }).number);
      // With its submission a key is forgotten.
      if (told.size > 1 && !this.#prunes)
        this.#world.failed(new Error(`submissions ${[...told].join(" and ")} have one key`));
    };
    const first = (answer: object): void => {
      alike(answer);
      done(answer);
    };
    this.#world.wish({ type: "task.submit", payload: { v: 1, nonce, specifications, array }, done: first });
    const again = { v: 1, nonce: chance.hex(16), specifications, array: { id: (id ^ 1) >>> 0, count } };
    this.#world.clock.after(chance.between(0, 20_000), () => {
      this.#world.wish({ type: "task.submit", payload: again, done: alike });
    });
  }

  /** Whoever answers must know what was acknowledged before he was asked. */
  #read(number: number): void {
    for (let times = 0; times < 3; times++) {
      this.#world.clock.after(this.#world.chance.between(0, 4_000), () => {
        for (const coordinator of this.#world.coordinators) {
          this.#world.deliver(() =>
            coordinator.query(number, (known) => {
              if (!known)
                this.#world.failed(new Error(`${coordinator.id} did not know the acknowledged submission ${number}`));
            }),
          );
        }
      });
    }
  }

  /** What is over by then, anew. */
  #retry(number: number): void {
    const { chance } = this.#world;
    const id = chance.u32();
    const index = chance.once(2) ? {} : { index: 0 };
    const payload = {
      v: 1,
      nonce: chance.hex(16),
      targets: [{ id, number, ...index }],
      statuses: ["failed", "timeout", "cancelled"],
    };
    const done = (answer: object): void => {
      const [made] = (answer as { retried: { number: number; count: number }[] }).retried;
      if (made === undefined) return;
      this.#world.acknowledge(id, made.number);
      this.tasks += made.count;
    };
    this.#world.wish({ type: "task.retry", payload, done });
  }

  #extend(id: number, nonce: string, offset: number, count: number): void {
    const part = Math.min(count - offset, this.#world.chance.between(1, 20));
    const inputs = Array.from({ length: part }, (_, at) => `input ${offset + at}`);
    const last = offset + part === count;
    const payload = { v: 1, id, nonce, offset, inputs, ...(last ? { close: { total: count } } : {}) };
    this.#world.wish({
      type: "task.extend",
      payload,
      done: () => {
        if (!last) this.#extend(id, nonce, offset + part, count);
      },
    });
  }
}
