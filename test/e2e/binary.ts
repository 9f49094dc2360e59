// The compiled binary as people run it: each Machine is a CLAW_HOME in a temporary folder with the claws that run there.
// All that is started is ended by its pid, and a test that leaves a process behind fails.
//
//   const a = machine();                                   // afterEach(closeMachines) ends and removes it
//   await a.up();                                          // or a.start("coordinator is up", ["--role", "coordinator"])
//   const { code, out, err } = await a.claw(["run", "--", "true"], { stdin: "…" });

import { randomInt } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { endProcesses, findProcesses, waitForNone } from "../../scripts/processes.ts";
import { findServer } from "../communication/server-bench.ts";

const ROOT = join(import.meta.dir, "../..");
export const CLAW = process.env["CLAW_BIN"] ?? join(ROOT, "dist/claw");

const READY_MS = 30_000;
const CALL_MS = 60_000;
const STOP_MS = 25_000;
const GONE_MS = 5_000;

export interface Call {
  stdin?: string | Uint8Array;
  env?: Record<string, string>;
  cwd?: string;
  deadline_ms?: number;
}

export interface Finished {
  /** 128 + n for a client that a signal ended, as a shell has it. */
  code: number;
  out: string;
  err: string;
}

/** Looks again and again for something that no signal tells; says what never came. */
export async function until<T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
  deadline_ms = READY_MS,
): Promise<T> {
  const deadline = performance.now() + deadline_ms;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`not within ${deadline_ms} ms: ${what}`);
    await Bun.sleep(5);
  }
}

function codeOf(child: Bun.Subprocess): number {
  const signals: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGPIPE: 13, SIGTERM: 15 };
  return child.signalCode === null ? (child.exitCode ?? -1) : 128 + (signals[child.signalCode] ?? 0);
}

/** A claw that keeps running, and what it said. */
export class Service {
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #reading: Promise<void>;
  #said = "";
  #woken = Promise.withResolvers<void>();

  constructor(argv: readonly string[], env: Record<string, string>, cwd: string) {
    this.#child = Bun.spawn([...argv], { env, cwd, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.#said += decoder.decode(chunk, { stream: true });
      this.#wake();
    }
    await this.#child.exited;
    this.#wake();
  }

  #wake(): void {
    this.#woken.resolve();
    this.#woken = Promise.withResolvers();
  }

  get pid(): number {
    return this.#child.pid;
  }

  get log(): string {
    return this.#said;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Until its log has `text`; an early end is an error. */
  async says(text: string, deadline_ms = READY_MS): Promise<void> {
    const late = Promise.withResolvers<void>();
    let over = false;
    const timer = setTimeout(() => {
      over = true;
      late.resolve();
    }, deadline_ms);
    while (!this.#said.includes(text)) {
      if (over || !this.running) {
        clearTimeout(timer);
        throw new Error(`it ${over ? "runs" : "ended"} and never said '${text}':\n${this.#said}`);
      }
      await Promise.race([this.#woken.promise, this.#child.exited, late.promise]);
    }
    clearTimeout(timer);
  }

  async exited(deadline_ms = STOP_MS): Promise<number> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), deadline_ms);
    await this.#child.exited;
    clearTimeout(timer);
    await this.#reading;
    return codeOf(this.#child);
  }

  /** kill -9: the process and nothing else. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.exited();
  }

  /** Asks it to stop; one that does not listen is killed, and its code tells. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    if (this.running) this.#child.kill(signal);
    return await this.exited();
  }
}

/** A client that runs while the test goes on. */
export class Client {
  readonly child: Bun.Subprocess<"pipe" | "ignore" | Uint8Array, "pipe", "pipe">;
  readonly done: Promise<Finished>;
  readonly #seen = { out: "", err: "" };

  constructor(argv: readonly string[], env: Record<string, string>, call: Call, stdin: "pipe" | "ignore" | Uint8Array) {
    this.child = Bun.spawn([...argv], {
      env,
      ...(call.cwd === undefined ? {} : { cwd: call.cwd }),
      stdin,
      stdout: "pipe",
      stderr: "pipe",
    });
    this.done = this.#follow(argv, call.deadline_ms ?? CALL_MS);
  }

  get seen(): Readonly<{ out: string; err: string }> {
    return this.#seen;
  }

  async #follow(argv: readonly string[], deadline_ms: number): Promise<Finished> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.child.kill("SIGKILL");
    }, deadline_ms);
    const collect = async (name: "out" | "err", stream: ReadableStream<Uint8Array>): Promise<void> => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) this.#seen[name] += decoder.decode(chunk, { stream: true });
    };
    await Promise.all([collect("out", this.child.stdout), collect("err", this.child.stderr), this.child.exited]);
    clearTimeout(timer);
    const { out, err } = this.#seen;
    if (late) throw new Error(`not over after ${deadline_ms} ms: ${argv.join(" ").slice(0, 200)}\n${err.slice(-2000)}`);
    return { code: codeOf(this.child), out, err };
  }
}

export class Machine {
  readonly folder = mkdtempSync(join(tmpdir(), "claw-e2e-"));
  /** Everything that claw keeps. */
  readonly home = join(this.folder, "home");
  /** Where clients are called, and their tasks run. */
  readonly work = join(this.folder, "work");
  /** What runs every command of this machine, given its working folder: a namespace of its own. */
  within: (cwd: string) => readonly string[] = () => [];
  /**
   * Where its coordinator listens. At everybody's default another test's coordinator takes the place of one that is away, and
   * its worker looks for it in vain. The system gives these ports to nobody who wants just any.
   */
  nats_port: number | undefined = randomInt(20_000, 32_000);
  readonly #bin = join(this.folder, "bin");
  readonly #services: Service[] = [];
  readonly #clients: Client[] = [];

  constructor() {
    for (const path of [this.work, this.#bin, join(this.folder, "tmp")]) mkdirSync(path);
    symlinkSync(CLAW, join(this.#bin, "claw"));
  }

  env(more: Record<string, string> = {}): Record<string, string> {
    const env: Record<string, string> = {};
    for (const [name, value] of Object.entries(process.env)) {
      if (value !== undefined && !/^(CLAW|NATS|XDG)_/.test(name)) env[name] = value;
    }
    return {
      ...env,
      PATH: `${this.#bin}:${env["PATH"] ?? ""}`,
      TMPDIR: join(this.folder, "tmp"),
      CLAW_HOME: this.home,
      ...(this.nats_port === undefined ? {} : { CLAW_NATS_PORT: String(this.nats_port) }),
      ...more,
    };
  }

  /** Starts a claw that stays. */
  begin(args: readonly string[], env: Record<string, string> = {}): Service {
    return this.beginOther([...this.within(this.folder), CLAW, ...args], env);
  }

  /** Starts some other program that stays. */
  beginOther(argv: readonly string[], env: Record<string, string> = {}): Service {
    const service = new Service(argv, this.env(env), this.folder);
    this.#services.push(service);
    return service;
  }

  /** Starts one and waits until it says that it is ready. */
  async start(ready: string, args: readonly string[], env: Record<string, string> = {}): Promise<Service> {
    const service = this.begin(args, env);
    await service.says(ready);
    return service;
  }

  up(env: Record<string, string> = {}, args: readonly string[] = []): Promise<Service> {
    return this.start("claw is up", ["up", ...args], env);
  }

  coordinator(args: readonly string[] = []): Promise<Service> {
    return this.start("coordinator is up", ["--role", "coordinator", ...args]);
  }

  worker(args: readonly string[] = [], env: Record<string, string> = {}): Promise<Service> {
    return this.start("worker has joined", ["--role", "worker", ...args], env);
  }

  /** A client that the test talks to while it runs. */
  client(args: readonly string[], call: Call & { open?: boolean } = {}): Client {
    return this.#client([CLAW, ...args], call);
  }

  #client(argv: readonly string[], call: Call & { open?: boolean }): Client {
    const given = typeof call.stdin === "string" ? Buffer.from(call.stdin) : call.stdin;
    const stdin = call.open === true ? "pipe" : (given ?? "ignore");
    const cwd = call.cwd ?? this.work;
    const client = new Client([...this.within(cwd), ...argv], this.env(call.env), { ...call, cwd }, stdin);
    this.#clients.push(client);
    return client;
  }

  claw(args: readonly string[], call: Call = {}): Promise<Finished> {
    return this.client(args, call).done;
  }

  /** A line of bash on this machine, where `claw` is the one under test. */
  bash(line: string, call: Call = {}): Promise<Finished> {
    return this.#client(["bash", "-c", line], call).done;
  }

  /** The JSON that a command prints; a failure is an error. */
  async json<T>(args: readonly string[], call: Call = {}): Promise<T> {
    const { code, out, err } = await this.claw([...args, "--json"], call);
    if (code !== 0) throw new Error(`claw ${args.join(" ")} ended with ${code}: ${err}`);
    return JSON.parse(out) as T;
  }

  /** The nats-servers of this machine: one at most. */
  natsPids(): number[] {
    return findProcesses(basename(this.folder))
      .filter(({ command }) => /nats-server\S* -c /.test(command))
      .map(({ pid }) => pid);
  }

  natsPid(): number | undefined {
    return this.natsPids()[0];
  }

  /** Processes of this machine's tasks: whoever carries its folder in arguments, environment or working folder. */
  taskPids(of: string | RegExp): number[] {
    return findProcesses(basename(this.folder))
      .filter(({ command }) => (typeof of === "string" ? command.includes(of) : of.test(command)))
      .map(({ pid }) => pid);
  }

  /** Ends what runs and removes the folder; gives what was wrong with the end. */
  async close(): Promise<string[]> {
    const problems: string[] = [];
    for (const client of this.#clients) if (client.child.exitCode === null) client.child.kill("SIGKILL");
    await Promise.allSettled(this.#clients.map((client) => client.done));
    // Workers before their coordinator, as they were started last.
    for (const service of this.#services.toReversed()) {
      if (service.running && (await service.stop()) === 137) problems.push(`did not stop:\n${service.log}`);
    }
    const left = await waitForNone(basename(this.folder), GONE_MS);
    problems.push(...left.map(({ pid, command }) => `left running: ${pid} ${command}`));
    endProcesses(left);
    rmSync(this.folder, { recursive: true, force: true });
    return problems;
  }
}

let machines: Machine[] = [];

export function machine(): Machine {
  const made = new Machine();
  machines.push(made);
  return made;
}

/** A NATS of the user's own, on a port that the system gave, with these lines in its configuration. */
export async function ownNats(lines = ""): Promise<{ url: string; machine: Machine }> {
  const here = machine();
  const folder = join(here.folder, "nats");
  mkdirSync(folder);
  const settings = join(folder, "nats.conf");
  writeFileSync(settings, lines);
  const ports = ["-c", settings, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder];
  here.beginOther([findServer(), "-js", "-sd", join(folder, "store"), ...ports]);
  const url = await until("the server's port", () => {
    const file = readdirSync(folder).find((name) => name.endsWith(".ports"));
    if (file === undefined) return undefined;
    const text = readFileSync(join(folder, file), "utf8");
    return text === "" ? undefined : (JSON.parse(text) as { nats: string[] }).nats[0];
  });
  return { url, machine: here };
}

/** For `afterEach`: the machines that were made last go first. */
export async function closeMachines(): Promise<void> {
  const all = machines.toReversed();
  machines = [];
  const problems: string[] = [];
  for (const one of all) problems.push(...(await one.close()));
  if (problems.length > 0) throw new Error(problems.join("\n"));
}

/** A number in KiB from /proc: `VmHWM` is the most memory that a process ever had. */
export function memoryKib(pid: number, name: "VmHWM" | "VmRSS"): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
}
