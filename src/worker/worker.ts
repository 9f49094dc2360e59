// The worker: its connection, its agent, and the executors that the agent starts. Wiring and order of start and stop;
// decisions are the agent's.

import { join } from "node:path";
import type { WorkerConfig } from "../common/config.ts";
import { ClawError, messageOf } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import type { Outcome } from "../common/models.ts";
import type { Paths } from "../common/paths.ts";
import { redactAddresses } from "../common/redact.ts";
import { type Runtime, randomHex, sleep, type Timer } from "../common/runtime.ts";
import type { Service } from "../common/service.ts";
import { connectOptions } from "../communication/broker.ts";
import { WorkerBus } from "../communication/bus.ts";
import { flushWithin, type NatsConnection, openConnection, watchEnd, watchLink } from "../communication/connection.ts";
import { type Credentials, localNodeId, readCredentialsFor } from "../communication/credentials.ts";
import { RemoteFiles } from "../communication/files.ts";
import { type Lock, ownFolder } from "../communication/lock.ts";
import { OutputPublisher } from "../communication/output.ts";
import { nobody } from "../communication/unanswered.ts";
import { Outbox } from "../storage/outbox.ts";
import { Agent } from "./agent.ts";
import type { AgentNow, AgentWorld } from "./agent-world.ts";
import { Cgroups, limitsInfo } from "./cgroup.ts";
import { checkWorker } from "./checks.ts";
import { discoverNode, type NodeOverrides } from "./discover.ts";
import { FolderLooks, TaskFolderPool } from "./folders.ts";
import { findGpus } from "./gpus.ts";
import { Launcher } from "./launcher.ts";
import { noteLife, placeOf } from "./lives.ts";
import { type Load, LoadMeter } from "./metrics.ts";
import type { Job } from "./queue.ts";
import { ScriptCache } from "./scripts.ts";
import { NO_SKILLS, SkillWatch } from "./skills/watch.ts";
import { sweepEarlierLives } from "./tree.ts";

export interface WorkerOptions {
  runtime: Runtime;
  config: WorkerConfig;
  paths: Paths;
  logger: Logger;
  url: string;
  /** Credentials file; absent with a NATS of the user's own that takes none. */
  creds?: string | undefined;
  domain?: string | undefined;
  /** Something ended it from inside: the cluster refused it, a full disk, a bug. */
  onFailed: (error: unknown) => void;
  /** Somebody shut this node down by the cluster: it is to be stopped. Told once. */
  onShutdown: (message: string) => void;
}

/** About a heartbeat's interval. */
const LOAD_EVERY_MS = 9_000;
/** A first connection that takes longer is told. */
const WAITING_MS = 3_000;
const CONNECT_AGAIN_MS = 250;
const PROGRESS_EVERY_MS = 2_000;
const CHECK_EVERY_MS = 10_000;
/** While something is wrong. */
const CHECK_AGAIN_MS = 2_000;
const SOON_MS = 105;
const SUPERSEDED_NAMED = 5;
/** Whatever a task was promised: when this node says goodbye it may begin elsewhere, so what runs is killed before. */
const STOP_GRACE_MS = 10_000;
const STOP_DEADLINE_MS = 15_000;

export class Worker implements Service {
  readonly name = "worker";
  readonly #options: WorkerOptions;
  #connection: NatsConnection | undefined;
  #bus: WorkerBus | undefined;
  #outbox: Outbox | undefined;
  #agent: Agent | undefined;
  #launcher: Launcher | undefined;
  #skills: SkillWatch | undefined;
  #timer: Timer | undefined;
  /** When the timer fires. */
  #tick_ms = 0;
  #meter: LoadMeter | undefined;
  #load: Load = {};
  #read_ms = Number.NEGATIVE_INFINITY;
  #progress_ms = Number.NEGATIVE_INFINITY;
  #checked_ms = Number.NEGATIVE_INFINITY;
  #checking = false;
  /** What it found out about itself last. */
  #trouble: string | undefined;
  #incarnation = "";
  /** That another process has to be waited for. */
  #told = false;
  #ending = false;
  /** That no coordinator answers was told. */
  #unheard = false;
  /** Whether the connection to NATS is there, as far as this side knows. */
  #linked = true;
  /** The cluster that the outbox has written down. */
  #noted: string | undefined;
  #welcomed = Promise.withResolvers<void>();
  #stopped = false;
  #lock: Lock | undefined;
  #cgroups: Cgroups | undefined;
  #id = "";

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  /** The node's id; empty before the start. */
  get id(): string {
    return this.#id;
  }

  /** Resolves when the cluster has welcomed it. */
  get welcomed(): Promise<void> {
    return this.#welcomed.promise;
  }

  #now(): AgentNow {
    const { runtime } = this.#options;
    return { wall_ms: runtime.wall_ms(), monotonic_ms: runtime.monotonic_ms() };
  }

  async start(): Promise<void> {
    const { runtime, config, paths, logger, url, creds, domain } = this.#options;
    const folder = paths.worker_dir;
    this.#lock = await ownFolder(runtime, folder, "worker");
    const credentials: Credentials | undefined =
      creds === undefined ? undefined : readCredentialsFor(creds, config.cluster);
    this.#id = nodeIdOf(credentials, creds, folder);
    const incarnation = randomHex(runtime, 8);
    this.#incarnation = incarnation;
    const file = join(folder, "outbox.sqlite");
    this.#outbox = new Outbox(file);
    const earlier = noteLife(this.#outbox, placeOf(file), incarnation);
    const limits = await this.#limits((life) => earlier.includes(life));
    const { info: found, devices } = await discoverNode(
      overridesOf(config),
      (message) => logger.warn(message),
      () => findGpus({ runtime }),
    );
    const info = { ...found, limits };
    const late = runtime.after(WAITING_MS, () =>
      logger.warn("NATS is not there yet; trying until it is", { nats: url }),
    );
    this.#connection = await openConnection({
      ...connectOptions(`claw worker ${info.name}`, url, credentials),
      ...(domain === undefined ? {} : { domain }),
      lasting: true,
      wait: () => sleep(runtime, CONNECT_AGAIN_MS),
    }).finally(() => late.cancel());
    const files = new RemoteFiles(this.#connection, config.cluster, this.#id);
    const dropped = (sender: string, why: string): void => {
      logger.warn("dropped a message that cannot be read", { sender, why });
    };
    const bus = new WorkerBus(this.#connection, config.cluster, this.#id, dropped, (error) => {
      // One that was let in before does not end what runs for what may be a mistake in the broker's settings.
      if (this.#noted === undefined) this.#options.onFailed(error);
      else logger.warn(error.message);
    });
    this.#bus = bus;
    if (config.metrics) this.#meter = new LoadMeter(folder, (message) => logger.warn(message));
    this.#launcher = new Launcher({
      runtime,
      logger,
      node_id: this.#id,
      node_name: info.name,
      incarnation,
      default_grace_ms: config.stop.grace_ms,
      task_bytes: config.output.task_bytes,
      devices,
      cgroups: this.#cgroups,
      folders: new TaskFolderPool(join(folder, "tasks"), info.machine, (path, why) => {
        logger.warn("a task's folder cannot be removed, and stays", { path, why });
      }),
      scripts: new ScriptCache(runtime, logger, files, join(folder, "files")),
      output: new OutputPublisher(this.#connection, config.cluster, this.#id, { runtime, domain }),
      onStarted: (job, started_at) => this.#agent?.started(job, started_at),
      onEnded: (job, outcome) => this.#ended(job, outcome),
      onFailed: this.#options.onFailed,
    });
    const cluster_id = this.#outbox.get("cluster_id");
    const world = this.#agentWorld(bus, this.#launcher, this.#connection);
    this.#agent = new Agent(world, this.#outbox, { info, incarnation, earlier, cluster_id });
    await this.#check();
    this.#watchSkills();
    this.#listen(bus);
    this.#watchConnection(this.#connection);
    this.#agent.connected(this.#now());
    this.#tick();
  }

  /** Ends what lives that are over left, and takes the limits of tasks in hand. */
  async #limits(over: (life: string) => boolean): Promise<ReturnType<typeof limitsInfo>> {
    const { config, logger } = this.#options;
    await this.#sweep(over);
    const limits = config.limits ? Cgroups.open() : { reason: "worker.yaml says limits: false" };
    if (limits instanceof Cgroups) {
      this.#cgroups = limits;
      await this.#sweep(over); // who hid from the first one is in a group
    } else logger.debug("tasks run without limits", { why: limits.reason });
    return limitsInfo(limits);
  }

  #listen(bus: WorkerBus): void {
    bus.listen((message) => this.#guard(() => this.#down(message)));
  }

  #agentWorld(bus: WorkerBus, launcher: Launcher, connection: NatsConnection): AgentWorld {
    const { logger, runtime, config, url } = this.#options;
    const looks = new FolderLooks(runtime, (folders) => this.#guard(() => this.#agent?.looked(folders)));
    return {
      send: (message) => bus.send(message),
      start: (job) => {
        launcher.start(job);
        this.#tickSoon();
      },
      stop: (job, reason) => launcher.stop(job, reason),
      superseded: (jobs) => {
        logger.warn("stops tasks that the cluster does not have here: given up, or unknown to it after a restore", {
          count: jobs.length,
          tasks: jobs.slice(0, SUPERSEDED_NAMED).map(({ task_id }) => task_id),
        });
      },
      refused: (code, message) => this.#options.onFailed(this.#refusal(code, message)),
      shutdown: (message) => {
        if (!this.#ending) this.#options.onShutdown(message);
        this.#ending = true;
      },
      deaf: (times) => {
        if (!this.#linked) return; // why nothing comes is known, and what can be done is under way
        const anew = times % 2 === 1;
        // One that was never welcomed was told already that nobody answers.
        const level = this.#agent?.mode === "registering" ? "debug" : "warn";
        logger[level](`nothing comes from the leader; ${anew ? "subscribing" : "connecting"} anew`, { times });
        if (anew) this.#listen(bus);
        else void connection.reconnect().catch((error: unknown) => logger.warn(messageOf(error)));
      },
      unanswered: () => {
        if (!this.#linked) return; // said already
        this.#unheard = true;
        logger.warn(`${nobody(config.cluster)} on ${redactAddresses(url)}; trying until one does`);
      },
      waiting: (message) => {
        if (!this.#told) logger.warn(message);
        this.#told = true;
      },
      look: (folders) => looks.look(folders),
    };
  }

  #ended(job: Job, outcome: Outcome): void {
    this.#guard(() => this.#agent?.ended(job, outcome, this.#now()));
    // What kept this one from being started keeps the next one too: that is known before more of them fail.
    if (outcome.reason === "spawn") this.#checked_ms = Number.NEGATIVE_INFINITY;
  }

  /** Looks at what every task needs, and says when it is not there, and when it is again. */
  async #check(): Promise<void> {
    const { runtime, paths, logger } = this.#options;
    this.#checked_ms = runtime.monotonic_ms();
    const outbox = (): void => this.#outbox?.set("checked", String(runtime.wall_ms()));
    const trouble = this.#agent?.broken ?? (await checkWorker({ folder: paths.worker_dir, outbox }));
    if (this.#stopped || trouble === this.#trouble) return;
    if (trouble === undefined) logger.info("takes work again");
    else logger.error(`takes no work: ${trouble}`);
    this.#trouble = trouble;
    this.#guard(() => this.#agent?.troubled(trouble, this.#now()));
  }

  #checkInTime(): void {
    const every_ms = this.#trouble === undefined ? CHECK_EVERY_MS : CHECK_AGAIN_MS;
    const broken = this.#agent?.broken !== undefined && this.#trouble === undefined;
    if (this.#checking || (!broken && this.#options.runtime.monotonic_ms() - this.#checked_ms < every_ms)) return;
    this.#checking = true;
    void this.#check()
      .catch((error: unknown) => this.#options.onFailed(error))
      .finally(() => {
        this.#checking = false;
      });
  }

  #watchSkills(): void {
    const { runtime, config, logger } = this.#options;
    const { enabled, folders, openclaw } = config.skills;
    if (!enabled) {
      // Before it was switched off it may have told of some.
      this.#agent?.found(NO_SKILLS, this.#now());
      return;
    }
    this.#skills = new SkillWatch({
      ...{ runtime, logger, folders, openclaw },
      changed: (skills) => this.#guard(() => this.#agent?.found(skills, this.#now())),
    });
  }

  #down(message: Parameters<Agent["down"]>[0]): void {
    const agent = this.#agent;
    if (agent === undefined) return;
    const { mode } = agent;
    agent.down(message, this.#now());
    if (message.type !== "node.control" || agent.mode !== "welcome") return;
    this.#noteCluster(agent.cluster_id);
    const unheard = this.#unheard;
    this.#unheard = false;
    if (mode === "welcome") {
      if (unheard) this.#options.logger.info("a coordinator answers again");
      return;
    }
    if (message.action.kind === "welcome" && message.action.same_name !== undefined) {
      this.#options.logger.warn(message.action.same_name);
    }
    this.#welcomed.resolve();
    // No other process is this node: whatever one left running on this machine has been given to others.
    void this.#sweep(() => true).catch((error: unknown) => this.#options.onFailed(error));
  }

  /** An outbox that does not take it just now is what the checks find. */
  #noteCluster(cluster_id: string | undefined): void {
    if (cluster_id === undefined || cluster_id === this.#noted) return;
    try {
      this.#outbox?.set("cluster_id", cluster_id);
      this.#noted = cluster_id;
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
    }
  }

  /** Ends what lives of this node left running that are over. */
  async #sweep(over: (life: string) => boolean): Promise<void> {
    const { runtime, config, logger } = this.#options;
    const own = this.#incarnation;
    const swept = await sweepEarlierLives(
      runtime,
      this.#id,
      (life) => life !== own && over(life),
      config.stop.grace_ms,
      this.#cgroups?.living(),
    );
    this.#cgroups?.tidy();
    if (swept.attempts.length > 0) logger.warn("ended what an earlier life left running", { attempts: swept.attempts });
    if (swept.left.length > 0)
      logger.warn("SIGKILL does not end these of an earlier life", { pids: swept.left.map((row) => row.pid) });
  }

  #refusal(code: string, message: string): ClawError {
    if (code === "wrong_cluster") return new ClawError("wrong_cluster", message);
    if (code !== "node_taken") return new ClawError("refused", message);
    const { creds, paths } = this.#options;
    if (creds !== undefined) return new ClawError("node_taken", message, { field: creds });
    const hint = `is this folder a copy? Remove ${join(paths.worker_dir, "node.seed")}: this machine then joins as a new node`;
    return new ClawError("node_taken", message, { hint });
  }

  #watchConnection(connection: NatsConnection): void {
    watchEnd(connection, () => this.#stopped, this.#options.onFailed);
    const { logger } = this.#options;
    void watchLink(connection, {
      lost: () => {
        this.#linked = false;
        logger.warn("lost NATS; what runs goes on, reports are kept", { running: this.#agent?.running });
      },
      refused: () =>
        logger.warn("NATS refuses these credentials; trying on", {
          hint: "make others where the coordinator runs, and start this worker with them: claw credentials export --role worker",
        }),
      back: () => {
        this.#linked = true;
        logger.info("NATS is there again");
        this.#guard(() => this.#agent?.connected(this.#now()));
      },
    }).catch((error: unknown) => logger.warn("connection watch ended", { why: messageOf(error) }));
  }

  /** Something began: its start is to be told soon, and not at an idle worker's next tick. */
  #tickSoon(): void {
    const { runtime } = this.#options;
    if (this.#tick_ms - runtime.monotonic_ms() <= SOON_MS) return;
    this.#timer?.cancel();
    this.#tickIn(SOON_MS);
  }

  #tickIn(delay_ms: number): void {
    const { runtime } = this.#options;
    this.#tick_ms = runtime.monotonic_ms() + delay_ms;
    this.#timer = runtime.after(delay_ms, () => this.#tick());
  }

  #tick(): void {
    if (this.#stopped) return;
    let next_ms = 1_000;
    this.#guard(() => {
      next_ms = this.#agent?.tick(this.#now(), this.#load) ?? next_ms;
    });
    this.#readLoad();
    this.#checkInTime();
    this.#tellProgress();
    this.#tickIn(next_ms);
  }

  /** Best effort, and nothing that the agent would have to decide. */
  #tellProgress(): void {
    const now_ms = this.#options.runtime.monotonic_ms();
    if (this.#agent?.mode !== "welcome" || now_ms - this.#progress_ms < PROGRESS_EVERY_MS) return;
    this.#progress_ms = now_ms;
    for (const progress of this.#launcher?.progressed() ?? []) {
      this.#bus?.send({ type: "task.progress", incarnation: this.#incarnation, ...progress });
    }
  }

  /** One reading for each heartbeat; a heartbeat carries the latest. */
  #readLoad(): void {
    const now_ms = this.#options.runtime.monotonic_ms();
    if (this.#meter === undefined || now_ms - this.#read_ms < LOAD_EVERY_MS) return;
    this.#read_ms = now_ms;
    void this.#meter.read().then(
      (load) => {
        this.#load = load;
      },
      (error: unknown) => this.#options.logger.warn("cannot read this machine's load", { why: messageOf(error) }),
    );
  }

  #guard(action: () => void): void {
    try {
      if (!this.#stopped) action();
    } catch (error) {
      this.#options.onFailed(error);
    }
  }

  /** Stops what runs, says goodbye: its tasks may run elsewhere at once. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    const agent = this.#agent;
    if (agent !== undefined) {
      agent.leave(this.#now());
      await this.#launcher?.stopped(STOP_GRACE_MS, STOP_DEADLINE_MS);
      agent.goodbye("stopped", this.#now());
    }
    this.#stopped = true;
    this.#timer?.cancel();
    this.#skills?.stop();
    this.#bus?.stop();
    const connection = this.#connection;
    if (connection !== undefined && !connection.isClosed()) {
      await flushWithin(connection, this.#options.runtime, 1_000);
      await connection.close();
    }
    this.#outbox?.close();
    this.#outbox = undefined;
    this.#lock?.release();
  }
}

/** The node's id is its key's. Another role's credentials would connect, and then not be allowed to hear a word. */
function nodeIdOf(credentials: Credentials | undefined, file: string | undefined, folder: string): string {
  if (credentials === undefined || credentials.role === "foreign") return localNodeId(folder);
  if (credentials.role === "worker") return credentials.id;
  throw new ClawError("refused", `${file} holds credentials of a ${credentials.role}, and this is a worker`, {
    hint: "on the coordinator's machine: claw credentials export --role worker --out w.creds",
  });
}

/** What the settings say of the node instead of what would be found. */
function overridesOf({ name, tags, attributes, executors, resources }: WorkerConfig): NodeOverrides {
  const { cpus, memory_mib, gpus, named } = resources;
  return {
    tags,
    attributes,
    executors,
    named,
    ...(name === undefined ? {} : { name }),
    ...(cpus === undefined ? {} : { cpus }),
    ...(memory_mib === undefined ? {} : { memory_mib }),
    ...(gpus === undefined ? {} : { gpus }),
  };
}
