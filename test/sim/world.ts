// The simulated world: one coordinator, one log, some workers and a client, joined by a bus that drops, repeats, delays
// and reorders. `simulate` runs one seed: faults for a while, then peace, in which everything has to finish; then the
// books are checked.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import type { Specification } from "../../src/common/models.ts";
import { COMMANDS, type CommandType, DownMessage, UpMessage } from "../../src/communication/messages.ts";
import { catchUp } from "../../src/coordinator/replica.ts";
import { Batch } from "../../src/core/event.ts";
import { isOver } from "../../src/core/state.ts";
import { View } from "../../src/storage/view.ts";
import type { Job } from "../../src/worker/queue.ts";
import { canonical } from "./canonical.ts";
import { Chance } from "./chance.ts";
import { Clock } from "./clock.ts";
import { SimCoordinator } from "./coordinator.ts";
import { SimLog } from "./log.ts";
import { SimSnapshots } from "./snapshots.ts";
import { SimWorker } from "./worker.ts";

const FAULTS_MS = 60_000;
const PEACE_MS = 400_000;

export interface Outcome {
  seed: number;
  submissions: number;
  tasks: number;
  executions: number;
  crashes: number;
  batches: number;
  /** How many snapshots counted, and where the log began in the end. */
  snapshots: number;
  log_begin: number;
  /** The same seed gives the same trace. */
  trace: string;
}

interface Wish {
  type: CommandType;
  payload: object;
  done: (answer: object) => void;
}

export class World {
  readonly chance: Chance;
  readonly clock = new Clock();
  readonly log: SimLog;
  readonly snapshots = new SimSnapshots();
  readonly coordinator: SimCoordinator;
  readonly workers: SimWorker[];
  crashes = 0;
  executions = 0;
  readonly acknowledged = new Map<number, number>();
  /** Submissions that somebody asked to cancel. */
  readonly #unwanted = new Set<number>();
  /** Attempts that were begun of each task. */
  readonly #began = new Map<string, Set<number>>();
  readonly #folder: string;
  readonly #trace = new Bun.CryptoHasher("sha256");
  #peace = false;
  #open = 0;
  #tasks = 0;

  constructor(seed: number, workers: number) {
    this.chance = new Chance(seed);
    this.#folder = mkdtempSync(join(tmpdir(), "claw-sim-"));
    this.log = new SimLog(this.clock, this.chance);
    this.coordinator = new SimCoordinator(this, join(this.#folder, "view.sqlite"));
    this.workers = Array.from({ length: workers }, (_, at) => {
      const id = `node_0000000${at}`;
      return new SimWorker(this, id, join(this.#folder, `${id}.sqlite`));
    });
  }

  now() {
    return { wall_ms: 1_700_000_000_000 + this.clock.now_ms, monotonic_ms: this.clock.now_ms };
  }

  /** Whether the process that is acting dies here, between two of its effects. */
  crashNow(): boolean {
    return !this.#peace && this.chance.once(150);
  }

  /** Whether a worker is asked to stop cleanly just now. */
  leaveNow(): boolean {
    return !this.#peace && this.chance.once(400);
  }

  /** Whether a worker that is gone stays away for long. */
  awayNow(): boolean {
    return !this.#peace && this.chance.once(8);
  }

  executed(job: Job): void {
    this.executions += 1;
    const key = `${job.number}.${job.index}`;
    const before = this.#began.get(key) ?? new Set<number>();
    this.#began.set(key, before.add(job.attempt));
    this.#trace.update(`${this.clock.now_ms} ${job.number}.${job.index}.${job.attempt}\n`);
  }

  #copies(): number {
    if (this.#peace) return 1;
    const roll = this.chance.below(25);
    if (roll === 0) return 0;
    return roll === 1 ? 2 : 1;
  }

  #deliver(action: () => void): void {
    const copies = this.#copies();
    for (let copy = 0; copy < copies; copy++) {
      const slow = !this.#peace && this.chance.once(20);
      this.clock.after(slow ? this.chance.between(10, 2_000) : this.chance.between(0, 3), action);
    }
  }

  up(node: string, message: UpMessage): void {
    const text = JSON.stringify(message);
    this.#deliver(() => this.coordinator.up(node, UpMessage.parse(JSON.parse(text))));
  }

  down(node: string, message: DownMessage): void {
    const text = JSON.stringify(message);
    const worker = this.workers.find((one) => one.id === node);
    this.#deliver(() => worker?.down(DownMessage.parse(JSON.parse(text))));
  }

  /** Sends until it is answered; an answer in doubt is no answer. */
  #wish(wish: Wish): void {
    this.#open += 1;
    let answered = false;
    const text = JSON.stringify(wish.payload);
    const parse = (): object => COMMANDS[wish.type].parse(JSON.parse(text));
    const send = (): void => {
      if (answered) return;
      const reply = (answer: object | ClawError): void => {
        this.#deliver(() => {
          if (answered) return;
          if (answer instanceof ClawError) {
            if (answer.code === "not_leading" || answer.code === "unknown_outcome") return;
            if (!["id_taken", "conflict", "not_found"].includes(answer.code)) throw answer;
          } else {
            wish.done(answer);
          }
          answered = true;
          this.#open -= 1;
        });
      };
      this.#deliver(() => this.coordinator.command(wish.type, parse(), "client_sim", reply));
      this.clock.after(this.chance.between(1_000, 3_000), send);
    };
    send();
  }

  #specification(): Specification {
    const { chance } = this;
    const noop = chance.once(4);
    return {
      type: "batch",
      priority: chance.once(5) ? "high" : "normal",
      needs: { executor: noop ? "noop" : "command", cpu_millis: chance.once(3) ? 1_000 : 250, memory_mib: 0, gpus: 0 },
      argv: ["true"],
      ...(chance.once(3) ? { retry: { limit: chance.between(1, 3), backoff_ms: 200, backoff_max_ms: 5_000 } } : {}),
      ...(chance.once(6) ? { start_after_ms: chance.between(1, 20_000) } : {}),
      ...(chance.once(6) ? { deadline_ms: chance.between(5_000, 90_000) } : {}),
      ...(chance.once(5) ? { on_lost: "fail" } : {}),
    };
  }

  #submit(): void {
    const { chance } = this;
    const nonce = chance.hex(16);
    const id = chance.u32();
    const specifications = [this.#specification()];
    const count = chance.between(1, 40);
    this.#tasks += count;
    const done = (answer: object): void => {
      const { number } = answer as { number: number };
      this.acknowledged.set(id, number);
      if (chance.once(8)) {
        const targets = [{ number, from: 0, to: chance.between(1, count) }];
        this.#unwanted.add(number);
        this.clock.after(chance.between(0, 2_000), () =>
          this.#wish({ type: "task.cancel", payload: { v: 1, targets }, done: () => undefined }),
        );
      } else if (chance.once(3)) this.clock.after(chance.between(2_000, 30_000), () => this.#retry(number));
    };
    const kind = chance.below(4);
    if (kind < 2) {
      const tasks = Array.from({ length: count }, (_, at) => [(id + at) >>> 0, 0]);
      this.#wish({ type: "task.submit", payload: { v: 1, nonce, specifications, tasks }, done });
    } else if (kind === 2) {
      this.#wish({ type: "task.submit", payload: { v: 1, nonce, specifications, array: { id, count } }, done });
    } else {
      const array = { id, open: true };
      this.#wish({
        type: "task.submit",
        payload: { v: 1, nonce, specifications, array },
        done: (answer) => {
          done(answer);
          this.#extend(id, nonce, 0, count);
        },
      });
    }
  }

  /** Somebody takes nodes out of service and back. */
  #maintain(): void {
    const { chance } = this;
    const node = this.workers[chance.below(this.workers.length)]!.id;
    if (this.coordinator.leader?.state.nodes.has(node) === true) {
      const action = (["cordon", "drain", "drain", "resume", "remove"] as const)[chance.below(5)]!;
      const deadline = chance.once(2) ? { deadline_ms: chance.below(5_000) } : {};
      this.#wish({ type: "node.manage", payload: { v: 1, action, nodes: [node], ...deadline }, done: () => undefined });
    }
    this.clock.after(chance.between(1_000, 15_000), () => {
      if (!this.#peace) this.#maintain();
    });
  }

  #resumeAll(): void {
    const out = [...(this.coordinator.leader?.state.nodes.values() ?? [])].filter(({ cordon }) => cordon !== undefined);
    const nodes = out.map(({ id }) => id);
    if (nodes.length > 0) {
      this.#wish({ type: "node.manage", payload: { v: 1, action: "resume", nodes }, done: () => undefined });
    }
    this.clock.after(5_000, () => this.#resumeAll());
  }

  /** What is over by then, anew. */
  #retry(number: number): void {
    const { chance } = this;
    const id = chance.u32();
    const index = chance.once(2) ? {} : { index: 0 };
    const payload = {
      v: 1,
      nonce: chance.hex(16),
      targets: [{ id, number, ...index }],
      statuses: ["failed", "timeout", "cancelled"],
    };
    const done = (answer: object): void => {
      const [made] = (answer as { retried: { number: number; count: number }[] }).retried;
      if (made === undefined) return;
      this.acknowledged.set(id, made.number);
      this.#tasks += made.count;
    };
    this.#wish({ type: "task.retry", payload, done });
  }

  #extend(id: number, nonce: string, offset: number, count: number): void {
    const part = Math.min(count - offset, this.chance.between(1, 20));
    const inputs = Array.from({ length: part }, (_, at) => `input ${offset + at}`);
    const last = offset + part === count;
    const payload = { v: 1, id, nonce, offset, inputs, ...(last ? { close: { total: count } } : {}) };
    this.#wish({
      type: "task.extend",
      payload,
      done: () => {
        if (!last) this.#extend(id, nonce, offset + part, count);
      },
    });
  }

  #everythingOver(): boolean {
    const state = this.coordinator.leader?.state;
    if (this.#open > 0 || this.coordinator.leader?.serving !== true || state === undefined) return false;
    if (this.workers.some((worker) => worker.unacknowledged > 0)) return false;
    if (![...state.submissions.values()].every(isOver)) return false;
    // The view is compared with the log at an equal sequence: a last append may still wait for its acknowledgement.
    const { view } = this.coordinator;
    view?.flush();
    // What the leader has decided may still be on its way to the log.
    const live = view?.database
      .query<{ live: number }, []>("SELECT count(*) AS live FROM submissions WHERE live = 1")
      .get();
    return live?.live === 0 && view?.witness().sequence === this.log.entries.length;
  }

  async run(seed: number): Promise<Outcome> {
    await this.coordinator.start();
    for (const worker of this.workers) worker.start();
    for (let wave = 0; wave < 12; wave++) this.clock.after(this.chance.below(FAULTS_MS), () => this.#submit());
    if (this.chance.once(2)) this.clock.after(1_000, () => this.#maintain());
    while (await this.#step(FAULTS_MS)) {
      // faults
    }
    this.#peace = true;
    this.log.faulty = false;
    this.#resumeAll();
    while (!this.#everythingOver()) {
      if (!(await this.#step(FAULTS_MS + PEACE_MS)))
        throw new Error(`seed ${seed}: it does not finish: ${this.#unfinished()}`);
    }
    await this.#audit(seed);
    return {
      seed,
      submissions: this.acknowledged.size,
      tasks: this.#tasks,
      executions: this.executions,
      crashes: this.crashes,
      batches: this.log.entries.length,
      snapshots: this.snapshots.confirmed,
      log_begin: (await this.log.extent()).first,
      trace: this.#trace.digest("hex").slice(0, 16),
    };
  }

  async #step(until_ms: number): Promise<boolean> {
    const went_on = await this.clock.step(until_ms);
    // Promises of the log and of catching up settle before the next thing happens.
    for (let turn = 0; turn < 8; turn++) await Promise.resolve();
    return went_on;
  }

  #unfinished(): string {
    const state = this.coordinator.leader?.state;
    const counts = state === undefined ? "no leader" : JSON.stringify(state.totals);
    return `${this.#open} wishes open, ${counts}, unacknowledged ${this.workers.map((worker) => worker.unacknowledged)}`;
  }

  /** Nothing acknowledged is missing, nothing is recorded twice, and the view equals the fold of the log from nothing. */
  async #audit(seed: number): Promise<void> {
    const fresh = new View(":memory:");
    await catchUp(fresh, this.log.whole());
    for (const [id, number] of this.acknowledged) {
      const row = fresh.database.query<{ number: number }, [number]>("SELECT number FROM ids WHERE id = ?").get(id);
      if (row?.number !== number) throw new Error(`seed ${seed}: the acknowledged submission ${id} is not in the log`);
    }
    this.coordinator.view?.flush();
    const live = this.coordinator.view;
    if (live === undefined) throw new Error("the coordinator has no view");
    const [wanted, found] = [canonical(fresh), canonical(live)];
    if (wanted !== found) throw new Error(`seed ${seed}: the view differs from the fold of the log`);
    for (const { number, tasks, recorded } of recordedOf(fresh)) {
      if (tasks !== recorded)
        throw new Error(`seed ${seed}: submission ${number}: ${recorded} results of ${tasks} tasks`);
    }
    for (const number of cancelledIn(fresh)) {
      if (!this.#unwanted.has(number)) throw new Error(`seed ${seed}: nobody cancelled submission ${number}`);
    }
    checkEpochs(seed, this.log);
    checkStopped(seed, this.log);
    checkAttempts(seed, this.log);
    checkRunOnce(seed, this.log, this.#began);
    fresh.close();
  }

  close(): void {
    this.coordinator.close();
    for (const worker of this.workers) worker.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function recordedOf(view: View): { number: number; tasks: number; recorded: number }[] {
  return view.database
    .query<{ number: number; tasks: number; recorded: number }, []>(
      `SELECT number, count AS tasks, (SELECT COALESCE(SUM(past - first), 0) FROM results r WHERE r.number = s.number)
       AS recorded FROM submissions s`,
    )
    .all();
}

function cancelledIn(view: View): number[] {
  const query = "SELECT DISTINCT number FROM results WHERE status = 'cancelled'";
  return view.database
    .query<{ number: number }, []>(query)
    .all()
    .map(({ number }) => number);
}

/** What was told to stop never gets another attempt. */
function checkStopped(seed: number, log: SimLog): void {
  const stopped = new Set<string>();
  for (const { payload } of log.entries) {
    for (const event of Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events) {
      if (event.t !== "stopping" && event.t !== "assigned") continue;
      if (event.t === "stopping" && event.reason === "drain") continue;
      for (const [number, from, to] of event.runs) {
        for (let index = from; index < to; index++) {
          const key = `${number}.${index}`;
          if (event.t === "stopping") stopped.add(key);
          else if (stopped.has(key)) throw new Error(`seed ${seed}: ${key} was stopped and is assigned again`);
        }
      }
    }
  }
}

/** What failed is tried again as often as was asked for, and not more often; nothing starts before its time. */
function checkAttempts(seed: number, log: SimLog): void {
  const specs = new Map<number, { spec: Specification; at: number }>();
  for (const { payload } of log.entries) {
    for (const event of Batch.parse(JSON.parse(new TextDecoder().decode(payload))).events) {
      if (event.t === "submitted") specs.set(event.number, { spec: event.spec, at: event.at });
      if (event.t === "retried") {
        for (const { task, failures } of event.results) {
          const limit = specs.get(task[0])?.spec.retry?.limit ?? 0;
          if (failures > limit)
            throw new Error(`seed ${seed}: ${task} has ${failures} failed attempts of ${limit + 1}`);
        }
      }
      if (event.t !== "assigned") continue;
      for (const [number] of event.runs) {
        const { spec, at } = specs.get(number) ?? { spec: undefined, at: 0 };
        if (event.at < at + (spec?.start_after_ms ?? 0)) throw new Error(`seed ${seed}: ${number} was started early`);
        if (spec?.deadline_ms !== undefined && event.at >= at + spec.deadline_ms) {
          throw new Error(`seed ${seed}: ${number} was assigned after its deadline`);
        }
      }
    }
  }
}

/** A task that must not run twice was begun once, but for attempts that failed and were retried. */
function checkRunOnce(seed: number, log: SimLog, began: ReadonlyMap<string, ReadonlySet<number>>): void {
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
    if (attempts.size > allowed)
      throw new Error(`seed ${seed}: ${key} must not run twice and was begun ${attempts.size} times`);
  }
}

function checkEpochs(seed: number, log: SimLog): void {
  let epoch = 0;
  for (const { payload, sequence } of log.entries) {
    const batch = Batch.parse(JSON.parse(new TextDecoder().decode(payload)));
    if (batch.epoch < epoch) throw new Error(`seed ${seed}: epoch ${batch.epoch} after ${epoch} at ${sequence}`);
    epoch = batch.epoch;
  }
}

/** Runs one seed to its end; throws what it found, with the seed in the message. */
export async function simulate(seed: number, workers = 1): Promise<Outcome> {
  const world = new World(seed, workers);
  try {
    return await world.run(seed);
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`);
  } finally {
    world.close();
  }
}
