// A whole cluster inside the test's own process: the coordinator with a nats-server child of its own, workers that run
// real processes, and the command line. Everything real, in a temporary folder, on free ports; several side by side.
//
//   const cluster = await openCluster({ workers: 2 });           // about 100 ms; in beforeAll or in the test
//   await cluster.close();                                       // in afterAll: ends all, and fails if anything is left
//
//   const { code, stdout, stderr } = await cluster.runCli(["run", "--", "echo", "hello"]);
//   await cluster.runCli(["run", "--each", "wc -c {}"], { stdin: "a\nb\n", env: { X: "1" }, cwd: folder });
//   await cluster.runCli(["ls"], { terminal: { out: true }, columns: 60 });
//   const run = cluster.startCli(["run", "--", "sleep", "60"]);   // under way: says(text), signal, closeOutput, done
//   await run.listening();
//   run.signal("SIGINT");
//   const { code } = await run.done;
//
//   const { number } = await cluster.submit({ argv: ["sleep", "1"] });   // typed requests: cluster.client
//   await cluster.started(number); const task = await cluster.finished(number);
//
// Settings are given by their paths: openCluster({ workers: 0, worker: { "resources.cpus": 2 } }). `stopCoordinator()`,
// `startCoordinator()`, `addWorker()` and a worker's `stop()` change what runs; `logged(text)` waits for a line of the log;
// `failure()` takes what ended a part from inside; `runtime.skip(ms)` lets the coordinator's clocks jump.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { findProcesses, waitForNone } from "../scripts/processes.ts";
import { connectClient } from "../src/client/connect.ts";
import { loadConfig } from "../src/common/config.ts";
import { createLogger, type Logger } from "../src/common/logging.ts";
import type { Specification, TaskView } from "../src/common/models.ts";
import { type Paths, resolvePaths } from "../src/common/paths.ts";
import { type Runtime, randomHex, randomU32, systemRuntime } from "../src/common/runtime.ts";
import { isTerminal } from "../src/common/vocabulary.ts";
import { readEndpoint } from "../src/communication/endpoint.ts";
import type { TaskSubmit } from "../src/communication/messages.ts";
import type { RequestClient } from "../src/communication/request.ts";
import { Coordinator } from "../src/coordinator/coordinator.ts";
import { Worker } from "../src/worker/worker.ts";
import { type CliResult, type CliRun, type RunningCli, runCli, startCli, testIo } from "./cli.ts";
import { findServer } from "./communication/server-bench.ts";
import { TestRuntime } from "./runtime.ts";
import { until, within } from "./until.ts";

export { runCli, startCli };

/** By their paths in the configuration file. */
export type Settings = Readonly<Record<string, unknown>>;

export interface ClusterOptions {
  /** How many workers there are from the start: one unless told otherwise. */
  workers?: number;
  coordinator?: Settings;
  worker?: Settings;
  /** Under this folder instead of one of its own, which it then does not remove. */
  home?: string;
}

/** A specification of which only what matters is said. */
export type Wanted = Partial<Omit<Specification, "needs">> & { needs?: Partial<Specification["needs"]> };

export interface Submitted {
  number: number;
  id: number;
  nonce: string;
}

/** What an array has: a number of members, or inputs, or more to come. */
export type Members = Omit<NonNullable<TaskSubmit["array"]>, "id">;

const END_MS = 2_000;
/** A machine that is slow for two seconds does not change who leads. */
const LEASE = "10s";
const WAIT_MS = 15_000;

export async function openCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = new Cluster(options);
  try {
    await cluster.startCoordinator();
    await Promise.all(Array.from({ length: options.workers ?? 1 }, () => cluster.addWorker()));
    return cluster;
  } catch (error) {
    await cluster.close().catch(() => undefined);
    throw new Error(`the cluster did not start:\n${cluster.log.join("")}`, { cause: error });
  }
}

export class Cluster {
  /** CLAW_HOME of the coordinator and of the command line. */
  readonly home: string;
  readonly paths: Paths;
  /** Where commands are typed. */
  readonly cwd: string;
  /** Everything that was logged, a JSON line each. */
  readonly log: string[] = [];
  readonly workers: Worker[] = [];
  /** The coordinator's clocks and timers. */
  readonly runtime = new TestRuntime();
  /** What its processes are found by. A folder that a test named is told by its whole path: its name may be any word. */
  readonly #mark: string;
  readonly #options: ClusterOptions;
  readonly #logger: Logger;
  #client: RequestClient | undefined;
  readonly #failures: unknown[] = [];
  #coordinator: Coordinator | undefined;
  #made = 0;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.home = options.home ?? mkdtempSync(join(tmpdir(), "claw-cluster-"));
    this.#mark = options.home ?? basename(this.home);
    this.paths = resolvePaths({ CLAW_HOME: this.home });
    this.cwd = join(this.home, "work");
    mkdirSync(this.cwd, { recursive: true });
    this.#logger = createLogger({
      role: "test",
      level: "debug",
      format: "json",
      runtime: systemRuntime,
      write: (line) => void this.log.push(line),
    });
  }

  get coordinator(): Coordinator {
    if (this.#coordinator === undefined) throw new Error("the coordinator does not run");
    return this.#coordinator;
  }

  /** What a command of this cluster finds it by. */
  get env(): Record<string, string> {
    return { CLAW_HOME: this.home, HOME: this.home, PATH: process.env["PATH"] ?? "/usr/bin:/bin" };
  }

  /** The coordinator's data folder. */
  get folder(): string {
    return this.paths.coordinator_dir;
  }

  async startCoordinator(settings: Settings = {}): Promise<void> {
    if (this.#coordinator !== undefined) throw new Error("the coordinator runs already");
    const flags = { "nats.server": findServer(), lease: LEASE, ...this.#options.coordinator, ...settings };
    const { config } = loadConfig("coordinator", { paths: this.paths, env: {}, flags });
    // A port of the system's choice, unless the test names one: 0 is no setting that a user may write.
    if (!("nats.port" in flags)) config.nats.port = 0;
    if (!("http.port" in flags)) config.http.port = 0;
    const coordinator = new Coordinator({
      runtime: this.runtime,
      config,
      paths: this.paths,
      logger: this.#logger,
      name: "test machine",
      onFailed: (error) => this.#failures.push(error),
    });
    this.#coordinator = coordinator;
    try {
      await within(coordinator.start(), "the coordinator's start");
      this.#client ??= await this.connect();
    } catch (error) {
      await this.stopCoordinator();
      throw error;
    }
  }

  async stopCoordinator(): Promise<void> {
    const coordinator = this.#coordinator;
    this.#coordinator = undefined;
    await coordinator?.stop();
  }

  /** A worker in a folder of its own, as on another machine; resolves when the cluster has welcomed it. */
  async addWorker(settings: Settings = {}, folder?: string, runtime: Runtime = systemRuntime): Promise<Worker> {
    this.#made += 1;
    const name = `worker-${this.#made}`;
    const paths = resolvePaths({ CLAW_HOME: folder ?? join(this.home, name) });
    // What this machine has of OpenClaw is nobody's business here.
    const flags = { name, metrics: false, "skills.enabled": false, ...this.#options.worker, ...settings };
    const { config } = loadConfig("worker", { paths, env: {}, flags });
    const worker = new Worker({
      runtime,
      config,
      paths,
      logger: this.#logger,
      url: this.coordinator.nats_url,
      creds: await this.#credentials(paths),
      domain: config.nats.domain,
      onFailed: (error) => this.#failures.push(error),
      onShutdown: () => void worker.stop(),
    });
    this.workers.push(worker);
    await within(worker.start(), `the start of ${name}`);
    await within(worker.welcomed, `the welcome of ${name}`);
    return worker;
  }

  /** Made once a folder, so that a worker that comes again is the same node. */
  async #credentials(paths: Paths): Promise<string> {
    const path = join(paths.data_dir, "worker.creds");
    if (!(await Bun.file(path).exists())) {
      const { creds } = await this.client.command("credentials.export", { v: 1, role: "worker" });
      mkdirSync(paths.data_dir, { recursive: true });
      writeFileSync(path, creds, { mode: 0o600 });
    }
    return path;
  }

  runCli(args: readonly string[], run: CliRun = {}): Promise<CliResult> {
    return runCli(args, this.#here(run));
  }

  startCli(args: readonly string[], run: CliRun = {}): RunningCli {
    return startCli(args, this.#here(run));
  }

  #here(run: CliRun): CliRun {
    return { cwd: this.cwd, ...run, env: { ...this.env, ...run.env } };
  }

  /** Typed requests as the command line sends them. */
  get client(): RequestClient {
    if (this.#client === undefined) throw new Error("the cluster is not open");
    return this.#client;
  }

  /** Another client, which the test closes. */
  connect(): Promise<RequestClient> {
    return connectClient(testIo(this.#here({})), {});
  }

  /** One task, or an array, that runs `true` unless told otherwise. */
  async submit(wanted: Wanted = {}, array?: Members): Promise<Submitted> {
    const { request, id } = submission(wanted, array);
    const { number } = await this.client.command("task.submit", request);
    return { number, id, nonce: request.nonce };
  }

  async show(number: number, index?: number): Promise<TaskView> {
    return (await this.client.query("task.show", { number, ...(index === undefined ? {} : { index }) })).task;
  }

  started(number: number, index?: number): Promise<TaskView> {
    return this.#wait(number, index, "started");
  }

  finished(number: number, index?: number): Promise<TaskView> {
    return this.#wait(number, index, "finished");
  }

  async #wait(number: number, index: number | undefined, wanted: "started" | "finished"): Promise<TaskView> {
    const which = { number, ...(index === undefined ? {} : { index }) };
    const { task } = await this.client.query("task.wait", { ...which, until: wanted, wait_ms: WAIT_MS });
    const { status } = task;
    const reached = isTerminal(status) && task.open !== true ? true : wanted === "started" && status === "running";
    if (!reached) throw new Error(`task ${number} is ${status} after ${WAIT_MS} ms, not ${wanted}`);
    return task;
  }

  /** GET on the HTTP endpoint, with its token. */
  async http(path: string): Promise<Response> {
    const endpoint = readEndpoint(this.paths.data_dir);
    const token = await Bun.file(endpoint?.token_file ?? "").text();
    return await fetch(`${endpoint?.http_url}${path}`, { headers: { authorization: `Bearer ${token.trim()}` } });
  }

  /** Waits for a line of the log that contains the text. */
  logged(text: string): Promise<Record<string, unknown>> {
    return until(() => {
      const line = this.log.find((one) => one.includes(text));
      return line === undefined ? undefined : (JSON.parse(line) as Record<string, unknown>);
    }, `the log line '${text}'`);
  }

  /** Waits for what ended a part from inside, and takes it: otherwise it fails the test at close. */
  async failure(): Promise<unknown> {
    await until(() => this.#failures.length > 0, "a failure");
    return this.#failures.shift();
  }

  /** Ends everything in its order, and throws when a process is left or a part failed. */
  async close(): Promise<void> {
    await this.#client?.close();
    await Promise.all(this.workers.map((worker) => worker.stop()));
    await this.stopCoordinator();
    const left = await waitForNone(this.#mark, END_MS);
    if (this.#options.home === undefined) rmSync(this.home, { recursive: true, force: true });
    if (this.runtime.waiting.length > 0) throw new Error(`timers are left:\n${this.runtime.waiting.join("\n")}`);
    if (left.length > 0) throw new Error(`still running: ${left.map(({ command }) => command).join(", ")}`);
    if (this.#failures.length > 0)
      throw new Error(`failed from inside:\n${this.log.join("")}`, { cause: this.#failures[0] });
  }

  /** Processes of this cluster: its nats-server, and tasks. */
  processes(): { pid: number; command: string }[] {
    return findProcesses(this.#mark);
  }
}

/** A submission as it goes over the wire, with an id and a nonce of its own. */
export function submission(wanted: Wanted = {}, array?: Members): { request: TaskSubmit; id: number } {
  const id = randomU32(systemRuntime);
  const nonce = randomHex(systemRuntime, 16);
  const tasks = array === undefined ? { tasks: [[id, 0] as [number, number]] } : { array: { id, ...array } };
  return { id, request: { v: 1, nonce, specifications: [specificationOf(wanted)], ...tasks } };
}

export function specificationOf({ needs, ...rest }: Wanted): Specification {
  return {
    type: "batch",
    priority: "normal",
    argv: ["true"],
    ...rest,
    needs: { executor: "command", cpu_millis: 0, memory_mib: 0, gpus: 0, ...needs },
  };
}
