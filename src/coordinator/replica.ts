// Catching up: the view, then the log's tail behind it, folded through the same `apply` as live traffic. Refuses a log
// that is not the one the view was folded from, or that is behind it: then the broker lost what it had acknowledged.

import { z } from "zod";
import { ClawError } from "../common/errors.ts";
import type { Log, LogEntry } from "../communication/log.ts";
import { apply } from "../core/apply.ts";
import { Touched } from "../core/changes.ts";
import { Batch } from "../core/event.ts";
import type { State } from "../core/state.ts";
import { isOver } from "../core/state.ts";
import { restoreState } from "../storage/restore.ts";
import type { View } from "../storage/view.ts";
import { batchHash, type Tail } from "./committer.ts";

/** Batches that one transaction of the view takes while it catches up. */
const FLUSH_EVERY = 256;

export interface CaughtUp {
  state: State;
  tail: Tail;
}

export async function catchUp(view: View, log: Log): Promise<CaughtUp> {
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
  let tail: Tail = { sequence: witness.sequence, hash: witness.hash };
  for await (const entry of log.read(witness.sequence + 1)) {
    tail = replay(state, view, log, tail, entry);
    if (view.queued < FLUSH_EVERY) continue;
    view.flush();
    retire(state);
  }
  view.flush();
  retire(state);
  return { state, tail };
}

function replay(state: State, view: View, log: Log, tail: Tail, entry: LogEntry): Tail {
  const batch = decode(entry);
  if (batch.prev !== tail.hash) {
    throw new ClawError("log_lost", `the log's batch ${entry.sequence} does not follow the one before it`);
  }
  if (batch.epoch < state.epoch) {
    const epochs = `epoch ${batch.epoch} after ${state.epoch}`;
    throw new ClawError("log_lost", `the log's batch ${entry.sequence} is of an earlier term (${epochs})`);
  }
  const touched = new Touched();
  for (const event of batch.events) apply(state, event, touched);
  state.time_ms = batch.at;
  const next: Tail = { sequence: entry.sequence, hash: batchHash(entry.payload) };
  view.enqueue(touched.seal(state), { stream_created: log.created, ...next });
  return next;
}

function decode(entry: LogEntry): Batch {
  try {
    return Batch.parse(JSON.parse(new TextDecoder().decode(entry.payload)));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    throw new ClawError("log_lost", `the log's batch ${entry.sequence} cannot be read: ${why}`, {
      hint: "was it written by a newer claw?",
    });
  }
}

/** What is over stands in the view now. */
function retire(state: State): void {
  for (const [number, submission] of state.submissions) if (isOver(submission)) state.retire(number);
}
