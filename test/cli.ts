// The command line inside the test's own process: every command as it is, between an input that the test feeds and an
// output that it reads. Usage is shown at the head of cluster.ts; a command that needs no cluster needs only this file:
//
//   const { code, stdout, stderr } = await runCli(["version", "--json"], { env: { CLAW_HOME: folder } });

import { type CliOptions, runCli as runInProcess } from "../src/client/cli.ts";
import { type Io, OutputClosed, type StopSignal } from "../src/client/io.ts";
import { drawn, printableText } from "../src/client/output.ts";
import { ClawError } from "../src/common/errors.ts";
import { type Runtime, systemRuntime } from "../src/common/runtime.ts";
import { until, within } from "./until.ts";

export interface CliResult {
  code: number;
  stdout: string;
  stderr: string;
  /** As they came, also what is no UTF-8. */
  stdout_bytes: Uint8Array;
  stderr_bytes: Uint8Array;
}

export interface CliRun {
  env?: Record<string, string>;
  cwd?: string;
  /** Text, or chunks as they come: an async generator is how a test decides when the next line arrives. Default: empty. */
  stdin?: string | AsyncIterable<string | Uint8Array>;
  terminal?: Partial<Io["terminal"]>;
  columns?: number;
  runtime?: Runtime;
  /** For `up` and `--role`; a test that says nothing does not start roles. */
  startRole?: CliOptions["startRole"];
  /** What `snapshot restore` does; a test that says nothing restores nothing. */
  restore?: CliOptions["restore"];
}

/** A command that is under way. */
export interface RunningCli {
  readonly done: Promise<CliResult>;
  /** What it has said so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** As if Ctrl-C was typed, SIGTERM sent, or the terminal closed; an error if nobody listens. */
  signal(signal: StopSignal): void;
  /** Resolves when the command listens to signals. */
  listening(): Promise<void>;
  /** Resolves when standard output, or error output, contains the text. */
  says(text: string, where?: "stdout" | "stderr"): Promise<void>;
  /** Nobody reads the output any more, as after `| head -1`. */
  closeOutput(): void;
}

export function runCli(args: readonly string[], run: CliRun = {}): Promise<CliResult> {
  return within(startCli(args, run).done, `claw ${args.join(" ")}`, 30_000);
}

export function startCli(args: readonly string[], run: CliRun = {}): RunningCli {
  const io = new TestIo(run);
  const startRole = run.startRole ?? (() => Promise.reject(new Error("this test starts no roles")));
  const restore = run.restore ?? (() => Promise.reject(new ClawError("refused", "this test restores nothing")));
  const done = runInProcess(args, { runtime: io.runtime, startRole, restore, io }).then((code) => {
    if (io.listeners.size > 0) throw new Error(`claw ${args.join(" ")} still listens to signals after its end`);
    const [stdout, stderr] = [io.stdout, io.stderr];
    return {
      code,
      stdout: stdout.text(),
      stderr: stderr.text(),
      stdout_bytes: stdout.bytes(),
      stderr_bytes: stderr.bytes(),
    };
  });
  return {
    done,
    get stdout() {
      return io.stdout.text();
    },
    get stderr() {
      return io.stderr.text();
    },
    signal: (signal) => io.signal(signal),
    listening: () => until(() => io.listeners.size > 0, "a command that listens to signals").then(() => undefined),
    says: (text, where = "stdout") =>
      until(() => io[where].text().includes(text), `'${text}' on ${where}`).then(() => undefined),
    closeOutput: () => {
      io.closed = true;
    },
  };
}

/** An Io without a command: for what asks for one directly. */
export function testIo(run: CliRun = {}): Io {
  return new TestIo(run);
}

/** Bytes as they came: a character may be cut between two of them. */
class Written {
  readonly #decoder = new TextDecoder();
  readonly #chunks: Uint8Array[] = [];
  #text = "";

  add(bytes: Uint8Array | string): void {
    // A copy: the memory of a chunk is its sender's.
    this.#chunks.push(Buffer.from(bytes as Uint8Array));
    this.#text += typeof bytes === "string" ? bytes : this.#decoder.decode(bytes, { stream: true });
  }

  text(): string {
    return this.#text;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }
}

class TestIo implements Io {
  readonly runtime: Runtime;
  readonly env: Record<string, string>;
  readonly cwd: string;
  readonly terminal: Io["terminal"];
  readonly columns: number;
  readonly stdout = new Written();
  readonly stderr = new Written();
  readonly listeners = new Set<(signal: StopSignal) => void>();
  readonly #stdin: NonNullable<CliRun["stdin"]>;
  closed = false;

  constructor({ runtime, env, cwd, stdin, terminal, columns }: CliRun) {
    this.runtime = runtime ?? systemRuntime;
    this.env = env ?? {};
    this.cwd = cwd ?? process.cwd();
    this.terminal = { out: false, err: false, in: false, ...terminal };
    this.columns = columns ?? 100;
    this.#stdin = stdin ?? "";
  }

  async out(bytes: Uint8Array | string): Promise<void> {
    // As a pipe: the answer comes in a later turn.
    await Promise.resolve();
    if (this.closed) throw new OutputClosed();
    this.stdout.add(bytes);
  }

  async passError(bytes: Uint8Array | string): Promise<void> {
    await Promise.resolve();
    this.stderr.add(bytes);
  }

  err(text: string): void {
    this.stderr.add(printableText(text));
  }

  draw(line: string): void {
    this.stderr.add(drawn(line));
  }

  input(): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder();
    const chunks = chunksOf(this.#stdin);
    return new ReadableStream({
      pull: async (controller) => {
        const { done, value } = await chunks.next();
        if (done === true) controller.close();
        else controller.enqueue(typeof value === "string" ? encoder.encode(value) : value);
      },
    });
  }

  onSignal(action: (signal: StopSignal) => void): () => void {
    this.listeners.add(action);
    return () => void this.listeners.delete(action);
  }

  signal(signal: StopSignal): void {
    if (this.listeners.size === 0) throw new Error(`${signal}: nobody listens`);
    for (const listener of [...this.listeners]) listener(signal);
  }
}

async function* chunksOf(stdin: NonNullable<CliRun["stdin"]>): AsyncGenerator<string | Uint8Array> {
  if (typeof stdin !== "string") yield* stdin;
  else if (stdin !== "") yield stdin;
}
