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
import { ClawError } from "../common/errors.ts";
import { type Runtime, sleep, type Timer } from "../common/runtime.ts";
import type { Service } from "../common/service.ts";
import { writePrivate } from "./credentials.ts";
import { serverExecutable } from "./embedded.ts";
import type { Identity } from "./identity.ts";
import { type Lock, tryLock } from "./lock.ts";
import { pidIn, takeStoreLock } from "./orphan.ts";

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

const READY_MS = 20_000;
const STOP_MS = 5_000;
const HEALTH_EVERY_MS = 5_000;
/** A child that lives shorter than this died of something that a restart may not cure. */
const QUICK_DEATH_MS = 1_000;
const QUICK_DEATHS = 8;
const LONGEST_PAUSE_MS = 5_000;

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
    const { data_dir, runtime } = this.#options;
    mkdirSync(data_dir, { recursive: true, mode: 0o700 });
    this.#mode = "starting";
    this.#own = this.#ownFolder();
    this.#executable = await serverExecutable(join(data_dir, "bin"), this.#options.executable);
    this.#store = await takeStoreLock(runtime, join(realpathSync(data_dir), "jetstream.lock"));
    this.#port = this.#choosePort();
    this.#monitor = freePort("127.0.0.1", 0);
    await this.#launch();
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
        `a coordinator (pid ${pidIn(path)}) already uses ${this.#options.data_dir}`,
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

  async #launch(): Promise<void> {
    const { data_dir } = this.#options;
    const config = join(data_dir, "nats-server.conf");
    writePrivate(config, this.#config());
    const output = openSync(join(data_dir, "nats-server.out"), "w", 0o600);
    const begun_ms = this.#options.runtime.monotonic_ms();
    try {
      // A session of its own: a terminal's Ctrl-C is for claw, which then ends the server in its turn.
      const child = Bun.spawn([this.#executable, "-c", config], {
        stdio: ["ignore", output, output, this.#store?.fd ?? null],
        detached: true,
        cwd: data_dir,
        env: { PATH: "/usr/bin:/bin" },
      });
      this.#child = child;
      void child.exited.then(() => this.#onExit(child, this.#options.runtime.monotonic_ms() - begun_ms));
    } finally {
      closeSync(output);
    }
    await this.#ready();
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
  async #ready(): Promise<void> {
    const { runtime } = this.#options;
    const until_ms = runtime.monotonic_ms() + READY_MS;
    while (runtime.monotonic_ms() < until_ms) {
      const child = this.#child;
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) break;
      if ((await this.#healthz()) === "ok") return;
      await sleep(runtime, 5);
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
      const response = await fetch(`http://127.0.0.1:${this.#monitor}/healthz`, { signal: AbortSignal.timeout(2_000) });
      const body = (await response.json()) as { status?: string; error?: string };
      this.#version ||= response.ok ? await this.#askVersion() : "";
      return response.ok && body.status === "ok" ? "ok" : (body.error ?? "unhealthy");
    } catch {
      return "no answer";
    }
  }

  async #askVersion(): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.#monitor}/varz`, { signal: AbortSignal.timeout(2_000) });
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
    this.#child?.kill("SIGTERM");
  }

  #tell(kind: ServerEvent["kind"], message: string): void {
    this.#options.onEvent?.({ kind, message });
  }

  #onExit(child: Bun.Subprocess, lived_ms: number): void {
    if (child !== this.#child || this.#mode !== "up") return;
    this.#mode = "restarting";
    this.#tell("down", `it ended (${child.signalCode ?? child.exitCode})`);
    void this.#restart(lived_ms);
  }

  async #restart(lived_ms: number): Promise<void> {
    let deaths = lived_ms < QUICK_DEATH_MS ? 1 : 0;
    while (this.#mode === "restarting") {
      if (deaths > 0) await sleep(this.#options.runtime, Math.min(100 * 2 ** deaths, LONGEST_PAUSE_MS));
      if (this.#mode !== "restarting") return;
      try {
        await this.#launch();
        this.#mode = "up";
        this.#tell("up", `restarted as pid ${this.pid}`);
        return;
      } catch (error) {
        deaths += 1;
        const message = error instanceof Error ? error.message : String(error);
        if (deaths === QUICK_DEATHS || error instanceof ClawError) this.#tell("failing", message);
      }
    }
  }

  async stop(): Promise<void> {
    this.#mode = "stopping";
    this.#health?.cancel();
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      const timer = this.#options.runtime.after(STOP_MS, () => child.kill("SIGKILL"));
      await child.exited;
      timer.cancel();
    }
    this.#child = undefined;
    this.#store?.release();
    this.#own?.release();
    this.#store = undefined;
    this.#own = undefined;
    this.#mode = "stopped";
  }
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
