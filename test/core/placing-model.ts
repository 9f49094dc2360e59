// A cluster in which time passes: tasks come, are placed by `place`, run as long as they run, and end. Nothing else than
// placing is in it, so that what placing promises over time can be looked at by the thousand.

import type { Needs, NodeInfo } from "../../src/common/models.ts";
import type { Priority } from "../../src/common/vocabulary.ts";
import { Emptying } from "../../src/coordinator/emptying.ts";
import type { Lasting, NodeLoad } from "../../src/core/fit.ts";
import { type PlacementSettings, place, turnOf, type WaitingLane } from "../../src/core/place.ts";
import { addUse, emptyUsed } from "../../src/core/state.ts";

/** As coordinator.yaml has it. */
export const DEFAULT_PLACEMENT: PlacementSettings = {
  strategy: "best_fit",
  weights: { cpu: 0.3, memory: 0.3, tasks: 0.2, affinity: 0.2 },
  aging_ms: 600_000,
  reserve_after_ms: 30_000,
};

export interface ModelTask {
  number: number;
  needs: Needs;
  priority: Priority;
  at: number;
  /** A daemon's has no end. */
  runs_ms: number;
}

export interface Ran extends ModelTask {
  node: string;
  started_at: number;
}

export class PlacingModel {
  readonly nodes: NodeLoad[];
  readonly settings: PlacementSettings;
  readonly ran: Ran[] = [];
  readonly #served = new Map<string, number>();
  #waiting: ModelTask[] = [];
  #running: Ran[] = [];
  now = 0;
  readonly #emptying = new Emptying();

  get reserved(): string | undefined {
    return this.#emptying.reserved?.node;
  }

  constructor(nodes: readonly NodeLoad[], settings: Partial<PlacementSettings> = {}) {
    this.nodes = nodes.map((node) => ({ ...node, used: emptyUsed() }));
    this.settings = { ...DEFAULT_PLACEMENT, ...settings };
  }

  get waiting(): readonly ModelTask[] {
    return this.#waiting;
  }

  get running(): readonly Ran[] {
    return this.#running;
  }

  submit(task: ModelTask): void {
    this.#waiting.push(task);
  }

  /** Places what can be placed now. */
  place(seed = 1): Ran[] {
    const lanes = this.#lanes();
    const { placements, reserved } = place(
      lanes.map(({ lane }) => lane),
      this.nodes,
      {
        ...{ at: this.now, seed, settings: this.settings, lasting: (node) => this.#lasting(node) },
        rested: this.#emptying.rested(this.now, this.settings.reserve_after_ms),
      },
    );
    const group = reserved === undefined ? "" : lanes[reserved.lane]!.key;
    const emptied = reserved === undefined ? undefined : { node: reserved.node, group };
    this.#emptying.decided(emptied, new Set(lanes.map(({ key }) => key)), this.now);
    const began: Ran[] = [];
    for (const { lane: position, node: id, count, turn } of placements) {
      const { tasks, key } = lanes[position]!;
      this.#served.set(key, this.now);
      this.#emptying.served(key);
      const node = this.nodes.find((one) => one.id === id)!;
      node.turn = Math.max(turn, node.turn ?? 0);
      for (const task of tasks.splice(0, count)) {
        addUse(node.used, task.needs, 1);
        node.held += 1;
        began.push({ ...task, node: id, started_at: this.now });
      }
    }
    const gone = new Set(began.map(({ number }) => number));
    this.#waiting = this.#waiting.filter(({ number }) => !gone.has(number));
    this.#running.push(...began);
    return began;
  }

  #lasting(node: string): Lasting | undefined {
    const daemons = this.#running.filter((task) => task.node === node && task.runs_ms === Number.POSITIVE_INFINITY);
    if (daemons.length === 0) return undefined;
    const used = emptyUsed();
    for (const { needs } of daemons) addUse(used, needs, 1);
    return { used, held: daemons.length };
  }

  #lanes(): { lane: WaitingLane; tasks: ModelTask[]; key: string }[] {
    const found = new Map<string, ModelTask[]>();
    for (const task of [...this.#waiting].sort((a, b) => a.number - b.number)) {
      const key = `${task.priority} ${JSON.stringify(task.needs)}`;
      found.set(key, [...(found.get(key) ?? []), task]);
    }
    return [...found].map(([key, tasks]) => ({
      key,
      tasks,
      lane: {
        needs: tasks[0]!.needs,
        waiting: tasks.length,
        queue: tasks.map(({ at, number, priority }) => {
          return { turn: turnOf(at, priority, this.settings.aging_ms), number, count: 1 };
        }),
        since: Math.max(tasks[0]!.at, this.#served.get(key) ?? 0),
      },
    }));
  }

  /** When the next running task ends. */
  get next_end(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#running.map(({ started_at, runs_ms }) => started_at + runs_ms));
  }

  /** Time goes on; what is over by then has gone. */
  advance(to: number): void {
    this.now = to;
    const over = this.#running.filter(({ started_at, runs_ms }) => started_at + runs_ms <= to);
    this.#running = this.#running.filter((task) => !over.includes(task));
    for (const task of over) {
      const node = this.nodes.find(({ id }) => id === task.node)!;
      addUse(node.used, task.needs, -1);
      node.held -= 1;
      this.ran.push(task);
    }
  }

  /** Until everything is over, or `until`; placing whenever something ends. */
  finish(until = Number.POSITIVE_INFINITY): void {
    this.place();
    while (this.#running.length > 0 && this.next_end <= until) {
      this.advance(this.next_end);
      this.place();
    }
  }
}

export function needsOf(more: Partial<Needs> = {}): Needs {
  return { cpu_millis: 1_000, memory_mib: 0, gpus: 0, executor: "command", ...more };
}

export function nodeOf(
  id: string,
  capacity: Partial<NodeInfo["capacity"]> = {},
  more: Partial<NodeLoad> & { attributes?: Record<string, string>; tags?: string[] } = {},
): NodeLoad {
  const { attributes = {}, tags = ["ssd"], ...load } = more;
  return {
    id,
    info: {
      name: `name-${id}`,
      machine: id,
      os: "linux",
      arch: "x64",
      version: "0",
      pid: 1,
      capacity: { cpu_millis: 4_000, memory_mib: 8_192, gpus: 0, resources: {}, ...capacity },
      tags,
      attributes,
      executors: ["command", "noop"],
    },
    open: true,
    used: emptyUsed(),
    held: 0,
    full: false,
    ...load,
  };
}
