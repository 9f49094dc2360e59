// What befalls nodes beside being killed: somebody takes them out of service or says otherwise than they do, second processes claim to be one of them (a
// copied key, a cloned machine), they go deaf, their disks are full.

import { join } from "node:path";
import { STRATEGIES } from "../../src/common/vocabulary.ts";
import { Chance } from "./chance.ts";
import { SimWorker } from "./worker.ts";
import type { World } from "./world.ts";

export class NodeTrouble {
  readonly #world: World;
  readonly #folder: string;
  readonly #chance: Chance;
  readonly #twins = new Set<SimWorker>();
  /** What people set while it runs, in some seeds. */
  readonly #settings: Chance;
  #made = 0;

  constructor(world: World, folder: string, seed: number) {
    this.#world = world;
    this.#folder = folder;
    // Of its own, so that the rest of a run is what it is without these faults.
    this.#chance = new Chance(seed ^ 0x5eed);
    this.#settings = new Chance(seed ^ 0x5e06);
  }

  start(): void {
    if (this.#world.chance.once(2)) this.#world.clock.after(1_000, () => this.#maintain());
    if (this.#chance.once(2)) this.#later(() => this.#twin());
    if (this.#chance.once(2)) this.#later(() => this.#deafen());
    if (this.#chance.once(2)) this.#later(() => this.#fill());
    if (this.#settings.once(2)) this.#configureLater();
  }

  /** From now on nothing befalls them: somebody has found the second processes and ended them. */
  end(): void {
    for (const twin of this.#twins) this.#leave(twin);
    for (const worker of this.#world.workers) worker.full = false;
    this.#resumeAll();
  }

  #later(action: () => void): void {
    this.#world.clock.after(this.#chance.between(1_000, 20_000), () => {
      if (!this.#world.peace) action();
    });
  }

  #maintain(): void {
    const world = this.#world;
    const { chance } = world;
    const node = world.workers[chance.below(world.workers.length)]?.id ?? "";
    if (world.leader?.state.nodes.has(node) === true && world.befalls("maintain", true)) {
      const action = (["cordon", "drain", "drain", "shutdown", "resume", "remove"] as const)[chance.below(6)];
      const deadline = chance.once(2) ? { deadline_ms: chance.below(5_000) } : {};
      world.wish({ type: "node.manage", payload: { v: 1, action, nodes: [node], ...deadline }, done: () => undefined });
    }
    world.clock.after(chance.between(1_000, 15_000), () => {
      if (!world.peace) this.#maintain();
    });
  }

  /** What a node counts as, and how tasks are placed. Nothing that would keep a task from running for good. */
  #configureLater(): void {
    const { clock } = this.#world;
    clock.after(this.#settings.between(1_000, 10_000), () => {
      if (this.#world.peace) return;
      this.#configure();
      this.#configureLater();
    });
  }

  #configure(): void {
    const [world, chance] = [this.#world, this.#settings];
    const number = chance.below(100);
    const reset = chance.once(4) ? { reset: true } : {};
    const done = (): void => undefined;
    if (chance.once(3)) {
      const strategy = STRATEGIES[number % STRATEGIES.length];
      const placement = { strategy, reserve_after_ms: number * 100, weights: { tasks: number } };
      world.wish({ type: "cluster.configure", payload: { v: 1, ...reset, placement }, done });
      return;
    }
    const node = world.workers[chance.below(world.workers.length)]?.id ?? "";
    if (world.leader?.state.nodes.has(node) !== true) return;
    const set = [
      { cpu_millis: 1_000 + 10 * number },
      { tags_added: [`tag ${number}`] },
      { tags_removed: [`tag ${number}`] },
      { attributes: { zone: number % 2 === 0 ? null : String(number) }, resources: { license: number } },
    ][number % 4];
    world.wish({ type: "node.configure", payload: { v: 1, nodes: [node], ...reset, set }, done });
  }

  #resumeAll(): void {
    const world = this.#world;
    const out = [...(world.leader?.state.nodes.values() ?? [])].filter(({ cordon }) => cordon !== undefined);
    const nodes = out.map(({ id }) => id);
    if (nodes.length > 0) {
      world.wish({ type: "node.manage", payload: { v: 1, action: "resume", nodes }, done: () => undefined });
    }
    world.clock.after(5_000, () => this.#resumeAll());
  }

  #one(): SimWorker | undefined {
    const { workers } = this.#world;
    return workers[this.#chance.below(workers.length)];
  }

  #deafen(): void {
    const one = this.#one();
    if (one !== undefined && this.#world.befalls("deaf", true)) {
      this.#world.tell(`${one.id}: hears nothing`);
      one.deafen();
    }
    this.#later(() => this.#deafen());
  }

  #fill(): void {
    const one = this.#one();
    if (one !== undefined && this.#world.befalls("full", true)) {
      this.#world.tell(`${one.id}: its disk is full`);
      one.full = true;
      this.#world.clock.after(this.#chance.between(1_000, 15_000), () => {
        one.full = false;
      });
    }
    this.#later(() => this.#fill());
  }

  #twin(): void {
    const world = this.#world;
    const one = this.#one();
    if (one !== undefined && world.befalls("twin", true)) {
      this.#made += 1;
      const twin = new SimWorker(world, one.id, join(this.#folder, `${one.id}-twin-${this.#made}.sqlite`));
      this.#twins.add(twin);
      world.workers.push(twin);
      world.tell(`${one.id}: a second process claims to be it`);
      twin.start();
      world.clock.after(this.#chance.between(2_000, 20_000), () => this.#leave(twin));
    }
    this.#later(() => this.#twin());
  }

  #leave(twin: SimWorker): void {
    if (!this.#twins.delete(twin)) return;
    this.#world.workers.splice(this.#world.workers.indexOf(twin), 1);
    twin.close();
  }
}

/** An interval's heartbeat came, and another one is not due yet. */
const ALIVE_MS = 1_000;

/** When a coordinator heard of each life that it takes for its node's; says when it welcomes another one in spite of it. */
export class Heard {
  readonly #heard = new Map<string, { incarnation: string; at: number }>();

  heartbeat(node: string, incarnation: string, now_ms: number): void {
    this.#heard.set(node, { incarnation, at: now_ms });
  }

  welcomed(world: World, node: string, incarnation: string): void {
    const last = this.#heard.get(node);
    if (last === undefined || last.incarnation === incarnation || world.clock.now_ms - last.at > ALIVE_MS) return;
    const lives = world.workers.some((one) => one.id === node && one.incarnation === last.incarnation);
    if (lives) throw new Error(`${node} is alive as ${last.incarnation}, and ${incarnation} was welcomed`);
  }
}
