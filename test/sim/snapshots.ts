// The store of snapshots in memory, and snapshots taken at once instead of in a thread.

import { readFileSync, writeFileSync } from "node:fs";
import { ClawError } from "../../src/common/errors.ts";
import type { Manifest } from "../../src/common/snapshot.ts";
import type { SnapshotStore } from "../../src/communication/snapshots.ts";
import { checkSnapshot, takeSnapshot } from "../../src/storage/snapshot.ts";
import type { SnapshotMaker } from "../../src/storage/thread.ts";

interface Stored {
  manifest: Manifest;
  bytes: Uint8Array;
  counts: boolean;
}

export class SimSnapshots implements SnapshotStore {
  readonly #stored = new Map<string, Stored>();
  /** How many ever counted. */
  confirmed = 0;

  forget(): void {
    this.#stored.clear();
  }

  list(): Promise<Manifest[]> {
    const counting = [...this.#stored.values()].filter(({ counts }) => counts).map(({ manifest }) => manifest);
    return Promise.resolve(counting.sort((a, b) => b.sequence - a.sequence || b.created_at - a.created_at));
  }

  upload(manifest: Manifest, path: string): Promise<void> {
    this.#stored.set(manifest.id, { manifest, bytes: readFileSync(path), counts: false });
    return Promise.resolve();
  }

  confirm({ id }: Manifest): Promise<void> {
    const one = this.#stored.get(id);
    if (one !== undefined) one.counts = true;
    this.confirmed += 1;
    return Promise.resolve();
  }

  chunk(id: string): Promise<Uint8Array> {
    const one = this.#stored.get(id);
    return one === undefined ? Promise.reject(gone(id)) : Promise.resolve(one.bytes);
  }

  async download({ id }: Manifest, path: string): Promise<void> {
    writeFileSync(path, await this.chunk(id));
  }

  remove(ids: readonly string[], sequence: number): Promise<void> {
    for (const [id, { counts, manifest }] of this.#stored) {
      if (ids.includes(id) || (!counts && manifest.sequence < sequence)) this.#stored.delete(id);
    }
    return Promise.resolve();
  }
}

function gone(id: string): ClawError {
  return new ClawError("not_found", `the snapshot ${id} is not there any more`);
}

export const directMaker: SnapshotMaker = {
  take: (taking) => promised(() => takeSnapshot(taking)),
  check: (checking) => promised(() => checkSnapshot(checking)),
  stop: () => undefined,
};

function promised<T>(action: () => T): Promise<T> {
  return new Promise((resolve) => resolve(action()));
}
