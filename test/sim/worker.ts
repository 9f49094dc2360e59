// A worker in the simulation: the production agent and outbox; its jobs are timers with an outcome.

import { ClawError } from "../../src/common/errors.ts";
import type { NodeInfo, Outcome } from "../../src/common/models.ts";
import type { DownMessage, UpMessage } from "../../src/communication/messages.ts";
import type { NodeSkills } from "../../src/core/skills.ts";
import type { State } from "../../src/core/state.ts";
import { Outbox, type ReportRow } from "../../src/storage/outbox.ts";
import { Agent, keyOf } from "../../src/worker/agent.ts";
import { noteLife } from "../../src/worker/lives.ts";
import type { Job } from "../../src/worker/queue.ts";
import { Chance } from "./chance.ts";
import { SimDisk } from "./disk.ts";
import { FOLDERS } from "./folders.ts";
import { Crash } from "./process.ts";
import type { World } from "./world.ts";

const INFO: NodeInfo = {
  name: "sim",
  machine: "sim",
  os: "linux",
  arch: "x64",
  version: "0",
  pid: 1,
  capacity: { cpu_millis: 2_000, memory_mib: 4_096, gpus: 0, resources: {} },
  tags: [],
  attributes: {},
  executors: ["command", "shell", "script", "noop"],
};

/** Longer than silence is taken for a pause: a machine boots. */
const BOOT_MS = 10_000;

/** The production outbox, which says when a report leaves it before its tasks' ends are in the log. */
class CheckedOutbox extends Outbox {
  readonly #concluded: ReadonlySet<string>;
  readonly #full: () => boolean;

  constructor(path: string, concluded: ReadonlySet<string>, full: () => boolean) {
    super(path);
    this.#concluded = concluded;
    this.#full = full;
  }

  #requireRoom(): void {
    if (this.#full()) throw new ClawError("disk_full", "no room left");
  }

  override add(kind: ReportRow["kind"], body: string): ReportRow {
    this.#requireRoom();
    return super.add(kind, body);
  }

  override set(key: string, value: string): void {
    this.#requireRoom();
    super.set(key, value);
  }

  override remove(seqs: readonly number[]): void {
    this.#requireRoom();
    for (const row of this.all()) {
      if (!seqs.includes(row.seq)) continue;
      for (const key of attemptsIn(row.body)) {
        if (!this.#concluded.has(key)) throw new Error(`the report of ${key} left the outbox before it was logged`);
      }
    }
    super.remove(seqs);
  }
}

function attemptsIn(body: string): string[] {
  const { runs, released, results } = JSON.parse(body) as {
    runs?: number[][];
    released?: number[][];
    results: { task: number[] }[];
  };
  const keys = results.map(({ task }) => task.join("."));
  for (const [number, from, to, attempt] of [...(runs ?? []), ...(released ?? [])] as [
    number,
    number,
    number,
    number,
  ][]) {
    for (let index = from; index < to; index++) keys.push(`${number}.${index}.${attempt}`);
  }
  return keys;
}

/** Ticks from one change of skills to the next. */
const SKILLS_CHANGE = 37;

export class SimWorker {
  readonly id: string;
  readonly #world: World;
  readonly #path: string;
  readonly #disk: SimDisk;
  /** Of its own, so that the rest of a run is what it is without this fault. */
  readonly #power: Chance;
  #agent: Agent | undefined;
  #outbox: Outbox | undefined;
  #life = 0;
  #stopping = new Set<string>();
  /** What ends each running job, now instead of in its time. */
  #ends = new Map<string, () => void>();
  #used = 0;
  /** What runs wants the node for itself. */
  #alone = false;
  /** What it said last of the attempts that it holds. */
  #told: { count: number; hash: string } | undefined;
  /** Of the life that is on. */
  #incarnation = "";
  /** Its disk takes nothing. */
  full = false;
  /** Its machine's: they outlive its lives, and change now and then. */
  #skills: NodeSkills | undefined;
  #ticks = 0;
  /** Its machine's, that tasks may ask for. */
  readonly folders: Set<string>;
  readonly #looks: Chance;
  /** What is sent to it is lost, until it does something about it. */
  #deaf = false;

  constructor(world: World, id: string, path: string) {
    this.#world = world;
    this.id = id;
    this.#path = path;
    this.#disk = new SimDisk(path);
    this.#power = new Chance(Bun.hash.crc32(`${world.seed} ${path.slice(-20)}`));
    this.#looks = new Chance(Bun.hash.crc32(`folders ${world.seed} ${path.slice(-20)}`));
    this.folders = new Set(FOLDERS.filter(() => this.#looks.once(2)));
  }

  get incarnation(): string | undefined {
    return this.#agent === undefined ? undefined : this.#incarnation;
  }

  start(): void {
    this.#life += 1;
    const life = this.#life;
    this.#used = 0;
    this.#told = undefined;
    this.#incarnation = this.#world.chance.hex(8);
    this.#stopping = new Set();
    this.#ends = new Map();
    const outbox = new CheckedOutbox(this.#path, this.#world.log.concluded, () => this.full);
    this.#outbox = outbox;
    const effect = (action: () => void): void => {
      if (this.#world.crashNow()) throw new Crash();
      action();
    };
    const world = {
      send: (message: UpMessage) => {
        effect(() => this.#world.up(this.id, message));
        if (message.type === "node.heartbeat") this.#told = { count: message.n, hash: message.h };
      },
      start: (job: Job) => effect(() => this.#run(life, job)),
      superseded: () => undefined,
      stop: (job: Job) => {
        this.#stopping.add(keyOf(job));
      },
      refused: (code: string) => {
        if (code !== "node_taken") throw new Error(`the cluster refused the worker: ${code}`);
        this.#world.tell(`${this.id}: refused, another process is this node`);
        throw new Crash();
      },
      shutdown: () => this.#world.clock.after(0, () => (life === this.#life ? this.#leave() : undefined)),
      // Another subscription may help; another connection does.
      unanswered: () => undefined,
      deaf: (times: number) => {
        if (times % 2 === 0 || this.#world.chance.once(2)) this.#deaf = false;
      },
      waiting: () => undefined,
      look: (folders: readonly string[]) => this.#look(life, folders),
    };
    this.#guard(() => {
      // Without room a worker does not even start: its supervisor tries again.
      if (this.full) throw new Crash();
      this.#agent = new Agent(world, outbox, {
        info: INFO,
        incarnation: this.#incarnation,
        earlier: noteLife(outbox, this.#disk.place, this.#incarnation),
        cluster_id: outbox.get("cluster_id"),
      });
      // A worker looks for skills when it starts, and tells that there are none as well.
      this.#skills ??= { hash: "0".repeat(16), list: [] };
      this.#agent.found(this.#skills, this.#world.now());
      this.#agent.connected(this.#world.now());
    });
    this.#tick(life);
  }

  #look(life: number, folders: readonly string[]): void {
    this.#world.clock.after(this.#looks.between(0, 100), () => {
      if (life !== this.#life) return;
      this.#guard(() => this.#agent?.looked(folders.map((folder) => [folder, this.folders.has(folder)])));
    });
  }

  #run(life: number, job: Job): void {
    const { chance, clock } = this.#world;
    const key = keyOf(job);
    this.#used += job.specification.needs.cpu_millis;
    const { exclusive = false } = job.specification.needs;
    if (this.#ends.size > 0 && (exclusive || this.#alone)) throw new Error(`${this.id} runs ${key} beside others`);
    this.#alone = exclusive;
    if (this.#used > INFO.capacity.cpu_millis) throw new Error(`${this.id} is over its capacity with ${key}`);
    this.#world.executed(job);
    const { folder } = job.specification.needs;
    const missed = folder !== undefined && !this.folders.has(folder);
    if (missed) this.#world.missed += 1;
    const ran_ms = missed ? 0 : chance.once(10) ? chance.between(500, 8_000) : chance.between(1, 60);
    const started_at = this.#world.now().wall_ms;
    clock.after(0, () => {
      if (life === this.#life) this.#guard(() => this.#agent?.started(job, started_at));
    });
    const end = (): void => {
      if (life !== this.#life || !this.#ends.delete(key)) return;
      this.#used -= job.specification.needs.cpu_millis;
      const times = { started_at, ended_at: this.#world.now().wall_ms };
      const outcome: Outcome = this.#stopping.has(key)
        ? { status: "cancelled", reason: "cancelled", ...times }
        : missed
          ? { status: "failed", reason: "not_found", ...times }
          : chance.once(8)
            ? { status: "failed", reason: "exit", exit_code: 1, ...times }
            : { status: "completed", reason: "exit", exit_code: 0, ...times };
      this.#guard(() => this.#agent?.ended(job, outcome, this.#world.now()));
    };
    this.#ends.set(key, end);
    clock.after(ran_ms, end);
  }

  #tick(life: number): void {
    if (life !== this.#life) return;
    let next_ms = 500;
    this.#ticks += 1;
    this.#guard(() => {
      if (this.#ticks % SKILLS_CHANGE === 0 && !this.#world.peaceful) this.#find();
      next_ms = this.#agent?.tick(this.#world.now(), {}) ?? next_ms;
      if (this.#world.chance.once(4)) this.#agent?.troubled(this.full ? "no room left" : undefined, this.#world.now());
    });
    if (life === this.#life && this.#power.once(8)) this.#disk.sync();
    if (life === this.#life && this.#world.leaveNow()) this.#leave();
    this.#world.clock.after(next_ms, () => this.#tick(life));
  }

  #find(): void {
    const hash = this.#ticks.toString(16).padStart(16, "0");
    const skill = { name: `skill-${this.#ticks % 3}`, description: "", source: "config", hash };
    this.#skills = { hash, list: [skill] };
    this.#agent?.found(this.#skills, this.#world.now());
  }

  /** A clean stop, as systemd asks for: what runs is ended, goodbye is said, and the next life begins a moment later. */
  #leave(): void {
    const life = this.#life;
    this.#guard(() => {
      this.#agent?.leave(this.#world.now());
      for (const end of [...this.#ends.values()]) end();
      if (life === this.#life) this.#agent?.goodbye("stopped", this.#world.now());
    });
    if (life === this.#life) this.crash();
  }

  deafen(): void {
    this.#deaf = true;
  }

  down(message: DownMessage): void {
    if (this.#deaf) return;
    this.#guard(() => {
      this.#agent?.down(message, this.#world.now());
      const { cluster_id } = this.#agent ?? {};
      if (cluster_id !== undefined && !this.full) this.#outbox?.set("cluster_id", cluster_id);
    });
  }

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.crash();
    }
  }

  /** kill -9: its jobs die with it, the outbox stays. */
  crash(): void {
    this.#life += 1;
    this.#deaf = false;
    const life = this.#life;
    this.#agent = undefined;
    this.#outbox?.close();
    this.#outbox = undefined;
    this.#world.crashes += 1;
    this.#world.tell(`${this.id}: killed`);
    // Now and then the machine is gone for so long that its work is given to others.
    const away_ms = this.#world.chance.between(50, this.#world.awayNow() ? 30_000 : 3_000);
    const dark = this.#world.befalls("power", this.#power.once(6));
    if (dark) {
      this.#disk.losePower();
      this.#world.tell(`${this.id}: lost its power`);
    }
    this.#world.clock.after(dark ? BOOT_MS + away_ms : away_ms, () => {
      if (life === this.#life) this.start();
    });
  }

  get unacknowledged(): number {
    return this.#agent?.unacknowledged ?? 0;
  }

  /** Whether what it holds is what the log says that it holds, and so what it has found. */
  agreesWith({ nodes }: State): boolean {
    const known = nodes.get(this.id)?.skills;
    const none = known === undefined && this.#skills?.list.length === 0;
    if (!none && this.#skills?.hash !== known?.hash) return false;
    const { count = 0, hash = "" } = nodes.get(this.id)?.held ?? {};
    return this.#told?.count === count && this.#told.hash === hash;
  }

  get told(): number | undefined {
    return this.#told?.count;
  }

  close(): void {
    this.#life += 1;
    this.#agent = undefined;
    this.#outbox?.close();
    this.#outbox = undefined;
  }
}
