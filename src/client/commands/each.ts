// `run --each`: a task for each line of standard input, as GNU parallel's users expect. An open array takes the lines
// while its first members already run; results come back in the order in which they were recorded.

import { createReadStream, openSync } from "node:fs";
import { resolve } from "node:path";
import { Readable } from "node:stream";
import { cutShortText } from "../../common/cut-short.ts";
import { ClawError, messageOf } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { TaskCounts } from "../../common/models.ts";
import { sleep } from "../../common/runtime.ts";
import { allNodes } from "../../communication/all-nodes.ts";
import { FileStore } from "../../communication/files.ts";
import type { QueryAnswers, ResultRow } from "../../communication/queries.ts";
import type { RequestClient } from "../../communication/request.ts";
import { submitTasks } from "../../communication/submitting.ts";
import { formatTaskId } from "../../core/ids.ts";
import { renderTemplate } from "../../core/template.ts";
import {
  type Attached,
  attach,
  INTERRUPTED_EXIT,
  isLost,
  leftAlone,
  OUTPUT_CLOSED_EXIT,
  printId,
  unprinted,
} from "../attached.ts";
import { type Halt, isHalt, parseHalt } from "../each/halt.ts";
import { isLogged, JobLog, lastLogged } from "../each/joblog.ts";
import { Printer } from "../each/printer.ts";
import { Progress, summaryOf } from "../each/progress.ts";
import { type OpenArray, Sender } from "../each/sender.ts";
import { type Io, OutputClosed } from "../io.ts";
import { sayPast } from "../life.ts";
import { readLines } from "../lines.ts";
import { wasTried } from "../recorded.ts";
import { specificationOf } from "../specification.ts";
import { SOON_MS, Waits } from "../waits.ts";
import type { RunOptions } from "./run.ts";

export interface EachOptions extends RunOptions {
  argFile?: string;
  keepOrder?: boolean;
  null?: boolean;
  progress?: boolean;
  halt?: string;
  joblog?: string;
  runIfEmpty?: boolean;
}

/** Results come in bursts: asking at once for each would keep the coordinator busy with answering. */
const PACE_MS = 20;
const POLL_MS = 1_000;

export async function eachCommand(
  io: Io,
  client: RequestClient,
  template: string,
  words: readonly string[],
  options: EachOptions,
): Promise<number> {
  if (template === "--") {
    throw new ClawError("usage", "--each takes its command as one word, and it comes before --", {
      hint: `quote it: claw run --each '${words.join(" ") || "gzip -t {}"}'`,
      field: "--each",
    });
  }
  if (/^--?[a-z]/.test(template)) {
    throw new ClawError(
      "usage",
      `--each takes its command as one word right behind it, and '${template}' is an option`,
      {
        hint: "claw run --noop --each 'gzip -t {}': options stand before it, or behind its command",
        field: "--each",
      },
    );
  }
  if (words.length > 0) {
    throw new ClawError("usage", `--each takes its command as one word, and '${words[0]}' follows it`, {
      hint: `quote it: claw run --each '${template} ${words.join(" ")}'`,
      field: "--each",
    });
  }
  // Everything that may be wrong with the options is found before anything is submitted.
  const halt = options.halt === undefined ? undefined : parseHalt(options.halt);
  const files = (): FileStore => new FileStore(client.connection, client.cluster);
  const typed = { words: [template], each: true, cwd: io.cwd };
  const specification = await specificationOf(options, typed, files);
  const stop = new AbortController();
  const lines = readLines(openInput(io, options.argFile), options.null === true, stop.signal);
  const detach = options.detach === true;
  const log = options.joblog === undefined || detach ? undefined : new JobLog(resolve(io.cwd, options.joblog));
  try {
    const array = await submitTasks(io.runtime, client, [specification], { open: true });
    sayPast(io, specification, options);
    const commands = new Map<number, string>();
    const onLine = (index: number, line: string): void =>
      void commands.set(index, renderTemplate(template, line, index));
    const skip_blank = options.runIfEmpty === false;
    const sender = new Sender(io, client, array, { template, skip_blank, ...(log === undefined ? {} : { onLine }) });
    if (!detach) return await new Each({ io, client, array, sender, commands, options, halt, log, stop }).run(lines);
    const code = await sendOnly(io, client, array, sender, lines, stop);
    const id = formatTaskId(array.id);
    if (code === 0) await printId(io, id, options.json === true ? { id, count: sender.sent } : undefined);
    return code;
  } finally {
    log?.close();
  }
}

/** Whatever ends it before all lines are sent: the array is closed, and its id is said, because its members run. */
async function sendOnly(
  io: Io,
  client: RequestClient,
  array: OpenArray,
  sender: Sender,
  lines: AsyncIterable<string[]>,
  stop: AbortController,
): Promise<number> {
  const id = formatTaskId(array.id);
  let cancelled: Promise<unknown> | undefined;
  const attached = attach(io, id, () => {
    cancelled = cancelArray(client, array.number, false);
    return cancelled;
  });
  attached.interrupted.addEventListener("abort", () => stop.abort());
  const sent = sender.run(lines).then(
    () => undefined,
    (error: unknown) => error,
  );
  try {
    const code = await Promise.race([leave(io, attached, sent), sent.then(() => undefined)]);
    if (code !== undefined) return code;
    const failure = await sent;
    if (attached.interrupted.aborted) {
      const over = Promise.resolve(cancelled).catch(() => undefined);
      return await Promise.race([attached.left, over.then(() => INTERRUPTED_EXIT)]);
    }
    if (failure === undefined) return 0;
    io.err(`claw: ${leftAlone(id)}\n`);
    throw failure;
  } finally {
    attached.end();
  }
}

/** Leaving closes the array first, as far as the cluster is there to be told. */
async function leave(io: Io, attached: Attached, sent: Promise<unknown>): Promise<number> {
  const code = await attached.left;
  await Promise.race([sent, sleep(io.runtime, POLL_MS)]);
  return code;
}

async function cancelArray(client: RequestClient, number: number, waiting_only: boolean): Promise<void> {
  const only = waiting_only ? { only: ["pending" as const] } : {};
  await client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }], ...only });
}

function openInput(io: Io, file: string | undefined): ReadableStream<Uint8Array> {
  if (file !== undefined && file !== "-") return openFile(resolve(io.cwd, file));
  if (io.terminal.in) io.err("claw: reading lines from the terminal; Ctrl-D ends them\n");
  return io.input();
}

function openFile(path: string): ReadableStream<Uint8Array> {
  try {
    const stream = createReadStream(path, { fd: openSync(path, "r") });
    return Readable.toWeb(stream) as unknown as ReadableStream<Uint8Array>;
  } catch (error) {
    throw new ClawError("io", `cannot read ${path}: ${messageOf(error)}`, { field: "--arg-file", cause: error });
  }
}

interface EachParts {
  io: Io;
  client: RequestClient;
  array: OpenArray;
  sender: Sender;
  /** What the members that are not over run, for the job log. */
  commands: Map<number, string>;
  options: EachOptions;
  halt: Halt | undefined;
  log: JobLog | undefined;
  stop: AbortController;
}

class Each {
  readonly #io: Io;
  readonly #client: RequestClient;
  readonly #array: OpenArray;
  readonly #sender: Sender;
  readonly #parts: EachParts;
  readonly #options: EachOptions;
  readonly #progress: Progress;
  readonly #by_node = new Map<string, number>();
  readonly #names = new Map<string, string>();
  #cancelled = false;

  constructor(parts: EachParts) {
    const { io, client, array, sender, options } = parts;
    this.#parts = parts;
    this.#io = io;
    this.#client = client;
    this.#array = array;
    this.#sender = sender;
    this.#options = options;
    this.#progress = new Progress(io, options.quiet !== true && (io.terminal.err || options.progress === true));
  }

  async run(lines: AsyncIterable<string[]>): Promise<number> {
    const id = formatTaskId(this.#array.id);
    const attached = attach(this.#io, id, () => this.#cancel(false));
    attached.interrupted.addEventListener("abort", () => this.#parts.stop.abort());
    const sent = this.#send(lines);
    const worked = this.#work(sent, id);
    try {
      const code = await Promise.race([leave(this.#io, attached, sent), worked]);
      return attached.interrupted.aborted && code <= 1 ? INTERRUPTED_EXIT : code;
    } catch (error) {
      const closed = error instanceof OutputClosed;
      if (!closed && !isLost(error)) throw error;
      this.#parts.stop.abort();
      // Lines that could not be read are told when all that was sent is over.
      if (!closed && (await sent) === error) throw error;
      this.#io.err(`claw: ${closed ? `nobody reads the output any more; ${leftAlone(id)}` : unprinted(id)}\n`);
      await sent;
      if (!closed) throw error;
      return OUTPUT_CLOSED_EXIT;
    } finally {
      this.#parts.stop.abort();
      attached.end();
      worked.catch(() => undefined);
    }
  }

  /** What kept it from sending everything; undefined when nothing did. */
  async #send(lines: AsyncIterable<string[]>): Promise<Error | undefined> {
    try {
      await this.#sender.run(lines);
      return undefined;
    } catch (error) {
      // A cancelled array is closed already.
      if (this.#cancelled && error instanceof ClawError && error.code === "conflict") return undefined;
      return error instanceof Error ? error : new Error(messageOf(error));
    }
  }

  async #work(sent: Promise<Error | undefined>, id: string): Promise<number> {
    const end = await this.#receive();
    const { counts } = end;
    const failure = await sent;
    const cut = this.#cancelled ? undefined : cutShortText(end);
    if (this.#options.quiet !== true) {
      this.#io.err(`claw: ${summaryOf(id, counts, this.#progress.took_ms, await this.#nodeNames())}\n`);
    }
    if (cut !== undefined) this.#io.err(`claw: ${id}: ${cut}\n`);
    if (failure !== undefined) throw failure;
    return counts.completed === counts.total && cut === undefined ? 0 : 1;
  }

  async #receive(): Promise<Pick<QueryAnswers["task.results"], "counts" | "cut_short">> {
    const { json, keepOrder } = this.#options;
    const printer = new Printer(this.#io, this.#client, this.#array, {
      keep_order: keepOrder === true,
      json: json === true,
    });
    const waits = new Waits(this.#io, this.#client);
    let cursor = 0;
    for (;;) {
      const answer = await this.#client.query("task.results", {
        number: this.#array.number,
        cursor,
        limit: LIMITS.list_rows,
        wait_ms: POLL_MS,
      });
      cursor = answer.cursor;
      const { results } = answer;
      if (results.length > 0) this.#progress.clear();
      for (const row of results) {
        await this.#count(row);
        await printer.print(row);
      }
      this.#progress.show(answer.counts, !this.#sender.over);
      if (answer.finished && !answer.more) {
        this.#progress.clear();
        return answer;
      }
      await this.#haltIfTime(answer.counts);
      if (this.#stuck(answer.counts)) {
        this.#progress.clear();
        await waits.tell({ number: this.#array.number });
      }
      if (!answer.more) await sleep(this.#io.runtime, PACE_MS);
    }
  }

  /** Nothing began, though there was time. */
  #stuck({ total, pending }: TaskCounts): boolean {
    return this.#options.quiet !== true && total > 0 && pending === total && this.#progress.took_ms > SOON_MS;
  }

  async #count(row: ResultRow): Promise<void> {
    const { from, to, node } = row;
    const { log, commands } = this.#parts;
    if (node !== "") this.#by_node.set(node, (this.#by_node.get(node) ?? 0) + to - from);
    for (let index = from; log !== undefined && index < to; index++) {
      const ran = isLogged(row.outcome) ? row : await this.#before(row, index);
      if (ran !== undefined) log.add(index, await this.#nameOf(ran.node), ran.outcome, commands.get(index) ?? "");
      commands.delete(index);
    }
  }

  /** The attempt that a member had which was called off before its next one. */
  async #before(row: ResultRow, index: number): Promise<ReturnType<typeof lastLogged>> {
    if (!wasTried(row, index)) return undefined;
    const { task } = await this.#client.query("task.show", { number: this.#array.number, index });
    return lastLogged(task.attempts ?? []);
  }

  async #haltIfTime(counts: TaskCounts): Promise<void> {
    const { halt } = this.#parts;
    if (halt === undefined || this.#cancelled || !isHalt(halt, counts, this.#sender.over)) return;
    const say = (what: string): void => this.#io.err(`claw: --halt ${this.#options.halt}: ${what}\n`);
    this.#parts.stop.abort();
    if (halt.when === "now") {
      say("stopping");
      await this.#cancel(false);
      return;
    }
    // Nodes may have begun what they were sent: a cancel of it could stop what runs, which is to end by itself.
    await this.#cancel(true);
    const { task } = await this.#client.query("task.show", { number: this.#array.number });
    say(`no more are sent${sentAhead(task.counts?.scheduled ?? 0)}`);
  }

  async #cancel(waiting_only: boolean): Promise<void> {
    this.#cancelled = true;
    await cancelArray(this.#client, this.#array.number, waiting_only);
  }

  async #nodeNames(): Promise<Map<string, number>> {
    if (this.#by_node.size < 2) return this.#by_node;
    const named: [string, number][] = [];
    for (const [node, done] of this.#by_node) named.push([await this.#nameOf(node), done]);
    return new Map(named);
  }

  /** What people call a node; its id where two workers on one machine have one name. */
  async #nameOf(node: string): Promise<string> {
    if (node !== "" && !this.#names.has(node)) {
      const nodes = await allNodes(this.#client);
      for (const { id, name } of nodes) {
        const twice = nodes.some((other) => other.name === name && other.id !== id);
        this.#names.set(id, twice ? id : name);
      }
      if (!this.#names.has(node)) this.#names.set(node, node);
    }
    return this.#names.get(node) ?? node;
  }
}

function sentAhead(count: number): string {
  if (count === 0) return "";
  return count === 1 ? "; one that was sent ahead still runs" : `; ${count} that were sent ahead still run`;
}
