// What a worker decides: whom it belongs to, what it starts when, what it reports. Synchronous; it touches the world
// through `AgentWorld` only, so the simulator runs it as it is. It trusts nothing that it was told twice.

import { LIMITS } from "../common/limits.ts";
import type { Capacity, Needs, Outcome } from "../common/models.ts";
import type { DownMessage, Run } from "../communication/messages.ts";
import { planted } from "../core/canary.ts";
import { fits, freeOf } from "../core/fit.ts";
import { uncovered } from "../core/runs.ts";
import type { NodeSkills } from "../core/skills.ts";
import { addUse, emptyUsed } from "../core/state.ts";
import type { AgentNow, AgentOptions, AgentWorld } from "./agent-world.ts";
import { Holding } from "./holding.ts";
import type { Load } from "./metrics.ts";
import { byTask, firstJob, type Job, type QueuedRun, queuedRun, runOf, runsOnce, taskKey } from "./queue.ts";
import { Registration } from "./registration.ts";
import { Reporter, type ReportStore } from "./reporter.ts";
import { SkillTeller } from "./skills/teller.ts";

interface Running {
  job: Job;
  started_at: number | undefined;
  start_told: boolean;
  began_ms: number;
  /**
   * What becomes of its end: `forgotten` when another attempt has taken its place; `given_back` when this node leaves, so
   * that being stopped is no result; `lost` when it leaves, and the task must not run twice.
   */
  fate: "report" | "cancelled" | "given_back" | "lost" | "forgotten";
}

/** A task that runs longer than this is reported as running; shorter ones only as over. */
const TELL_START_MS = 100;
/** A task that found no room for so long goes back: another node may be idle. */
const GIVE_BACK_MS = 500;
/** Heartbeats without a ping after which it takes itself for deaf; longer each time, since it may be that nobody leads. */
const DEAF_INTERVALS = 3.5;
const DEAF_PATIENCE = 16;

type Action = Extract<DownMessage, { type: "node.control" }>["action"];

type Mode = "registering" | "welcome" | "refused" | "leaving";

export class Agent {
  readonly #world: AgentWorld;
  readonly #options: AgentOptions;
  readonly #reporter: Reporter;
  readonly #held = new Holding();
  /** Every attempt of a task that must not run twice that this life has taken. */
  readonly #taken_once = new Holding();
  readonly #running = new Map<string, Running>();
  readonly #used = emptyUsed();
  /** As it says itself, or as it was told to count. */
  #capacity: Capacity;
  #queue: QueuedRun[] = [];
  #mode: Mode = "registering";
  #cluster_id: string | undefined;
  readonly #registration = new Registration();
  readonly #skills: SkillTeller;
  #heartbeat_ms = 10_000;
  #beat_ms = Number.NEGATIVE_INFINITY;
  /** Whether the next heartbeat tells of memory; otherwise of the disk. */
  #memory_next = true;
  /** What of this worker's own checks fails. */
  #trouble: string | undefined;
  /** When something came last, or it did something against hearing nothing, and how often since. */
  #heard_ms: number | undefined;
  #deaf = 0;
  /** Pings since the last heartbeat. */
  #pings = 0;

  constructor(world: AgentWorld, store: ReportStore, options: AgentOptions) {
    this.#world = world;
    this.#options = options;
    this.#cluster_id = options.cluster_id;
    this.#capacity = options.info.capacity;
    this.#skills = new SkillTeller(options.incarnation, (message) => world.send(message));
    this.#reporter = new Reporter(store, options.incarnation, (message) => {
      if (this.#mode === "welcome" || this.#mode === "leaving") world.send(message);
    });
    for (const run of this.#reporter.runs) this.#held.add(run);
  }

  get mode(): Mode {
    return this.#mode;
  }

  get cluster_id(): string | undefined {
    return this.#cluster_id;
  }

  get running(): number {
    return this.#running.size;
  }

  /** Why its reports cannot be kept, while they cannot. */
  get broken(): string | undefined {
    return this.#reporter.broken;
  }

  get unacknowledged(): number {
    return this.#reporter.unacknowledged;
  }

  /** The connection is there, or there again. */
  connected(now: AgentNow): void {
    if (this.#mode === "refused" || this.#mode === "leaving") return;
    this.#registration.anew();
    this.#register(now);
  }

  #register(now: AgentNow): void {
    this.#registration.sent(now.monotonic_ms);
    const { incarnation, earlier, info } = this.#options;
    const held = this.#reporter.runs.slice(0, LIMITS.held_runs_per_message);
    const cluster_id = this.#cluster_id;
    this.#world.send({
      type: "node.register",
      v: 1,
      incarnation,
      ...(earlier.length === 0 ? {} : { earlier: [...earlier] }),
      info,
      ...(this.#trouble === undefined ? {} : { trouble: this.#trouble }),
      held,
      ...(cluster_id === undefined ? {} : { cluster_id }),
    });
  }

  down(message: DownMessage, now: AgentNow): void {
    if (!this.#concerns(message)) return;
    this.#heard_ms = now.monotonic_ms;
    this.#deaf = 0;
    this.#registration.anew();
    switch (message.type) {
      case "report.ack":
        for (const run of this.#reporter.acknowledged(message.seqs)) this.#held.remove(run);
        break;
      case "node.control":
        this.#control(message.action, now);
        break;
      case "task.assign":
        if (this.#mode === "welcome") this.#assign(message, now);
        break;
      case "task.cancel":
        this.#cancel(message);
        break;
    }
    this.settle(now);
  }

  /** Another process that takes itself for this node, or an earlier life, may be meant. */
  #concerns(message: DownMessage): boolean {
    const { incarnation } = this.#options;
    // A leader that does not know this life has only what a heartbeat said of it.
    const length = message.type === "node.control" && message.action.kind === "register" ? 8 : 16;
    return message.incarnation.slice(0, length) === incarnation.slice(0, length);
  }

  /** What of this worker's own checks fails; undefined: nothing does. */
  troubled(trouble: string | undefined, now: AgentNow): void {
    const told = trouble?.slice(0, LIMITS.trouble_chars);
    if (told === this.#trouble) return;
    this.#trouble = told;
    if (told !== undefined) this.#giveBack(this.#queue, inTrouble(told));
    if (this.#mode === "welcome" || this.#mode === "registering") this.#register(now);
    this.settle(now);
  }

  #control(action: Action, now: AgentNow): void {
    this.#pings = Math.min(9, this.#pings + 1);
    switch (action.kind) {
      case "register":
        if (this.#mode === "welcome" || this.#mode === "registering") this.#register(now);
        return;
      case "ping":
        if (action.answer === true && this.#mode === "welcome") this.#beat_ms = Number.NEGATIVE_INFINITY;
        return;
      case "wait":
        if (this.#mode === "registering") this.#world.waiting(action.message);
        return;
      case "welcome":
        if (this.#mode === "leaving" || this.#mode === "refused") return;
        this.#mode = "welcome";
        this.#capacity = action.capacity ?? this.#options.info.capacity;
        this.#registration.welcomed();
        this.#cluster_id = action.cluster_id;
        this.#heartbeat_ms = action.heartbeat_ms;
        this.#skills.known(action.skills);
        this.#beat_ms = Number.NEGATIVE_INFINITY;
        this.#reporter.resendAll(now.monotonic_ms);
        // Starts are told once and may have been lost with the connection.
        for (const running of this.#running.values()) running.start_told = false;
        return;
      case "capacity":
        this.#capacity = action.capacity;
        return;
      case "refuse":
        this.#mode = "refused";
        this.#world.refused(action.code, action.message);
        return;
      case "skills":
        this.#skills.known(action.hash);
        return;
      case "shutdown":
        if (this.#mode === "welcome") this.#world.shutdown(action.message);
        return;
      case "list":
        this.#list(action.list);
        return;
      case "look":
        this.#world.look(action.folders);
        return;
    }
  }

  /** Everything that this node holds, in parts that fit a message. */
  #list(list: number): void {
    const { incarnation } = this.#options;
    const { runs } = this.#held;
    const most = LIMITS.held_runs_per_message;
    for (let at = 0; at === 0 || at < runs.length; at += most) {
      const last = at + most >= runs.length;
      this.#world.send({ type: "node.held", incarnation, list, last, held: runs.slice(at, at + most) });
    }
  }

  #assign(message: Extract<DownMessage, { type: "task.assign" }>, now: AgentNow): void {
    for (const item of message.items) {
      const specification = message.specifications[item.spec];
      if (specification === undefined) continue;
      // A message may come twice: only what is not held already counts. It may even come when the attempt is over or was
      // given back, from a leader that slept with it: what must not run twice is known for longer.
      for (const run of this.#held.news(item.run)) {
        for (const part of runsOnce({ specification }) ? this.#notTakenBefore(run) : [run]) {
          this.#held.add(part);
          const queued = queuedRun(item, part, specification, now.monotonic_ms);
          if (this.#trouble === undefined) this.#queue.push(queued);
          else this.#reporter.release(part, inTrouble(this.#trouble));
        }
      }
    }
    // Who sends work does not know of the trouble: the word of it was lost.
    if (this.#trouble !== undefined && this.#registration.mayAgain(now.monotonic_ms)) this.#register(now);
  }

  #notTakenBefore(run: Run): Run[] {
    const parts = this.#taken_once.news(run);
    for (const part of parts) this.#taken_once.add(part);
    this.#taken_once.keepNewest(LIMITS.once_submissions);
    return parts;
  }

  #cancel(message: Extract<DownMessage, { type: "task.cancel" }>): void {
    const { runs, reason } = message;
    const wanted = byTask(runs);
    for (const gone of this.#takeQueued(wanted)) {
      if (reason === "superseded") this.#held.remove(gone);
      else this.#reporter.release(gone);
    }
    const superseded: Job[] = [];
    for (const running of this.#running.values()) {
      const { number, index, attempt } = running.job;
      const named = wanted.get(taskKey(number, attempt))?.some(([, from, to]) => index >= from && index < to);
      if (named !== true) continue;
      if (reason === "superseded") {
        if (running.fate !== "forgotten") superseded.push(running.job);
        running.fate = "forgotten";
      } else if (running.fate === "report") running.fate = "cancelled";
      this.#world.stop(running.job, reason);
    }
    if (superseded.length > 0) this.#world.superseded(superseded);
  }

  /** Takes what is named out of the queue, in one pass, and tells what that was. */
  #takeQueued(wanted: ReadonlyMap<string, Run[]>): Run[] {
    const taken: Run[] = [];
    const kept: QueuedRun[] = [];
    for (const queued of this.#queue) {
      const runs = wanted.get(taskKey(queued.number, queued.attempt));
      if (runs === undefined) {
        kept.push(queued);
        continue;
      }
      const rest = runs.reduce<Run[]>((left, run) => left.flatMap((own) => uncovered(own, [run])), [runOf(queued)]);
      for (const [, from, to] of rest) kept.push({ ...queued, from, to });
      taken.push(...uncovered(runOf(queued), rest));
    }
    this.#queue = kept;
    return taken;
  }

  /** Ends a turn: starts what there is room for and sends what gathered. */
  settle(now: AgentNow): void {
    if (this.#mode === "welcome") this.#startQueued(now);
    this.#reporter.flush(now.monotonic_ms);
  }

  #startQueued(now: AgentNow): void {
    let next = this.#queue[0];
    while (next !== undefined) {
      const { needs } = next.specification;
      if (needs.executor === "noop") {
        this.#queue.shift();
        const at = now.wall_ms;
        this.#reporter.plain([next.number, next.from, next.to, next.attempt, at, at]);
      } else {
        if (!this.#hasRoom(needs)) break;
        this.#begin(firstJob(next), needs, now);
        next.from += 1;
        if (next.from === next.to) this.#queue.shift();
      }
      next = this.#queue[0];
    }
  }

  #hasRoom(needs: Needs): boolean {
    const running = this.#running.size;
    if (running >= LIMITS.node_processes || this.#used.exclusive > 0) return false;
    if (needs.exclusive === true && running > 0) return false;
    return fits(needs, freeOf(this.#capacity, this.#used)) > 0 || planted("capacity_ignored");
  }

  #begin(job: Job, needs: Needs, now: AgentNow): void {
    addUse(this.#used, needs, 1);
    const began_ms = now.monotonic_ms;
    this.#running.set(keyOf(job), { job, started_at: undefined, start_told: false, began_ms, fate: "report" });
    this.#world.start(job);
  }

  started(job: Job, started_at: number): void {
    const running = this.#running.get(keyOf(job));
    if (running !== undefined) running.started_at = started_at;
  }

  /** The job's whole tree of processes is gone: its room is free again. */
  ended(job: Job, outcome: Outcome, now: AgentNow): void {
    const running = this.#running.get(keyOf(job));
    if (running === undefined) throw new Error(`${keyOf(job)} ended and was not running`);
    this.#running.delete(keyOf(job));
    addUse(this.#used, job.specification.needs, -1);
    const { number, index, attempt } = job;
    const forget = running.fate === "forgotten" || (running.fate === "given_back" && outcome.reason === "cancelled");
    if (forget) this.#held.remove([number, index, index + 1, attempt]);
    else this.#reporter.result(number, index, attempt, running.fate === "lost" ? lostOutcome(outcome) : outcome);
    this.settle(now);
  }

  /** What this machine's skills are now; the cluster is told when that is news to it. */
  found(skills: NodeSkills, now: AgentNow): void {
    this.#skills.found(skills, now.monotonic_ms);
    if (this.#mode === "welcome") this.#skills.tell(now.monotonic_ms);
  }

  /** Whether these folders can be used; a leader may ask before its welcome is in the log. */
  looked(folders: [path: string, usable: boolean][]): void {
    if (this.#mode === "refused" || this.#mode === "leaving") return;
    this.#world.send({ type: "node.folders", incarnation: this.#options.incarnation, folders });
  }

  /** Several times a second while something runs or waits; returns the time until it wants to be called again. */
  tick(now: AgentNow, load: Load): number {
    const may = this.#mode === "registering" || this.#mode === "welcome";
    const registration = this.#registration;
    if (may && registration.unanswered && registration.mayAgain(now.monotonic_ms)) this.#register(now);
    if (may && registration.overdue(now.monotonic_ms)) this.#world.unanswered();
    if (may) this.#listen(now);
    if (this.#mode === "welcome") {
      this.#giveBackOld(now);
      this.#tellStarts(now, TELL_START_MS);
      this.#skills.tell(now.monotonic_ms);
      this.#heartbeat(now, load);
      this.#reporter.resendOld(now.monotonic_ms);
    }
    this.settle(now);
    return registration.unanswered || this.#running.size > 0 || this.#queue.length > 0 ? TELL_START_MS : 1_000;
  }

  /** Connected and deaf: what is sent gets through and nothing comes. A subscription may have been lost. */
  #listen(now: AgentNow): void {
    this.#heard_ms ??= now.monotonic_ms;
    const patience = Math.min(DEAF_PATIENCE, 2 ** this.#deaf) * DEAF_INTERVALS * this.#heartbeat_ms;
    if (now.monotonic_ms - this.#heard_ms < patience || planted("deafness_ignored")) return;
    this.#heard_ms = now.monotonic_ms;
    this.#deaf += 1;
    this.#world.deaf(this.#deaf);
    // The answer tells whether it hears now.
    this.#register(now);
  }

  #giveBackOld(now: AgentNow): void {
    const old = this.#queue.filter((queued) => now.monotonic_ms - queued.received_ms >= GIVE_BACK_MS);
    if (old.length > 0) this.#giveBack(old, `no room for it in ${GIVE_BACK_MS} ms`);
  }

  #giveBack(given: readonly QueuedRun[], why: string): void {
    for (const queued of given) this.#reporter.release(runOf(queued), why);
    this.#queue = this.#queue.filter((queued) => !given.includes(queued));
  }

  #tellStarts(now: AgentNow, after_ms: number): void {
    const runs: [number, number, number, number, number][] = [];
    for (const running of this.#running.values()) {
      const { job, started_at, start_told, began_ms } = running;
      if (start_told || started_at === undefined || now.monotonic_ms - began_ms < after_ms) continue;
      running.start_told = true;
      runs.push([job.number, job.index, job.index + 1, job.attempt, started_at]);
    }
    while (runs.length > 0) {
      const some = runs.splice(0, LIMITS.report_items_per_message);
      this.#world.send({ type: "task.start", incarnation: this.#options.incarnation, runs: some });
    }
  }

  #heartbeat(now: AgentNow, { cpu_percent: c, free_memory_mib, disk_free_percent: d }: Load): void {
    if (now.monotonic_ms - this.#beat_ms < this.#heartbeat_ms) return;
    this.#beat_ms = now.monotonic_ms;
    const m = free_memory_mib === undefined ? undefined : Math.min(free_memory_mib, LIMITS.heartbeat_memory_mib);
    const memory = m !== undefined && (d === undefined || this.#memory_next);
    this.#memory_next = !memory;
    const p = this.#pings;
    this.#pings = 0;
    this.#world.send({
      type: "node.heartbeat",
      i: this.#options.incarnation.slice(0, 8),
      n: Math.min(this.#held.count, LIMITS.heartbeat_attempts),
      h: this.#held.hash,
      ...(p === 0 ? {} : { p }),
      ...(c === undefined ? {} : { c }),
      ...(memory ? { m } : d === undefined ? {} : { d }),
    });
  }

  /**
   * Takes nothing new from now on and stops what runs: it will run elsewhere, so its end here is nothing to report. What
   * was to be cancelled anyway is.
   */
  leave(now: AgentNow): void {
    // What has begun is an attempt, which its history tells of.
    if (this.#mode === "welcome") this.#tellStarts(now, 0);
    this.#mode = "leaving";
    // What has begun may not be told from what has not by a leader that only hears the goodbye.
    for (const queued of this.#queue) if (runsOnce(queued)) this.#reporter.release(runOf(queued), "its node stops");
    this.#queue = [];
    for (const running of this.#running.values()) {
      if (running.fate === "report") running.fate = runsOnce(running.job) ? "lost" : "given_back";
      this.#world.stop(running.job, "superseded");
    }
  }

  /** The last word, behind the last reports: whatever it still held may run elsewhere. */
  goodbye(reason: string, now: AgentNow): void {
    this.#reporter.flush(now.monotonic_ms, true);
    this.#world.send({ type: "node.shutdown", incarnation: this.#options.incarnation, reason });
  }
}

function inTrouble(trouble: string): string {
  return `its node is in error: ${trouble}`.slice(0, LIMITS.trouble_chars);
}

function lostOutcome(outcome: Outcome): Outcome {
  if (outcome.reason !== "cancelled") return outcome;
  const message = "its node was stopped; it had begun, and must not run twice";
  return { ...outcome, status: "failed", reason: "lost", message };
}

export function keyOf(job: Pick<Job, "number" | "index" | "attempt">): string {
  return `${job.number}.${job.index}.${job.attempt}`;
}
