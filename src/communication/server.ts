// The nats-server that the coordinator runs as a child. One server a store, whatever is killed when: the child inherits
// the locked descriptor of the store, and while somebody holds that lock no second server is started on it.

import { closeSync, realpathSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { ClawError, messageOf } from "../common/errors.ts";
import { type Runtime, sleep, type Timer } from "../common/runtime.ts";
import type { Service } from "../common/service.ts";
import { serverExecutable } from "./embedded.ts";
import type { Identity } from "./identity.ts";
import { type Lock, ownFolder } from "./lock.ts";
import { takeStoreLock } from "./orphan.ts";
import { freePort, ServerFiles } from "./server-files.ts";
import { ServerWatch } from "./watch.ts";

export interface NatsServerOptions {
  runtime: Runtime;
  /** Everything of it is kept here. */
  data_dir: string;
  host: string;
  /** Preferred; the one of the last start, or a free one, where it is taken. */
  port: number;
  identity: Identity;
  executable?: string;
  onEvent?: (event: ServerEvent) => void;
}

/**
 * `moved`: the wanted port is taken. `down`: it ended and is being restarted. `up`: it is back. `failing`: restarts do not
 * hold. `store_error`: it no longer writes and is restarted. `disk_full`: as soon as there is room, it is restarted.
 */
export interface ServerEvent {
  kind: "moved" | "down" | "up" | "failing" | "store_error" | "disk_full";
  message: string;
}

/** Long: a large store is checked before the server says that it is ready, and one that died is noticed at once. */
const READY_MS = 120_000;
const POLL_MS = 3;
const STOP_MS = 5_000;
const HEALTH_EVERY_MS = 5_000;
/** A server that is stopped (SIGSTOP) or hangs: so many times without an answer. A busy one may miss one. */
const SILENT_CHECKS = 3;
/** A full disk is full until there is room for more than the next message. */
const ROOM_BYTES = 16 * 1024 * 1024;
/** A child that lives shorter than this died of something that a restart may not cure. */
const QUICK_DEATH_MS = 1_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** So many restarts in a row that did not hold are told as failing, and then each time the number doubles. */
const FAILING_RESTARTS = 4;
/** A port that was free may be gone by the time that the server binds it. */
const START_TRIES = 3;

type Mode = "stopped" | "starting" | "up" | "restarting" | "stopping";

export class NatsServerChild implements Service {
  readonly name = "nats-server";
  readonly #options: NatsServerOptions;
  readonly #files: ServerFiles;
  #mode: Mode = "stopped";
  #own: Lock | undefined;
  #store: Lock | undefined;
  #child: Bun.Subprocess | undefined;
  #watch: ServerWatch | undefined;
  #executable = "";
  #version = "";
  #port = 0;
  #health: Timer | undefined;
  #silent_checks = 0;
  #disk_full = false;
  #launched_ms = 0;
  /** Restarts in a row that did not hold. */
  #failures = 0;
  /** The start or restart that is under way, or the last one; never rejects. */
  #work: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;

  constructor(options: NatsServerOptions) {
    this.#options = options;
    this.#files = new ServerFiles(options.data_dir);
  }

  /** Where clients on this machine find it. */
  get url(): string {
    const { host } = this.#options;
    const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
    return `nats://${name.includes(":") ? `[${name}]` : name}:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get version(): string {
    return this.#version;
  }

  async start(): Promise<void> {
    if (this.#mode !== "stopped") throw new Error(`nats-server is ${this.#mode}`);
    this.#mode = "starting";
    const starting = this.#startOnce();
    this.#work = starting.catch(() => undefined);
    try {
      await starting;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #startOnce(): Promise<void> {
    const { data_dir, runtime } = this.#options;
    this.#own = await ownFolder(runtime, data_dir, "coordinator");
    this.#executable = await serverExecutable(join(data_dir, "bin"), this.#options.executable);
    const path = join(realpathSync(data_dir), "jetstream.lock");
    this.#store = await takeStoreLock(runtime, path, () => this.#mode === "starting");
    await this.#launchOnSomePort();
    this.#failures = 0;
    this.#beUp();
    this.#watchHealth();
  }

  async #launchOnSomePort(): Promise<void> {
    const { host, port: wanted } = this.#options;
    for (let tries = 1; ; tries += 1) {
      const last = this.#files.lastPort(wanted) ?? wanted;
      this.#port = freePort(host, last) || freePort(host, wanted) || freePort(host, 0);
      if (this.#port === 0) throw cannotListen(host);
      try {
        await this.#launch("starting");
        break;
      } catch (error) {
        const taken = /address already in use/.test(messageOf(error));
        if (!taken || tries === START_TRIES || this.#mode !== "starting") throw error;
      }
    }
    this.#files.rememberPort(wanted, this.#port);
    if (wanted !== 0 && this.#port !== wanted)
      this.#tell("moved", `port ${wanted} is taken: it listens on ${this.#port}`);
  }

  /** Starts the server and waits until it serves; when it does not, nothing of it is left. */
  async #launch(during: "starting" | "restarting"): Promise<void> {
    if (this.#mode !== during || this.#store === undefined) throw stopped();
    const { data_dir, runtime, identity, host } = this.#options;
    const { config, output } = this.#files.prepare({ host, port: this.#port }, identity.serverConfig());
    try {
      // A session of its own: a terminal's Ctrl-C is for claw, which then ends the server in its turn.
      const child = Bun.spawn([this.#executable, "-c", config], {
        stdio: ["ignore", output, output, this.#store.fd],
        detached: true,
        cwd: data_dir,
        env: { PATH: "/usr/bin:/bin" },
      });
      this.#child = child;
      this.#launched_ms = runtime.monotonic_ms();
      void child.exited.then(() => this.#onExit(child));
    } catch (error) {
      throw new ClawError("broker", `cannot run ${this.#executable}: ${messageOf(error)}`, {
        hint: "is the data folder on a file system that forbids programs (noexec)? nats.server names one elsewhere",
        cause: error,
      });
    } finally {
      closeSync(output);
    }
    try {
      await this.#ready(during);
    } catch (error) {
      await this.#end();
      throw error;
    }
  }

  /** Until it takes a connection and says that it is healthy; an early end is an error with its last lines. */
  async #ready(during: Mode): Promise<void> {
    const { runtime, identity } = this.#options;
    const until_ms = runtime.monotonic_ms() + READY_MS;
    const watcher = identity.watcher();
    while (runtime.monotonic_ms() < until_ms) {
      if (this.#mode !== during) throw stopped();
      if (this.#child === undefined || !lives(this.#child)) break;
      this.#watch ??= await ServerWatch.open(this.url, watcher).catch(() => undefined);
      if ((await this.#watch?.health()) === "ok" && this.#mode === during) {
        this.#version = this.#watch?.version ?? "";
        return;
      }
      await sleep(runtime, POLL_MS);
    }
    const lines = this.#files.lastLines();
    const full = /no space left/i.test(lines) || this.#room() === 0;
    throw new ClawError(full ? "disk_full" : "broker", `nats-server did not start:\n${lines}`);
  }

  /** Ends the child and waits for it: never is a second one started before this is over. */
  async #end(): Promise<void> {
    const [child, watch] = [this.#child, this.#watch];
    this.#watch = undefined;
    await watch?.close();
    if (child === undefined) return;
    if (lives(child)) {
      child.kill("SIGTERM");
      const timer = this.#options.runtime.after(STOP_MS, () => child.kill("SIGKILL"));
      await child.exited;
      timer.cancel();
    }
    if (this.#child === child) this.#child = undefined;
  }

  #watchHealth(): void {
    if (this.#mode !== "up" && this.#mode !== "restarting") return;
    this.#health = this.#options.runtime.after(HEALTH_EVERY_MS, () => {
      void this.#checkHealth().finally(() => this.#watchHealth());
    });
  }

  /** A store error freezes a stream until the server restarts; one that hangs is restarted too. */
  async #checkHealth(): Promise<void> {
    const watch = this.#watch;
    if (this.#mode !== "up" || watch === undefined) return;
    let health = await watch.health();
    // Was it only the connection that broke, as when the machine slept? A healthy server is not restarted for that.
    if (health === undefined && watch.closed) health = await this.#askAnew(watch);
    if (this.#mode !== "up" || health === "replaced") return;
    this.#silent_checks = health === undefined ? this.#silent_checks + 1 : 0;
    if (health === "ok" || (health === undefined && this.#silent_checks < SILENT_CHECKS)) return;
    if (health !== undefined && /no space left/i.test(health) && this.#room() < ROOM_BYTES) {
      if (!this.#disk_full) this.#tell("disk_full", `${this.#options.data_dir}: ${health}`);
      this.#disk_full = true;
      return;
    }
    this.#tell("store_error", `it is not healthy (${health ?? "no answer"}); restarting it`);
    await this.#end();
  }

  /** `replaced` when somebody else put another watch in place meanwhile. */
  async #askAnew(silent: ServerWatch): Promise<string | undefined> {
    const fresh = await ServerWatch.open(this.url, this.#options.identity.watcher()).catch(() => undefined);
    const health = await fresh?.health();
    if (this.#mode !== "up" || this.#watch !== silent || health === undefined) {
      await fresh?.close();
      return this.#watch === silent ? undefined : "replaced";
    }
    this.#watch = fresh;
    await silent.close();
    return health;
  }

  #room(): number {
    try {
      const { bavail, bsize } = statfsSync(this.#options.data_dir);
      return bavail * bsize;
    } catch {
      return ROOM_BYTES; // the folder is gone: that is another problem, and the server says so
    }
  }

  #tell(kind: ServerEvent["kind"], message: string): void {
    this.#options.onEvent?.({ kind, message });
  }

  /** It may have ended between its last answer and now: then its end was not noticed. */
  #beUp(): void {
    if (this.#mode !== "starting" && this.#mode !== "restarting") throw stopped();
    this.#mode = "up";
    this.#silent_checks = 0;
    this.#disk_full = false;
    if (this.#child !== undefined && !lives(this.#child)) this.#onExit(this.#child);
  }

  #onExit(child: Bun.Subprocess): void {
    if (this.#mode !== "up" || child !== this.#child) return;
    this.#mode = "restarting";
    const lived_ms = this.#options.runtime.monotonic_ms() - this.#launched_ms;
    this.#failures = lived_ms < QUICK_DEATH_MS ? this.#failures + 1 : 0;
    this.#tell("down", `it ended (${child.signalCode ?? `exit code ${child.exitCode}`})`);
    this.#work = this.#restart();
  }

  /** On the same port, so that every client comes back by itself: at once, then more and more slowly. */
  async #restart(): Promise<void> {
    await this.#end();
    while (this.#mode === "restarting") {
      const { runtime } = this.#options;
      if (this.#failures > 0) await this.#pause(runtime.monotonic_ms() + pauseAfter(this.#failures));
      try {
        await this.#launch("restarting");
        this.#tell("up", `restarted as pid ${this.pid}`);
        this.#beUp();
        return;
      } catch (error) {
        if (this.#mode !== "restarting") return;
        this.#failures += 1;
        if (isTold(this.#failures)) this.#tell("failing", messageOf(error));
      }
    }
  }

  async #pause(until_ms: number): Promise<void> {
    const { runtime } = this.#options;
    while (this.#mode === "restarting" && runtime.monotonic_ms() < until_ms) {
      await sleep(runtime, Math.min(FIRST_PAUSE_MS, Math.max(1, until_ms - runtime.monotonic_ms())));
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stopOnce().finally(() => {
      this.#stopping = undefined;
    });
    return this.#stopping;
  }

  async #stopOnce(): Promise<void> {
    this.#mode = "stopping";
    this.#health?.cancel();
    await this.#end();
    await this.#work;
    await this.#end();
    this.#store?.release();
    this.#own?.release();
    this.#store = undefined;
    this.#own = undefined;
    this.#mode = "stopped";
  }
}

function lives(child: Bun.Subprocess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

function cannotListen(host: string): ClawError {
  return new ClawError("bad_config", `nats-server cannot listen on ${host}: this machine has no such address`, {
    hint: "listen (--listen) is one of its own: 127.0.0.1, 0.0.0.0 for all, or what `ip addr` shows",
    field: "listen",
  });
}

function stopped(): ClawError {
  return new ClawError("broker", "nats-server was stopped while it started");
}

function pauseAfter(failures: number): number {
  return Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
}

/** Not each time: a full disk would fill the log with it. */
function isTold(failures: number): boolean {
  return failures >= FAILING_RESTARTS && Number.isInteger(Math.log2(failures / FAILING_RESTARTS));
}
