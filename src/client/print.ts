// A task's output to our own: from its report when it was short, else from the output stream, live where it still runs.
// What was not kept is said.

import type { Outcome } from "../common/models.ts";
import { followOutput } from "../communication/output.ts";
import type { RequestClient } from "../communication/request.ts";
import type { Io } from "./io.ts";
import { plural } from "./output.ts";

/** Time for the last chunks, once the result says how many bytes there are. */
const LATE_MS = 3_000;

export async function printInline(io: Io, outcome: Outcome): Promise<void> {
  if (outcome.stdout_tail !== undefined) await io.out(outcome.stdout_tail);
  if (outcome.stderr_tail !== undefined) io.err(outcome.stderr_tail);
}

function kept(outcome: Outcome): number {
  return [outcome.stdout, outcome.stderr].reduce((sum, one) => sum + (one?.bytes ?? 0) - (one?.cut_bytes ?? 0), 0);
}

function sayCut(io: Io, id: string, outcome: Outcome, missing: number): void {
  const cut = (outcome.stdout?.cut_bytes ?? 0) + (outcome.stderr?.cut_bytes ?? 0);
  if (cut > 0) io.err(`claw: ${id}: ${plural(cut, "byte")} of its output were cut: it reached its limit\n`);
  if (missing > 0) io.err(`claw: ${id}: ${plural(missing, "byte")} of its output are no longer kept\n`);
}

/** Follows a task's output until `finished` gives its outcome and everything that was kept has come. */
export async function followTask(
  io: Io,
  client: RequestClient,
  task: { id: string; number: number; index: number },
  finished: Promise<{ outcome: Outcome; attempt: number }>,
): Promise<void> {
  const done = new AbortController();
  let end: { outcome: Outcome; attempt: number } | undefined;
  const got = new Map<number, number>();
  const enough = (): boolean => end !== undefined && (got.get(end.attempt) ?? 0) >= kept(end.outcome);
  void finished.then(
    (result) => {
      end = result;
      if (enough()) done.abort();
      else io.runtime.after(LATE_MS, () => done.abort());
    },
    () => done.abort(),
  );
  let shown = 0;
  for await (const { attempt, stream, bytes } of followOutput(
    client.connection,
    client.cluster,
    task.number,
    task.index,
    done.signal,
  )) {
    if (attempt > shown && shown > 0)
      io.err(`claw: ${task.id}: attempt ${shown} was lost, this is attempt ${attempt}\n`);
    shown = Math.max(shown, attempt);
    got.set(attempt, (got.get(attempt) ?? 0) + bytes.length);
    if (stream === "stdout") await io.out(bytes);
    else io.err(new TextDecoder().decode(bytes));
    if (enough()) break;
  }
  const { outcome, attempt } = await finished;
  sayCut(io, task.id, outcome, Math.max(0, kept(outcome) - (got.get(attempt) ?? 0)));
}

/** The output of a task that is over. */
export async function printFinished(
  io: Io,
  client: RequestClient,
  task: { id: string; number: number; index: number },
  outcome: Outcome,
  attempt: number,
): Promise<void> {
  if (outcome.inline === true || kept(outcome) === 0) {
    await printInline(io, outcome);
    sayCut(io, task.id, outcome, 0);
  } else {
    await followTask(io, client, task, Promise.resolve({ outcome, attempt }));
  }
}
