// A task's output to whoever reads it: from its report when it was short, else from the output stream, live where it still runs.
// What was not kept is said.

import type { Outcome } from "../common/models.ts";
import type { Runtime } from "../common/runtime.ts";
import { plural } from "../common/units.ts";
import { type FollowOptions, followOutput } from "./output.ts";
import type { RequestClient } from "./request.ts";

/** Chunks are in the stream before the result is: they have arrived when nothing came for so long. */
const LATE_MS = 3_000;

/** Where output goes; a write resolves when the next one may come. `err` takes what claw itself has to say about it. */
export interface Sink {
  readonly runtime: Runtime;
  out(data: string | Uint8Array): Promise<void>;
  passError(data: string | Uint8Array): Promise<void>;
  err(text: string): void;
}

export interface TaskRef {
  id: string;
  number: number;
  index: number;
}

export interface Ended {
  outcome: Outcome;
  attempt: number;
}

/** Bytes that the output stream should have. */
function kept(outcome: Outcome): number {
  if (outcome.inline === true) return 0;
  return [outcome.stdout, outcome.stderr].reduce((sum, one) => sum + (one?.bytes ?? 0) - (one?.cut_bytes ?? 0), 0);
}

function sayMissing(io: Sink, id: string, outcome: Outcome, got: number): void {
  const cut = (outcome.stdout?.cut_bytes ?? 0) + (outcome.stderr?.cut_bytes ?? 0);
  const missing = Math.max(0, kept(outcome) - got);
  if (cut > 0)
    io.err(
      `claw: ${id}: ${plural(cut, "byte")} of its output were cut: more than its node keeps, or the broker took no more\n`,
    );
  if (missing > 0) io.err(`claw: ${id}: ${plural(missing, "byte")} of its output are no longer kept\n`);
}

/** Everything that a task writes, until `finished` gives its end and all that was kept has come. */
export async function followTask(
  io: Sink,
  client: RequestClient,
  task: TaskRef,
  finished: Promise<Ended>,
): Promise<Ended> {
  const done = new AbortController();
  let end: Ended | undefined;
  let late = io.runtime.after(0, () => undefined);
  const got = new Map<number, number>();
  let writing = false;
  const look = (): void => {
    late.cancel();
    // Only waiting for a chunk counts, never a reader of ours that takes its time.
    if (end === undefined || writing) return;
    if ((got.get(end.attempt) ?? 0) >= kept(end.outcome)) done.abort();
    else late = io.runtime.after(LATE_MS, () => done.abort());
  };
  finished.then(
    (result) => {
      end = result;
      look();
    },
    () => done.abort(),
  );
  const write = (on: boolean): void => {
    writing = on;
    look();
  };
  await pass(io, client, task, got, { follow: true, done: done.signal, runtime: io.runtime }, write);
  late.cancel();
  const ended = await finished;
  const { outcome, attempt } = ended;
  if (outcome.inline === true) {
    await io.out(outcome.stdout_tail ?? "");
    await io.passError(outcome.stderr_tail ?? "");
  }
  sayMissing(io, task.id, outcome, got.get(attempt) ?? 0);
  return ended;
}

/** The output of a task that is over. */
export async function printFinished(io: Sink, client: RequestClient, task: TaskRef, ended: Ended): Promise<void> {
  const { outcome } = ended;
  if (kept(outcome) > 0) {
    await followTask(io, client, task, Promise.resolve(ended));
    return;
  }
  if (outcome.stdout_tail !== undefined) await io.out(outcome.stdout_tail);
  if (outcome.stderr_tail !== undefined) await io.passError(outcome.stderr_tail);
  sayMissing(io, task.id, outcome, 0);
}

/** What a running task has written so far. */
export async function printSoFar(io: Sink, client: RequestClient, task: TaskRef): Promise<void> {
  const never = new AbortController();
  const options = { follow: false, done: never.signal, runtime: io.runtime };
  await pass(io, client, task, new Map(), options, () => undefined);
}

/** Chunks to our own output, counted by attempt in `got`; `writing` is told when one is being written. */
async function pass(
  io: Sink,
  client: RequestClient,
  task: TaskRef,
  got: Map<number, number>,
  options: FollowOptions,
  writing: (on: boolean) => void,
): Promise<void> {
  let shown = 0;
  const chunks = followOutput(client.connection, client.cluster, task.number, task.index, options);
  for await (const { attempt, stream, bytes } of chunks) {
    if (attempt > shown && shown > 0) {
      io.err(`claw: ${task.id}: attempt ${shown} was lost, this is attempt ${attempt}\n`);
    }
    shown = Math.max(shown, attempt);
    writing(true);
    if (stream === "stdout") await io.out(bytes);
    else await io.passError(bytes);
    got.set(attempt, (got.get(attempt) ?? 0) + bytes.length);
    writing(false);
  }
}
