// Tasks' output on its way: chunks on a subject of their own for each attempt, kept by a stream that forgets the oldest.
// A chunk is one byte that tells the stream (1 stdout, 2 stderr), then the bytes as the task wrote them.

import type { JetStreamClient, NatsConnection } from "nats";
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

/**
 * A task's output from its beginning, live: ends when `done` is aborted. Chunks of all attempts, in the order in which
 * the broker got them.
 */
export async function* followOutput(
  connection: NatsConnection,
  cluster: string,
  number: number,
  index: number,
  done: AbortSignal,
  domain?: string,
): AsyncIterable<OutputChunk> {
  const jetstream = connection.jetstream(domain === undefined ? {} : { domain });
  const consumer = await jetstream.consumers.get(subjects.outputStream(cluster), {
    filterSubjects: subjects.outputOfTask(cluster, number, index),
  });
  const messages = await consumer.consume({ max_messages: 64 });
  const stop = (): void => messages.stop();
  done.addEventListener("abort", stop);
  if (done.aborted) stop();
  try {
    for await (const message of messages) {
      const attempt = Number(message.subject.split(".").at(-1));
      yield { attempt, ...decodeChunk(message.data) };
    }
  } finally {
    done.removeEventListener("abort", stop);
    messages.stop();
    await consumer.delete().catch(() => false);
  }
}
