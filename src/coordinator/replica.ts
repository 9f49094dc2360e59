// The state as a coordinator has it that does not lead: the view, then the log behind it, folded through the same `apply`
// as live traffic. Refuses a log that is not the one the view was folded from, or that is behind it: then the broker lost
// what it had acknowledged.

import { z } from "zod";
import { ClawError } from "../common/errors.ts";
import type { Log, LogEntry } from "../communication/log.ts";
import { apply } from "../core/apply.ts";
import { planted } from "../core/canary.ts";
import { Touched } from "../core/changes.ts";
import { Batch } from "../core/event.ts";
import { differenceOf, foldOf } from "../core/fold.ts";
import { isOver, type State } from "../core/state.ts";
import { Damaged } from "../storage/database.ts";
import { restoreState, strangeness } from "../storage/restore.ts";
import { VIEW_REMEDY, type View } from "../storage/view.ts";
import { batchHash, type Committed, type Tail } from "./committer.ts";
import { type Differs, FoldDiffers } from "./differing.ts";

/** Batches that one transaction of the view takes while it catches up. */
const FLUSH_EVERY = 256;

export class Replica {
  readonly state: State;
  readonly #view: View;
  readonly #log: Log;
  readonly #differs: Differs;
  #tail: Tail;
  /** What is over, and from which sequence on: it leaves the memory when the view's file has it. */
  #over: { number: number; sequence: number }[] = [];

  /** Catches up. `differs` throws, or lets it go on with what it has folded. Throws `log_lost`, `broker`, `behind`. */
  static async open(view: View, log: Log, differs: Differs): Promise<Replica> {
    view.flush();
    const witness = view.witness();
    const last = await log.last();
    if (witness.sequence > 0) {
      if (witness.stream_created !== log.created) {
        throw new ClawError("log_lost", "the broker's log is not the one that this view was made from");
      }
      if (last < witness.sequence) {
        throw new ClawError(
          "log_lost",
          `the broker's log ends at ${last}, but ${witness.sequence} was acknowledged: the broker lost data`,
        );
      }
    }
    const state = restoreState(view);
    const strange = strangeness(view, state);
    if (strange !== undefined) throw new Damaged(view.database.filename, VIEW_REMEDY, strange);
    const replica = new Replica(view, log, differs, state, { sequence: witness.sequence, hash: witness.hash });
    await replica.catchUp();
    for (const [number, submission] of replica.state.submissions) if (isOver(submission)) replica.state.retire(number);
    return replica;
  }

  private constructor(view: View, log: Log, differs: Differs, state: State, tail: Tail) {
    this.#view = view;
    this.#log = log;
    this.#differs = differs;
    this.state = state;
    this.#tail = tail;
  }

  /** How far it is. */
  get tail(): Tail {
    return this.#tail;
  }

  /** Takes everything that is in the log now. */
  async catchUp(): Promise<void> {
    for await (const entry of this.#log.read(this.#tail.sequence + 1)) {
      this.take(entry);
      if (this.#view.queued >= FLUSH_EVERY) this.flush();
    }
    this.flush();
  }

  /** Folds the log's next batch. */
  take(entry: LogEntry): Committed {
    const { state } = this;
    const batch = decodeBatch(entry.sequence, entry.payload);
    if (batch.prev !== this.#tail.hash) {
      throw new ClawError("log_lost", `the log's batch ${entry.sequence} does not follow the one before it`);
    }
    if (batch.epoch < state.epoch) {
      const epochs = `epoch ${batch.epoch} after ${state.epoch}`;
      throw new ClawError("log_lost", `the log's batch ${entry.sequence} is of an earlier term (${epochs})`);
    }
    const touched = new Touched();
    for (const event of batch.events) {
      const bug = planted("follower_folds_wrong") && event.t === "requeued";
      apply(state, bug ? { ...event, reason: "released" } : event, touched);
    }
    state.time_ms = batch.at;
    const changes = touched.seal(state);
    const fold = foldOf(state, changes);
    const differs = differenceOf(batch.fold, fold);
    if (differs !== undefined) this.#differs(new FoldDiffers(differs, entry.sequence, batch, fold, changes));
    this.#tail = { sequence: entry.sequence, hash: batchHash(entry.payload) };
    this.#view.enqueue(changes, { stream_created: this.#log.created, ...this.#tail, fold });
    for (const [number, row] of changes.submissions) {
      if (!row.live) this.#over.push({ number, sequence: entry.sequence });
    }
    // The connection reads many messages into one buffer, which a batch that is kept would keep.
    return { ...this.#tail, fold, changes, payload: entry.payload.slice() };
  }

  /** Brings the view's file up to the log, and takes out of memory what is over. */
  flush(): void {
    this.#view.flush();
    let first = this.#over[0];
    while (first !== undefined && first.sequence <= this.#view.flushed) {
      this.#over.shift();
      const submission = this.state.submissions.get(first.number);
      if (submission !== undefined && isOver(submission)) this.state.retire(first.number);
      first = this.#over[0];
    }
  }
}

/** Throws `log_lost` for what is none. */
export function decodeBatch(sequence: number, payload: Uint8Array): Batch {
  try {
    return Batch.parse(JSON.parse(new TextDecoder().decode(payload)));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    throw new ClawError("log_lost", `the log's batch ${sequence} cannot be read: ${why}`, {
      hint: "was it written by a newer claw?",
    });
  }
}
