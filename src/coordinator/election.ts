// The elector's shell: it performs what the elector asks for, and wakes it.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import { type Runtime, randomHex, type Timer } from "../common/runtime.ts";
import type { Lease, LeaseRecord } from "../communication/lease.ts";
import { writePrivate } from "../communication/private.ts";
import { Elector, type ElectorOptions } from "./elector.ts";

export interface ElectionOptions extends ElectorOptions {
  runtime: Runtime;
  lease: Lease;
  /** The lease is ours. */
  lead: () => void;
  /** It is no longer. */
  yield: (why: string) => void;
  /** It knows the log. */
  ready: () => boolean;
  /** The broker does not answer: told once until it does again. `leading`: there is a lease to be kept. */
  silent: (why: string, leading: boolean) => void;
  /** It does again. */
  heard: () => void;
  /** A bug. */
  failed: (error: unknown) => void;
}

export class Election {
  readonly #options: ElectionOptions;
  readonly #elector: Elector;
  readonly #settled = Promise.withResolvers<void>();
  #timer: Timer | undefined;
  #unwatch: (() => void) | undefined;
  #stopped = false;
  #silent = false;

  constructor(options: ElectionOptions) {
    this.#options = options;
    const { lease } = options;
    this.#elector = new Elector(
      {
        look: () => this.#ask(lease.read(), (entry, now_ms) => this.#elector.seen(entry, now_ms)),
        write: (record, revision) =>
          this.#ask(lease.write(record, revision), (written, now_ms) => {
            if (written === undefined) this.#elector.refused(now_ms);
            else this.#elector.written(written, now_ms);
          }),
        lead: options.lead,
        yield: options.yield,
        ready: options.ready,
      },
      options,
    );
  }

  /** Whether what is answered now may rest on the lease. */
  get trusted(): boolean {
    return this.#elector.trusted(this.#options.runtime.monotonic_ms());
  }

  /** NATS does not answer, however connected it looks: who led last may lead no more, this one included. */
  get silent(): boolean {
    return this.#silent || (this.#elector.leading && !this.trusted);
  }

  /** Who leads, as far as is known here. */
  get holder(): LeaseRecord | undefined {
    return this.#elector.holder;
  }

  /** Resolves when it is known who leads, this coordinator or another. */
  start(): Promise<void> {
    this.#unwatch = this.#options.lease.watch(() => this.#turn(() => this.#elector.tick(this.#now(), true)));
    this.#turn(() => this.#elector.tick(this.#now()));
    return this.#settled.promise;
  }

  #now(): number {
    return this.#options.runtime.monotonic_ms();
  }

  #ask<T>(answer: Promise<T>, then: (value: T, now_ms: number) => void): void {
    answer.then(
      (value) => {
        if (this.#silent && !this.#stopped) this.#options.heard();
        this.#silent = false;
        this.#turn(() => then(value, this.#now()));
      },
      (error: unknown) => {
        if (!(error instanceof ClawError) || error.code !== "broker") {
          this.#options.failed(error);
          return;
        }
        if (!this.#silent && !this.#stopped) this.#options.silent(error.message, this.#elector.leading);
        this.#silent = true;
        this.#turn(() => this.#elector.silent(this.#now()));
      },
    );
  }

  #turn(action: () => void): void {
    if (this.#stopped) return;
    try {
      action();
    } catch (error) {
      this.#options.failed(error);
      return;
    }
    if (this.#elector.leading || (this.#elector.holder?.holder ?? this.#options.id) !== this.#options.id) {
      this.#settled.resolve();
    }
    this.#timer?.cancel();
    const delay_ms = Math.max(1, Math.ceil(this.#elector.next_ms - this.#now()));
    this.#timer = this.#options.runtime.after(delay_ms, () => this.#turn(() => this.#elector.tick(this.#now())));
  }

  /** Gives the lease back, so that another need not wait for its end. Nothing may be answered from here any more. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#timer?.cancel();
    this.#unwatch?.();
    this.#settled.resolve();
    const last = this.#elector.stop();
    // Where the broker does not answer, the others wait for the lease's end.
    if (last !== undefined) await this.#release(last.record, last.revision).catch(() => undefined);
  }

  async #release(record: LeaseRecord, revision: number): Promise<void> {
    const { lease, id } = this.#options;
    if ((await lease.write(record, revision)) !== undefined) return;
    // A renewal was on its way.
    const now = await lease.read();
    if (now.record?.holder === id && !now.record.released) await lease.write(record, now.revision);
  }
}

/** Of a file that is something else. */
const FOUND_CHARS = 40;

/** Of the coordinator that has this folder, the same in each of its lives: `coordinator_` and 8 hex digits. */
export function coordinatorId(folder: string, runtime: Runtime, logger: Logger): string {
  const path = join(folder, "id");
  const known = existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
  if (known !== undefined && /^coordinator_[0-9a-f]{8}$/.test(known)) return known;
  const id = `coordinator_${randomHex(runtime, 4)}`;
  writePrivate(path, `${id}\n`);
  if (known !== undefined) {
    const found = known.slice(0, FOUND_CHARS);
    logger.warn(`this coordinator's id cannot be read: to the others it is a new one, ${id}`, { file: path, found });
  }
  return id;
}
