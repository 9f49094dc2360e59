// `events`: what happened in the cluster, the newest of it, and with `-f` what happens from now on.

import type { EventDocument } from "../../common/document-schemas.ts";
import { EVENT_FILTERS, noEvents } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { plural } from "../../common/units.ts";
import { newestEvents } from "../../communication/newest.ts";
import type { QueryAnswers, QueryRequest } from "../../communication/queries.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { printable } from "../output.ts";
import { refs } from "../refs.ts";
import { number } from "../values.ts";
import { nodesNamed } from "./nodes.ts";

interface EventsOptions {
  follow?: boolean;
  json?: boolean;
  tail?: string;
  after?: string;
  type?: string[];
  node?: string;
}

/** As `tail` does, and as `tail -f` does. */
const TAIL = 50;
const TAIL_FOLLOWED = 10;
const POLL_MS = 15_000;
const PAGE = 500;

type Query = Omit<QueryRequest<"event.list">, "seen">;

export async function eventsCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: EventsOptions,
): Promise<number> {
  const follow = options.follow === true;
  if (options.after !== undefined && options.tail !== undefined) {
    const hint = "--tail begins with the newest, --after behind one of them";
    throw new ClawError("usage", "--after or --tail, not both", { hint, field: "--tail" });
  }
  const printer = new Printer(io, options.json === true, follow);
  let query: Query = { ...(await filterOf(io, client, words, options)), limit: PAGE, wait_ms: 0 };
  if (options.after !== undefined) query = { ...query, after: options.after };
  else {
    const tail = number("--tail", options.tail ?? String(follow ? TAIL_FOLLOWED : TAIL), LIMITS.list_rows, true);
    query = { ...query, tail };
  }
  const ask = (one: Query) => client.query("event.list", one);
  for (;;) {
    const page = query.tail === undefined ? ask(query) : newest(io, ask, query);
    const { events, cursor, more, missed } = await page;
    if (missed === true) io.err(`claw: some events after ${query.after} are no longer in the log\n`);
    for (const event of events) await printer.print(event);
    if (!follow && !more) break;
    const { tail: _tail, ...rest } = query;
    query = { ...rest, after: cursor, wait_ms: follow && !more ? POLL_MS : 0 };
  }
  await printer.end();
  return 0;
}

/** What a filter leaves may be far back in a long log: who waits at a terminal sees how far it is looked through. */
async function newest(
  io: Io,
  ask: (query: Query) => Promise<QueryAnswers["event.list"]>,
  query: Query,
): Promise<QueryAnswers["event.list"]> {
  let drawn = false;
  const goesOn = (before: string): void => {
    drawn = true;
    io.draw(`looking further back, before ${before} (Ctrl-C ends it)`);
  };
  try {
    return await newestEvents(ask, query, io.terminal.err ? goesOn : undefined);
  } finally {
    if (drawn) io.draw("");
  }
}

async function filterOf(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: EventsOptions,
): Promise<Pick<Query, "number" | "index" | "node" | "types">> {
  const [ref, other] = words.length === 0 ? [] : await refs(io, client, words);
  if (other !== undefined) throw new ClawError("usage", "one task at a time", { hint: "claw events -f TASK" });
  const [node] = options.node === undefined ? [] : await nodesNamed(client, [options.node]);
  const types = options.type?.flatMap((text) => text.split(",")).map(typeOf);
  return {
    ...(ref === undefined ? {} : { number: ref.number }),
    ...(ref?.index === undefined ? {} : { index: ref.index }),
    ...(node === undefined ? {} : { node: node.id }),
    ...(types === undefined ? {} : { types }),
  };
}

class Printer {
  readonly #io: Io;
  readonly #json: boolean;
  readonly #lines: boolean;
  #count = 0;

  constructor(io: Io, json: boolean, lines: boolean) {
    this.#io = io;
    this.#json = json;
    this.#lines = lines;
  }

  async print(event: EventDocument): Promise<void> {
    const text = this.#json ? JSON.stringify(event) : eventText(event);
    const open = !this.#json || this.#lines ? "" : this.#count === 0 ? "[" : ",";
    this.#count += 1;
    await this.#io.out(`${open}${text}${this.#json && !this.#lines ? "" : "\n"}`);
  }

  async end(): Promise<void> {
    if (this.#json && !this.#lines) await this.#io.out(this.#count === 0 ? "[]\n" : "]\n");
    else if (this.#count === 0 && !this.#json) this.#io.err("no such events\n");
  }
}

function typeOf(text: string): string {
  if ((EVENT_FILTERS as readonly string[]).includes(text)) return text;
  const { message, hint } = noEvents(text);
  throw new ClawError("usage", `--type: ${message}`, { hint, field: "--type" });
}

/** The longest type is `cluster.created`. */
const TYPE_WIDTH = 15;

function eventText(event: EventDocument): string {
  const { at, type, task, first, last, count, name, node, node_name, by, not_before } = event;
  const words = [at, type.padEnd(TYPE_WIDTH)];
  if (task !== undefined) words.push(task);
  else if (type.startsWith("task.")) words.push(plural(count ?? 0, "task"));
  if (first !== undefined) words.push(`${first} to ${last}`);
  else if (task !== undefined && (count ?? 1) > 1) words.push(`(${count})`);
  if (name !== undefined) words.push(name);
  if (node !== undefined && node_name !== name) words.push(type.startsWith("node.") ? "" : "on", node_name ?? node);
  const why = whyOf(event);
  if (why !== "") words.push(why);
  if (by !== undefined) words.push(`by ${by}`);
  if (not_before !== undefined) words.push(`again at ${not_before}`);
  return printable(words.filter((word) => word !== "").join(" "));
}

function whyOf({ message, exit_code, signal, reason, epoch, attempt }: EventDocument): string {
  if (message !== undefined) return message;
  if (signal !== undefined) return `ended by ${signal}`;
  if (exit_code !== undefined && exit_code > 0) return `exit code ${exit_code}`;
  if (reason !== undefined && reason !== "exit") return reason;
  if (epoch !== undefined) return `term ${epoch}`;
  return attempt !== undefined && attempt > 1 ? `attempt ${attempt}` : "";
}
