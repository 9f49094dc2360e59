// From the ready lanes and the nodes to assignments: asks `core/place`, and remembers what only the leader needs to
// know (how long tasks of a kind take, which node ran them, which gave work back, whose turn it is in a round). Nothing of
// this is in the log; its choices are.

import { LIMITS } from "../common/limits.ts";
import type { Needs } from "../common/models.ts";
import type { PlacementChange } from "../common/settings.ts";
import { planted } from "../core/canary.ts";
import { withPlacement } from "../core/configure.ts";
import { takeWaiting } from "../core/decide.ts";
import type { Event, EventRun } from "../core/event.ts";
import type { Lasting, NodeLoad } from "../core/fit.ts";
import {
  type Placement,
  type PlacementSettings,
  place,
  turnOf,
  type Waiting,
  type WaitingLane,
} from "../core/place.ts";
import { type Lane, readyAt } from "../core/ready.ts";
import { addUse, emptyUsed, type Node, type State, type Submission } from "../core/state.ts";
import { type Emptied, Emptying } from "./emptying.ts";
import { Folders } from "./folders.ts";

/** How quickly the mean running time follows what is measured. */
const MEAN_WEIGHT = 0.2;

/** What is known of tasks that need the same. */
interface Kind {
  mean_ms: number;
  /** Nodes that ran one to a good end. */
  warm: Set<string>;
}

/** Whoever asks nodes for the folders that these want. */
type Ask = (wanted: readonly Needs[], nodes: readonly NodeLoad[]) => void;

export class Scheduler {
  readonly folders = new Folders();
  readonly #state: State;
  readonly #file: PlacementSettings;
  #merged: { set: PlacementChange | undefined; settings: PlacementSettings };
  readonly #chance: () => number;
  readonly #kinds = new Map<string, Kind>();
  /** Nodes that gave tasks back unstarted, until their next result. */
  readonly #full = new Set<string>();
  /** Who was given something last has the highest. */
  readonly #turns = new Map<string, number>();
  /** Log time at which something of a lane was placed last. */
  #served = new Map<string, number>();
  readonly #emptying = new Emptying();

  constructor(state: State, file: PlacementSettings, chance: () => number) {
    this.#state = state;
    this.#file = file;
    this.#merged = { set: undefined, settings: file };
    this.#chance = chance;
  }

  /** As the file says, but for what people set since. */
  get settings(): PlacementSettings {
    const { placement } = this.#state;
    if (placement !== this.#merged.set) {
      this.#merged = { set: placement, settings: withPlacement(this.#file, placement) };
    }
    return this.#merged.settings;
  }

  /** The node that is being emptied for a task that nothing else has room for, as of the last turn. */
  get reserved(): Emptied | undefined {
    return this.#emptying.reserved;
  }

  /** `count` tasks of a submission took `total_ms` one after the other on a node. */
  measured(node: string, submission: Submission, count: number, total_ms: number, worked: boolean): void {
    this.#full.delete(node);
    const mean_ms = total_ms / count;
    const kind = this.#kinds.get(submission.group) ?? this.#newKind(submission.group, mean_ms);
    const next = kind.mean_ms + (mean_ms - kind.mean_ms) * MEAN_WEIGHT;
    // One slow task says at once that its kind is not short.
    kind.mean_ms = mean_ms > 100 ? Math.max(next, mean_ms) : next;
    if (worked) kind.warm.add(node);
    else kind.warm.delete(node);
  }

  #newKind(group: string, mean_ms: number): Kind {
    const [oldest] = this.#kinds.keys();
    if (oldest !== undefined && this.#kinds.size >= LIMITS.measured_kinds) this.#kinds.delete(oldest);
    const kind: Kind = { mean_ms, warm: new Set() };
    this.#kinds.set(group, kind);
    return kind;
  }

  gaveBack(node: string): void {
    this.#full.add(node);
  }

  loads(reachable: (node: Node) => boolean): NodeLoad[] {
    return [...this.#state.nodes.values()].map((node) => ({
      id: node.id,
      info: node.info,
      skills: node.skills,
      folders: this.folders.of(node.id),
      open: (node.status === "online" || sick(node)) && node.cordon === undefined && reachable(node),
      used: node.used,
      held: node.held.count,
      full: this.#full.has(node.id),
      turn: this.#turns.get(node.id) ?? 0,
    }));
  }

  /** What daemons use of each node, looked for when somebody asks. */
  lasting(): (node: string) => Lasting | undefined {
    let found: Map<string, Lasting> | undefined;
    return (node) => {
      found ??= lastingOf(this.#state);
      return found.get(node);
    };
  }

  /** The assignments that can be made now, an event a node; first of all `ask` is told what waits for a folder. */
  assignments(reachable: (node: Node) => boolean, at: number, ask?: Ask): Event[] {
    const lanes = this.#state.ready.lanes();
    const groups = new Set(lanes.map((lane) => lane.group));
    const loads = lanes.length === 0 ? [] : this.loads(reachable);
    if (!loads.some((load) => load.open)) {
      this.#emptying.decided(undefined, groups, at);
      return [];
    }
    const waiting = lanes.map((lane) => this.#waitingLane(lane));
    const wanted = waiting.filter(({ needs }) => needs.folder !== undefined);
    if (wanted.length > 0) {
      ask?.(
        wanted.map(({ needs }) => needs),
        loads,
      );
    }
    const { settings } = this;
    const chosen = ({ needs }: WaitingLane): boolean => (needs.strategy ?? settings.strategy) === "random";
    const seed = waiting.some(chosen) ? Math.floor(this.#chance() * 2 ** 32) : 0;
    const rested = this.#emptying.rested(at, settings.reserve_after_ms);
    const now = { at, seed, settings, rested, lasting: this.lasting() };
    const { placements, reserved } = place(waiting, loads, now);
    const group = reserved === undefined ? undefined : lanes[reserved.lane]?.group;
    const emptied = reserved === undefined || group === undefined ? undefined : { node: reserved.node, group };
    this.#emptying.decided(emptied, groups, at);
    return this.#events(lanes, placements, at);
  }

  /** The node on which one more task would be placed now, behind everything that waits. */
  nodeFor({ group, priority }: Pick<Lane, "group" | "priority">, needs: Needs): string | undefined {
    const { time_ms: at } = this.#state;
    const turn = turnOf(at, priority, this.settings.aging_ms);
    const queue = [{ turn, number: this.#state.next_number, count: 1 }];
    const warm = this.#kinds.get(group)?.warm;
    const waiting = this.#state.ready.lanes().map((other) => this.#waitingLane(other));
    const loads = this.loads((node) => node.status === "online");
    const now = { at, seed: this.#state.next_number, settings: this.settings };
    const { placements } = place([...waiting, { needs, waiting: 1, queue, since: at, warm }], loads, now);
    return placements.find(({ lane: position }) => position === waiting.length)?.node;
  }

  #events(lanes: readonly Lane[], placements: readonly Placement[], at: number): Event[] {
    const totals = new Map<Lane, number>();
    for (const { lane: position, node, count, turn } of placements) {
      const lane = lanes[position];
      if (lane !== undefined) totals.set(lane, (totals.get(lane) ?? 0) + count);
      this.#turns.set(node, Math.max(turn, this.#turns.get(node) ?? 0));
    }
    const taken_of = new Map<Lane, EventRun[]>();
    for (const [lane, total] of totals) {
      taken_of.set(lane, takeWaiting(lane, total));
      this.#emptying.served(lane.group);
    }
    const runs_of = new Map<string, EventRun[]>();
    for (const { lane: position, node, count } of placements) {
      const lane = lanes[position];
      if (lane === undefined) continue;
      const runs = runs_of.get(node) ?? [];
      runs.push(...split(taken_of.get(lane) ?? [], count));
      runs_of.set(node, runs);
    }
    const served = lanes.map((lane): [string, number | undefined] => [
      keyOf(lane),
      totals.has(lane) ? at : this.#served.get(keyOf(lane)),
    ]);
    this.#served = new Map(served.filter((entry): entry is [string, number] => entry[1] !== undefined));
    return [...runs_of].map(([node, runs]) => ({ t: "assigned", node, runs, at }));
  }

  #waitingLane(lane: Lane): WaitingLane {
    const needs = this.#state.groups.get(lane.group);
    if (needs === undefined) throw new Error("a lane without a group");
    const kind = this.#kinds.get(lane.group);
    const { first } = lane;
    return {
      needs,
      waiting: lane.waiting,
      queue: this.#queue(lane),
      since: Math.max(first === undefined ? 0 : readyAt(first), this.#served.get(keyOf(lane)) ?? 0),
      mean_ms: kind?.mean_ms,
      warm: kind?.warm,
    };
  }

  /** In the lane's order, which `takeWaiting` follows too: of one priority, it is the turn's. */
  *#queue(lane: Lane): Iterable<Waiting> {
    for (const submission of lane) {
      const turn = this.turnOf(submission);
      yield { turn, number: submission.number, count: submission.ready };
    }
  }

  turnOf(submission: Submission): number {
    return turnOf(readyAt(submission), submission.priority, this.settings.aging_ms);
  }
}

function keyOf({ group, priority }: Lane): string {
  return `${priority} ${group}`;
}

function lastingOf(state: State): Map<string, Lasting> {
  const found = new Map<string, Lasting>();
  for (const number of state.active) {
    const submission = state.submissions.get(number);
    if (submission?.policy.daemon !== true) continue;
    for (const { node, from, to } of submission.segments) {
      if (node === undefined) continue;
      const lasting = found.get(node) ?? { used: emptyUsed(), held: 0 };
      found.set(node, lasting);
      addUse(lasting.used, state.needsOf(submission), to - from);
      lasting.held += to - from;
    }
  }
  return found;
}

/** Cuts `count` tasks off the front of `runs`. */
function split(runs: EventRun[], count: number): EventRun[] {
  const cut: EventRun[] = [];
  let left = count;
  while (left > 0) {
    const run = runs[0];
    if (run === undefined) break;
    const [number, from, to, attempt] = run;
    const size = Math.min(left, to - from);
    cut.push([number, from, from + size, attempt]);
    if (size === to - from) runs.shift();
    else runs[0] = [number, from + size, to, attempt];
    left -= size;
  }
  return cut;
}

/** A planted bug: a node in error is given work all the same. */
function sick({ status }: Node): boolean {
  return status === "error" && planted("error_ignored");
}
