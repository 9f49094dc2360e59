// Making what is missing of NATS's streams, by several coordinators at once: whoever comes second takes what is there.
//
// Streams that must not be lost have a name that only coordinators know. No permission can do it: who may ask the broker
// anything (a file, the next piece of output) names the subject of the answer, and the broker sends it there with its own
// power. So `reply: $JS.API.STREAM.DELETE.CLAW_default_LOG`, and an empty answer, deleted the log: tried, by a worker that
// could ask for files. Clients still can, and so know no name but those of output and files.

import { type JetStreamManager, NatsError, type StreamConfig, type StreamInfo } from "nats";
import { ClawError, messageOf } from "../common/errors.ts";
import { type Runtime, randomHex } from "../common/runtime.ts";

const STREAM_NOT_FOUND = 10059;
const NAME_IN_USE = 10058;

export type NewStream = Partial<StreamConfig> & { name: string; subjects: string[] };

/** The server's number for what went wrong with a request to JetStream. */
export function errorCode(error: unknown): number | undefined {
  return (error as { api_error?: { err_code?: number } }).api_error?.err_code;
}

export function isStreamMissing(error: unknown): boolean {
  return errorCode(error) === STREAM_NOT_FOUND;
}

const SECRET_BYTES = 16;
const SECRET = /^_[0-9a-f]{32}$/;

/** `name` with what nobody can guess behind it. */
export function hiddenName(runtime: Runtime, name: string): string {
  return `${name}_${randomHex(runtime, SECRET_BYTES)}`;
}

/** The stream of this name, whether hidden or made before there were hidden ones. */
export async function findStream(manager: JetStreamManager, name: string): Promise<string | undefined> {
  for await (const found of manager.streams.names()) {
    if (found === name || (found.startsWith(name) && SECRET.test(found.slice(name.length)))) return found;
  }
  return undefined;
}

/** The stream with this name as it is, made of `config` where there is none. */
export async function ensureStream(manager: JetStreamManager, config: NewStream): Promise<StreamInfo> {
  return await manager.streams.info(config.name).catch(async (missing: unknown) => {
    if (!isStreamMissing(missing)) throw missing;
    return await manager.streams.add(config).catch(async (error: unknown) => {
      if (errorCode(error) !== NAME_IN_USE) throw notTaken(config.name, error);
      return await manager.streams.info(config.name);
    });
  });
}

/** Runs what asks the broker: one that does not answer, or not well, is the world's doing and no bug. */
export async function asking<T>(what: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof NatsError)) throw error;
    throw new ClawError("broker", `NATS does not give ${what}: ${messageOf(error)}`, {
      hint: "is it there, with JetStream? It is asked again at the next start",
      cause: error,
    });
  }
}

/** What the server does not take: it has too little room, no such replicas, an account without rights. */
export function notTaken(name: string, error: unknown): ClawError {
  return new ClawError("broker", `NATS does not take the stream ${name}: ${messageOf(error)}`, {
    hint: "its JetStream needs room for what output.total_size says (1 GiB), and as many servers as nats.replicas says",
    cause: error,
  });
}
