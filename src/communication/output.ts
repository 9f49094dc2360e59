// Tasks' output on its way: chunks on a subject of their own for each attempt, kept by a stream that forgets the oldest.
// A chunk is one byte that tells the stream (1 stdout, 2 stderr), then the bytes as the task wrote them.

import type { ConsumerMessages, JetStreamClient, NatsConnection } from "nats";
import { ClawError } from "../common/errors.ts";
import { subjects } from "./subjects.ts";

export type OutputStream = "stdout" | "stderr";

function encodeChunk(stream: OutputStream, bytes: Uint8Array): Uint8Array {
  const chunk = new Uint8Array(bytes.length + 1);
  chunk[0] = stream === "stdout" ? 1 : 2;
  chunk.set(bytes, 1);
  return chunk;
}

function decodeChunk(chunk: Uint8Array): { stream: OutputStream; bytes: Uint8Array } {
  const [kind] = chunk;
  if (kind !== 1 && kind !== 2) throw new ClawError("bad_request", `an output chunk of unknown kind ${kind}`);
  return { stream: kind === 1 ? "stdout" : "stderr", bytes: chunk.subarray(1) };
}

/** The worker's side: a chunk counts as kept when the broker has it. */
export class OutputPublisher {
  readonly #jetstream: JetStreamClient;
  readonly #connection: NatsConnection;
  readonly #cluster: string;
  readonly #node: string;

  constructor(connection: NatsConnection, cluster: string, node: string, domain?: string) {
    this.#connection = connection;
    this.#jetstream = connection.jetstream({ timeout: 5_000, ...(domain === undefined ? {} : { domain }) });
    this.#cluster = cluster;
    this.#node = node;
  }

  /** False when it could not be kept: no broker, or no room. */
  async publish(
    number: number,
    index: number,
    attempt: number,
    stream: OutputStream,
    bytes: Uint8Array,
  ): Promise<boolean> {
    if (this.#connection.isClosed()) return false;
    const subject = subjects.output(this.#cluster, this.#node, number, index, attempt);
    try {
      await this.#jetstream.publish(subject, encodeChunk(stream, bytes));
      return true;
    } catch {
      return false;
    }
  }
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
  domain?: string;
}

/**
 * A task's output from its beginning, until `done` is aborted or, without `follow`, until there is no more. Chunks of all
 * attempts, in the order in which the broker got them; a broker that goes away is waited for.
 */
export async function* followOutput(
  connection: NatsConnection,
  cluster: string,
  number: number,
  index: number,
  { follow, done, domain }: FollowOptions,
): AsyncIterable<OutputChunk> {
  const jetstream = connection.jetstream(domain === undefined ? {} : { domain });
  const consumer = await jetstream.consumers.get(subjects.outputStream(cluster), {
    filterSubjects: subjects.outputOfTask(cluster, number, index),
  });
  let messages: ConsumerMessages | undefined;
  const stop = (): void => messages?.stop();
  done.addEventListener("abort", stop);
  try {
    if (!follow && (await consumer.info()).num_pending === 0) return;
    messages = await consumer.consume({ max_messages: 64 });
    if (done.aborted) stop();
    for await (const message of messages) {
      const attempt = Number(message.subject.split(".").at(-1));
      yield { attempt, ...decodeChunk(message.data) };
      if (!follow && message.info.pending === 0) return;
    }
  } finally {
    done.removeEventListener("abort", stop);
    stop();
    await consumer.delete().catch(() => false);
  }
}
