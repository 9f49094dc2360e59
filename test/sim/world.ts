// The simulated world: coordinators, one log, some workers and a client, joined by a bus that drops, repeats, delays and
// reorders. `simulate` runs one seed: faults for a while, then peace, in which everything has to finish; then the
// books are checked.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import type { Specification } from "../../src/common/models.ts";
import { COMMANDS, type CommandType, DownMessage, UpMessage } from "../../src/communication/messages.ts";
import { subjects } from "../../src/communication/subjects.ts";
import type { Leader } from "../../src/coordinator/leader.ts";
import { isOver } from "../../src/core/state.ts";
import type { View } from "../../src/storage/view.ts";
import type { Job } from "../../src/worker/queue.ts";
import { audit } from "./audit.ts";
import { Chance } from "./chance.ts";
import { Clock } from "./clock.ts";
import { SimCoordinator } from "./coordinator.ts";
import { Found, Stall } from "./found.ts";
import { SimLease } from "./lease.ts";
import { SimLog } from "./log.ts";
import { NodeTrouble } from "./nodes.ts";
import { type Fault, type Plan, planOf } from "./plan.ts";
import { Reference } from "./reference.ts";
import { SimSnapshots } from "./snapshots.ts";
import { SimWorker } from "./worker.ts";

const PEACE_MS = 400_000;
/** What happened last, kept for whoever wants to read it. */
const TOLD = 400;

export interface Outcome {
  seed: number;
  submissions: number;
  tasks: number;
  executions: number;
  crashes: number;
  /** Coordinators that began anew with a snapshot because the log was shortened meanwhile. */
  renewals: number;
  batches: number;
  /** How many snapshots counted, and where the log began in the end. */
  snapshots: number;
  log_begin: number;
  /** Virtual time. */
  lasted_ms: number;
  /** What happened last, a line each. */
  told: readonly string[];
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
  readonly lease: SimLease;
  readonly coordinators: SimCoordinator[];
  readonly workers: SimWorker[];
  crashes = 0;
  renewals = 0;
  executions = 0;
  readonly acknowledged = new Map<number, number>();
  /** Submissions that somebody asked to cancel. */
  readonly #unwanted = new Set<number>();
  /** Attempts that were begun of each task. */
  readonly #began = new Map<string, Set<number>>();
  readonly #plan: Plan;
  readonly #nodes: NodeTrouble;
  readonly #folder: string;
  /** The newest of what happened, a line each, when it is wanted. */
  readonly told: string[] = [];
  readonly #trace = new Bun.CryptoHasher("sha256");
  #reference: Reference | undefined;
  #peace = false;
  #open = 0;
  #tasks = 0;
  #failure: unknown;

  constructor(seed: number, plan: Plan) {
    this.#plan = plan;
    const { workers, coordinators } = plan;
    this.chance = new Chance(seed);
    this.#folder = mkdtempSync(join(tmpdir(), "claw-sim-"));
    this.log = new SimLog(this.clock, this.chance);
    this.lease = new SimLease(this.clock, this.chance);
    this.coordinators = Array.from({ length: coordinators }, (_, at) => {
      const id = `coordinator_0000000${at}`;
      return new SimCoordinator(this, id, join(this.#folder, `${id}.sqlite`));
    });
    this.workers = Array.from({ length: workers }, (_, at) => {
      const id = `node_0000000${at}`;
      return new SimWorker(this, id, join(this.#folder, `${id}.sqlite`));
    });
    this.#nodes = new NodeTrouble(this, this.#folder, seed);
  }

  /** Whether the faults are over. */
  get peace(): boolean {
    return this.#peace;
  }

  get #prunes(): boolean {
    return this.#plan.retention.tasks < 1_000_000;
  }

  get retention(): Plan["retention"] {
    return this.#plan.retention;
  }

  /** Who leads, and knows it. */
  get leader(): Leader | undefined {
    return this.coordinators.find(({ leader }) => leader !== undefined)?.leader;
  }

  /** A bug: the run ends with it. */
  failed(error: unknown): void {
    this.#failure ??= error;
  }

  /** Whether a fault that was drawn befalls them. */
  befalls(fault: Fault, drawn: boolean): boolean {
    return drawn && !this.#peace && !this.#plan.off.includes(fault);
  }

  tell(what: string): void {
    this.told.push(`${(this.clock.now_ms / 1000).toFixed(3).padStart(9)} ${what}`);
    if (this.told.length > TOLD * 2) this.told.splice(0, TOLD);
  }

  now() {
    return { wall_ms: 1_700_000_000_000 + this.clock.now_ms, monotonic_ms: this.clock.now_ms };
  }

  /** Whether the process that is acting dies here, between two of its effects. */
  crashNow(): boolean {
    return this.befalls("crash", !this.#peace && this.chance.once(150));
  }

  /** Whether a worker is asked to stop cleanly just now. */
  leaveNow(): boolean {
    return this.befalls("leave", !this.#peace && this.chance.once(400));
  }

  /** Whether a worker that is gone stays away for long. */
  awayNow(): boolean {
    return this.befalls("away", !this.#peace && this.chance.once(8));
  }

  executed(job: Job): void {
    this.executions += 1;
    const key = `${job.number}.${job.index}`;
    const before = this.#began.get(key) ?? new Set<number>();
    if (before.has(job.attempt) && job.specification.on_lost === "fail") {
      throw new Error(`attempt ${job.attempt} of ${key} must not run twice and was begun again`);
    }
    this.#began.set(key, before.add(job.attempt));
    this.#trace.update(`${this.clock.now_ms} ${job.number}.${job.index}.${job.attempt}\n`);
  }

  #copies(): number {
    if (this.#peace) return 1;
    const roll = this.chance.below(25);
    if (this.befalls("lose", roll === 0)) return 0;
    return this.befalls("repeat", roll === 1) ? 2 : 1;
  }

  #deliver(action: () => void): void {
    const copies = this.#copies();
    for (let copy = 0; copy < copies; copy++) {
      const slow = this.befalls("slow", !this.#peace && this.chance.once(20));
      this.clock.after(slow ? this.chance.between(10, 2_000) : this.chance.between(0, 3), action);
    }
  }

  up(node: string, message: UpMessage): void {
    const text = JSON.stringify(message);
    const heartbeat = message.type === "node.heartbeat";
    requireSize(text, heartbeat ? LIMITS.heartbeat_bytes - subjects.up("sim", node).length : LIMITS.message_bytes);
    for (const coordinator of this.coordinators) {
      this.#deliver(() => coordinator.up(node, UpMessage.parse(JSON.parse(text))));
    }
  }

  down(node: string, message: DownMessage): void {
    const text = JSON.stringify(message);
    requireSize(text, LIMITS.message_bytes);
    // Every process that claims to be the node hears it.
    for (const worker of this.workers.filter((one) => one.id === node)) {
      this.#deliver(() => worker.down(DownMessage.parse(JSON.parse(text))));
    }
  }

  /** Sends until it is answered; an answer in doubt is no answer. */
  wish(wish: Wish): void {
    this.#open += 1;
    let answered = false;
    const text = JSON.stringify(wish.payload);
    const parse = (): object => COMMANDS[wish.type].parse(JSON.parse(text));
    const send = (): void => {
      if (answered) return;
      const reply = (answer: object | ClawError): void => {
        this.tell(`${wish.type} is answered ${JSON.stringify(answer).slice(0, 100)}`);
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
      for (const coordinator of this.coordinators) {
        this.#deliver(() => coordinator.command(wish.type, parse(), "client_sim", reply));
      }
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
      const { number, existing } = answer as { number: number; existing?: number };
      this.#acknowledge(existing ?? id, number);
      this.#read(number);
      if (chance.once(8)) {
        const targets = [{ number, from: 0, to: chance.between(1, count) }];
        this.#unwanted.add(number);
        this.clock.after(chance.between(0, 2_000), () =>
          this.wish({ type: "task.cancel", payload: { v: 1, targets }, done: () => undefined }),
        );
      } else if (chance.once(3)) this.clock.after(chance.between(2_000, 30_000), () => this.#retry(number));
    };
    const kind = chance.below(4);
    if (kind === 0) this.#submitKeyed(id, nonce, count, done);
    else if (kind === 1) {
      const tasks = Array.from({ length: count }, (_, at) => [(id + at) >>> 0, 0]);
      this.wish({ type: "task.submit", payload: { v: 1, nonce, specifications, tasks }, done });
    } else if (kind === 2) {
      this.wish({ type: "task.submit", payload: { v: 1, nonce, specifications, array: { id, count } }, done });
    } else {
      const array = { id, open: true };
      this.wish({
        type: "task.submit",
        payload: { v: 1, nonce, specifications, array },
        done: (answer) => {
          done(answer);
          this.#extend(id, nonce, 0, count);
        },
      });
    }
  }

  /** Whoever was told of it must find it in the log from then on. */
  #acknowledge(id: number, number: number): void {
    if (this.#reference?.knows(id, number) !== true) {
      throw new Error(`the acknowledged submission ${id} is not in the log`);
    }
    this.acknowledged.set(id, number);
  }

  /** The same under one key, twice, by two who know nothing of each other. */
  #submitKeyed(id: number, nonce: string, count: number, done: (answer: object) => void): void {
    const { chance } = this;
    const specifications = [{ ...this.#specification(), key: `key ${id}` }];
    const array = { id, count };
    const told = new Set<number>();
    const alike = (answer: object): void => {
      told.add((answer as { number: number }).number);
      // With its submission a key is forgotten.
      if (told.size > 1 && !this.#prunes) this.failed(new Error(`submissions ${[...told].join(" and ")} have one key`));
    };
    const first = (answer: object): void => {
      alike(answer);
      done(answer);
    };
    this.wish({ type: "task.submit", payload: { v: 1, nonce, specifications, array }, done: first });
    const again = { v: 1, nonce: chance.hex(16), specifications, array: { id: (id ^ 1) >>> 0, count } };
    this.clock.after(chance.between(0, 20_000), () => {
      this.wish({ type: "task.submit", payload: again, done: alike });
    });
  }

  /** Whoever answers must know what was acknowledged before he was asked. */
  #read(number: number): void {
    for (let times = 0; times < 3; times++) {
      this.clock.after(this.chance.between(0, 4_000), () => {
        for (const coordinator of this.coordinators) {
          this.#deliver(() =>
            coordinator.query(number, (known) => {
              if (!known)
                this.failed(new Error(`${coordinator.id} did not know the acknowledged submission ${number}`));
            }),
          );
        }
      });
    }
  }

  /** What befalls coordinators beside being killed: stops, sleep, a network that is gone, clocks that are wrong. */
  #trouble(): void {
    const { chance } = this;
    const one = this.coordinators[chance.below(this.coordinators.length)]!;
    const kind = chance.below(6);
    const fault = (["handover", "sleep", "cut", "skew", "forget"] as const)[kind];
    const duration_ms = chance.between(500, kind === 1 ? 10_000 : 15_000);
    const skew_ms = chance.once(2) ? 0 : chance.between(0, 7_200_000) - 3_600_000;
    if (fault !== undefined && this.befalls(fault, true)) {
      this.tell(`${one.id}: ${fault} (${fault === "skew" ? skew_ms : duration_ms} ms)`);
      if (fault === "handover") one.leave();
      else if (fault === "sleep") one.process.sleep(duration_ms);
      else if (fault === "cut") one.process.cutOff(duration_ms);
      else if (fault === "skew") one.process.skew_ms = skew_ms;
      else this.lease.forget();
    }
    this.clock.after(chance.between(1_000, 10_000), () => {
      if (!this.#peace) this.#trouble();
    });
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
      this.#acknowledge(id, made.number);
      this.#tasks += made.count;
    };
    this.wish({ type: "task.retry", payload, done });
  }

  #extend(id: number, nonce: string, offset: number, count: number): void {
    const part = Math.min(count - offset, this.chance.between(1, 20));
    const inputs = Array.from({ length: part }, (_, at) => `input ${offset + at}`);
    const last = offset + part === count;
    const payload = { v: 1, id, nonce, offset, inputs, ...(last ? { close: { total: count } } : {}) };
    this.wish({
      type: "task.extend",
      payload,
      done: () => {
        if (!last) this.#extend(id, nonce, offset + part, count);
      },
    });
  }

  #everythingOver(): boolean {
    const { leader } = this;
    if (this.#open > 0 || leader === undefined) return false;
    if (this.workers.some((worker) => worker.unacknowledged > 0 || !worker.agreesWith(leader.state))) return false;
    if (![...leader.state.submissions.values()].every(isOver)) return false;
    // The views are compared with the log at an equal sequence, and a last append may still wait for its acknowledgement.
    return this.coordinators.every(({ view }) => view !== undefined && this.#isUpToDate(view));
  }

  #isUpToDate(view: View): boolean {
    for (const coordinator of this.coordinators) coordinator.flush();
    const query = "SELECT count(*) AS live FROM submissions WHERE live = 1";
    const { live } = view.database.query<{ live: number }, []>(query).get() ?? { live: 0 };
    return live === 0 && view.witness().sequence === this.log.entries.length;
  }

  /** Throws where a view is not what the log says. */
  checkView(whose: string, sequence: number, sum: bigint): void {
    this.#reference?.check(whose, sequence, sum);
  }

  async run(seed: number): Promise<Outcome> {
    const reference = await Reference.open(this.log);
    this.#reference = reference;
    for (const coordinator of this.coordinators) coordinator.start();
    for (const worker of this.workers) worker.start();
    const { submissions, faults_ms } = this.#plan;
    this.log.faulty = this.befalls("log", true);
    this.lease.faulty = this.befalls("lease", true);
    for (let wave = 0; wave < submissions; wave++) this.clock.after(this.chance.below(faults_ms), () => this.#submit());
    this.clock.after(2_000, () => this.#trouble());
    this.#nodes.start();
    while (await this.#step(faults_ms)) {
      // faults
    }
    this.#peace = true;
    this.#nodes.end();
    this.log.faulty = false;
    this.lease.faulty = false;
    while (!this.#everythingOver()) {
      if (!(await this.#step(faults_ms + PEACE_MS))) throw new Stall(this.#unfinished());
    }
    reference.compareWhole();
    audit({
      ...{
        log: this.log,
        fold: reference.view,
        acknowledged: this.acknowledged,
        unwanted: this.#unwanted,
        began: this.#began,
      },
      views: this.coordinators,
    });
    return {
      seed,
      submissions: this.acknowledged.size,
      tasks: this.#tasks,
      executions: this.executions,
      crashes: this.crashes,
      renewals: this.renewals,
      batches: this.log.entries.length,
      snapshots: this.snapshots.confirmed,
      log_begin: (await this.log.extent()).first,
      lasted_ms: this.clock.now_ms,
      told: this.told,
      trace: this.#trace.digest("hex").slice(0, 16),
    };
  }

  async #step(until_ms: number): Promise<boolean> {
    const went_on = await this.clock.step(until_ms);
    // Whatever follows from it by promises alone has happened before the next thing does.
    await new Promise(setImmediate);
    if (this.#failure !== undefined) throw this.#failure;
    return went_on;
  }

  #unfinished(): string {
    const state = this.leader?.state;
    const counts = state === undefined ? "no leader" : JSON.stringify(state.totals);
    return `${this.#open} wishes open, ${counts}, unacknowledged ${this.workers.map((worker) => worker.unacknowledged)}, held ${this.workers.map((worker) => worker.told)}`;
  }

  close(): void {
    this.#reference?.close();
    for (const coordinator of this.coordinators) coordinator.close();
    for (const worker of this.workers) worker.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function requireSize(text: string, most: number): void {
  if (text.length > most) throw new Error(`a message of ${text.length} bytes, at most ${most}: ${text.slice(0, 100)}`);
}

/** Runs one seed to its end; throws what it found, with the seed in the message. */
export async function simulate(seed: number, plan: Partial<Plan> = {}): Promise<Outcome> {
  const world = new World(seed, { ...planOf(seed), ...plan });
  try {
    return await world.run(seed);
  } catch (error) {
    throw new Found(seed, error, world.told);
  } finally {
    world.close();
  }
}
