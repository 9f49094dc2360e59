// Snapshots where every coordinator finds them: a stream of their own in NATS, in chunks, as files.ts has scripts. The
// manifest is stored last, once the chunks were read back and found sound: one without it does not count. The stream's
// subject has a secret in it for the reason that the log's has (log.ts): what stands there is believed.

import { writeFileSync } from "node:fs";
import {
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  RetentionPolicy,
  StorageType,
} from "nats";
import { ClawError, messageOf, writeProblem } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { type Runtime, randomHex } from "../common/runtime.ts";
import { chunksOf, Manifest } from "../common/snapshot.ts";
import { ensureStream, errorCode, findStream, hiddenName } from "./streams.ts";
import { subjects } from "./subjects.ts";

const TIMEOUT_MS = 10_000;
const SECRET_BYTES = 16;

/** The port: the real one here, and one in the simulator. Everything throws `broker` when the broker does not answer. */
export interface SnapshotStore {
  /** Those that count, newest first. */
  list(): Promise<Manifest[]>;
  /** Stores what is in the file; it does not count yet. */
  upload(manifest: Manifest, path: string): Promise<void>;
  /** From now on it counts. */
  confirm(manifest: Manifest): Promise<void>;
  /** One piece of the stored bytes: LIMITS.snapshot_chunk_bytes, the last one less. Throws `not_found`. */
  chunk(id: string, at: number): Promise<Uint8Array>;
  /** Writes the stored bytes into a file. Throws `not_found` when it was removed meanwhile. */
  download(manifest: Manifest, path: string): Promise<void>;
  /** Removes those that are named, and what was begun before `sequence` and never counted. */
  remove(ids: readonly string[], sequence: number): Promise<void>;
}

export async function openSnapshots(
  connection: NatsConnection,
  runtime: Runtime,
  cluster: string,
  replicas: number,
  domain?: string,
  hidden = false,
): Promise<SnapshotStore> {
  const options = { timeout: TIMEOUT_MS, ...(domain === undefined ? {} : { domain }) };
  const manager = await connection.jetstreamManager(options);
  const plain = subjects.snapshotStream(cluster);
  const name = (await findStream(manager, plain)) ?? (hidden ? hiddenName(runtime, plain) : plain);
  const info = await ensureStream(manager, {
    name,
    subjects: [`${subjects.snapshots(cluster, randomHex(runtime, SECRET_BYTES))}.>`],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    discard_new_per_subject: true,
    max_msgs_per_subject: 1,
    deny_delete: true,
    num_replicas: replicas,
  });
  const root = (info.config.subjects[0] ?? "").replace(/\.>$/, "");
  return new NatsSnapshots(manager, connection.jetstream(options), name, root);
}

const NO_MESSAGE = 10037;
const MANIFEST = "manifest";

class NatsSnapshots implements SnapshotStore {
  readonly #manager: JetStreamManager;
  readonly #jetstream: JetStreamClient;
  readonly #stream: string;
  readonly #root: string;

  constructor(manager: JetStreamManager, jetstream: JetStreamClient, stream: string, root: string) {
    this.#manager = manager;
    this.#jetstream = jetstream;
    this.#stream = stream;
    this.#root = root;
  }

  #subject(id: string, part: string | number): string {
    return `${this.#root}.${id}.${part}`;
  }

  /** What is stored, by id: how many chunks, and whether there is a manifest. */
  async #stored(): Promise<Map<string, { chunks: number; counts: boolean }>> {
    const filter = { subjects_filter: `${this.#root}.>` };
    const { state } = await this.#manager.streams.info(this.#stream, filter).catch((error: unknown) => {
      throw silent(error);
    });
    const stored = new Map<string, { chunks: number; counts: boolean }>();
    for (const subject of Object.keys(state.subjects ?? {})) {
      const [id = "", part = ""] = subject.slice(this.#root.length + 1).split(".");
      const one = stored.get(id) ?? { chunks: 0, counts: false };
      if (part === MANIFEST) one.counts = true;
      else one.chunks += 1;
      stored.set(id, one);
    }
    return stored;
  }

  async list(): Promise<Manifest[]> {
    const found: Manifest[] = [];
    for (const [id, { chunks, counts }] of await this.#stored()) {
      if (!counts) continue;
      const manifest = Manifest.safeParse(await this.#json(id));
      // One of a newer claw is that one's to use, one with holes nobody's.
      if (manifest.success && chunksOf(manifest.data) === chunks) found.push(manifest.data);
    }
    return found.sort((a, b) => b.sequence - a.sequence || b.created_at - a.created_at);
  }

  async #json(id: string): Promise<unknown> {
    const bytes = await this.#get(id, MANIFEST);
    try {
      return JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      return undefined;
    }
  }

  async #get(id: string, part: string | number): Promise<Uint8Array> {
    try {
      const query = { last_by_subj: this.#subject(id, part) };
      return (await this.#manager.streams.getMessage(this.#stream, query)).data;
    } catch (error) {
      if (errorCode(error) === NO_MESSAGE) throw new ClawError("not_found", `the snapshot ${id} is not there any more`);
      throw silent(error);
    }
  }

  async #put(id: string, part: string | number, bytes: Uint8Array): Promise<void> {
    try {
      await this.#jetstream.publish(this.#subject(id, part), bytes, { expect: { streamName: this.#stream } });
    } catch (error) {
      throw new ClawError("broker", `cannot store the snapshot ${id}: ${messageOf(error)}`, { cause: error });
    }
  }

  async upload(manifest: Manifest, path: string): Promise<void> {
    const file = Bun.file(path);
    for (let at = 0; at < chunksOf(manifest); at++) {
      const start = at * LIMITS.snapshot_chunk_bytes;
      await this.#put(manifest.id, at, await file.slice(start, start + LIMITS.snapshot_chunk_bytes).bytes());
    }
  }

  async confirm(manifest: Manifest): Promise<void> {
    await this.#put(manifest.id, MANIFEST, new TextEncoder().encode(JSON.stringify(manifest)));
  }

  chunk(id: string, at: number): Promise<Uint8Array> {
    return this.#get(id, at);
  }

  async download(manifest: Manifest, path: string): Promise<void> {
    const write = (bytes: Uint8Array, flag: "w" | "a"): void => {
      try {
        writeFileSync(path, bytes, { mode: 0o600, flag });
      } catch (error) {
        throw writeProblem(error, `write ${path}`);
      }
    };
    write(new Uint8Array(), "w");
    for (let at = 0; at < chunksOf(manifest); at++) write(await this.#get(manifest.id, at), "a");
  }

  async remove(ids: readonly string[], sequence: number): Promise<void> {
    for (const [id, { counts }] of await this.#stored()) {
      const unfinished = !counts && Number(id.split("-")[0]) < sequence;
      if (!unfinished && !ids.includes(id)) continue;
      // The manifest first: what is left of one that is half removed does not count.
      for (const part of [MANIFEST, "*"]) {
        await this.#manager.streams.purge(this.#stream, { filter: this.#subject(id, part) }).catch((error: unknown) => {
          throw silent(error);
        });
      }
    }
  }
}

function silent(error: unknown): ClawError {
  return new ClawError("broker", `the broker does not give the snapshots: ${messageOf(error)}`, { cause: error });
}
