// A cluster's state for tests of the fold: events go in as the leader would make them, and the books are checked from
// scratch, by another way than the fold keeps them.

import { expect } from "bun:test";
import type { NodeInfo, Outcome, Specification } from "../../src/common/models.ts";
import { finishedCount, TASK_STATUSES } from "../../src/common/vocabulary.ts";
import { apply, heldBy } from "../../src/core/apply.ts";
import { Touched } from "../../src/core/changes.ts";
import type { FindIds, KnownId } from "../../src/core/decide.ts";
import { Event } from "../../src/core/event.ts";
import { Held } from "../../src/core/held.ts";
import { isReady } from "../../src/core/segments.ts";
import { addUse, emptyCounts, emptyUsed, State } from "../../src/core/state.ts";

export const AT = 1_700_000_000_000;

export const INFO: NodeInfo = {
  name: "n",
  machine: "m",
  os: "linux",
  arch: "x64",
  version: "0",
  pid: 1,
  capacity: { cpu_millis: 4_000, memory_mib: 1_000, gpus: 0, resources: {} },
  tags: [],
  attributes: {},
  executors: ["command", "noop"],
};

export function specificationOf(more: Partial<Specification> = {}): Specification {
  return {
    type: "batch",
    priority: "normal",
    needs: { cpu_millis: 500, memory_mib: 10, gpus: 0, executor: "command", resources: { licence: 1 } },
    argv: ["true"],
    ...more,
  };
}

export function outcomeOf(status: Outcome["status"] = "failed"): Outcome {
  return { status, reason: status === "cancelled" ? "cancelled" : "exit", exit_code: 1, started_at: AT, ended_at: AT };
}

export class Cluster {
  readonly state = new State();
  readonly touched = new Touched();
  readonly #ids = new Map<number, KnownId>();

  constructor() {
    this.add({ t: "cluster", cluster_id: "c", name: "test", at: AT }, { t: "term", epoch: 1, leader: "l", at: AT });
  }

  readonly find: FindIds = (ids) => new Map(ids.flatMap((id) => (this.#ids.has(id) ? [[id, this.#ids.get(id)!]] : [])));

  /** Folds events as they come out of the log: what cannot be written there is no event. */
  add(...events: readonly Event[]): void {
    for (const event of events) {
      apply(this.state, Event.parse(JSON.parse(JSON.stringify(event))), this.touched);
      if (event.t !== "submitted") continue;
      for (const id of event.ids) this.#ids.set(id, { number: event.number, nonce: event.nonce });
    }
  }

  submit(count: number, more: { open?: boolean; spec?: Specification } = {}): number {
    const number = this.state.next_number;
    const { open, spec = specificationOf() } = more;
    const nonce = String(number).padStart(32, "0");
    const ids = [number];
    const base = { t: "submitted" as const, number, nonce, by: "client", at: AT, spec, array: true, ids, count };
    this.add(open === undefined ? base : { ...base, open });
    return number;
  }

  register(node: string, incarnation = "1"): void {
    this.add({ t: "registered", node, incarnation, info: INFO, at: AT });
  }

  assign(node: string, number: number, from: number, to: number, attempt = 1): void {
    this.add({ t: "assigned", node, runs: [[number, from, to, attempt]], at: AT });
  }

  start(node: string, number: number, from: number, to: number, attempt = 1): void {
    this.add({ t: "started", node, runs: [[number, from, to, attempt, AT]], at: AT });
  }

  /** The statuses of a submission's members, a letter each. */
  members(number: number): string {
    const segments = this.state.submissions.get(number)?.segments ?? [];
    const letters: string[] = [];
    for (const { from, to, status } of segments) {
      for (let index = from; index < to; index++)
        letters.push((status === "over" ? this.#end(number, index) : status)[0]!);
    }
    return letters.join("");
  }

  #end(number: number, index: number): Outcome["status"] {
    const result = this.touched.results.find((one) => one.number === number && one.from <= index && index < one.to);
    if (result === undefined) throw new Error(`${number}.${index} is over without a result`);
    return result.outcome.status;
  }

  /** Everything that the fold keeps by adding and taking, counted anew. */
  check(): void {
    const totals = emptyCounts();
    const waiting = new Map<string, number>();
    const used = new Map([...this.state.nodes.keys()].map((id) => [id, { used: emptyUsed(), held: new Held() }]));
    for (const submission of this.state.submissions.values()) {
      const counts = emptyCounts();
      let ready = 0;
      for (const segment of submission.segments) {
        const { from, to, status, node, attempt } = segment;
        if (isReady(segment)) ready += to - from;
        counts.total += to - from;
        if (status === "over") continue;
        counts[status] += to - from;
        expect(node !== undefined).toBe(status === "scheduled" || status === "running");
        if (node === undefined) continue;
        addUse(used.get(node)!.used, this.state.needsOf(submission), to - from);
        used.get(node)!.held.add(submission.number, from, to, attempt);
      }
      for (const { number, from, to, outcome } of this.touched.results) {
        if (number === submission.number) counts[outcome.status] += to - from;
      }
      expect(submission.counts).toEqual(counts);
      expect(submission.count).toBe(counts.total);
      expect(submission.ready).toBe(ready);
      expect(this.state.active.has(submission.number)).toBe(counts.scheduled + counts.running > 0);
      for (const name of ["total", ...TASK_STATUSES] as const) totals[name] += counts[name];
      const lane = `${submission.priority} ${submission.group}`;
      if (ready > 0) waiting.set(lane, (waiting.get(lane) ?? 0) + ready);
    }
    expect(this.state.totals).toEqual(totals);
    const submissions = [...this.state.submissions.values()];
    expect(this.state.groups.size).toBe(new Set(submissions.map(({ group }) => group)).size);
    expect(this.state.policies.size).toBe(new Set(submissions.map(({ policy }) => policy)).size);
    const lanes = this.state.ready
      .lanes()
      .map(({ priority, group, waiting: count }) => [`${priority} ${group}`, count]);
    expect(new Map(lanes as [string, number][])).toEqual(waiting);
    for (const [id, { used: wanted, held }] of used) {
      const node = this.state.nodes.get(id)!;
      for (const name of ["cpu_millis", "memory_mib", "gpus"] as const) expect(node.used[name]).toBe(wanted[name]);
      expect(node.used.resources["licence"] ?? 0).toBe(wanted.resources["licence"] ?? 0);
      expect([node.held.count, node.held.hash]).toEqual([held.count, held.hash]);
      const listed = heldBy(this.state, id).reduce((sum, { piece }) => sum + piece.to - piece.from, 0);
      expect(listed).toBe(held.count);
    }
    this.#checkResults(finishedCount(totals));
  }

  /** Each member that is over has one result, and none that is not. */
  #checkResults(finished: number): void {
    const seen = new Set<string>();
    for (const [at, { position, number, from, to }] of this.touched.results.entries()) {
      expect(position).toBe(at + 1);
      const { segments } = this.state.submissions.get(number)!;
      for (let index = from; index < to; index++) {
        expect(seen.has(`${number}.${index}`)).toBe(false);
        seen.add(`${number}.${index}`);
        const segment = segments.find((one) => one.from <= index && index < one.to)!;
        expect(segment.status).toBe("over");
      }
    }
    expect(seen.size).toBe(finished);
    expect(this.state.results).toBe(this.touched.results.length);
  }
}
