// The commit path (design, section 2): events are folded into the head state at once and join the open batch; batches
// are appended with an expected sequence, a few in flight; what was promised in a batch happens only when the log has
// acknowledged it. One append that does not succeed ends the term.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { apply } from "../core/apply.ts";
import { planted } from "../core/canary.ts";
import type { Changes } from "../core/changes.ts";
import { Touched } from "../core/changes.ts";
import { type Batch, Event } from "../core/event.ts";
import { type Fold, foldOf } from "../core/fold.ts";
import { halvesOf } from "../core/halves.ts";
import type { State } from "../core/state.ts";

export interface OutgoingBatch {
  /** The sequence that it gets, or the append is refused. */
  sequence: number;
  payload: Uint8Array;
}

export interface Committed {
  sequence: number;
  /** Hash of the batch: the next one's `prev`. */
  hash: string;
  fold: Fold;
  changes: Changes;
  /** The batch as the log has it. */
  payload: Uint8Array;
}

interface Sent extends Committed {
  after: (() => void)[];
}

export interface Tail {
  sequence: number;
  hash: string;
}

/** 128 bits of the batch's SHA-256 as hex. */
export function batchHash(payload: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(payload).digest("hex").slice(0, 32);
}

/** Tasks' events are made of what was checked at the edge, and are too many to be checked again. */
const SELDOM: ReadonlySet<Event["t"]> = new Set([
  "configured",
  "placement",
  "cordoned",
  "registered",
  "skills",
  "resumed",
]);

/** What its readers would refuse must never get into the log: nobody could fold what stands behind it. */
function requireReadable(event: Event): void {
  const [issue] = Event.safeParse(event).error?.issues ?? [];
  if (issue === undefined) return;
  const field = issue.path.join(".");
  throw new ClawError("bad_request", `this cannot be kept: ${field}: ${issue.message}`, { field });
}

export class Committer {
  readonly #state: State;
  readonly #append: (batch: OutgoingBatch) => void;
  readonly #committed: (committed: Committed) => void;
  readonly #folded: (event: Event) => void;
  #epoch: number;
  #last: Tail;
  #touched = new Touched();
  /** Events of the open batch, as JSON. */
  #events: string[] = [];
  #size = 0;
  #at = 0;
  #after: (() => void)[] = [];
  #wanted = false;
  #flying: Sent[] = [];

  constructor(
    state: State,
    tail: Tail,
    epoch: number,
    append: (batch: OutgoingBatch) => void,
    committed: (committed: Committed) => void,
    folded: (event: Event) => void,
  ) {
    this.#state = state;
    this.#last = tail;
    this.#epoch = epoch;
    this.#append = append;
    this.#committed = committed;
    this.#folded = folded;
  }

  get idle(): boolean {
    return this.#flying.length === 0 && this.#events.length === 0;
  }

  /** Log time of what is decided from now on. */
  set at(at: number) {
    this.#at = at;
  }

  /**
   * Folds the event into the head state and puts it into the open batch, which leaves first when it would not fit. One that
   * tells of very many members is cut, over several batches if need be: of what has no bound when it is decided, nothing
   * may be too large for the log, or each leader that comes decides it again and fails on it.
   */
  add(event: Event): void {
    const text = JSON.stringify(event);
    const halves = Buffer.byteLength(text) > LIMITS.event_bytes ? halvesOf(event) : undefined;
    if (halves === undefined) this.#join([event], [text]);
    else for (const half of halves) this.add(half);
  }

  /** The same for events that belong together: all of them in one batch. Refuses what no batch can take, and no reader. */
  addTogether(events: readonly Event[]): void {
    this.#join(
      events,
      events.map((event) => JSON.stringify(event)),
    );
  }

  #join(events: readonly Event[], texts: readonly string[]): void {
    const size = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
    if (size > LIMITS.batch_bytes) {
      throw new ClawError("too_large", `this takes ${size} bytes of the log, at most ${LIMITS.batch_bytes} at once`);
    }
    if (this.#size + size > LIMITS.batch_bytes) this.#send(this.#at);
    for (const event of events) if (SELDOM.has(event.t)) requireReadable(event);
    for (const event of events) {
      apply(this.#state, event, this.#touched);
      this.#folded(event);
    }
    this.#events.push(...texts);
    this.#size += size;
  }

  /** Runs `action` once everything decided so far is in the log: at once when it already is. */
  afterwards(action: () => void): void {
    if (planted("promise_before_log")) action();
    else if (this.#events.length > 0 || this.#wanted) this.#after.push(action);
    else if (this.#flying.length > 0) this.#flying.at(-1)?.after.push(action);
    else action();
  }

  /** Runs `action` after an append that is yet to come, an empty one if need be: it proves that this leader still leads. */
  confirmed(action: () => void): void {
    if (planted("refused_unconfirmed")) {
      action();
      return;
    }
    this.#after.push(action);
    this.#wanted = true;
  }

  /** Closes the open batch if it is time: nothing in flight, or enough of it to be worth a second append. */
  close(at: number): void {
    if (this.#events.length === 0 && !this.#wanted) return;
    const flying = this.#flying.length;
    const full = this.#size >= LIMITS.batch_close_bytes && flying < LIMITS.appends_in_flight;
    if (flying === 0 || full) this.#send(at);
  }

  /** Whether events of about this size still fit into the open batch; if not, it has to leave first. */
  fits(bytes: number): boolean {
    return this.#size === 0 || this.#size + bytes <= LIMITS.batch_bytes;
  }

  #send(at: number): void {
    this.#state.time_ms = at;
    const { cluster_id } = this.#state;
    const changes = this.#touched.seal(this.#state);
    const fold = foldOf(this.#state, changes);
    const batch: Batch = { v: 1, cluster_id, epoch: this.#epoch, prev: this.#last.hash, at, fold, events: [] };
    const text = `${JSON.stringify(batch).slice(0, -"]}".length)}${this.#events.join(",")}]}`;
    const payload = new TextEncoder().encode(text);
    const sequence = this.#last.sequence + 1;
    const hash = batchHash(payload);
    this.#flying.push({ sequence, hash, fold, changes, payload, after: this.#after });
    this.#last = { sequence, hash };
    this.#touched = new Touched();
    this.#events = [];
    this.#size = 0;
    this.#after = [];
    this.#wanted = false;
    this.#append({ sequence, payload });
  }

  /** The log has stored the batch with this sequence. Acknowledgements come in the order of the appends. */
  stored(sequence: number): void {
    const sent = this.#flying.shift();
    if (sent === undefined || sent.sequence !== sequence) {
      throw new Error(`acknowledged ${sequence}, expected ${sent?.sequence}`);
    }
    this.#committed(sent);
    for (const action of sent.after) action();
  }
}
