// Who leads: a lease that one coordinator at a time holds and renews (design, section 1). Synchronous; time is the
// coordinator's own monotonic clock. The lease is for liveness, and so that nobody reads from two leaders: what may be
// written is decided by the log's fence, whatever the lease says.
//
// - The holder trusts its lease from the moment when it *began* to write it, for lease_ms. When that is over it answers
//   nobody until it has renewed it; it gives up when somebody else's is there, or when nobody can say that none was.
// - Another waits until it has seen the same revision for longer than that, by its own clock, before it writes over it.
// - A lease that was released, or is of an earlier life of this very coordinator (its folder is locked, so that life is
//   over), is taken at once. One that is not there may have been forgotten by a broker that was started anew, with its
//   holder alive: it is waited for as long. Two that try are told apart by the revision; and since a broker that forgot
//   gives the same revisions again, a lease counts only where its writer had looked: in the same bucket.

import type { LeaseEntry, LeaseRecord, LeaseWritten } from "../communication/lease.ts";
import { planted } from "../core/canary.ts";

export interface ElectorWorld {
  /** Reads the lease: answered by `seen` or `silent`. */
  look(): void;
  /** Writes over the entry with this revision (0: over none): answered by `written`, `refused` or `silent`. */
  write(record: LeaseRecord, revision: number): void;
  /** The lease is ours. */
  lead(): void;
  /** It is no longer: nothing may be answered from here from now on. */
  yield(why: string): void;
  /** Whether it knows the log, and could lead at once. Who has to fetch a snapshot first lets another go before him. */
  ready(): boolean;
}

export interface ElectorOptions {
  /** Of the coordinator, the same in each of its lives. */
  id: string;
  /** For people. */
  name: string;
  lease_ms: number;
  /** The first of the numbers that its records carry: drawn. */
  beat: number;
  /** The broker was started with this coordinator, and for it: nobody leads who could be waited for. */
  alone: boolean;
}

/** Clocks run at different speeds: who waits for a lease to end waits this much longer. */
const MARGIN = 1 / 8;

/** Word of a write may come before it can be read. */
const HINTED_AGAIN_MS = 20;

/** Whether nobody wrote in between. */
function isSame(one: LeaseEntry | undefined, other: LeaseEntry): boolean {
  if (one === undefined || one.revision !== other.revision || one.bucket !== other.bucket) return false;
  return one.record?.holder === other.record?.holder && one.record?.beat === other.record?.beat;
}

function isOlder(one: LeaseEntry, than: LeaseEntry): boolean {
  return one.bucket === than.bucket && one.revision < than.revision;
}

/** Whether it stands where its writer had looked; elsewhere it may lie over another's, who still trusts his. */
function isInPlace({ record, bucket }: LeaseEntry): boolean {
  return record?.bucket === undefined || record.bucket === bucket;
}

type Mode = "following" | "trying" | "leading" | "stopped";

export class Elector {
  readonly #world: ElectorWorld;
  readonly #options: ElectorOptions;
  #mode: Mode = "following";
  /** The newest entry that was seen; undefined: none yet, or what was seen cannot be relied on. */
  #entry: LeaseEntry | undefined;
  #beat: number;
  #writing: LeaseRecord | undefined;
  /** When this entry was first seen. */
  #seen_ms = 0;
  /** When the question that is on its way was asked. */
  #asked_ms: number | undefined;
  /** When to ask again if nothing happens. */
  #next_ms = 0;
  /** Somebody wrote just now: what is read may still be what was there before. */
  #hinted = false;
  /** Up to when the leader may trust its lease. */
  #trusted_until_ms = 0;

  constructor(world: ElectorWorld, options: ElectorOptions) {
    this.#world = world;
    this.#options = options;
    this.#beat = options.beat;
  }

  get leading(): boolean {
    return this.#mode === "leading";
  }

  /** Whether what is answered now may rest on the lease. */
  trusted(now_ms: number): boolean {
    return this.#mode === "leading" && (now_ms < this.#trusted_until_ms || planted("lease_trusted_too_long"));
  }

  /** Who leads as far as is known; undefined when nobody does. */
  get holder(): LeaseRecord | undefined {
    const record = this.#entry?.record;
    return record?.released === true ? undefined : record;
  }

  /** Monotonic time at which `tick` is wanted at the latest. */
  get next_ms(): number {
    const asked_until_ms = (this.#asked_ms ?? Number.NEGATIVE_INFINITY) + this.#options.lease_ms;
    const next_ms = Math.max(this.#next_ms, asked_until_ms);
    if (this.#mode === "leading" || this.#asked_ms !== undefined) return next_ms;
    const free_ms = this.#freeAt();
    return free_ms === undefined ? next_ms : Math.min(next_ms, free_ms);
  }

  /** Something may have changed: it was told, or it is time. */
  tick(now_ms: number, hint = false): void {
    if (this.#mode === "stopped") return;
    if (hint) this.#hinted = true;
    if (this.#asked_ms !== undefined) return;
    if (this.#mode === "leading") {
      // Who slept, or was cut off, first looks whether somebody else has led since.
      if (now_ms < this.#next_ms) return;
      if (now_ms < this.#trusted_until_ms) this.#write(now_ms);
      else this.#look(now_ms);
      return;
    }
    const free_ms = this.#freeAt();
    if (free_ms !== undefined && now_ms >= free_ms && !hint) {
      this.#mode = "trying";
      this.#write(now_ms);
    } else if (hint || now_ms >= this.#next_ms) {
      this.#look(now_ms);
    }
  }

  /** From when on the lease may be written over; undefined while nothing is known of it, or it is for others. */
  #freeAt(): number | undefined {
    if (this.#entry === undefined || !this.#world.ready()) return undefined;
    const { id, alone, lease_ms } = this.#options;
    const { record } = this.#entry;
    const free = record === undefined ? alone : isInPlace(this.#entry) && (record.released || record.holder === id);
    return free ? this.#seen_ms : this.#seen_ms + (record?.lease_ms ?? lease_ms) * (1 + MARGIN);
  }

  #look(now_ms: number): void {
    this.#asked_ms = now_ms;
    this.#next_ms = now_ms + this.#options.lease_ms / 4;
    this.#world.look();
  }

  #write(now_ms: number): void {
    const { id: holder, name, lease_ms } = this.#options;
    const { revision, bucket } = this.#entry ?? { revision: 0, bucket: "" };
    this.#asked_ms = now_ms;
    this.#next_ms = now_ms + lease_ms / 3;
    this.#beat += 1;
    this.#writing = { v: 1, holder, name, lease_ms, beat: this.#beat, bucket, released: false };
    this.#world.write(this.#writing, revision);
  }

  /** The lease as it was read. A replica of the broker may be behind: an older entry says nothing. */
  seen(entry: LeaseEntry, now_ms: number): void {
    this.#asked_ms = undefined;
    if (this.#mode === "stopped") return;
    if (entry.revision !== 0 && this.#entry !== undefined && isOlder(entry, this.#entry)) return;
    const fresh = !isSame(this.#entry, entry);
    if (fresh) this.#seen_ms = now_ms;
    else if (this.#hinted) this.#next_ms = now_ms + HINTED_AGAIN_MS;
    this.#hinted = false;
    this.#entry = entry;
    if (this.#mode === "leading") this.#seenLeading(entry, fresh, now_ms);
    else this.tick(now_ms);
  }

  /** What a leader finds that had to ask. */
  #seenLeading(entry: LeaseEntry, fresh: boolean, now_ms: number): void {
    const { record } = entry;
    if (record !== undefined && record.holder !== this.#options.id) this.#step_down(`${this.#nameOf(record)} leads`);
    // Its time was over, and what it wrote last is no longer there: others may have led and gone.
    else if (fresh && (now_ms >= this.#trusted_until_ms || !isInPlace(entry))) this.#step_down("its lease was lost");
    else this.#write(now_ms);
  }

  /** What was written is there. */
  written(at: LeaseWritten, now_ms: number): void {
    const began_ms = this.#asked_ms ?? now_ms;
    this.#asked_ms = undefined;
    if (this.#mode === "stopped") return;
    this.#entry = { record: this.#writing, ...at };
    this.#seen_ms = now_ms;
    if (!isInPlace(this.#entry)) {
      // Over somebody's, perhaps: it is waited for as if it were another's.
      if (this.#mode === "leading") this.#step_down("the broker forgot its lease");
      else this.#mode = "following";
      return;
    }
    this.#trusted_until_ms = began_ms + this.#options.lease_ms;
    // A moment without trust is over as if nothing had been: nobody else wrote in between.
    if (this.#mode === "leading") return;
    if (now_ms >= this.#trusted_until_ms) {
      this.#mode = "following";
      return;
    }
    this.#mode = "leading";
    this.#world.lead();
  }

  /** Another was there first, or an earlier write of ours was, whose answer was lost: reading tells which. */
  refused(now_ms: number): void {
    this.#asked_ms = undefined;
    if (this.#mode === "stopped") return;
    if (this.#mode === "trying") this.#mode = "following";
    this.#entry = undefined;
    this.#look(now_ms);
  }

  /** The broker did not answer: what became of a write, nobody knows. */
  silent(now_ms: number): void {
    this.#asked_ms = undefined;
    if (this.#mode === "stopped") return;
    if (this.#mode === "trying") {
      this.#mode = "following";
      this.#entry = undefined;
    }
    this.#next_ms = now_ms + this.#options.lease_ms / 8;
  }

  /** Leads no longer; gives what has to be written so that another need not wait, if the lease was held. */
  stop(): { record: LeaseRecord; revision: number } | undefined {
    const held = this.#mode === "leading";
    this.#mode = "stopped";
    const { record, revision } = this.#entry ?? { record: undefined, revision: 0 };
    return held && record !== undefined ? { record: { ...record, released: true }, revision } : undefined;
  }

  /** With its id where its name is this one's, too: on one machine all have the same. */
  #nameOf({ name, holder }: LeaseRecord): string {
    return name === this.#options.name ? `${name} (${holder})` : name;
  }

  #step_down(why: string): void {
    this.#mode = "following";
    this.#entry = undefined;
    this.#next_ms = 0;
    this.#world.yield(why);
  }
}
