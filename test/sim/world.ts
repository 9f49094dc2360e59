// The simulated world: coordinators, one log, some workers and a client, joined by a bus that drops, repeats, delays and
// reorders. `simulate` runs one seed: faults for a while, then peace, in which everything has to finish; then the
// books are checked.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { COMMANDS, type CommandType, DownMessage, UpMessage } from "../../src/communication/messages.ts";
import { subjects } from "../../src/communication/subjects.ts";
import type { Leader } from "../../src/coordinator/leader.ts";
import { isOver } from "../../src/core/state.ts";
import type { View } from "../../src/storage/view.ts";
import type { Job } from "../../src/worker/queue.ts";
import { audit } from "./audit.ts";
import { Chance } from "./chance.ts";
import { Clients } from "./clients.ts";
import { Clock } from "./clock.ts";
import { SimCoordinator } from "./coordinator.ts";
import { FolderTrouble } from "./folders.ts";
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
  /** Of them, those whose folder had gone when they were to be started. */
  missed: number;
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
  readonly seed: number;
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
  missed = 0;
  readonly acknowledged = new Map<number, number>();
  /** Attempts that were begun of each task. */
  readonly #began = new Map<string, Set<number>>();
  readonly #plan: Plan;
  readonly #nodes: NodeTrouble;
  readonly #folder_trouble: FolderTrouble;
  readonly #clients: Clients;
  readonly #folder: string;
  /** What of the workers' and of the leader's messages gets lost, in a run that is directed. */
  dropsUp: (message: UpMessage) => boolean = () => false;
  drops: (message: DownMessage) => boolean = () => false;
  /** The newest of what happened, a line each, when it is wanted. */
  readonly told: string[] = [];
  readonly #trace = new Bun.CryptoHasher("sha256");
  #reference: Reference | undefined;
  #peace = false;
  #open = 0;
  #failure: unknown;

  constructor(seed: number, plan: Plan) {
    this.#plan = plan;
    const { workers, coordinators } = plan;
    this.seed = seed;
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
    this.#clients = new Clients(this, plan.retention.tasks < 1_000_000);
    this.#nodes = new NodeTrouble(this, this.#folder, seed);
    this.#folder_trouble = new FolderTrouble(this, seed);
  }

  /** Whether the faults are over. */
  get peace(): boolean {
    return this.#peace;
  }

  get retention(): Plan["retention"] {
    return this.#plan.retention;
  }

  /** Whether some tasks ask for folders. */
  get folders(): boolean {
    return this.#plan.folders;
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

  deliver(action: () => void): void {
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
    if (this.dropsUp(message)) return;
    for (const coordinator of this.coordinators) {
      this.deliver(() => coordinator.up(node, UpMessage.parse(JSON.parse(text))));
    }
  }

  down(node: string, message: DownMessage): void {
    const text = JSON.stringify(message);
    requireSize(text, LIMITS.message_bytes);
    if (this.drops(message)) return;
    // Every process that claims to be the node hears it.
    for (const worker of this.workers.filter((one) => one.id === node)) {
      this.deliver(() => worker.down(DownMessage.parse(JSON.parse(text))));
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
        this.deliver(() => {
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
        this.deliver(() => coordinator.command(wish.type, parse(), "client_sim", reply));
      }
      this.clock.after(this.chance.between(1_000, 3_000), send);
    };
    send();
  }

  /** Whoever was told of it must find it in the log from then on. */
  acknowledge(id: number, number: number): void {
    if (this.#reference?.knows(id, number) !== true) {
      throw new Error(`the acknowledged submission ${id} is not in the log`);
    }
    this.acknowledged.set(id, number);
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

  /** The faults are over, and nothing new begins. */
  get peaceful(): boolean {
    return this.#peace;
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
    await this.begin();
    const { submissions, faults_ms } = this.#plan;
    for (let wave = 0; wave < submissions; wave++) {
      this.clock.after(this.chance.below(faults_ms), () => this.#clients.submit());
    }
    this.clock.after(2_000, () => this.#trouble());
    this.#nodes.start();
    if (this.folders) this.#folder_trouble.start();
    while (await this.step(faults_ms)) {
      // faults
    }
    return await this.settle(seed);
  }

  async begin(): Promise<void> {
    this.#reference = await Reference.open(this.log);
    for (const coordinator of this.coordinators) coordinator.start();
    for (const worker of this.workers) worker.start();
    this.log.faulty = this.befalls("log", true);
    this.lease.faulty = this.befalls("lease", true);
  }

  /** A broker with an empty store in the place of the one that was there: no view is what it says. */
  recreate(): void {
    this.log.recreate();
    this.snapshots.forget();
    this.lease.forget();
    this.#reference?.close();
    this.#reference = undefined;
  }

  /** The faults are over: everything has to finish, and the books are checked. */
  async settle(seed: number): Promise<Outcome> {
    this.#peace = true;
    this.#nodes.end();
    this.#folder_trouble.end();
    this.log.faulty = false;
    this.lease.faulty = false;
    const end_ms = this.clock.now_ms + PEACE_MS;
    while (!this.#everythingOver()) {
      if (!(await this.step(end_ms))) throw new Stall(this.#unfinished());
    }
    this.#audit();
    return {
      seed,
      submissions: this.acknowledged.size,
      tasks: this.#clients.tasks,
      executions: this.executions,
      missed: this.missed,
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

  #audit(): void {
    if (this.#reference === undefined) throw new Error("the run has not begun");
    this.#reference.compareWhole();
    const { log, acknowledged } = this;
    const [fold, began, { unwanted }] = [this.#reference.view, this.#began, this.#clients];
    audit({ log, fold, acknowledged, unwanted, began, views: this.coordinators });
  }

  /** Does the next thing; false when there is none before `until_ms`. */
  async step(until_ms: number): Promise<boolean> {
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
