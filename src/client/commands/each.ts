// `run --each`: a task for each line of standard input, as GNU parallel's users expect. An open array takes the lines
// while its first members already run; results come back in the order in which they were recorded.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { finishedCount, type Outcome, type Specification, type TaskCounts } from "../../common/models.ts";
import { randomHex, randomU32 } from "../../common/runtime.ts";
import { formatDuration } from "../../common/units.ts";
import { FileStore } from "../../communication/files.ts";
import type { ResultRow } from "../../communication/queries.ts";
import type { RequestClient } from "../../communication/request.ts";
import { formatTaskId } from "../../core/ids.ts";
import { checkCommandLength, renderTemplate } from "../../core/template.ts";
import type { Io } from "../io.ts";
import { readLines } from "../lines.ts";
import { plural } from "../output.ts";
import { printFinished } from "../print.ts";
import { specificationOf } from "../specification.ts";
import { exitCodeOf, type RunOptions } from "./run.ts";

export interface EachOptions extends RunOptions {
  keepOrder?: boolean;
  null?: boolean;
  runIfEmpty?: boolean;
  progress?: boolean;
}

interface Opened {
  id: number;
  number: number;
  nonce: string;
}

/** What was sent, for the side that reads results. */
interface Sending {
  sent: number;
  finished: boolean;
}

export async function eachCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: EachOptions,
): Promise<number> {
  if (words.length === 0)
    throw new ClawError("usage", "--each wants a command line", {
      hint: "find . -name '*.gz' | claw run --each 'gzip -t {}'",
    });
  if (io.terminal.in) io.err("claw: reading lines from the terminal; Ctrl-D ends them\n");
  const files = (): FileStore => new FileStore(client.connection, client.cluster);
  const specification = await specificationOf(options, { words, each: true, cwd: io.cwd }, files);
  const begun_ms = io.runtime.monotonic_ms();
  const opened = await open(io, client, specification);
  const stop = cancelOnInterrupt(io, client, opened);
  try {
    const sending: Sending = { sent: 0, finished: false };
    const [failure, counts] = await Promise.all([
      send(io, client, opened, words.join(" "), options, sending).catch((error: unknown) => error),
      receive(io, client, opened, options, sending),
    ]);
    if (options.detach !== true) summary(io, opened, counts, io.runtime.monotonic_ms() - begun_ms, options);
    if (failure instanceof Error) throw failure;
    return counts.completed === counts.total ? 0 : 1;
  } finally {
    stop();
  }
}

async function open(io: Io, client: RequestClient, specification: Specification): Promise<Opened> {
  const nonce = randomHex(io.runtime, 16);
  for (;;) {
    const id = randomU32(io.runtime);
    try {
      const { number } = await client.command("task.submit", {
        v: 1,
        nonce,
        specifications: [specification],
        array: { id, open: true },
      });
      return { id, number, nonce };
    } catch (error) {
      if (!(error instanceof ClawError) || error.code !== "id_taken") throw error;
    }
  }
}

/** Sends the lines as they come. A line that cannot be taken ends the reading; what was sent before it still runs. */
async function send(
  io: Io,
  client: RequestClient,
  opened: Opened,
  template: string,
  options: EachOptions,
  sending: Sending,
): Promise<void> {
  let batch: string[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (batch.length === 0) return;
    const inputs = batch;
    batch = [];
    bytes = 0;
    const { id, nonce } = opened;
    await client.command("task.extend", { v: 1, id, nonce, offset: sending.sent, inputs });
    sending.sent += inputs.length;
  };
  let count = 0;
  try {
    for await (const lines of readLines(io.input(), options.null === true)) {
      for (const line of lines) {
        count += 1;
        checkLine(template, line, count);
        const size = Buffer.byteLength(JSON.stringify(line));
        if (batch.length === LIMITS.inputs_per_request || bytes + size > LIMITS.inputs_request_bytes) await flush();
        batch.push(line);
        bytes += size;
      }
      // What has come is sent, so that a slow producer's first lines already run.
      await flush();
    }
  } finally {
    await flush();
    const { id, nonce } = opened;
    await client.command("task.extend", {
      v: 1,
      id,
      nonce,
      offset: sending.sent,
      inputs: [],
      close: { total: sending.sent },
    });
    sending.finished = true;
  }
}

/** What would fail on the node for being too long, or cannot be an argument, is refused here, by its line. */
function checkLine(template: string, line: string, count: number): void {
  try {
    checkCommandLength(renderTemplate(template, line, count - 1));
  } catch (error) {
    if (!(error instanceof ClawError)) throw error;
    throw new ClawError(
      error.code,
      `line ${count}: ${error.message}; the ${plural(count - 1, "line")} before it were submitted`,
      {
        field: `line ${count}`,
      },
    );
  }
}

async function receive(
  io: Io,
  client: RequestClient,
  opened: Opened,
  options: EachOptions,
  sending: Sending,
): Promise<TaskCounts> {
  const printer = new Printer(io, client, opened, options.keepOrder === true, options.json === true);
  const bar = new Progress(io, options);
  let cursor = 0;
  for (;;) {
    const answer = await client.query("task.results", {
      number: opened.number,
      cursor,
      limit: LIMITS.list_rows,
      wait_ms: 1_000,
    });
    cursor = answer.cursor;
    bar.clear();
    for (const row of answer.results) await printer.print(row);
    bar.show(answer.counts, !sending.finished);
    if (answer.finished && answer.results.length === 0) {
      bar.clear();
      return answer.counts;
    }
  }
}

/** Prints each member's output in one piece; with `keep_order` in the order of the lines. */
class Printer {
  readonly #io: Io;
  readonly #client: RequestClient;
  readonly #opened: Opened;
  readonly #keep_order: boolean;
  readonly #json: boolean;
  readonly #waiting = new Map<number, ResultRow>();
  #next = 0;

  constructor(io: Io, client: RequestClient, opened: Opened, keep_order: boolean, json: boolean) {
    this.#io = io;
    this.#client = client;
    this.#opened = opened;
    this.#keep_order = keep_order;
    this.#json = json;
  }

  async print(row: ResultRow): Promise<void> {
    if (!this.#keep_order) {
      for (let index = row.from; index < row.to; index++) await this.#one(index, row);
      return;
    }
    this.#waiting.set(row.from, row);
    for (let next = this.#waiting.get(this.#next); next !== undefined; next = this.#waiting.get(this.#next)) {
      this.#waiting.delete(this.#next);
      for (let index = next.from; index < next.to; index++) await this.#one(index, next);
      this.#next = next.to;
    }
  }

  async #one(index: number, row: ResultRow): Promise<void> {
    const id = formatTaskId(this.#opened.id, index);
    if (this.#json) {
      const { status, exit_code, signal, started_at, ended_at, stdout_tail, stderr_tail } = row.outcome;
      const line = {
        id,
        status,
        exit_code,
        signal,
        node: row.node,
        attempt: row.attempt,
        started_at,
        ended_at,
        stdout_tail,
        stderr_tail,
      };
      await this.#io.out(`${JSON.stringify(line)}\n`);
      return;
    }
    await printFinished(this.#io, this.#client, { id, number: this.#opened.number, index }, row.outcome, row.attempt);
    if (row.outcome.status !== "completed") this.#sayFailed(id, row.outcome);
  }

  #sayFailed(id: string, outcome: Outcome): void {
    const what =
      outcome.message ?? (outcome.exit_code === undefined ? outcome.status : `exit code ${exitCodeOf({ outcome })}`);
    this.#io.err(`claw: ${id}: ${what}\n`);
  }
}

/** One line on a terminal's error output, redrawn. */
class Progress {
  readonly #io: Io;
  readonly #on: boolean;
  readonly #begun_ms: number;
  #shown = false;

  constructor(io: Io, options: EachOptions) {
    this.#io = io;
    this.#on = (io.terminal.err || options.progress === true) && options.quiet !== true;
    this.#begun_ms = io.runtime.monotonic_ms();
  }

  show(counts: TaskCounts, reading: boolean): void {
    if (!this.#on) return;
    const done = finishedCount(counts);
    const seconds = (this.#io.runtime.monotonic_ms() - this.#begun_ms) / 1000;
    const rate = seconds > 0 ? done / seconds : 0;
    const left = reading || rate === 0 ? "" : `, ${formatDuration(((counts.total - done) / rate) * 1000)} left`;
    const failed = counts.failed + counts.timeout > 0 ? `, ${counts.failed + counts.timeout} failed` : "";
    this.#io.err(`${done}/${counts.total}${reading ? "+" : ""} done${failed}, ${Math.round(rate)}/s${left}\r`);
    this.#shown = true;
  }

  clear(): void {
    if (this.#shown) this.#io.err("\x1b[2K");
    this.#shown = false;
  }
}

function summary(io: Io, opened: Opened, counts: TaskCounts, took_ms: number, options: EachOptions): void {
  if (options.quiet === true) return;
  const rate = took_ms > 0 ? Math.round((counts.total / took_ms) * 1000) : 0;
  const parts = [`${counts.completed} succeeded`];
  for (const status of ["failed", "timeout", "cancelled"] as const)
    if (counts[status] > 0) parts.push(`${counts[status]} ${status}`);
  io.err(`claw: ${formatTaskId(opened.id)}: ${parts.join(", ")} in ${formatDuration(took_ms)} (${rate} tasks/s)\n`);
}

function cancelOnInterrupt(io: Io, client: RequestClient, opened: Opened): () => void {
  let asked = 0;
  return io.onInterrupt(() => {
    asked += 1;
    const id = formatTaskId(opened.id);
    if (asked > 1) {
      process.kill(process.pid, "SIGTERM");
      return;
    }
    io.err(`\nclaw: cancelling ${id}; Ctrl-C again leaves it\n`);
    client
      .command("task.cancel", { v: 1, targets: [{ number: opened.number, from: 0 }] })
      .catch((error: unknown) => io.err(`claw: cannot cancel ${id}: ${String(error)}\n`));
  });
}
