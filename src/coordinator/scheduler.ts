// From the ready lanes and the nodes to assignments: asks `core/place`, and remembers what only the leader needs to
// know (how long tasks of a kind take, which node gave work back). Nothing of this is in the log; its choices are.

import { takeWaiting } from "../core/decide.ts";
import type { Event, EventRun } from "../core/event.ts";
import { type NodeLoad, place } from "../core/place.ts";
import type { Lane } from "../core/ready.ts";
import type { Node, State, Submission } from "../core/state.ts";

/** How quickly the mean running time follows what is measured. */
const MEAN_WEIGHT = 0.2;

export class Scheduler {
  readonly #state: State;
  readonly #mean_ms = new Map<string, number>();
  /** Nodes that gave tasks back unstarted, until their next result. */
  readonly #full = new Set<string>();

  constructor(state: State) {
    this.#state = state;
  }

  /** `count` tasks of a submission took `total_ms` one after the other on a node. */
  measured(node: string, submission: Submission, count: number, total_ms: number): void {
    this.#full.delete(node);
    const mean_ms = total_ms / count;
    const before = this.#mean_ms.get(submission.group);
    const next = before === undefined ? mean_ms : before + (mean_ms - before) * MEAN_WEIGHT;
    // One slow task says at once that its kind is not short.
    this.#mean_ms.set(submission.group, mean_ms > 100 ? Math.max(next, mean_ms) : next);
  }

  gaveBack(node: string): void {
    this.#full.add(node);
  }

  loads(reachable: (node: Node) => boolean): NodeLoad[] {
    return [...this.#state.nodes.values()].map((node) => ({
      id: node.id,
      info: node.info,
      open: node.status === "online" && node.cordon === undefined && reachable(node),
      ...(node.cordon === undefined ? {} : { closed: `is out of service: ${node.cordon.reason}` }),
      used: node.used,
      held: node.held.count,
      full: this.#full.has(node.id),
    }));
  }

  /** The assignments that can be made now, an event a node. */
  assignments(reachable: (node: Node) => boolean, at: number): Event[] {
    const lanes = this.#state.ready.lanes();
    if (lanes.length === 0) return [];
    const loads = this.loads(reachable).filter((load) => load.open);
    if (loads.length === 0) return [];
    const waiting = lanes.map((lane) => ({
      needs: this.#needs(lane),
      waiting: lane.waiting,
      mean_ms: this.#mean_ms.get(lane.group),
    }));
    const runs_of = new Map<string, EventRun[]>();
    const cursors = new Map<Lane, EventRun[]>();
    const placements = place(waiting, loads);
    for (const { lane: position, node, count } of placements) {
      const lane = lanes[position];
      if (lane === undefined) continue;
      const total = placements.reduce((sum, other) => sum + (other.lane === position ? other.count : 0), 0);
      let taken = cursors.get(lane);
      if (taken === undefined) {
        taken = takeWaiting(this.#submissions(lane), total);
        cursors.set(lane, taken);
      }
      const runs = runs_of.get(node) ?? [];
      runs.push(...split(taken, count));
      runs_of.set(node, runs);
    }
    return [...runs_of].map(([node, runs]) => ({ t: "assigned", node, runs, at }));
  }

  #needs(lane: Lane) {
    const needs = this.#state.groups.get(lane.group);
    if (needs === undefined) throw new Error("a lane without a group");
    return needs;
  }

  *#submissions(lane: Lane): Iterable<Submission> {
    for (let at = lane.head; at < lane.numbers.length; at++) {
      const submission = this.#state.submissions.get(lane.numbers[at] ?? 0);
      if (submission !== undefined) yield submission;
    }
  }
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
