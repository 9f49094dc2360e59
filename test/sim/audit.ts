// The books at the end of a run: what was acknowledged, what the log has, what the views have and what was really begun.

import type { Specification } from "../../src/common/models.ts";
import { Batch } from "../../src/core/event.ts";
import type { View } from "../../src/storage/view.ts";
import { canonical } from "./canonical.ts";
import type { SimLog } from "./log.ts";

export interface Evidence {
  log: SimLog;
  /** The whole log, folded from nothing. */
  fold: View;
  /** Ids of submissions that somebody was told of, with their numbers. */
  acknowledged: ReadonlyMap<number, number>;
  /** Submissions that somebody asked to cancel. */
  unwanted: ReadonlySet<number>;
  /** Attempts that were begun of each task. */
  began: ReadonlyMap<string, ReadonlySet<number>>;
  views: readonly { id: string; view: View | undefined }[];
}

/** Nothing acknowledged is missing, nothing is recorded twice, and every view equals the fold of the log from nothing. */
export function audit({ log, fold, acknowledged, unwanted, began, views }: Evidence): void {
  for (const [id, number] of acknowledged) {
    if (!hasId(fold, id, number)) throw new Error(`the acknowledged submission ${id} is not in the log`);
  }
  const wanted = canonical(fold);
  for (const { id, view } of views) {
    if (view === undefined || canonical(view) !== wanted) {
      throw new Error(`the view of ${id} differs from the fold of the log`);
    }
  }
  for (const { number, tasks, recorded } of recordedOf(fold)) {
    if (tasks !== recorded) throw new Error(`submission ${number}: ${recorded} results of ${tasks} tasks`);
  }
  requireOneResult(fold);
  for (const number of cancelledIn(fold)) {
    if (!unwanted.has(number)) throw new Error(`nobody cancelled submission ${number}`);
  }
  checkTotals(fold);
  checkEpochs(log);
  checkStopped(log);
  checkAttempts(log);
  checkRunOnce(log, began);
  checkPlaces(log);
}

/** Work is given to nodes that are online and in service. */
function checkPlaces(log: SimLog): void {
  const statuses = new Map<string, string>();
  const cordons = new Map<string, { incarnation: string; shutdown: boolean }>();
  const lives = new Map<string, string>();
  for (const { payload, sequence } of log.entries) {
    for (const event of Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events) {
      if (event.t === "node") statuses.set(event.node, event.status);
      if (event.t === "resumed" || event.t === "removed") cordons.delete(event.node);
      if (event.t === "cordoned") {
        cordons.set(event.node, { incarnation: lives.get(event.node) ?? "", shutdown: event.shutdown === true });
      }
      if (event.t === "registered") {
        const { node, incarnation } = event;
        const cordon = cordons.get(node);
        if (cordon?.shutdown === true && cordon.incarnation !== incarnation) cordons.delete(node);
        statuses.set(node, "online");
        lives.set(node, incarnation);
      }
      if (event.t !== "assigned") continue;
      const is = cordons.has(event.node) ? "out of service" : statuses.get(event.node);
      if (is !== "online") throw new Error(`${event.node} is given work, and is ${is}, at ${sequence}`);
    }
  }
}

/** Whether the view knows the submission by this id, be it pruned. */
export function hasId(view: View, id: number, number: number): boolean {
  const query = "SELECT number FROM ids WHERE id = ?1 UNION SELECT number FROM pruned WHERE id = ?1";
  return view.database.query<{ number: number }, [number]>(query).get(id)?.number === number;
}

function recordedOf(view: View): { number: number; tasks: number; recorded: number }[] {
  return view.database
    .query<{ number: number; tasks: number; recorded: number }, []>(
      `SELECT number, count AS tasks, (SELECT COALESCE(SUM(past - first), 0) FROM results r WHERE r.number = s.number)
       AS recorded FROM submissions s`,
    )
    .all();
}

function requireOneResult(view: View): void {
  const twice = view.database
    .query<{ number: number; first: number }, []>(
      `SELECT a.number, a.first FROM results AS a JOIN results AS b
       ON a.number = b.number AND a.position < b.position AND a.first < b.past AND b.first < a.past`,
    )
    .get();
  if (twice !== null) throw new Error(`${twice.number}.${twice.first} has two results`);
}

function cancelledIn(view: View): number[] {
  const query = "SELECT DISTINCT number FROM results WHERE status = 'cancelled'";
  return view.database
    .query<{ number: number }, []>(query)
    .all()
    .map(({ number }) => number);
}

/** What was told to stop never gets another attempt. */
function checkStopped(log: SimLog): void {
  const stopped = new Set<string>();
  for (const { payload } of log.entries) {
    for (const event of Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events) {
      if (event.t !== "stopping" && event.t !== "assigned") continue;
      if (event.t === "stopping" && event.reason === "drain") continue;
      for (const [number, from, to] of event.runs) {
        for (let index = from; index < to; index++) {
          const key = `${number}.${index}`;
          if (event.t === "stopping") stopped.add(key);
          else if (stopped.has(key)) throw new Error(`${key} was stopped and is assigned again`);
        }
      }
    }
  }
}

/** What failed is tried again as often as was asked for, and not more often; nothing starts before its time. */
function checkAttempts(log: SimLog): void {
  const specs = new Map<number, { spec: Specification; at: number }>();
  for (const { payload } of log.entries) {
    for (const event of Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events) {
      if (event.t === "submitted") specs.set(event.number, { spec: event.spec, at: event.at });
      if (event.t === "retried") {
        for (const { task, failures } of event.results) {
          const limit = specs.get(task[0])?.spec.retry?.limit ?? 0;
          if (failures > limit) throw new Error(`${task} has ${failures} failed attempts of ${limit + 1}`);
        }
      }
      if (event.t !== "assigned") continue;
      for (const [number] of event.runs) {
        const { spec, at } = specs.get(number) ?? { spec: undefined, at: 0 };
        if (event.at < at + (spec?.start_after_ms ?? 0)) throw new Error(`${number} was started early`);
        if (spec?.deadline_ms !== undefined && event.at >= at + spec.deadline_ms) {
          throw new Error(`${number} was assigned after its deadline`);
        }
      }
    }
  }
}

/** A task that must not run twice was begun once, but for attempts that failed and were retried. */
function checkRunOnce(log: SimLog, began: ReadonlyMap<string, ReadonlySet<number>>): void {
  const once = new Set<number>();
  const failed = new Map<string, number>();
  for (const { payload } of log.entries) {
    for (const event of Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events) {
      if (event.t === "submitted" && event.spec.on_lost === "fail") once.add(event.number);
      if (event.t !== "retried") continue;
      for (const { task } of event.results) {
        const key = `${task[0]}.${task[1]}`;
        failed.set(key, (failed.get(key) ?? 0) + 1);
      }
    }
  }
  for (const [key, attempts] of began) {
    if (!once.has(Number(key.split(".")[0]))) continue;
    const allowed = 1 + (failed.get(key) ?? 0);
    if (attempts.size > allowed) throw new Error(`${key} must not run twice and was begun ${attempts.size} times`);
  }
}

/** What the state counts is what the rows have. */
function checkTotals(view: View): void {
  const { totals } = JSON.parse(view.meta("state") ?? "{}") as { totals: Record<string, number> };
  const found = view.database
    .query<Record<string, number>, []>(
      `SELECT sum(count) AS total, sum(completed) AS completed, sum(failed) AS failed, sum(cancelled) AS cancelled,
       sum(timeout) AS timeout FROM submissions`,
    )
    .get();
  for (const [name, value] of Object.entries(found ?? {})) {
    if ((value ?? 0) !== totals[name])
      throw new Error(`the state counts ${totals[name]} ${name}, the rows have ${value}`);
  }
}

function checkEpochs(log: SimLog): void {
  let epoch = 0;
  for (const { payload, sequence } of log.entries) {
    const batch = Batch.parse(JSON.parse(new TextDecoder().decode(payload)));
    if (batch.epoch < epoch) throw new Error(`epoch ${batch.epoch} after ${epoch} at ${sequence}`);
    epoch = batch.epoch;
  }
}
