// The run of scripts/quickstart, once claw is built: a cluster of one coordinator and two workers, a job whose every answer
// is known, and the comparison. It uses the command line as a person would, and ends what it started by process id.

import { chmodSync, closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import { z } from "zod";
import { endProcesses, waitForNone } from "./processes.ts";

const ROOT = join(import.meta.dir, "..");
const CLAW = process.env["CLAW_BIN"] ?? join(ROOT, "dist/claw");
const READY_MS = 60_000;
const JOB_MS = 300_000;
const STOP_MS = 20_000;
const POLL_MS = 50;
/** Four thousand files, each a process of its own: some seconds of work for two workers. */
const TREE = "node_modules";

const Status = z.looseObject({ nats_url: z.string() });
const Nodes = z.array(
  z.looseObject({ id: z.string(), name: z.string(), status: z.string(), completed: z.int(), failed: z.int() }),
);
type Node = z.infer<typeof Nodes>[number];

interface Finished {
  code: number;
  out: string;
  err: string;
}

class Problem extends Error {}

/** Calls `look` until it gives something, or the time is over; `why` then says what it last saw. */
async function waitFor<T>(what: string, look: () => Promise<T | undefined>, why: () => string): Promise<T> {
  const deadline = performance.now() + READY_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Problem(`${what}: not after ${READY_MS / 1000} s\n${why()}`);
    await Bun.sleep(POLL_MS);
  }
}

/** A claw that keeps running, with a folder for all that it keeps. */
class Service {
  readonly #child: Bun.Subprocess;
  readonly #log: string;

  constructor(
    readonly name: string,
    readonly folder: string,
    args: readonly string[],
    env: Record<string, string>,
  ) {
    this.#log = `${folder}.log`;
    const log = openSync(this.#log, "a");
    this.#child = Bun.spawn([CLAW, ...args], { cwd: ROOT, env, stdin: "ignore", stdout: log, stderr: log });
    closeSync(log);
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  log(): string {
    return `the last lines of ${this.name}:\n${readFileSync(this.#log, "utf8").split("\n").slice(-20).join("\n")}`;
  }

  assertRuns(): void {
    if (this.ended) throw new Problem(`${this.name} ended with ${this.#child.exitCode}\n${this.log()}`);
  }

  /** SIGTERM, and SIGKILL for one that does not listen; the latter is a failure. */
  async stop(): Promise<void> {
    if (this.ended) return;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await this.#child.exited;
    clearTimeout(timer);
    if (this.#child.signalCode === "SIGKILL") throw new Problem(`${this.name} did not stop\n${this.log()}`);
  }
}

class Quickstart {
  readonly folder = mkdtempSync(join(tmpdir(), "claw-quickstart-"));
  readonly #services: Service[] = [];

  #env(folder: string): Record<string, string> {
    const env: Record<string, string> = {};
    for (const [name, value] of Object.entries(process.env)) {
      if (value !== undefined && !/^(CLAW|NATS)_/.test(name)) env[name] = value;
    }
    return { ...env, CLAW_HOME: folder, TMPDIR: this.folder };
  }

  #start(name: string, letter: string, args: readonly string[]): Service {
    const folder = join(this.folder, letter);
    const service = new Service(name, folder, args, this.#env(folder));
    this.#services.push(service);
    return service;
  }

  /** A command of the first machine's user. */
  async #claw(args: readonly string[], input?: string): Promise<Finished> {
    const child = Bun.spawn([CLAW, ...args], {
      cwd: ROOT,
      env: this.#env(join(this.folder, "a")),
      stdin: input === undefined ? "ignore" : Buffer.from(input),
      stdout: "pipe",
      stderr: input === undefined ? "pipe" : "inherit",
      timeout: JOB_MS,
    });
    const err = child.stderr instanceof ReadableStream ? child.stderr.text() : Promise.resolve("");
    const [out, errors, code] = await Promise.all([child.stdout.text(), err, child.exited]);
    return { code, out, err: errors };
  }

  async #nodes(): Promise<Node[]> {
    const answer = await this.#claw(["nodes", "--json"]);
    if (answer.code !== 0) throw new Problem(`claw nodes --json ended with ${answer.code}\n${answer.err}`);
    return Nodes.parse(JSON.parse(answer.out));
  }

  async startCluster(): Promise<void> {
    const began = performance.now();
    const first = this.#start("claw up", "a", ["up"]);
    let last = "";
    const status = await waitFor(
      "the coordinator",
      async () => {
        first.assertRuns();
        const answer = await this.#claw(["status", "--json"]);
        last = answer.err;
        return answer.code === 0 ? Status.parse(JSON.parse(answer.out)) : undefined;
      },
      () => `${last}\n${first.log()}`,
    );
    console.log(`coordinator and first worker: ready after ${Math.round(performance.now() - began)} ms`);

    const credentials = await this.#claw(["credentials", "export", "--role", "worker"]);
    if (credentials.code !== 0) throw new Problem(`claw credentials export failed\n${credentials.err}`);
    const file = join(this.folder, "w.creds");
    writeFileSync(file, credentials.out);
    chmodSync(file, 0o600);
    const joining = ["--role", "worker", "--nats", status.nats_url, "--creds", file];
    const second = this.#start("the second worker", "b", joining);
    await waitFor(
      "two nodes online",
      async () => {
        second.assertRuns();
        const online = (await this.#nodes()).filter((node) => node.status === "online");
        return online.length === 2 ? online : undefined;
      },
      () => second.log(),
    );
    console.log(`second worker:                online after ${Math.round(performance.now() - began)} ms`);
  }

  /** Hashes every file of `folder` on the cluster; every answer has to be the one that this machine gives by itself. */
  async runJob(folder: string): Promise<void> {
    const files = filesOf(folder);
    const tool = Bun.which("sha256sum") === null ? "shasum -a 256" : "sha256sum";
    const input = `${files.join("\n")}\n`;
    console.log(`\n$ find ${folder} -type f | claw run --each '${tool} {}' --keep-order`);
    const before = await this.#nodes();
    const began = performance.now();
    const answer = await this.#claw(["run", "--each", `${tool} {}`, "--keep-order"], input);
    const seconds = (performance.now() - began) / 1000;
    if (answer.code !== 0) throw new Problem(`claw run ended with ${answer.code}`);

    const local = Bun.spawnSync(["xargs", "-0", ...tool.split(" ")], {
      cwd: ROOT,
      stdin: Buffer.from(files.join("\0")),
    });
    const [expected, got] = [local.stdout.toString().split("\n"), answer.out.split("\n")];
    const differs = expected.findIndex((line, index) => line !== got[index]);
    if (differs !== -1 || got.length !== expected.length) {
      const [want, have] = [expected[Math.max(differs, 0)], got[Math.max(differs, 0)]];
      throw new Problem(`line ${differs + 1} differs from ${tool}'s:\n  expected ${want}\n  got      ${have}`);
    }
    const rate = Math.round(files.length / seconds);
    console.log(
      `\n${files.length} files hashed in ${seconds.toFixed(1)} s, ${rate} tasks/s; every answer is ${tool}'s own.`,
    );
    await this.#report(before, files.length);
  }

  async #report(before: readonly Node[], tasks: number): Promise<void> {
    let done = 0;
    for (const node of await this.#nodes()) {
      const completed = node.completed - (before.find(({ id }) => id === node.id)?.completed ?? 0);
      done += completed;
      console.log(`  ${node.id}  ${node.name}  ${completed} tasks`);
      if (completed === 0) throw new Problem(`${node.id} did nothing of it`);
    }
    if (done !== tasks) throw new Problem(`the nodes count ${done} completed tasks, not ${tasks}`);
  }

  /** The last started first. What is still there afterwards is ended too, and named. */
  async stop(): Promise<void> {
    const problems: string[] = [];
    for (const service of [...this.#services].reverse()) {
      await service.stop().catch((error: unknown) => problems.push(String(error)));
    }
    const left = await waitForNone(basename(this.folder), STOP_MS);
    endProcesses(left);
    rmSync(this.folder, { recursive: true, force: true });
    problems.push(...left.map(({ pid, command }) => `left running, ended now: ${pid} ${command}`));
    if (problems.length > 0) throw new Problem(problems.join("\n"));
  }
}

/** What `find FOLDER -type f` gives. */
function filesOf(folder: string): string[] {
  return readdirSync(resolve(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(folder, relative(resolve(ROOT, folder), join(entry.parentPath, entry.name))))
    .sort();
}

const NEXT = `
All of it was stopped and removed again. To keep one:

  export PATH="$PWD/dist:$PATH"
  claw up                                    # in another terminal; everything below finds it
  claw run -- uname -a                       # one command, its output, its exit code
  find . -name '*.gz' | claw run --each 'gzip -t {}'
  claw submit -- sleep 5; claw ls            # and walk away
  claw nodes; claw status; claw --help
`;

async function main(): Promise<number> {
  const quickstart = new Quickstart();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      void quickstart.stop().finally(() => process.exit(130));
    });
  }
  let code = 0;
  const failed = (error: unknown): void => {
    code = 1;
    console.error(`quickstart: ${error instanceof Problem ? error.message : Bun.inspect(error)}`);
  };
  await quickstart
    .startCluster()
    .then(() => quickstart.runJob(process.argv[2] ?? TREE))
    .catch(failed);
  await quickstart.stop().catch(failed);
  if (code === 0) console.log(NEXT.trimEnd());
  return code;
}

if (import.meta.main) process.exitCode = await main();
