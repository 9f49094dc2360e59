// The nats-server that the coordinator runs as a child. One server a store, whatever is killed when: the child inherits
// the locked descriptor of the store, and while somebody holds that lock no second server is started on it.

import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { ClawError, messageOf } from "../common/errors.ts";
import { type Runtime, sleep, type Timer } from "../common/runtime.ts";
import type { Service } from "../common/service.ts";
import { serverExecutable } from "./embedded.ts";
import type { Identity } from "./identity.ts";
import { type Lock, tryLock } from "./lock.ts";
import { takeStoreLock } from "./orphan.ts";
import { writePrivate } from "./private.ts";

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

export interface ServerEvent {
  kind: "down" | "up" | "store_error" | "failing";
  message: string;
}

/** Long: a large store is checked before the server says that it is ready, and one that died is noticed at once. */
const READY_MS = 120_000;
const STOP_MS = 5_000;
const HEALTH_EVERY_MS = 5_000;
/** A child that lives shorter than this died of something that a restart may not cure. */
const QUICK_DEATH_MS = 1_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** So many restarts in a row that did not hold are told as failing, and then each time the number doubles. */
const FAILING_RESTARTS = 4;
/** A port that was free may be gone by the time that the server binds it. */
const START_TRIES = 3;

const POLL_MS = 3;
const HEALTH_TIMEOUT_MS = 2_000;

type Mode = "stopped" | "starting" | "up" | "restarting" | "stopping";

export class NatsServerChild implements Service {
  readonly name = "nats-server";
  readonly #options: NatsServerOptions;
  #mode: Mode = "stopped";
  #own: Lock | undefined;
  #store: Lock | undefined;
  #child: Bun.Subprocess | undefined;
  #executable = "";
  #version = "";
  #port = 0;
  #monitor = 0;
  #health: Timer | undefined;
  #launched_ms = 0;
  /** Restarts in a row that did not hold. */
  #failures = 0;
  #restarting: Promise<void> | undefined;

  constructor(options: NatsServerOptions) {
    this.#options = options;
  }

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
    try {
      await this.#startOnce();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #startOnce(): Promise<void> {
    const { data_dir, runtime } = this.#options;
    mkdirSync(data_dir, { recursive: true, mode: 0o700 });
    this.#own = this.#ownFolder();
    this.#executable = await serverExecutable(join(data_dir, "bin"), this.#options.executable);
    this.#store = await takeStoreLock(
      runtime,
      join(realpathSync(data_dir), "jetstream.lock"),
      () => this.#mode === "starting",
    );
    for (let tries = 1; ; tries += 1) {
      this.#port = this.#choosePort();
      try {
        await this.#launch("starting");
        break;
      } catch (error) {
        if (tries === START_TRIES || this.#mode !== "starting" || !/address already in use/.test(messageOf(error))) {
          throw error;
        }
      }
    }
    this.#mode = "up";
    this.#watchHealth();
  }

  /** Only one coordinator a folder. */
  #ownFolder(): Lock {
    const path = join(this.#options.data_dir, "coordinator.lock");
    const lock = tryLock(path);
    if (lock === undefined) {
      throw new ClawError(
        "already_running",
        `a coordinator (pid ${readFileSync(path, "utf8").trim()}) already uses ${this.#options.data_dir}`,
      );
    }
    ftruncateSync(lock.fd);
    writeSync(lock.fd, `${process.pid}\n`);
    return lock;
  }

  #choosePort(): number {
    const { data_dir, host, port } = this.#options;
    const remembered = join(data_dir, "nats-port");
    const last = existsSync(remembered) ? Number(readFileSync(remembered, "utf8")) : port;
    const chosen = freePort(host, last) || freePort(host, port) || freePort(host, 0);
    writeFileSync(remembered, String(chosen), { mode: 0o600 });
    return chosen;
  }

  /** Starts the server and waits until it serves; when it does not, nothing of it is left. */
  async #launch(during: "starting" | "restarting"): Promise<void> {
    if (this.#mode !== during || this.#store === undefined) throw stopped();
    const { data_dir, runtime } = this.#options;
    const config = join(data_dir, "nats-server.conf");
    this.#monitor = freePort("127.0.0.1", 0);
    writePrivate(config, this.#config());
    const output = openSync(join(data_dir, "nats-server.out"), "w", 0o600);
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

  /** Ends the child and waits for it: never is a second one started before this is over. */
  async #end(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    if (lives(child)) {
      child.kill("SIGTERM");
      const timer = this.#options.runtime.after(STOP_MS, () => child.kill("SIGKILL"));
      await child.exited;
      timer.cancel();
    }
    if (this.#child === child) this.#child = undefined;
  }

  #config(): string {
    const { data_dir, host, identity } = this.#options;
    return `# Written by claw at each start: changes are lost.
server_name: claw
listen: ${JSON.stringify(`${host.includes(":") ? `[${host}]` : host}:${this.#port}`)}
http: "127.0.0.1:${this.#monitor}"
jetstream {
  store_dir: ${JSON.stringify(join(data_dir, "jetstream"))}
  sync_interval: always
}
log_file: ${JSON.stringify(join(data_dir, "nats-server.log"))}
logfile_size_limit: 16MB
logfile_max_num: 3
max_control_line: 8KB
${identity.serverConfig()}`;
  }

  /** Until it says that it is healthy; an early end is an error with the log's last lines. */
  async #ready(during: Mode): Promise<void> {
    const { runtime } = this.#options;
    const until_ms = runtime.monotonic_ms() + READY_MS;
    while (runtime.monotonic_ms() < until_ms) {
      if (this.#mode !== during) throw stopped();
      if (this.#child === undefined || !lives(this.#child)) break;
      if ((await this.#healthz()) === "ok" && this.#mode === during) return;
      await sleep(runtime, POLL_MS);
    }
    throw this.#startError();
  }

  #startError(): ClawError {
    const lines = this.#lastLines();
    const full = /no space left/i.test(lines);
    return new ClawError(full ? "disk_full" : "broker", `nats-server did not start:\n${lines}`);
  }

  #lastLines(): string {
    const { data_dir } = this.#options;
    const texts = ["nats-server.log", "nats-server.out"]
      .map((name) => join(data_dir, name))
      .filter((path) => existsSync(path))
      .map((path) => readFileSync(path, "utf8"));
    return texts.join("").trim().split("\n").slice(-5).join("\n");
  }

  async #healthz(): Promise<string> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.#monitor}/healthz`, {
        signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
      });
      const body = (await response.json()) as { status?: string; error?: string };
      this.#version ||= response.ok ? await this.#askVersion() : "";
      return response.ok && body.status === "ok" ? "ok" : (body.error ?? "unhealthy");
    } catch {
      return "no answer";
    }
  }

  async #askVersion(): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.#monitor}/varz`, {
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
    });
    return ((await response.json()) as { version?: string }).version ?? "";
  }

  /** A store error freezes a stream until the server restarts. */
  #watchHealth(): void {
    this.#health = this.#options.runtime.after(HEALTH_EVERY_MS, () => {
      void this.#checkHealth().finally(() => {
        if (this.#mode === "up" || this.#mode === "restarting") this.#watchHealth();
      });
    });
  }

  async #checkHealth(): Promise<void> {
    if (this.#mode !== "up") return;
    const health = await this.#healthz();
    if (health === "ok" || health === "no answer" || this.#mode !== "up") return;
    this.#tell("store_error", `it is not healthy (${health}); restarting it`);
    await this.#end();
  }

  #tell(kind: ServerEvent["kind"], message: string): void {
    this.#options.onEvent?.({ kind, message });
  }

  #onExit(child: Bun.Subprocess): void {
    if (this.#mode !== "up") return;
    this.#mode = "restarting";
    const lived_ms = this.#options.runtime.monotonic_ms() - this.#launched_ms;
    this.#failures = lived_ms < QUICK_DEATH_MS ? this.#failures + 1 : 0;
    this.#tell("down", `it ended (${child.signalCode ?? `exit code ${child.exitCode}`})`);
    this.#restarting = this.#restart();
  }

  /** On the same port, so that every client comes back by itself: at once, then more and more slowly. */
  async #restart(): Promise<void> {
    while (this.#mode === "restarting") {
      const { runtime } = this.#options;
      if (this.#failures > 0) await this.#pause(runtime.monotonic_ms() + pauseAfter(this.#failures));
      try {
        await this.#launch("restarting");
        this.#mode = "up";
        this.#tell("up", `restarted as pid ${this.pid}`);
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

  async stop(): Promise<void> {
    this.#mode = "stopping";
    this.#health?.cancel();
    await this.#end();
    await this.#restarting;
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

/** The port if it is free (0: any free one), else 0. */
function freePort(host: string, port: number): number {
  try {
    const probe = Bun.listen({ hostname: host, port, socket: { data: () => undefined } });
    const free = probe.port;
    probe.stop(true);
    return free;
  } catch {
    return 0;
  }
}
