// Snapshots and what they allow: the view is copied beside the loop, stored, read back, unpacked and compared; only then
// does it count, and only below one that counts is the log shortened. Whatever is broken off between two of these steps
// leaves more than is needed, never less.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ClawError, writeProblem } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Logger } from "../common/logging.ts";
import { type Runtime, randomHex, type Timer } from "../common/runtime.ts";
import type { Manifest } from "../common/snapshot.ts";
import type { LogExtent, LogUpkeep } from "../communication/log.ts";
import type { SnapshotStore } from "../communication/snapshots.ts";
import { planted } from "../core/canary.ts";
import { FOLD_VERSION } from "../core/fold.ts";
import { removeDatabase } from "../storage/snapshot.ts";
import type { SnapshotMaker } from "../storage/thread.ts";
import { batchHash } from "./committer.ts";
import { decodeBatch } from "./replica.ts";

export interface SnapshotSettings {
  /** One is taken after so much of the log, or so many batches, or this time with anything in it. */
  every_bytes: number;
  every_batches: number;
  every_ms: number;
  /** How many are kept. */
  keep: number;
}

export interface SnapshotsOptions {
  runtime: Runtime;
  log: LogUpkeep;
  store: SnapshotStore;
  maker: SnapshotMaker;
  /** The view's file, and a folder of this service's own. */
  view: string;
  folder: string;
  /** Brings the view's file up to the log. */
  flush: () => void;
  /** Only who leads takes snapshots by itself, and shortens the log. */
  leading: () => boolean;
  /** Sequence up to which the log was acknowledged, and who is told when it ends before that: the broker lost some of it. */
  acknowledged: () => number;
  shrunk: () => void;
  settings: SnapshotSettings;
  /** So much of the log is kept below the snapshot that allows to shorten it. */
  margin_bytes: number;
  logger: Logger;
}

/** A place of the log, and how many bytes it had had up to there since this service began. */
interface Mark {
  sequence: number;
  bytes: number;
}

const LOOK_MS = 5_000;
/** After a failure, such as a full disk, it is tried again this much later. */
const PAUSE_MS = 60_000;

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw writeProblem(error, `write ${folder}`);
  }
}

export class Snapshots {
  readonly #options: SnapshotsOptions;
  #looking: Timer | undefined;
  #stopped = false;
  /** One at a time: the next begins when the one before is over. */
  #last: Promise<unknown> = Promise.resolve();
  #marks: Mark[] = [];
  /** Where the log began when the newest mark was made. */
  #first = 0;
  /** Bytes that this service removed from the log since the marks began. */
  #removed = 0;
  #newest: Manifest | undefined;
  #begun_at: number;
  #paused_until_ms = 0;
  #trouble: string | undefined;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#begun_at = options.runtime.wall_ms();
  }

  /** What keeps snapshots from being taken, in a sentence; undefined when nothing does. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Learns what there is, and looks from then on whether it is time for another one. */
  async start(): Promise<void> {
    const { folder, store } = this.#options;
    rmSync(folder, { recursive: true, force: true }); // what a crash left on the way
    [this.#newest] = await store.list();
    await this.#mark();
    this.#lookLater();
  }

  #lookLater(): void {
    if (this.#stopped) return;
    this.#looking = this.#options.runtime.after(LOOK_MS, () => {
      void this.#look().finally(() => this.#lookLater());
    });
  }

  async #look(): Promise<void> {
    const { runtime, leading, logger } = this.#options;
    const mark = await this.#mark().catch((error: unknown) => {
      // A broker that is away says nothing of snapshots, and others tell of it.
      if (error instanceof ClawError) return undefined;
      throw error;
    });
    if (mark === undefined) return;
    if (!leading() || !this.#isDue(mark)) {
      this.#trouble = undefined;
      return;
    }
    if (runtime.monotonic_ms() < this.#paused_until_ms) return;
    try {
      await this.take();
    } catch (error) {
      if (this.#stopped) return;
      if (!(error instanceof ClawError)) throw error;
      this.#trouble = `no snapshot could be taken: ${error.message}`;
      this.#paused_until_ms = runtime.monotonic_ms() + PAUSE_MS;
      logger.warn("no snapshot could be taken", { why: error.message, hint: error.hint });
    }
  }

  /** Notes where the log ends and what it has had up to there. */
  async #mark(): Promise<Mark> {
    const acknowledged = this.#options.acknowledged();
    const { first, last, bytes } = await this.#options.log.extent();
    if (last < acknowledged) this.#options.shrunk();
    // Another coordinator shortened it meanwhile: what was counted up to there says nothing any more.
    if (this.#marks.length > 0 && first !== this.#first) {
      this.#marks = [];
      this.#removed = 0;
    }
    this.#first = first;
    const mark = { sequence: last, bytes: bytes + this.#removed };
    if (this.#marks.at(-1)?.sequence !== last) this.#marks.push(mark);
    if (this.#marks.length > LIMITS.log_marks) this.#marks = this.#marks.filter((_, at) => at % 2 === 0);
    return mark;
  }

  #isDue(end: Mark): boolean {
    const { settings, runtime, log } = this.#options;
    const of_this_log = this.#newest?.stream_created === log.created ? this.#newest : undefined;
    const sequence = of_this_log?.sequence ?? 0;
    if (end.sequence <= sequence) return false;
    const since = this.#marks.findLast((mark) => mark.sequence <= sequence)?.bytes ?? this.#marks[0]?.bytes ?? 0;
    if (end.bytes - since >= settings.every_bytes || end.sequence - sequence >= settings.every_batches) return true;
    const elapsed_ms = runtime.wall_ms() - (of_this_log?.created_at ?? this.#begun_at);
    return Math.abs(elapsed_ms) >= settings.every_ms;
  }

  list(): Promise<Manifest[]> {
    return this.#options.store.list();
  }

  chunk(id: string, at: number): Promise<Uint8Array> {
    return this.#options.store.chunk(id, at);
  }

  /** A snapshot of what is acknowledged now; resolves when it counts. Throws `broker`, `disk_full`, `io`. */
  take(): Promise<Manifest> {
    const taken = this.#last.then(() => this.#take());
    this.#last = taken.catch(() => undefined);
    return taken;
  }

  async #take(): Promise<Manifest> {
    const { runtime, folder, view, flush, maker, store, settings, logger } = this.#options;
    this.#live();
    const began_ms = runtime.monotonic_ms();
    try {
      makeFolder(folder);
      flush();
      const nonce = randomHex(runtime, 8);
      const { manifest, path } = await maker.take({ view, folder, nonce, now: runtime.wall_ms() });
      this.#live();
      await store.upload(manifest, path);
      rmSync(path);
      await this.#verify(manifest);
      this.#live();
      await store.confirm(manifest);
      await this.#tidy(settings.keep, manifest);
      this.#newest = manifest;
      this.#trouble = undefined;
      const took_ms = Math.round(runtime.monotonic_ms() - began_ms);
      const { id, sequence, bytes, rows } = manifest;
      logger.info("took a snapshot", { id, sequence, rows, bytes, took_ms });
      return manifest;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  #live(): void {
    if (this.#stopped) throw new ClawError("not_leading", "the coordinator is stopping");
    if (!this.#options.leading()) throw new ClawError("not_leading", "this coordinator is not leading");
  }

  /**
   * What is stored, not what was sent: unpacked and compared. Its last batch is the one that the log has there, and it gives
   * the state that this batch was folded to.
   */
  async #verify(manifest: Manifest): Promise<void> {
    const { store, maker, folder, log } = this.#options;
    const path = join(folder, "stored.zst");
    const to = join(folder, "stored.sqlite");
    await store.download(manifest, path);
    const state = await maker.check({ manifest, path, headed: false, to });
    removeDatabase(to);
    const { sequence, hash, stream_created, id } = manifest;
    const payload = await this.#batch(sequence);
    if (log.created !== stream_created || payload === undefined || batchHash(payload) !== hash) {
      throw new ClawError("log_lost", `the snapshot ${id} is not of the log that the broker has`);
    }
    const { fold } = decodeBatch(sequence, payload);
    if (fold?.v !== FOLD_VERSION || fold.state === state) return;
    throw new ClawError("io", `the snapshot ${id} gives another state than batch ${sequence} was folded to`, {
      hint: "the view of this coordinator is not what it wrote: stop it, move view.sqlite away and start it again",
    });
  }

  async #batch(sequence: number): Promise<Uint8Array | undefined> {
    for await (const entry of this.#options.log.read(sequence)) {
      return entry.sequence === sequence ? entry.payload : undefined;
    }
    return undefined;
  }

  /** What is too much of snapshots and log goes, once the store itself lists the new one. */
  async #tidy(keep: number, manifest: Manifest): Promise<void> {
    const { store, leading, log } = this.#options;
    const counting = await store.list();
    if (!leading() || !counting.some(({ id }) => id === manifest.id)) return;
    // Those of a log that this one took the place of go last, whatever their sequence was.
    const of_this_log = counting.filter(({ stream_created }) => stream_created === log.created);
    const others = counting.filter(({ stream_created }) => stream_created !== log.created);
    // By their names: another coordinator that leads by now may have taken one that is not in this list.
    const surplus = [...of_this_log, ...others].slice(keep).map(({ id }) => id);
    await store.remove(surplus, manifest.sequence);
    if (!surplus.includes(manifest.id)) await this.#shorten(manifest.sequence);
  }

  /** Keeps at least a storage block of the log below the snapshot. */
  async #shorten(sequence: number): Promise<void> {
    const { log, logger, margin_bytes } = this.#options;
    await this.#mark();
    const [margin, top] = planted("log_cut_too_far") ? [-Infinity, Infinity] : [margin_bytes, sequence];
    const known = this.#marks.filter((mark) => mark.sequence <= top);
    const end = known.at(-1)?.bytes ?? 0;
    const cut = known.findLast((mark) => end - mark.bytes >= margin);
    const before = await log.extent();
    if (cut === undefined || cut.sequence < before.first) return;
    await log.truncate(cut.sequence);
    const after: LogExtent = await log.extent();
    this.#first = after.first;
    // What was appended meanwhile makes this too little: then more of the log is kept.
    this.#removed += Math.max(0, before.bytes - after.bytes);
    this.#marks = this.#marks.filter((mark) => mark.sequence >= cut.sequence);
    logger.info("shortened the log", { up_to: cut.sequence, bytes: before.bytes - after.bytes });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#looking?.cancel();
    this.#options.maker.stop();
    await this.#last;
  }
}
