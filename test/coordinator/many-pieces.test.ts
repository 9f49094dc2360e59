// An array that is cut to very many pieces, all of which are decided on at once: by an alarm, a tick, a command or a report.
// Whatever it is, it gets into the log, in batches and events that a broker and its readers take.

import { describe, expect, test } from "bun:test";
import type { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import type { CommandType, UpMessage } from "../../src/communication/messages.ts";
import { batchHash, type OutgoingBatch } from "../../src/coordinator/committer.ts";
import { Leader } from "../../src/coordinator/leader.ts";
import type { LeaderOptions, LeaderView } from "../../src/coordinator/leader-world.ts";
import { apply } from "../../src/core/apply.ts";
import { Touched } from "../../src/core/changes.ts";
import { Batch, type Event } from "../../src/core/event.ts";
import { foldOf } from "../../src/core/fold.ts";
import { State } from "../../src/core/state.ts";
import { AT, INFO, outcomeOf, specificationOf } from "../core/cluster.ts";
import { DEFAULT_PLACEMENT } from "../core/placing-model.ts";

/** Half of its members are on the node, and each of the others waits between two of them for its next attempt. */
const MEMBERS = 72_000;
/** Its number: long ones take room. */
const NUMBER = 10 ** 12;
const NODE = "node_00000001";
const INCARNATION = "0123456789abcdef";
const SPECIFICATION = specificationOf({ needs: { cpu_millis: 0, memory_mib: 0, gpus: 0, executor: "command" } });
const RETRY_MS = 60_000;
const DEADLINE_MS = 120_000;

function* history(deadline_ms: number | undefined): Iterable<Event> {
  yield { t: "cluster", cluster_id: "c", name: "test", at: AT };
  yield { t: "term", epoch: 1, leader: "before", at: AT };
  yield { t: "registered", node: NODE, incarnation: INCARNATION, info: INFO, at: AT };
  const spec = { ...SPECIFICATION, ...(deadline_ms === undefined ? {} : { deadline_ms }) };
  const base = { number: NUMBER, nonce: "0".repeat(32), by: "me", at: AT, array: true, ids: [7] };
  yield { t: "submitted", ...base, spec, count: MEMBERS };
  yield { t: "assigned", node: NODE, runs: [[NUMBER, 0, MEMBERS, 1]], at: AT };
  for (let index = 1; index < MEMBERS; index += 2) {
    const result = { task: [NUMBER, index, 1] as [number, number, number], outcome: outcomeOf(), failures: 1 };
    yield { t: "retried", node: NODE, results: [{ ...result, not_before: AT + RETRY_MS }], at: AT };
  }
}

function stateOf(events: Iterable<Event>): { state: State; hash: string } {
  const state = new State();
  state.next_number = NUMBER;
  const touched = new Touched();
  for (const event of events) apply(state, event, touched);
  state.time_ms = AT;
  return { state, hash: foldOf(state, touched.seal(state)).state };
}

const view: LeaderView = {
  findIds: () => new Map(),
  findKey: () => undefined,
  prunable: () => [],
  finishedResults: () => 0,
  resultsOf: () => 0,
  retryable: () => undefined,
  ended: () => [],
  retries: () => [],
  specification: () => SPECIFICATION,
  inputs: () => undefined,
  source: () => undefined,
};

const options: LeaderOptions = {
  ...{ name: "one", cluster: "test", fresh_cluster_id: "c", heartbeat_ms: 10_000, missed_heartbeats: 3 },
  ...{ lost_after_ms: undefined, abandoned_after_ms: 600_000, placement: DEFAULT_PLACEMENT, chance: () => 0.5 },
  retention: { age_ms: 7 * 86_400_000, keep_ms: 3_600_000, tasks: 1_000_000 },
};

/** A leader over a log that takes everything at once. */
class Leading {
  readonly leader: Leader;
  readonly batches: Batch[] = [];
  readonly answers: (object | ClawError)[] = [];
  readonly #arrived: OutgoingBatch[] = [];
  #now_ms = 0;

  constructor(deadline_ms?: number) {
    const { state } = stateOf(history(deadline_ms));
    const world = {
      append: (batch: OutgoingBatch) => void this.#arrived.push(batch),
      committed: () => undefined,
      reply: (_: unknown, answer: object | ClawError) => void this.answers.push(answer),
      send: () => undefined,
      trusted: () => true,
    };
    this.leader = new Leader(
      state,
      { sequence: 9, hash: batchHash(new Uint8Array()) },
      view,
      world,
      options,
      this.#now,
    );
    this.#store();
  }

  get #now(): { wall_ms: number; monotonic_ms: number } {
    return { wall_ms: AT + this.#now_ms, monotonic_ms: this.#now_ms };
  }

  #store(): void {
    for (let next = this.#arrived.shift(); next !== undefined; next = this.#arrived.shift()) {
      expect(next.payload.length).toBeLessThan(1024 * 1024);
      this.batches.push(Batch.parse(JSON.parse(new TextDecoder().decode(next.payload))));
      this.leader.stored(next.sequence, this.#now);
    }
  }

  /** Time goes on, and the leader looks. */
  tick(after_ms: number): void {
    this.#now_ms += after_ms;
    this.leader.tick(this.#now);
    this.#store();
  }

  up(message: UpMessage): void {
    this.leader.up(NODE, message, 100, this.#now);
    this.leader.settle(this.#now);
    this.#store();
  }

  command(type: CommandType, payload: object): void {
    this.leader.command(type, { v: 1, ...payload }, "me", {}, 100, this.#now);
    this.leader.settle(this.#now);
    this.#store();
  }

  /** The members that events of a kind tell of. */
  told(kind: Event["t"]): number {
    let count = 0;
    for (const event of this.batches.flatMap(({ events }) => events)) {
      if (event.t !== kind) continue;
      if (event.t === "dropped") count += event.to - event.from;
      if (!("runs" in event)) continue;
      expect(JSON.stringify(event).length).toBeLessThanOrEqual(LIMITS.event_bytes);
      for (const [, from, to] of event.runs) count += to - from;
    }
    return count;
  }

  /** What stands in the log gives what the leader has in mind. */
  check(deadline_ms?: number): void {
    const { state } = stateOf(history(deadline_ms));
    for (const { events, at, fold } of this.batches) {
      const touched = new Touched();
      for (const event of events) apply(state, event, touched);
      state.time_ms = at;
      expect(foldOf(state, touched.seal(state))).toEqual(fold!);
    }
  }
}

const HALF = MEMBERS / 2;
const register = (incarnation = INCARNATION): UpMessage => ({
  ...{ type: "node.register", v: 1, incarnation, info: INFO, held: [] },
  earlier: [INCARNATION],
});

describe("an array cut to very many pieces", () => {
  test("whose members are all due at once: they are made ready, and every leader goes on", () => {
    const leading = new Leading();
    leading.tick(RETRY_MS);
    expect(leading.told("due")).toBe(HALF);
    leading.check();
  });

  test("whose deadline passes", () => {
    const leading = new Leading(DEADLINE_MS);
    leading.tick(1_000);
    leading.tick(DEADLINE_MS);
    expect([leading.told("dropped"), leading.told("stopping")]).toEqual([HALF, HALF]);
    leading.check(DEADLINE_MS);
  });

  test("that is cancelled", () => {
    const leading = new Leading();
    leading.command("task.cancel", { targets: [{ number: NUMBER, from: 0 }] });
    expect(leading.answers).toEqual([{ cancelled: HALF, stopping: HALF, finished: 0 }]);
    expect([leading.told("dropped"), leading.told("stopping")]).toEqual([HALF, HALF]);
    leading.check();
  });

  test("on a node that is drained: at once, or when its time has come", () => {
    const leading = new Leading();
    leading.command("node.manage", { action: "drain", nodes: [NODE] });
    expect(leading.answers).toEqual([{}]);
    expect(leading.told("stopping")).toBe(HALF);
    leading.check();
    const later = new Leading();
    later.command("node.manage", { action: "drain", nodes: [NODE], deadline_ms: 0 });
    expect(later.told("stopping")).toBe(HALF);
  });

  test("on a node that fell silent, said goodbye, or lives anew", () => {
    const silent = new Leading();
    silent.tick(50_000);
    for (let left = 5; left > 0; left--) silent.tick(30_000);
    expect(silent.told("requeued")).toBe(HALF);
    silent.check();
    const polite = new Leading();
    polite.up({ type: "node.shutdown", incarnation: INCARNATION, reason: "SIGTERM" });
    expect(polite.told("requeued")).toBe(HALF);
    const anew = new Leading();
    anew.up(register("1".repeat(16)));
    expect(anew.told("requeued")).toBe(HALF);
  });

  test("on a node that is offline, and removed", () => {
    const leading = new Leading();
    leading.tick(50_000);
    leading.command("node.manage", { action: "remove", nodes: [NODE] });
    expect(leading.answers).toEqual([{}]);
    expect(leading.told("requeued")).toBe(HALF);
    expect(leading.leader.state.nodes.size).toBe(0);
    leading.check();
  });
});
