// The log: one JetStream stream of event batches, the truth of the cluster. Every append carries the expected last
// sequence, so the server refuses a writer that was deposed; an acknowledgement that was lost is looked up, never guessed.

import {
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamState,
} from "nats";
import { ClawError, messageOf } from "../common/errors.ts";
import type { Runtime } from "../common/runtime.ts";
import { randomHex, sleep } from "../common/runtime.ts";
import { Outages } from "./outages.ts";
import { ensureStream, errorCode, findStream, hiddenName, isStreamMissing, type NewStream } from "./streams.ts";
import { subjects } from "./subjects.ts";

/** What became of an append. `deposed`: another writer has this place. `unknown`: nobody could say. */
export type AppendResult = "stored" | "deposed" | "unknown";

export interface LogEntry {
  sequence: number;
  payload: Uint8Array;
}

/** The port: one contract suite runs against this and the simulated one. Reads throw `broker` when it does not answer. */
export interface Log {
  /** Appends behind sequence - 1. `nonce` tells this writer's batches from another's. */
  append(sequence: number, nonce: string, payload: Uint8Array): Promise<AppendResult>;
  /** Everything from `sequence` on that is there now, in order. */
  read(sequence: number): AsyncIterable<LogEntry>;
  /** The same, and then whatever comes, until `stop`. Throws `behind`, `log_lost`, `broker`. */
  follow(sequence: number, stop: AbortSignal): AsyncIterable<LogEntry>;
  last(): Promise<number>;
  /** Tells one stream from another of the same name. */
  readonly created: string;
}

/** What there is of the log: the first sequence (the next one's, when it is empty), the last, and its size. */
export interface LogExtent {
  first: number;
  last: number;
  bytes: number;
}

/** The log as whoever shortens it sees it. Both throw `broker` when it does not answer. */
export interface LogUpkeep extends Log {
  extent(): Promise<LogExtent>;
  /** Removes everything up to `sequence`, it included. */
  truncate(sequence: number): Promise<void>;
}

/** How long it waits for the broker. */
export interface LogPatience {
  append_ms: number;
  /** One question, and all of them together, about what became of an append. */
  ask_ms: number;
  look_ms: number;
}

const PATIENCE: LogPatience = { append_ms: 5_000, ask_ms: 10_000, look_ms: 10_000 };

/**
 * The log's subject ends in 128 random bits that only its stream knows. A permission cannot do it: whoever may ask
 * anything at all names the subject of the answer, and no broker checks whether he could have published there himself.
 * So one request with `reply: claw.<c>.log` would have put its answer into the log, and every leader would have stopped.
 */
const SECRET_BYTES = 16;
const NO_MESSAGE = 10037;

export async function openLog(
  connection: NatsConnection,
  runtime: Runtime,
  cluster: string,
  replicas: number,
  domain?: string,
  patience: LogPatience = PATIENCE,
  hidden = false,
): Promise<LogUpkeep> {
  const options = domain === undefined ? {} : { domain };
  const manager = await connection.jetstreamManager({ ...options, timeout: patience.ask_ms });
  const name = (await findStream(manager, subjects.logStream(cluster))) ?? newName(runtime, cluster, hidden);
  const info = await ensureStream(manager, configOf(runtime, cluster, name, replicas));
  return new NatsLog(
    connection,
    connection.jetstream({ ...options, timeout: patience.append_ms }),
    manager,
    runtime,
    patience.look_ms,
    name,
    info.config.subjects[0] ?? "",
    info.created,
  );
}

/**
 * Hidden from those to whom claw gave credentials. On a NATS of the user's own several coordinators may found a cluster
 * at once, so there the name has to be the same for all.
 */
function newName(runtime: Runtime, cluster: string, hidden: boolean): string {
  const name = subjects.logStream(cluster);
  return hidden ? hiddenName(runtime, name) : name;
}

/** What the log is made with. Clients and workers may neither delete nor purge; a coordinator purges, below a snapshot. */
function configOf(runtime: Runtime, cluster: string, name: string, replicas: number): NewStream {
  return {
    name,
    subjects: [subjects.log(cluster, randomHex(runtime, SECRET_BYTES))],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    num_replicas: replicas,
    deny_delete: true,
    allow_direct: true,
    duplicate_window: nanos(120_000),
  };
}

/**
 * Puts a new stream in the log's place, empty, whose first sequence follows `sequence`. What was in the old one is gone:
 * for whoever restores a cluster, and has asked.
 */
export async function renewLog(
  connection: NatsConnection,
  runtime: Runtime,
  cluster: string,
  replicas: number,
  domain: string | undefined,
  sequence: number,
  hidden = false,
): Promise<LogUpkeep> {
  const manager = await connection.jetstreamManager({
    timeout: PATIENCE.ask_ms,
    ...(domain === undefined ? {} : { domain }),
  });
  const old = await findStream(manager, subjects.logStream(cluster));
  if (old !== undefined) {
    await manager.streams.delete(old).catch((error: unknown) => {
      if (!isStreamMissing(error)) throw silent(error);
    });
  }
  const config = configOf(runtime, cluster, newName(runtime, cluster, hidden), replicas);
  await manager.streams.add({ ...config, first_seq: sequence + 1 }).catch((error: unknown) => {
    throw new ClawError("broker", `the old log is deleted, and NATS does not take the new one: ${messageOf(error)}`, {
      hint: "see nats-server.log, make room, and restore again: nothing else has changed",
      cause: error,
    });
  });
  return await openLog(connection, runtime, cluster, replicas, domain);
}

class NatsLog implements LogUpkeep {
  readonly created: string;
  readonly #connection: NatsConnection;
  readonly #outages: Outages;
  readonly #jetstream: JetStreamClient;
  readonly #manager: JetStreamManager;
  readonly #runtime: Runtime;
  readonly #look_ms: number;
  readonly #stream: string;
  readonly #subject: string;

  constructor(
    connection: NatsConnection,
    jetstream: JetStreamClient,
    manager: JetStreamManager,
    runtime: Runtime,
    look_ms: number,
    stream: string,
    subject: string,
    created: string,
  ) {
    this.#connection = connection;
    this.#outages = new Outages(connection);
    this.#jetstream = jetstream;
    this.#manager = manager;
    this.#runtime = runtime;
    this.#look_ms = look_ms;
    this.#stream = stream;
    this.#subject = subject;
    this.created = created;
  }

  async append(sequence: number, nonce: string, payload: Uint8Array): Promise<AppendResult> {
    const msgID = `${nonce}:${sequence}`;
    try {
      const expect = { streamName: this.#stream, lastSequence: sequence - 1 };
      const ack = await this.#outages.answer(this.#jetstream.publish(this.#subject, payload, { msgID, expect }));
      return ack.seq === sequence ? "stored" : "deposed";
    } catch {
      return await this.#look(sequence, msgID);
    }
  }

  /** What stands at `sequence`? Ours: it was stored. Another's: deposed. Nothing, or no answer for long: unknown. */
  async #look(sequence: number, msgID: string): Promise<AppendResult> {
    const until_ms = this.#runtime.monotonic_ms() + this.#look_ms;
    while (this.#runtime.monotonic_ms() < until_ms) {
      try {
        const message = await this.#outages.answer(this.#manager.streams.getMessage(this.#stream, { seq: sequence }));
        return message.header.get("Nats-Msg-Id") === msgID ? "stored" : "deposed";
      } catch (error) {
        // Nothing there: it may still be on its way from the server's queue, so nobody may say that it was not stored.
        if (errorCode(error) === NO_MESSAGE) return "unknown";
        if (this.#connection.isClosed()) return "unknown";
        await sleep(this.#runtime, 100);
      }
    }
    return "unknown";
  }

  async #state(): Promise<StreamState> {
    try {
      return (await this.#outages.answer(this.#manager.streams.info(this.#stream))).state;
    } catch (error) {
      throw silent(error);
    }
  }

  async last(): Promise<number> {
    return (await this.#state()).last_seq;
  }

  async extent(): Promise<LogExtent> {
    const { first_seq, last_seq, bytes, messages } = await this.#state();
    return { first: messages === 0 ? last_seq + 1 : first_seq, last: last_seq, bytes };
  }

  async truncate(sequence: number): Promise<void> {
    await this.#manager.streams.purge(this.#stream, { seq: sequence + 1 }).catch((error: unknown) => {
      throw silent(error);
    });
  }

  async *read(sequence: number): AsyncIterable<LogEntry> {
    const { last_seq } = await this.#state();
    if (last_seq < sequence) return;
    for await (const entry of this.follow(sequence, new AbortController().signal)) {
      yield entry;
      if (entry.sequence >= last_seq) return;
    }
  }

  /** Who slept while the log was shortened is behind; anything else that is missing is lost. */
  async #explainGap(wanted: number): Promise<never> {
    const { first } = await this.extent();
    if (first > wanted) throw behind(first, wanted);
    throw new ClawError("log_lost", `the log lacks sequence ${wanted}`);
  }

  async *follow(sequence: number, stop: AbortSignal): AsyncIterable<LogEntry> {
    const state = await this.#state();
    if (state.first_seq > sequence) {
      throw behind(state.first_seq, sequence);
    }
    const start = { opt_start_seq: sequence };
    const made = this.#jetstream.consumers.get(this.#stream, start);
    const consumer = await this.#outages.answer(made).catch((error: unknown) => {
      throw silent(error);
    });
    const messages = await consumer.consume({ max_messages: 500 });
    let expected = sequence;
    const end = (): void => messages.stop();
    stop.addEventListener("abort", end);
    try {
      if (stop.aborted) return;
      for await (const message of messages) {
        if (message.seq !== expected) await this.#explainGap(expected);
        yield { sequence: message.seq, payload: message.data };
        if (stop.aborted) return;
        expected += 1;
      }
      if (!stop.aborted) throw new ClawError("broker", "the broker gives no more of the log");
    } finally {
      stop.removeEventListener("abort", end);
      messages.stop();
      await consumer.delete().catch((error: unknown) => messageOf(error));
    }
  }
}

/** The log was shortened beyond what was to be read of it. */
export function isBehind(error: unknown): error is ClawError {
  return error instanceof ClawError && error.code === "behind";
}

/** What is wanted was removed, below a snapshot that has it. */
function behind(first: number, wanted: number): ClawError {
  return new ClawError("behind", `the log begins at ${first}, the view needs it from ${wanted}`);
}

/** What the broker did not answer, or not well: it may do so another time. */
function silent(error: unknown): ClawError {
  return new ClawError("broker", `the broker does not give the log: ${messageOf(error)}`, { cause: error });
}
