// What the tests of this folder share: a state that folds batches as the leader does, for views to follow.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Specification, TaskCounts } from "../../src/common/models.ts";
import { apply } from "../../src/core/apply.ts";
import { Touched } from "../../src/core/changes.ts";
import { Event } from "../../src/core/event.ts";
import { FOLD_VERSION, type Fold as FoldHash, foldOf } from "../../src/core/fold.ts";
import { isOver, State, type Submission } from "../../src/core/state.ts";
import type { View, Witness } from "../../src/storage/view.ts";
import { AT, INFO, outcomeOf, specificationOf } from "../core/cluster.ts";
import type { Chance } from "../sim/chance.ts";

export class Fold {
  state = new State();
  sequence = 0;
  /** What was over when a batch was closed, and was not pruned since. */
  readonly over = new Map<number, TaskCounts>();
  /** What the last batch was folded to. */
  fold: FoldHash = { v: FOLD_VERSION, state: "", changes: "" };

  /** One batch: folds it and gives it to the views, which have it in their files after their next flush. */
  commit(views: readonly View[], ...events: readonly Event[]): Witness {
    let at = 0;
    this.batch(views, events.length, () => events[at++]!);
    return this.#witness();
  }

  /** One batch of events that are each made when those before it are folded; gives them. */
  batch(views: readonly View[], count: number, make: () => Event): Event[] {
    const touched = new Touched();
    const events: Event[] = [];
    while (events.length < count) {
      const event = Event.parse(JSON.parse(JSON.stringify(make())));
      apply(this.state, event, touched);
      events.push(event);
    }
    this.state.time_ms = AT + this.sequence;
    this.sequence += 1;
    const changes = touched.seal(this.state);
    this.fold = foldOf(this.state, changes);
    for (const [number, { live, counts }] of changes.submissions) if (!live) this.over.set(number, counts);
    for (const { numbers } of changes.pruned) for (const number of numbers) this.over.delete(number);
    for (const view of views) view.enqueue(changes, this.#witness());
    return events;
  }

  #witness(): Witness {
    return { stream_created: "then", sequence: this.sequence, hash: `hash ${this.sequence}`, fold: this.fold };
  }

  /** The first batch of every log. */
  found(...views: readonly View[]): void {
    this.commit(
      views,
      { t: "cluster", cluster_id: "c", name: "test", at: AT },
      { t: "term", epoch: 1, leader: "l", at: AT },
      { t: "registered", node: "n1", incarnation: "1", info: INFO, at: AT },
      { t: "registered", node: "n2", incarnation: "1", info: INFO, at: AT },
    );
  }

  array(more: Partial<Extract<Event, { t: "submitted" }>> = {}): Event {
    const { next_number: number } = this.state;
    const base = { nonce: "a".repeat(32), by: "client", at: AT, array: true, ids: [0x1000 + number], count: 3 };
    return { t: "submitted", number, spec: specificationOf(), ...base, ...more };
  }

  tasks(ids: number[], spec: Specification = specificationOf()): Event {
    return { ...this.array({ ids, spec, array: false, count: ids.length }) } as Event;
  }
}

export function temporaryFolders(): { make(): string; remove(): void } {
  const made: string[] = [];
  return {
    make() {
      const folder = mkdtempSync(join(tmpdir(), "claw-storage-"));
      made.push(folder);
      return folder;
    },
    remove() {
      for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Everything that a state says of what is live, in one order, whatever way it came to it. */
export function projection(state: State): string {
  const { cluster_id, name, epoch, leader, time_ms, created_at, next_number, results, totals } = state;
  const live = [...state.submissions.values()].filter((one) => !isOver(one)).sort((a, b) => a.number - b.number);
  const submissions = live.map((one) => ({ ...one, segments: one.segments.map(sorted), needs: state.needsOf(one) }));
  const there = [...state.nodes.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const nodes = there.map(({ used, held, ...node }) => {
    const resources = Object.fromEntries(Object.entries(used.resources).filter(([, amount]) => amount !== 0));
    return sorted({
      ...node,
      used: { ...used, resources: sorted(resources), spread: sorted(used.spread) },
      held: [held.count, held.hash],
    });
  });
  const lanes = state.ready.lanes().map((lane) => {
    const { group, priority, waiting } = lane;
    return { group, priority, waiting, numbers: Array.from(lane, ({ number }) => number) };
  });
  const meta = { cluster_id, name, epoch, leader, time_ms, created_at, next_number, results, totals };
  const active = [...state.active].sort((a, b) => a - b);
  return JSON.stringify({ meta, submissions: submissions.map(sorted), nodes, lanes, active }, null, 1);
}

function sorted(value: object): object {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** An event that fits the state: any kind that there is, where it can be. */
export function fittingEvent(chance: Chance, fold: Fold): Event {
  const live = [...fold.state.submissions.values()].filter((one) => !isOver(one));
  const submission = live[chance.below(Math.max(1, live.length))];
  if (chance.once(8)) return elsewhere(chance, fold);
  if (submission === undefined || chance.once(5)) return newcomer(chance, fold);
  if (submission.open && chance.once(3)) return extension(chance, submission);
  const pieces = submission.segments.filter(({ status }) => ["pending", "scheduled", "running"].includes(status));
  const piece = pieces[chance.below(Math.max(1, pieces.length))];
  if (piece === undefined) return extension(chance, submission);
  const { number } = submission;
  const from = chance.between(piece.from, piece.to - 1);
  const to = chance.between(from + 1, piece.to);
  const { attempt, node = "" } = piece;
  const at = AT + fold.sequence;
  if (piece.status === "pending") {
    if (chance.once(6)) return { t: "dropped", number, from, to, outcome: outcomeOf("cancelled") };
    if (piece.not_before !== undefined) return { t: "due", runs: [[number, from, to]], at };
    return { t: "assigned", node: chance.once(2) ? "n1" : "n2", runs: [[number, from, to, attempt + 1]], at };
  }
  switch (chance.below(6)) {
    case 0:
      if (piece.status === "scheduled") return { t: "started", node, runs: [[number, from, to, attempt, at]], at };
      return { t: "stopping", node, runs: [[number, from, to, attempt]], reason: "cancel", at };
    case 1:
      return { t: "succeeded", node, runs: [[number, from, to, attempt, at, at + 1]] };
    case 2:
      return { t: "ended", node, results: [{ task: [number, from, attempt], outcome: outcomeOf("failed") }] };
    case 3:
      return { t: "requeued", node, runs: [[number, from, to, attempt]], reason: "lost", at };
    case 4: {
      const failed = { outcome: outcomeOf("failed"), not_before: at + 1, failures: (piece.failures ?? 0) + 1 };
      return { t: "retried", node, results: [{ task: [number, from, attempt], ...failed }], at };
    }
    default:
      return { t: "requeued", node, runs: [[number, from, to, attempt]], reason: "released", at };
  }
}

/** What concerns no task that is live: nodes, how tasks are placed, and what is over. */
function elsewhere(chance: Chance, fold: Fold): Event {
  const at = AT + fold.sequence;
  const node = chance.once(2) ? "n1" : "n2";
  // One that holds nothing, so that it can go.
  const [idle, there] = ["n3", fold.state.nodes.has("n3")];
  switch (chance.below(7)) {
    case 0:
      return { t: "cordoned", node, reason: "test", by: "somebody", ...(chance.once(2) ? { drain_at: at } : {}), at };
    case 1:
      return { t: "resumed", node, at };
    case 2:
      if (there) return { t: "removed", node: idle, at };
      return { t: "registered", node: idle, incarnation: chance.hex(8), info: INFO, at };
    case 3: {
      const settings = chance.once(3) ? {} : { gpus: chance.below(3), attributes: { zone: chance.hex(1), rack: null } };
      return { t: "configured", node, settings, by: "somebody", at };
    }
    case 4:
      return { t: "placement", placement: chance.once(2) ? {} : { strategy: "pack" }, by: "somebody", at };
    case 5: {
      const skill = { name: "weather", description: chance.hex(2), source: "config", hash: chance.hex(8) };
      return { t: "skills", node, hash: chance.hex(8), skills: chance.once(3) ? [] : [skill], at };
    }
    default:
      return pruning(chance, fold, at) ?? { t: "resumed", node, at };
  }
}

function pruning(chance: Chance, { over }: Fold, at: number): Event | undefined {
  const found = [...over][chance.below(Math.max(1, over.size))];
  if (found === undefined) return undefined;
  const [number, { completed, failed, cancelled, timeout }] = found;
  over.delete(number); // and once in a batch
  return { t: "pruned", numbers: [number], counts: { completed, failed, cancelled, timeout }, at };
}

function newcomer(chance: Chance, fold: Fold): Event {
  const id = 0x10_0000 * fold.state.next_number;
  const later = chance.once(4) ? { start_after_ms: 1_000, deadline_ms: 60_000 } : {};
  const spec = specificationOf({ ...later, priority: chance.once(2) ? "high" : "low", argv: [chance.hex(2)] });
  switch (chance.below(5)) {
    case 0:
      return { t: "registered", node: chance.once(2) ? "n1" : "n2", incarnation: chance.hex(8), info: INFO, at: AT };
    case 1: {
      const status = chance.once(2) ? "offline" : "maintenance";
      return { t: "node", node: chance.once(2) ? "n1" : "n2", status, reason: "test", at: AT };
    }
    case 2:
      return fold.tasks(
        Array.from({ length: chance.between(1, 6) }, (_, at) => id + at),
        spec,
      );
    case 3:
      return fold.array({ ids: [id], spec, count: chance.between(1, 30) });
    default: {
      const inputs = Array.from({ length: chance.below(5) }, () => chance.hex(3));
      return fold.array({ ids: [id], spec, count: inputs.length, inputs, open: true });
    }
  }
}

function extension(chance: Chance, { number, count, open }: Submission): Event {
  if (!open) throw new Error(`submission ${number} has nothing to do`);
  if (chance.once(3)) {
    const how = chance.once(2) ? {} : { abandoned: chance.once(2) };
    return { t: "closed", number, at: AT, ...how };
  }
  const inputs = Array.from({ length: chance.below(4) }, () => chance.hex(3));
  return { t: "extended", number, offset: count, inputs, at: AT + count };
}
