// Files by their hash: a script is sent once, whatever number of tasks run it. A stream that takes each subject once holds
// them in chunks, so what is stored can be neither replaced nor removed by who may store, and reading one needs nothing
// but its name. (NATS's own object store wants readers to make consumers, and writers to purge.)

import { renameSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import {
  DiscardPolicy,
  headers,
  type JetStreamManager,
  type Msg,
  type NatsConnection,
  RetentionPolicy,
  StorageType,
} from "nats";
import { ClawError, messageOf, type WireError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { parseIsoTime } from "../common/runtime.ts";
import type { QueryAnswers, QueryRequest } from "./queries.ts";
import { ensureStream } from "./streams.ts";
import { subjects } from "./subjects.ts";

const TIMEOUT_MS = 10_000;
/** On the first chunk: how many there are. */
const CHUNKS = "Claw-Chunks";
const NOT_FOUND = 404;
/** The server's own, on what it reads. */
const STORED_AT = "Nats-Time-Stamp";
/** The code of this refusal is the one of every store that fails; only its words tell it from a full disk. */
const STORED_ALREADY = /per subject/;

/** Makes the stream where it is missing. */
export async function openFiles(manager: JetStreamManager, cluster: string, replicas: number): Promise<void> {
  await ensureStream(manager, {
    name: subjects.fileStream(cluster),
    subjects: [subjects.allFiles(cluster)],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    discard_new_per_subject: true,
    max_msgs_per_subject: 1,
    deny_delete: true,
    allow_direct: true,
    num_replicas: replicas,
  });
}

export function hashOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

export class FileStore {
  readonly #connection: NatsConnection;
  readonly #cluster: string;
  readonly #options: { domain?: string; timeout: number };

  constructor(connection: NatsConnection, cluster: string, domain?: string) {
    this.#connection = connection;
    this.#cluster = cluster;
    this.#options = { timeout: TIMEOUT_MS, ...(domain === undefined ? {} : { domain }) };
  }

  /** Sends a file unless it is there; returns its hash. */
  async put(bytes: Uint8Array): Promise<string> {
    if (bytes.length > LIMITS.script_bytes) {
      throw new ClawError("too_large", `a file of ${bytes.length} bytes, at most ${LIMITS.script_bytes}`);
    }
    const sha256 = hashOf(bytes);
    const count = Math.max(1, Math.ceil(bytes.length / LIMITS.file_chunk_bytes));
    // The first chunk comes last: a file whose first chunk is there is whole.
    if ((await this.#chunk(sha256, 0)) !== undefined) return sha256;
    for (let at = count - 1; at >= 0; at--) {
      await this.#store(
        sha256,
        at,
        bytes.subarray(at * LIMITS.file_chunk_bytes).subarray(0, LIMITS.file_chunk_bytes),
        count,
      );
    }
    return sha256;
  }

  async #store(sha256: string, at: number, chunk: Uint8Array, count: number): Promise<void> {
    const marks = headers();
    marks.set(CHUNKS, String(count));
    try {
      const subject = subjects.fileChunk(this.#cluster, sha256, at);
      await this.#connection.jetstream(this.#options).publish(subject, chunk, { headers: marks });
    } catch (error) {
      // Somebody sends the same file just now, or broke off when he did.
      if (STORED_ALREADY.test((error as { api_error?: { description?: string } }).api_error?.description ?? "")) return;
      throw new ClawError("broker", `cannot store the file: ${messageOf(error)}`, { cause: error });
    }
  }

  /** The chunk's name is part of the request's subject, so that a permission can be for files alone. */
  async #chunk(sha256: string, at: number): Promise<Msg | undefined> {
    const { domain } = this.#options;
    const api = domain === undefined ? "$JS.API" : `$JS.${domain}.API`;
    const name = subjects.fileChunk(this.#cluster, sha256, at);
    const subject = `${api}.DIRECT.GET.${subjects.fileStream(this.#cluster)}.${name}`;
    try {
      const message = await this.#connection.request(subject, "", { timeout: TIMEOUT_MS });
      return message.headers?.code === NOT_FOUND ? undefined : message;
    } catch (error) {
      throw new ClawError("broker", `cannot read the file ${sha256}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** The hashes of those that are stored. */
  async list(): Promise<string[]> {
    const manager = await this.#connection.jetstreamManager(this.#options);
    const subjects_filter = subjects.fileChunk(this.#cluster, "*", 0);
    const { state } = await manager.streams.info(subjects.fileStream(this.#cluster), { subjects_filter });
    return Object.keys(state.subjects ?? {}).map((subject) => subject.split(".")[3] ?? "");
  }

  /** When it was stored; undefined when it is not there. */
  async storedAt(sha256: string): Promise<number | undefined> {
    const first = await this.#chunk(sha256, 0);
    return first === undefined ? undefined : parseIsoTime(first.headers?.get(STORED_AT) ?? "");
  }

  /**
   * Removes a file, for who may purge. Whoever wants it again found it there a moment ago, and does not send it: so it is
   * looked once more whether somebody does, and then it is put back.
   */
  async remove(sha256: string, wanted: () => boolean): Promise<boolean> {
    const bytes = await this.#read(sha256);
    const manager = await this.#connection.jetstreamManager(this.#options);
    await manager.streams.purge(subjects.fileStream(this.#cluster), {
      filter: subjects.chunksOfFile(this.#cluster, sha256),
    });
    if (!wanted()) return true;
    if (bytes !== undefined) await this.put(bytes);
    return false;
  }

  /** One of its pieces, and how many there are. Throws `not_found`. */
  async piece(sha256: string, at: number): Promise<Piece> {
    const chunk = await this.#chunk(sha256, at);
    if (chunk === undefined) throw missing(sha256);
    return { bytes: chunk.data, chunks: Number(chunk.headers?.get(CHUNKS)) };
  }

  async #read(sha256: string): Promise<Uint8Array | undefined> {
    try {
      return await whole((at) => this.piece(sha256, at));
    } catch (error) {
      if (error instanceof ClawError && error.code === "not_found") return undefined;
      throw error;
    }
  }
}

interface Piece {
  bytes: Uint8Array;
  chunks: number;
}

/** On the disk before it is called what it is to be: a power cut would leave that name to an empty file. */
async function writeThrough(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

function missing(sha256: string): ClawError {
  return new ClawError("not_found", `the file ${sha256} is not in the cluster's store`);
}

async function whole(piece: (at: number) => Promise<Piece>): Promise<Uint8Array> {
  const first = await piece(0);
  const count = Math.min(first.chunks, Math.ceil(LIMITS.script_bytes / LIMITS.file_chunk_bytes));
  const parts = [first.bytes];
  for (let at = 1; at < count; at++) parts.push((await piece(at)).bytes);
  return Buffer.concat(parts);
}

/** Files as a worker has them: it may ask the coordinator for them, and the broker for nothing. */
export class RemoteFiles {
  readonly #connection: NatsConnection;
  readonly #subject: string;

  constructor(connection: NatsConnection, cluster: string, node: string) {
    this.#connection = connection;
    this.#subject = subjects.nodeQuery(cluster, node, "file.chunk");
  }

  /** Writes the file with this hash to `path`, whole or not at all. Throws `no_coordinator` when nobody answers. */
  async fetch(sha256: string, path: string): Promise<void> {
    const bytes = await whole((at) => this.#piece(sha256, at));
    if (hashOf(bytes) !== sha256) throw new ClawError("io", `the file ${sha256} came damaged from the store`);
    const draft = `${path}.${process.pid}.new`;
    try {
      await writeThrough(draft, bytes);
      renameSync(draft, path);
    } catch (error) {
      rmSync(draft, { force: true });
      throw new ClawError("io", `cannot write ${path}`, { cause: error });
    }
  }

  async #piece(sha256: string, at: number): Promise<Piece> {
    const request: QueryRequest<"file.chunk"> = { sha256, at };
    const answer = await this.#connection
      .request(this.#subject, JSON.stringify(request), { timeout: TIMEOUT_MS })
      .catch((error: unknown) => {
        throw this.#unanswered(error);
      });
    const body = answer.json<({ ok: true } & QueryAnswers["file.chunk"]) | { ok: false; error: WireError }>();
    if (!body.ok) throw ClawError.fromWire(body.error);
    return { bytes: Buffer.from(body.data, "base64"), chunks: body.chunks };
  }

  #unanswered(error: unknown): ClawError {
    if ((error as { code?: string }).code === "PERMISSIONS_VIOLATION") {
      return new ClawError(
        "refused",
        "this worker's credentials are of an earlier claw: they may not ask for scripts",
        {
          hint: "claw credentials export --role worker --out w.creds",
          cause: error,
        },
      );
    }
    return new ClawError("no_coordinator", `nobody answers for a script: ${messageOf(error)}`, { cause: error });
  }
}
