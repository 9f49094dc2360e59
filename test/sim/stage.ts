// The simulated cluster without chance's faults: a test says what happens, step by step, and everything that a seed is
// checked for at its end is checked for here.

import type { Specification } from "../../src/common/models.ts";
import type { CommandType } from "../../src/communication/messages.ts";
import { Batch, type Event } from "../../src/core/event.ts";
import type { SimCoordinator } from "./coordinator.ts";
import { FAULTS, planOf } from "./plan.ts";
import { World } from "./world.ts";

const SEED = 1;
const PATIENCE_MS = 120_000;

export interface Asked {
  /** Undefined until it came. */
  answer: Record<string, unknown> | undefined;
}

export class Stage {
  readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** Goes on until it is so. */
  async until<T>(ask: () => T | undefined | false, what: string, most_ms = PATIENCE_MS): Promise<T> {
    const end_ms = this.world.clock.now_ms + most_ms;
    for (;;) {
      const found = ask();
      if (found !== undefined && found !== false) return found;
      if (!(await this.world.step(end_ms))) throw new Error(`not within ${most_ms} ms: ${what}`);
    }
  }

  async pass(duration_ms: number): Promise<void> {
    const end_ms = this.world.clock.now_ms + duration_ms;
    this.world.clock.after(duration_ms, () => undefined);
    while (this.world.clock.now_ms < end_ms) await this.world.step(end_ms);
  }

  /** Who leads now, and may say so. */
  leads(other_than?: SimCoordinator): Promise<SimCoordinator> {
    const { coordinators } = this.world;
    return this.until(() => coordinators.find((one) => one !== other_than && one.leader !== undefined), "a leader");
  }

  /** Asks until it is answered. */
  ask(type: CommandType, payload: object): Asked {
    const asked: Asked = { answer: undefined };
    this.world.wish({
      type,
      payload: { v: 1, ...payload },
      done: (answer) => {
        asked.answer = answer as Asked["answer"];
      },
    });
    return asked;
  }

  /** An array, acknowledged. */
  async submit(count: number, more: Partial<Specification> = {}): Promise<number> {
    const asked = this.ask("task.submit", this.submission(count, more));
    return (await this.until(() => asked.answer, "the submission's answer"))["number"] as number;
  }

  submission(count: number, more: Partial<Specification> = {}) {
    const { chance } = this.world;
    const needs = { executor: "command" as const, cpu_millis: 250, memory_mib: 0, gpus: 0 };
    const spec: Specification = { type: "batch", priority: "normal", needs, argv: ["true"], ...more };
    return { nonce: chance.hex(16), specifications: [spec], array: { id: chance.u32(), count } };
  }

  /** Everything that the log has, in its order. */
  get events(): Event[] {
    return this.world.log.entries.flatMap(({ payload }) => {
      return Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events;
    });
  }

  has<T extends Event["t"]>(t: T): Extract<Event, { t: T }>[] {
    return this.events.filter((event): event is Extract<Event, { t: T }> => event.t === t);
  }
}

/** Plays it, lets everything finish, and checks the books. */
export async function play(
  cast: { coordinators: number; workers: number },
  script: (stage: Stage) => Promise<void>,
): Promise<void> {
  const world = new World(SEED, { ...planOf(SEED), ...cast, submissions: 0, off: FAULTS });
  try {
    await world.begin();
    await script(new Stage(world));
    await world.settle(SEED);
  } finally {
    world.close();
  }
}
