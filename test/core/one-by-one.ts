// The cluster's tasks kept one by one, as a book without ranges: simple enough to be obviously right, and slow. It is fed
// with the events that the fold is fed with; whatever both of them know has to agree after each (ranges.test.ts).

import { expect } from "bun:test";
import type { Needs } from "../../src/common/models.ts";
import type { StopReason } from "../../src/common/vocabulary.ts";
import { TASK_STATUSES, type TaskStatus } from "../../src/common/vocabulary.ts";
import type { AttemptRecord, ResultRecord } from "../../src/core/changes.ts";
import type { Event } from "../../src/core/event.ts";
import { Held } from "../../src/core/held.ts";
import type { State, Submission } from "../../src/core/state.ts";

export interface Task {
  status: TaskStatus;
  attempt: number;
  node: string | undefined;
  since: number | undefined;
  stopping: StopReason | undefined;
  not_before: number | undefined;
  failures: number;
  lost: number;
}

export interface Book {
  event: Extract<Event, { t: "submitted" }>;
  open: boolean;
  cut_short: Submission["cut_short"];
  extended_at: number;
  tasks: Task[];
  /** The state has put it out of its memory; its tasks count all the same. */
  retired: boolean;
  /** When it was over, if it is. */
  over_at: number | undefined;
}

interface Holder {
  completed: number;
  failed: number;
}

const HELD: readonly TaskStatus[] = ["scheduled", "running"];
const ENDS: readonly TaskStatus[] = ["completed", "failed", "cancelled", "timeout"];

export const isTaskOver = ({ status }: Task): boolean => ENDS.includes(status);
export const isBookOver = ({ open, tasks }: Book): boolean => !open && tasks.every(isTaskOver);

export class OneByOne {
  readonly books = new Map<number, Book>();
  readonly #holders = new Map<string, Holder>();
  /** Ends and attempts in the order in which they were told: `number.index.attempt node status`. */
  readonly #results: string[] = [];
  readonly #attempts: string[] = [];

  take(event: Event, now: number): void {
    switch (event.t) {
      case "submitted":
        this.books.set(event.number, {
          ...{ event, open: event.open === true, extended_at: event.at, retired: false, over_at: undefined },
          cut_short: undefined,
          tasks: [],
        });
        this.#grow(this.#book(event.number), event.count, event.at);
        break;
      case "extended": {
        const book = this.#book(event.number);
        book.extended_at = event.at;
        this.#grow(book, event.inputs.length, event.at);
        break;
      }
      case "closed":
        this.#close(this.#book(event.number), event);
        break;
      case "registered":
        if (!this.#holders.has(event.node)) this.#holders.set(event.node, { completed: 0, failed: 0 });
        break;
      case "removed":
        this.#holders.delete(event.node);
        break;
      case "pruned":
        for (const number of event.numbers) this.books.delete(number);
        break;
      default:
        this.#takeOfTasks(event);
    }
    for (const book of this.books.values()) if (isBookOver(book)) book.over_at ??= now;
  }

  #close(book: Book, { abandoned, at }: Extract<Event, { t: "closed" }>): void {
    const { at: from, spec } = book.event;
    const late = spec.deadline_ms !== undefined && at >= from + spec.deadline_ms;
    book.open = false;
    book.cut_short = abandoned === undefined ? undefined : abandoned ? "abandoned" : late ? "deadline" : "cancelled";
  }

  #takeOfTasks(event: Event): void {
    switch (event.t) {
      case "assigned":
        this.#each(event.runs, (task, attempt) => {
          expect([task.status, task.not_before]).toEqual(["pending", undefined]);
          expect(attempt).toBeGreaterThan(task.attempt);
          Object.assign(task, { status: "scheduled", attempt, node: event.node, since: event.at });
        });
        return;
      case "started":
        this.#eachHeld(event, (task) => {
          expect(task.status).toBe("scheduled");
          Object.assign(task, { status: "running", since: event.at });
        });
        return;
      case "stopping":
        this.#eachHeld(event, (task) => {
          task.stopping = event.reason;
        });
        return;
      case "succeeded":
        this.#eachHeld(event, (task, name) => this.#end(task, name, event.node, "completed"));
        return;
      case "ended":
        for (const { task, outcome } of event.results) {
          this.#one(task, event.node, (found, name) => this.#end(found, name, event.node, outcome.status));
        }
        return;
      case "retried":
        for (const { task, outcome, not_before, failures } of event.results) {
          this.#one(task, event.node, (found, name) => {
            this.#attempts.push(`${name}.${found.attempt} ${event.node} ${outcome.reason}`);
            this.#count(event.node, outcome.status === "completed");
            wait(found, { failures, not_before: Math.max(not_before, event.at), lost: found.lost });
          });
        }
        return;
      case "requeued":
        this.#eachHeld(event, (task, name) => {
          if (event.reason !== "released") this.#attempts.push(`${name}.${task.attempt} ${event.node} ${event.reason}`);
          const lost = task.lost + (event.reason === "lost" ? 1 : 0);
          wait(task, { failures: task.failures, not_before: undefined, lost });
        });
        return;
      case "due":
        this.#each(event.runs, (task) => {
          expect(task.not_before).toBeNumber();
          task.not_before = undefined;
        });
        return;
      case "dropped":
        this.#each([[event.number, event.from, event.to]], (task, _, name) => {
          expect(task.status).toBe("pending");
          task.attempt = 0;
          this.#end(task, name, "", event.outcome.status);
        });
    }
  }

  #book(number: number): Book {
    const book = this.books.get(number);
    if (book === undefined) throw new Error(`no submission ${number}`);
    return book;
  }

  #grow({ event, tasks }: Book, count: number, now: number): void {
    const begin = beginOf(event);
    for (let added = 0; added < count; added++) {
      const not_before = begin > now ? begin : undefined;
      const nobody = { node: undefined, since: undefined, stopping: undefined };
      tasks.push({ status: "pending", attempt: 0, ...nobody, not_before, failures: 0, lost: 0 });
    }
  }

  /** Every task of runs that begin with [submission, from, to, attempt]. */
  #each(runs: readonly (readonly number[])[], change: (task: Task, attempt: number, name: string) => void): void {
    for (const [number = 0, from = 0, to = 0, attempt = 0] of runs) {
      for (let index = from; index < to; index++) {
        const task = this.#book(number).tasks[index];
        if (task === undefined) throw new Error(`no task ${number}.${index}`);
        change(task, attempt, `${number}.${index}`);
      }
    }
  }

  #eachHeld(
    { node, runs }: { node: string; runs: readonly (readonly number[])[] },
    change: (task: Task, name: string) => void,
  ): void {
    this.#each(runs, (task, attempt, name) => {
      expect([task.node, task.attempt]).toEqual([node, attempt]);
      change(task, name);
    });
  }

  #one([number, index, attempt]: [number, number, number], node: string, change: (task: Task, name: string) => void) {
    this.#eachHeld({ node, runs: [[number, index, index + 1, attempt]] }, change);
  }

  #end(task: Task, name: string, node: string, status: TaskStatus): void {
    this.#results.push(`${name}.${task.attempt} ${node} ${status}`);
    if (node !== "") this.#count(node, status === "completed");
    const nothing = { node: undefined, since: undefined, stopping: undefined, not_before: undefined };
    Object.assign(task, { status, ...nothing });
  }

  #count(node: string, well: boolean): void {
    const holder = this.#holders.get(node);
    if (holder === undefined) throw new Error(`no node ${node}`);
    if (well) holder.completed += 1;
    else holder.failed += 1;
  }

  /** How many of a submission's tasks, or of all, are in each status. */
  counts(tasks: readonly Task[]): Record<string, number> {
    const counts: Record<string, number> = { total: tasks.length };
    for (const status of TASK_STATUSES) counts[status] = tasks.filter((task) => task.status === status).length;
    return counts;
  }

  /** Throws where the state says anything else. */
  compare(state: State, results: readonly ResultRecord[], attempts: readonly AttemptRecord[]): void {
    const kept = [...this.books].filter(([, { retired }]) => !retired);
    expect([...state.submissions.keys()]).toEqual(kept.map(([number]) => number));
    for (const [number, book] of kept) this.#compareSubmission(state, state.submissions.get(number)!, book);
    expect(state.totals).toEqual(this.counts([...this.books.values()].flatMap(({ tasks }) => tasks)) as never);
    this.#compareNodes(state);
    this.#compareLanes(state);
    const ended = results.flatMap((one) => members(one, (name) => `${name} ${one.node} ${one.outcome.status}`));
    expect(ended).toEqual(this.#results);
    expect(attempts.flatMap((one) => members(one, (name) => `${name} ${one.node} ${one.reason}`))).toEqual(
      this.#attempts,
    );
  }

  #compareSubmission(state: State, submission: Submission, { tasks, open, cut_short, extended_at }: Book): void {
    const { segments, counts, count, number } = submission;
    expect(segments.flatMap(({ from, to, ...task }) => Array.from({ length: to - from }, () => told(task)))).toEqual(
      tasks.map((task) => (isTaskOver(task) ? told({ status: "over", attempt: 0 }) : told(task))),
    );
    let end = 0;
    let before = "";
    for (const { from, to, ...task } of segments) {
      expect([from, to > from]).toEqual([end, true]);
      // A range ends where its tasks differ, and nowhere else: a million alike are one.
      expect(JSON.stringify(told(task))).not.toBe(before);
      before = JSON.stringify(told(task));
      end = to;
    }
    expect([counts, count, submission.open, submission.cut_short, submission.extended_at]).toEqual([
      this.counts(tasks) as never,
      tasks.length,
      open,
      cut_short,
      extended_at,
    ]);
    expect(submission.ready).toBe(tasks.filter(isWaiting).length);
    expect([number, state.active.has(number)]).toEqual([number, tasks.some(({ status }) => HELD.includes(status))]);
  }

  #compareNodes(state: State): void {
    expect([...state.nodes.keys()].sort()).toEqual([...this.#holders.keys()].sort());
    for (const [id, { completed, failed }] of this.#holders) {
      const node = state.nodes.get(id)!;
      const held = new Held();
      const used: Record<string, number> = { cpu_millis: 0, memory_mib: 0, gpus: 0 };
      for (const [number, { tasks, event }] of this.books) {
        for (const [index, task] of tasks.entries()) {
          if (task.node !== id) continue;
          held.add(number, index, index + 1, task.attempt);
          for (const [name, amount] of amounts(event.spec.needs)) used[name] = (used[name] ?? 0) + amount;
        }
      }
      const { resources, spread, ...plain } = node.used;
      expect(spread).toEqual({});
      const theirs = Object.entries({ ...plain, ...resources }).filter(([, amount]) => amount !== 0);
      expect(Object.fromEntries(theirs)).toEqual(
        Object.fromEntries(Object.entries(used).filter(([, amount]) => amount !== 0)),
      );
      expect([node.held.count, node.held.hash]).toEqual([held.count, held.hash]);
      expect([node.completed, node.failed]).toEqual([completed, failed]);
    }
  }

  #compareLanes(state: State): void {
    const lanes = new Map<string, [numbers: number[], waiting: number]>();
    for (const [number, { event, tasks }] of [...this.books].sort(
      ([, a], [, b]) => beginOf(a.event) - beginOf(b.event),
    )) {
      const waiting = tasks.filter(isWaiting).length;
      if (waiting === 0) continue;
      const name = `${event.spec.priority} ${JSON.stringify(event.spec.needs)}`;
      const [numbers, others] = lanes.get(name) ?? [[], 0];
      lanes.set(name, [[...numbers, number], others + waiting]);
    }
    const theirs = state.ready.lanes().map((lane) => {
      const needs = JSON.stringify(state.groups.get(lane.group));
      return [`${lane.priority} ${needs}`, [Array.from(lane, ({ number }) => number), lane.waiting]] as const;
    });
    expect(new Map(theirs) as unknown).toEqual(lanes);
  }
}

/** From when on it may run. */
function beginOf({ at, spec: { start_after_ms = 0, start_at = 0 } }: Book["event"]): number {
  return Math.max(at, at + start_after_ms, start_at);
}

const isWaiting = ({ status, not_before }: Task): boolean => status === "pending" && not_before === undefined;

function amounts({ cpu_millis, memory_mib, gpus, resources = {} }: Needs): [string, number][] {
  return Object.entries({ cpu_millis, memory_mib, gpus, ...resources });
}

function wait(task: Task, kept: Pick<Task, "failures" | "not_before" | "lost">): void {
  Object.assign(task, { status: "pending", node: undefined, since: undefined, stopping: undefined, ...kept });
}

/** In one order, with what is absent or zero left out. */
function told(task: { status: string; attempt: number } & Partial<Omit<Task, "status">>): object {
  const { status, attempt, node, since, stopping, not_before, failures = 0, lost = 0 } = task;
  return { status, attempt, node, since, stopping, not_before, failures, lost };
}

function members<T extends { number: number; from: number; to: number; attempt: number }>(
  { number, from, to, attempt }: T,
  line: (name: string) => string,
): string[] {
  return Array.from({ length: to - from }, (_, at) => line(`${number}.${from + at}.${attempt}`));
}
