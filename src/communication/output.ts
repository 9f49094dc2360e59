// Tasks' output on its way: chunks on a subject of their own for each attempt, kept by a stream that forgets the oldest.
// A chunk is one byte that tells the stream (1 stdout, 2 stderr), four that tell it from the one before, then the bytes
// as the task wrote them. A broker that dies may have stored a chunk without saying so: it is sent again, and whoever
// reads knows it by its number.

import {
  AckPolicy,
  type Consumer,
  DeliverPolicy,
  type JetStreamClient,
  type JsMsg,
  type NatsConnection,
  nanos,
} from "nats";
import { ClawError, messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { type Runtime, randomHex, sleep, systemRuntime } from "../common/runtime.ts";
import { senderOf, subjects } from "./subjects.ts";

export type OutputStream = "stdout" | "stderr";

const HEAD_BYTES = 5;

function encodeChunk(stream: OutputStream, number: number, bytes: Uint8Array): Uint8Array {
  const chunk = Buffer.allocUnsafe(bytes.length + HEAD_BYTES);
  chunk[0] = stream === "stdout" ? 1 : 2;
  chunk.writeUInt32BE(number, 1);
  chunk.set(bytes, HEAD_BYTES);
  return chunk;
}

function decodeChunk(chunk: Uint8Array): { stream: OutputStream; number: number; bytes: Uint8Array } {
  const [kind] = chunk;
  if ((kind !== 1 && kind !== 2) || chunk.length < HEAD_BYTES) {
    throw new ClawError("bad_request", `an output chunk of unknown kind ${kind}`);
  }
  const number = new DataView(chunk.buffer, chunk.byteOffset).getUint32(1);
  return { stream: kind === 1 ? "stdout" : "stderr", number, bytes: chunk.subarray(HEAD_BYTES) };
}

export interface PublisherOptions {
  runtime: Runtime;
  /** How long a broker that is away is waited for. */
  patience_ms?: number;
  domain?: string | undefined;
}

/** An acknowledgement that does not come within this time was lost. */
const ACK_MS = 2_000;
const PAUSE_MS = 100;

/** The worker's side: a chunk counts as kept when the broker has it. */
export class OutputPublisher {
  readonly #jetstream: JetStreamClient;
  readonly #connection: NatsConnection;
  readonly #cluster: string;
  readonly #node: string;
  readonly #runtime: Runtime;
  readonly #patience_ms: number;
  #chunks = 0;

  constructor(connection: NatsConnection, cluster: string, node: string, options: PublisherOptions) {
    const { runtime, patience_ms = LIMITS.output_keep_ms, domain } = options;
    this.#connection = connection;
    this.#jetstream = connection.jetstream({ timeout: ACK_MS, ...(domain === undefined ? {} : { domain }) });
    this.#cluster = cluster;
    this.#node = node;
    this.#runtime = runtime;
    this.#patience_ms = patience_ms;
  }

  /** One chunk of an attempt at a time. False when it could not be kept: no broker for too long, or no room. */
  async publish(
    number: number,
    index: number,
    attempt: number,
    stream: OutputStream,
    bytes: Uint8Array,
  ): Promise<boolean> {
    const subject = subjects.output(this.#cluster, this.#node, number, index, attempt);
    this.#chunks = (this.#chunks + 1) >>> 0;
    const chunk = encodeChunk(stream, this.#chunks, bytes);
    const until_ms = this.#runtime.monotonic_ms() + this.#patience_ms;
    while (!this.#connection.isClosed()) {
      try {
        await this.#jetstream.publish(subject, chunk);
        return true;
      } catch (error) {
        if (!isTransient(error) || this.#runtime.monotonic_ms() >= until_ms) return false;
      }
      await sleep(this.#runtime, PAUSE_MS);
    }
    return false;
  }
}

/** The broker is away or was: what it answers itself (no room, no such right) will not change by asking again. */
function isTransient(error: unknown): boolean {
  return (error as { api_error?: unknown }).api_error === undefined;
}

export interface OutputChunk {
  attempt: number;
  stream: OutputStream;
  bytes: Uint8Array;
}

export interface FollowOptions {
  /** Go on for what is still to come; otherwise end with what is there now. */
  follow: boolean;
  done: AbortSignal;
  /** The broker was asked, and there is nothing that was not given. */
  onIdle?: () => void;
  /** The node that an attempt ran on, where it is known. */
  nodeOf?: (attempt: number) => string | undefined;
  domain?: string;
  runtime?: Runtime;
}

/** Asked for at once: all that is in memory while a slow reader takes its time. */
const BATCH_CHUNKS = 64;
/** How long one asking waits; a consumer that a restarted server forgot is noticed after it. */
const BATCH_MS = 2_000;
const AGAIN_MS = 250;
/** For what has to be there already. */
const MOST_TRIES = 4;
/** A consumer that nobody asks any more is forgotten by the server. */
const UNUSED_MS = 300_000;

/**
 * A task's output from its beginning, until `done` is aborted or, without `follow`, until there is no more. Chunks of all
 * attempts, in the order in which the broker got them; a broker that goes away is waited for. The next chunks are asked
 * for when the last ones were taken: a reader that sleeps costs no memory.
 *
 * A node may write under its own name alone, but about whatever task it likes: chunks count of the node that an attempt ran
 * on, or, as long as that is not known, of the one that is heard of first.
 *
 * Each chunk comes once. It is known by its number, which rises within an attempt, and not by its place in the stream: a
 * broker that was killed forgets its last moment, and gives the same places to what comes then.
 */
export async function* followOutput(
  connection: NatsConnection,
  cluster: string,
  number: number,
  index: number,
  options: FollowOptions,
): AsyncIterable<OutputChunk> {
  const { follow, done, runtime = systemRuntime } = options;
  /** By subject: by node and attempt. */
  const given = new Map<string, number>();
  const writers = new Writers(options.nodeOf);
  let last: Place | undefined;
  for (let failures = 0; !done.aborted; ) {
    let consumer: Consumer | undefined;
    let expected = last;
    try {
      const { consumer: made, pending } = await consumerOf(connection, cluster, number, index, last, options);
      consumer = made;
      last = undefined; // it is, when it comes first
      if (expected !== undefined && pending === 0) continue;
      for await (const message of chunksOf(consumer, pending, options)) {
        const { subject } = message;
        const attempt = Number(subject.split(".").at(-1));
        if (!writers.counts(attempt, senderOf(subject).who)) {
          if (expected === undefined) continue;
          break;
        }
        const { stream, number: own, bytes } = decodeChunk(message.data);
        if (expected !== undefined && !isPlace(message, own, expected)) break;
        expected = undefined;
        failures = 0;
        last = { sequence: message.seq, subject, number: own };
        if (!isNewer(own, given.get(subject))) continue;
        yield { attempt, stream, bytes };
        given.set(subject, own);
      }
      if (expected === undefined || done.aborted) return;
    } catch (error) {
      failures += 1;
      const permanent = error instanceof ClawError || connection.isClosed() || (!follow && failures === MOST_TRIES);
      if (permanent) throw unavailable(error);
      await sleep(runtime, AGAIN_MS);
    } finally {
      await consumer?.delete().catch(() => false);
    }
  }
}

function unavailable(error: unknown): ClawError {
  if (error instanceof ClawError) return error;
  return new ClawError("broker", `the broker does not give the output: ${messageOf(error)}`, { cause: error });
}

/** Whose chunks are an attempt's output. */
class Writers {
  readonly #nodeOf: (attempt: number) => string | undefined;
  readonly #first = new Map<number, string>();

  constructor(nodeOf: (attempt: number) => string | undefined = () => undefined) {
    this.#nodeOf = nodeOf;
  }

  counts(attempt: number, node: string): boolean {
    const known = this.#nodeOf(attempt);
    if (known !== undefined) return node === known;
    if (!this.#first.has(attempt)) this.#first.set(attempt, node);
    return this.#first.get(attempt) === node;
  }
}

/** The chunk that was read last. */
interface Place {
  sequence: number;
  subject: string;
  number: number;
}

function isPlace({ seq, subject }: JsMsg, number: number, place: Place): boolean {
  return seq === place.sequence && subject === place.subject && number === place.number;
}

/** Numbers of 32 bits that begin anew behind the last one. */
function isNewer(number: number, than: number | undefined): boolean {
  return than === undefined || ((number - than) | 0) > 0;
}

/** A consumer of one's own, from the chunk that was read last: where that one is not any more, nothing is certain. */
async function consumerOf(
  connection: NatsConnection,
  cluster: string,
  number: number,
  index: number,
  from: Place | undefined,
  { domain, runtime = systemRuntime }: FollowOptions,
): Promise<{ consumer: Consumer; pending: number }> {
  const options = { checkAPI: false, ...(domain === undefined ? {} : { domain }) };
  const manager = await connection.jetstreamManager(options);
  const info = await manager.consumers.add(subjects.outputStream(cluster), {
    name: `follow_${randomHex(runtime, 8)}`,
    filter_subject: subjects.outputOfTask(cluster, number, index),
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: from?.sequence ?? 1,
    ack_policy: AckPolicy.None,
    max_deliver: 1,
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: nanos(UNUSED_MS),
  });
  return { consumer: connection.jetstream(options).consumers.getPullConsumerFor(info), pending: info.num_pending };
}

/** What it sent did not all arrive. */
class Gap extends Error {}

/** One consumer's messages, batch by batch; an error when one is missing, or the server does not know it any more. */
async function* chunksOf(
  consumer: Consumer,
  pending: number,
  { follow, done, onIdle }: FollowOptions,
): AsyncIterable<JsMsg> {
  let delivered = 0;
  let left = follow ? 1 : pending;
  while (left > 0 && !done.aborted) {
    const batch = await consumer.fetch({ max_messages: BATCH_CHUNKS, expires: BATCH_MS });
    const stop = (): void => batch.stop();
    done.addEventListener("abort", stop);
    const before = delivered;
    try {
      if (done.aborted) return;
      for await (const message of eagerly(batch)) {
        delivered += 1;
        if (message.info.deliverySequence !== delivered) throw new Gap();
        if (!follow) left = message.info.pending;
        yield message;
        if (left === 0) return;
      }
    } finally {
      done.removeEventListener("abort", stop);
      stop();
    }
    if (delivered !== before || done.aborted) continue;
    const { delivered: sent, num_pending } = await consumer.info();
    if (sent.consumer_seq !== delivered) throw new Gap();
    if (num_pending === 0) onIdle?.();
  }
}

/**
 * Takes messages off the `nats` package's iterator as they come: it forgets those that arrive together with a batch's
 * end while its reader is busy with an earlier one. A batch at most is in memory.
 */
async function* eagerly(batch: AsyncIterable<JsMsg>): AsyncIterable<JsMsg> {
  const waiting: JsMsg[] = [];
  let over = false;
  let wake = Promise.withResolvers<void>();
  const collect = async (): Promise<void> => {
    try {
      for await (const message of batch) {
        waiting.push(message);
        wake.resolve();
      }
    } finally {
      over = true;
      wake.resolve();
    }
  };
  const collecting = collect();
  collecting.catch(() => undefined); // thrown below, unless the reader left before
  for (;;) {
    const message = waiting.shift();
    if (message !== undefined) yield message;
    else if (over) break;
    else {
      await wake.promise;
      wake = Promise.withResolvers();
    }
  }
  await collecting;
}
