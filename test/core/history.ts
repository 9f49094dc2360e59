// Random histories of a cluster: what clients, nodes and time do to it, each step decided by the production's own
// decisions and then folded by the state and taken by the book that keeps tasks one by one. A step draws from a chance of
// its own, so a history that fails can be made shorter without becoming another one.

import { expect } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import type { Outcome, Specification } from "../../src/common/models.ts";
import { TERMINAL_STATUSES } from "../../src/common/vocabulary.ts";
import { reportEvents } from "../../src/coordinator/reports.ts";
import { Scheduler } from "../../src/coordinator/scheduler.ts";
import { apply, heldBy } from "../../src/core/apply.ts";
import { Touched } from "../../src/core/changes.ts";
import {
  decideAbandoned,
  decideCancel,
  decideExtend,
  decideLost,
  decideSubmit,
  type KnownId,
  takeWaiting,
} from "../../src/core/decide.ts";
import { decideDrains, decideManage } from "../../src/core/decide-nodes.ts";
import { decideRetry, type PastView } from "../../src/core/decide-retry.ts";
import { decideDue } from "../../src/core/due.ts";
import { Event, type EventRun } from "../../src/core/event.ts";
import { decideGone } from "../../src/core/lost.ts";
import { Members, type Range } from "../../src/core/members.ts";
import { decidePruned } from "../../src/core/prune.ts";
import { isOver, State } from "../../src/core/state.ts";
import { Chance } from "../sim/chance.ts";
import { AT, INFO, specificationOf } from "./cluster.ts";
import { isBookOver, isTaskOver, OneByOne } from "./one-by-one.ts";
import { DEFAULT_PLACEMENT } from "./placing-model.ts";

const NODES = ["n1", "n2", "n3"];
/** Of whatever life: what reports become does not ask. */
const INCARNATION = "0".repeat(16);

export const STEPS = {
  submit: 6,
  extend: 6,
  register: 3,
  place: 14,
  start: 10,
  complete: 10,
  fail: 12,
  release: 3,
  cancel: 4,
  retry: 3,
  pass: 10,
  goAway: 2,
  manage: 4,
  retire: 3,
  prune: 2,
} as const;
export type Kind = keyof typeof STEPS;
const KINDS = (Object.keys(STEPS) as Kind[]).flatMap((kind) => Array.from({ length: STEPS[kind] }, () => kind));

export interface Step {
  kind: Kind;
  seed: number;
}

export function randomSteps(chance: Chance, count: number): Step[] {
  return Array.from({ length: count }, () => ({ kind: KINDS[chance.below(KINDS.length)]!, seed: chance.u32() }));
}

export class History {
  readonly state = new State();
  readonly one_by_one = new OneByOne();
  /** What happened, a line an event. */
  readonly told: string[] = [];
  readonly #touched = new Touched();
  readonly #scheduler = new Scheduler(this.state, DEFAULT_PLACEMENT, () => 0);
  readonly #ids = new Map<number, KnownId>();
  readonly #fold: (state: State, event: Event, touched: Touched) => void;
  #chance = new Chance(0);
  #now = AT;

  /** `fold` in the place of the real one: a test plants a bug with it. */
  constructor(fold: typeof apply = apply) {
    this.#fold = fold;
    this.#add({ t: "cluster", cluster_id: "c", name: "test", at: AT }, { t: "term", epoch: 1, leader: "l", at: AT });
  }

  /** Takes a step and compares both books after each event of it. */
  take({ kind, seed }: Step): void {
    this.#chance = new Chance(seed);
    this.#now += this.#chance.below(200);
    this[kind]();
  }

  #add(...events: readonly Event[]): void {
    for (const made of events) {
      const event = Event.parse(JSON.parse(JSON.stringify(made)));
      this.told.push(JSON.stringify(event));
      this.#fold(this.state, event, this.#touched);
      this.one_by_one.take(event, this.#now);
      this.one_by_one.compare(this.state, this.#touched.results, this.#touched.attempts);
      if (event.t !== "submitted") continue;
      for (const id of event.ids) this.#ids.set(id, { number: event.number, nonce: event.nonce, count: event.count });
    }
  }

  readonly #find = (ids: readonly number[]): Map<number, KnownId> =>
    new Map(ids.flatMap((id) => (this.#ids.has(id) ? [[id, this.#ids.get(id)!]] : [])));

  #pick<T>(from: Iterable<T>): T | undefined {
    const all = [...from];
    return all[this.#chance.below(Math.max(1, all.length))];
  }

  #specification(): Specification {
    const chance = this.#chance;
    const daemon = chance.once(6);
    const limit = daemon ? LIMITS.retries : chance.between(0, 3);
    const retry = { limit, backoff_ms: chance.below(400), backoff_max_ms: chance.below(4_000) };
    const start_after_ms = chance.once(4) ? chance.below(3_000) : 0;
    return specificationOf({
      priority: chance.once(2) ? "high" : "low",
      type: daemon ? "daemon" : "batch",
      ...(chance.once(2) ? { retry } : {}),
      ...(chance.once(3) ? { on_lost: "fail" } : {}),
      ...(start_after_ms > 0 ? { start_after_ms } : {}),
      ...(chance.once(4) ? { deadline_ms: start_after_ms + chance.between(1, 9_000) } : {}),
    });
  }

  submit(): void {
    const chance = this.#chance;
    const [id, nonce, count] = [chance.u32(), chance.hex(16), chance.between(1, 40)];
    const specifications = [this.#specification()];
    const tasks = Array.from({ length: count }, (_, at): [number, number] => [(id + at) >>> 0, chance.below(2)]);
    const inputs = Array.from({ length: chance.below(6) }, (_, at) => `${at}`);
    const what = [
      { specifications, array: { id, count } },
      { specifications, array: { id, inputs, open: true } },
      { specifications: [...specifications, this.#specification()], tasks },
    ][chance.below(3)]!;
    const find = { ids: this.#find, key: () => undefined };
    this.#add(...decideSubmit(this.state, find, { nonce, ...what }, "client", this.#now).events);
  }

  extend(): void {
    const chance = this.#chance;
    const open = [...this.one_by_one.books.values()].filter((book) => book.open);
    const book = this.#pick(open);
    if (book === undefined) return;
    const { nonce, ids } = book.event;
    const offset = Math.max(0, book.tasks.length - chance.below(3));
    const inputs = Array.from({ length: chance.below(8) }, (_, at) => `${at}`);
    const total = Math.max(book.tasks.length, offset + inputs.length);
    const close = chance.once(3) ? { close: { total } } : {};
    const { events, answer } = decideExtend(
      this.state,
      this.#find,
      { id: ids[0]!, nonce, offset, inputs, ...close },
      this.#now,
    );
    this.#add(...events);
    expect(answer.total).toBe(book.tasks.length);
  }

  /** A node's first life, or a new one: what it held is lost, or was never begun. */
  register(): void {
    const node = this.#pick(NODES)!;
    if (this.state.nodes.has(node)) this.#add(...decideLost(this.state, node, heldBy(this.state, node), this.#now));
    this.#add({ t: "registered", node, incarnation: this.#chance.hex(8), info: INFO, at: this.#now });
  }

  /** More freely than the scheduler would. */
  place(): void {
    const lane = this.#pick(this.state.ready.lanes());
    const node = this.#pick(this.state.nodes.keys());
    if (lane === undefined || node === undefined) return;
    const submissions = [...lane].filter(() => !this.#chance.once(3));
    const runs = takeWaiting(submissions, this.#chance.between(1, 12));
    if (runs.length > 0) this.#add({ t: "assigned", node, runs, at: this.#now });
  }

  /** What a node may say of something that it holds, or held, or never did. */
  #claim(): { node: string; run: EventRun } | undefined {
    const chance = this.#chance;
    const held = this.#pick(NODES.flatMap((node) => heldBy(this.state, node).map((one) => ({ node, ...one }))));
    if (held === undefined) return undefined;
    const { number, piece } = held;
    const from = Math.max(0, chance.between(piece.from, piece.to - 1) - (chance.once(4) ? 2 : 0));
    const to = chance.between(from + 1, piece.to + (chance.once(4) ? 3 : 0));
    const node = chance.once(12) ? this.#pick(NODES)! : held.node;
    return { node, run: [number, from, Math.max(from + 1, to), piece.attempt + (chance.once(12) ? 1 : 0)] };
  }

  #report(node: string, message: Parameters<typeof reportEvents>[2]): void {
    const { state } = this;
    const context = { state, scheduler: this.#scheduler, chance: () => this.#chance.below(1_000) / 1_000 };
    this.#add(...reportEvents(context, node, message, this.#now));
  }

  start(): void {
    const claim = this.#claim();
    if (claim === undefined) return;
    const runs: [number, number, number, number, number][] = [[...claim.run, this.#now]];
    this.#report(claim.node, { type: "task.start", incarnation: "0".repeat(16), runs });
  }

  complete(): void {
    const claim = this.#claim();
    if (claim === undefined) return;
    const runs: [number, number, number, number, number, number][] = [[...claim.run, AT, this.#now]];
    this.#report(claim.node, { type: "task.complete", incarnation: INCARNATION, seq: 1, runs, results: [] });
  }

  fail(): void {
    const claim = this.#claim();
    if (claim === undefined) return;
    const [number, from, to, attempt] = claim.run;
    const results = Array.from({ length: to - from }, (_, at) => {
      const task: [number, number, number] = [number, from + at, attempt];
      return { task, outcome: this.#outcome() };
    });
    this.#report(claim.node, { type: "task.fail", incarnation: INCARNATION, seq: 1, results, released: [] });
  }

  #outcome(): Outcome {
    const times = { started_at: AT, ended_at: AT + this.#chance.below(90_000) };
    switch (this.#chance.below(4)) {
      case 0:
        return { status: "timeout", reason: "timeout", ...times };
      case 1:
        return { status: "cancelled", reason: "cancelled", ...times };
      case 2:
        return { status: "failed", reason: "lost", ...times };
      default:
        return { status: "failed", reason: "exit", exit_code: 1, ...times };
    }
  }

  release(): void {
    const claim = this.#claim();
    if (claim === undefined) return;
    this.#report(claim.node, {
      type: "task.fail",
      incarnation: INCARNATION,
      seq: 1,
      results: [],
      released: [claim.run],
    });
  }

  cancel(): void {
    const chance = this.#chance;
    const [number, book] = this.#pick(this.one_by_one.books) ?? [];
    if (number === undefined || book === undefined || book.retired) return;
    const from = chance.below(Math.max(1, book.tasks.length));
    const to = chance.once(3) ? undefined : chance.between(from + 1, Math.max(from + 1, book.tasks.length));
    const only = chance.once(2) ? { only: [(["pending", "scheduled", "running"] as const)[chance.below(3)]!] } : {};
    const named = book.tasks.slice(from, to).filter(({ status }) => only.only?.includes(status as never) ?? true);
    const among = (...statuses: string[]) => named.filter(({ status }) => statuses.includes(status)).length;
    const wanted = { cancelled: among("pending"), stopping: among("scheduled", "running") };
    const { events, answer } = decideCancel(this.state, number, from, to, this.#now, only.only);
    expect(answer).toMatchObject(wanted);
    this.#add(...events);
    expect(among("pending")).toBe(0);
    expect(named.every((task) => isTaskOver(task) || task.stopping === "cancel" || task.stopping === "deadline")).toBe(
      true,
    );
  }

  retry(): void {
    const chance = this.#chance;
    const [number, book] = this.#pick(this.one_by_one.books) ?? [];
    if (number === undefined || book === undefined) return;
    const index = chance.once(3) ? { index: chance.below(Math.max(1, book.tasks.length)) } : {};
    const statuses = TERMINAL_STATUSES.filter(() => chance.once(2));
    const fresh = chance.once(2);
    const command = { nonce: chance.hex(16), targets: [{ id: chance.u32(), number, ...index }], statuses, fresh };
    const { events, answer } = decideRetry(this.state, this.#past, command, "client", this.#now);
    const named = book.tasks.filter((_, at) => index.index === undefined || index.index === at);
    const ended = named.filter(({ status }) => statuses.includes(status as never));
    const again = ended.filter((task) => fresh && this.#isRetried(number, book.tasks.indexOf(task)));
    const wanted = ended.length - again.length;
    expect(answer.left_out).toBe(again.length);
    expect(answer.retried.map(({ count }) => count)).toEqual(wanted === 0 ? [] : [wanted]);
    this.#add(...events);
  }

  /** Whether a later submission stands for what this member stands for. */
  #isRetried(number: number, index: number): boolean {
    const standsFor = (one: number, at: number): [number, number] => {
      const { source } = this.one_by_one.books.get(one)!.event;
      if (source === undefined) return [one, at];
      const [range] = new Members(source.members).standFor(at, at + 1);
      return [source.number, range!.from];
    };
    const wanted = standsFor(number, index).join();
    return [...this.one_by_one.books].some(
      ([later, { event, tasks }]) =>
        later > number && event.source !== undefined && tasks.some((_, at) => standsFor(later, at).join() === wanted),
    );
  }

  readonly #past: PastView = {
    findIds: this.#find,
    retryable: (number) => {
      const { event } = this.one_by_one.books.get(number)!;
      return { array: event.array, specification: event.spec, source: event.source };
    },
    retries: (root, after) =>
      [...this.one_by_one.books]
        .filter(([number, { event }]) => number > after && event.source?.number === root)
        .map(([, { event }]) => event.source!.members),
    ended: (number, from, to, statuses): Range[] => {
      const { tasks } = this.one_by_one.books.get(number)!;
      const named = [...tasks.entries()].slice(from, to);
      const ended = named.filter(([, { status }]) => statuses.includes(status as never));
      return ended.map(([at]) => ({ from: at, to: at + 1 }));
    },
  };

  /** Time goes by: starts that were put off, deadlines, nodes that stay away, arrays that nobody extends. */
  pass(): void {
    const chance = this.#chance;
    this.#now += chance.below(chance.once(6) ? 90_000 : 2_000);
    for (const number of [...this.state.submissions.keys()]) {
      this.#add(...decideDue(this.state, number, this.#now).events);
    }
    for (const { event, tasks, retired } of this.one_by_one.books.values()) {
      if (retired) continue;
      const { deadline_ms } = event.spec;
      const late = deadline_ms !== undefined && event.at + deadline_ms <= this.#now;
      for (const { status, not_before, node, stopping } of tasks) {
        expect(not_before === undefined || not_before > this.#now || late).toBe(true);
        expect(late && (status === "pending" || (node !== undefined && stopping === undefined))).toBe(false);
      }
    }
    this.#add(...decideGone(this.state, this.#now, this.#now - AT, undefined));
    this.#add(...decideDrains(this.state, this.#now).events);
    this.#add(...decideAbandoned(this.state, this.#now, 60_000));
  }

  /** It falls silent, or says goodbye: then what it held is given back. */
  goAway(): void {
    const node = this.#pick(this.state.nodes.keys());
    if (node === undefined) return;
    if (this.#chance.once(2)) {
      this.#add(...decideLost(this.state, node, heldBy(this.state, node), this.#now, "released"));
    }
    this.#add({ t: "node", node, status: "offline", reason: "test", at: this.#now });
  }

  manage(): void {
    const chance = this.#chance;
    const action = (["cordon", "drain", "drain", "resume", "remove"] as const)[chance.below(5)]!;
    const deadline = chance.once(2) ? { deadline_ms: chance.below(3_000) } : {};
    try {
      const command = { action, nodes: [this.#pick(NODES)!], ...deadline };
      this.#add(...decideManage(this.state, command, "client", this.#now).events);
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
    }
  }

  /** The view has it: what is over leaves the memory. */
  retire(): void {
    for (const submission of [...this.state.submissions.values()]) {
      const book = this.one_by_one.books.get(submission.number)!;
      expect(isOver(submission)).toBe(isBookOver(book));
      if (!isOver(submission) || this.#chance.once(2)) continue;
      this.state.retire(submission.number);
      book.retired = true;
    }
  }

  prune(): void {
    const books = [...this.one_by_one.books].filter(([, { over_at }]) => over_at !== undefined);
    const sources = new Set([...this.one_by_one.books.values()].map(({ event }) => event.source?.number));
    const rows = books.map(([number, { tasks, over_at = 0, event }]) => {
      const { completed = 0, failed = 0, cancelled = 0, timeout = 0 } = this.one_by_one.counts(tasks);
      const retry = event.source === undefined ? 0 : 1;
      return { number, ids: event.ids.length, completed, failed, cancelled, timeout, retry, over_at };
    });
    const past = {
      prunable: (before: number, limit: number) =>
        rows.filter(({ over_at, number }) => over_at < before && !sources.has(number)).slice(0, limit),
      finishedResults: () => rows.length,
      resultsOf: () => 1,
    };
    const retention = { age_ms: this.#chance.below(60_000), keep_ms: 0, tasks: 0 };
    const { event } = decidePruned(past, () => false, this.#chance.below(10), retention, this.#now);
    if (event !== undefined) this.#add(event);
  }
}

/** The shortest history found, by leaving parts of it out, that still fails. */
export function shortened(steps: readonly Step[], fails: (steps: readonly Step[]) => boolean): readonly Step[] {
  let best = steps;
  for (let size = Math.ceil(steps.length / 2); size >= 1; ) {
    let at = 0;
    while (at < best.length) {
      const fewer = [...best.slice(0, at), ...best.slice(at + size)];
      if (fails(fewer)) best = fewer;
      else at += size;
    }
    size = size === 1 ? 0 : Math.ceil(size / 2);
  }
  return best;
}
