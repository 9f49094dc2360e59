// Files by their hash in the object store: a script is sent once, whatever number of tasks run it.

import { renameSync, rmSync } from "node:fs";
import { type NatsConnection, type ObjectStore, StorageType } from "nats";
import { ClawError } from "../common/errors.ts";
import { subjects } from "./subjects.ts";

function hashOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

export class FileStore {
  readonly #connection: NatsConnection;
  readonly #bucket: string;
  readonly #domain: string | undefined;
  #store: Promise<ObjectStore> | undefined;

  constructor(connection: NatsConnection, cluster: string, domain?: string) {
    this.#connection = connection;
    this.#bucket = subjects.filesBucket(cluster);
    this.#domain = domain;
  }

  #open(): Promise<ObjectStore> {
    const jetstream = this.#connection.jetstream(this.#domain === undefined ? {} : { domain: this.#domain });
    this.#store ??= jetstream.views.os(this.#bucket, { storage: StorageType.File });
    return this.#store;
  }

  /** Sends a file unless it is there; returns its hash. */
  async put(bytes: Uint8Array): Promise<string> {
    const name = hashOf(bytes);
    const store = await this.#open();
    const known = await store.info(name);
    if (known !== null && known.size === bytes.length && !known.deleted) return name;
    await store.putBlob({ name, options: { max_chunk_size: 128 * 1024 } }, bytes);
    return name;
  }

  /** Writes the file with this hash to `path`, whole or not at all. */
  async fetch(sha256: string, path: string): Promise<void> {
    const store = await this.#open();
    const bytes = await store.getBlob(sha256);
    if (bytes === null) throw new ClawError("not_found", `the file ${sha256} is not in the cluster's store`);
    if (hashOf(bytes) !== sha256) throw new ClawError("io", `the file ${sha256} came damaged from the store`);
    const draft = `${path}.${process.pid}.new`;
    try {
      await Bun.write(draft, bytes, { mode: 0o600 });
      renameSync(draft, path);
    } catch (error) {
      rmSync(draft, { force: true });
      throw new ClawError("io", `cannot write ${path}`, { cause: error });
    }
  }
}
