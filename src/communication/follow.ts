// A task's output to whoever reads it: from its report when it was short, else from the output stream, live where it still runs.
// What was not kept is said.

import { LIMITS } from "../common/limits.ts";
import type { AttemptView, Outcome } from "../common/models.ts";
import type { Runtime } from "../common/runtime.ts";
import { plural } from "../common/units.ts";
import { CUT_OFF, endOf } from "../common/vocabulary.ts";
import { type FollowOptions, followOutput, type OutputChunk } from "./output.ts";
import type { RequestClient } from "./request.ts";
import { endedOf, waitThrough } from "./waiting.ts";

/** How long a broker is waited for that has output of a task whose end is known. */
const GONE_MS = LIMITS.output_patience_ms;
/** Chunks are in the stream before the result is, but a server that only copies it may be late. */
const IDLE_TIMES = 2;

/** Where output goes; a write resolves when the next one may come. `err` takes what claw itself has to say about it. */
export interface Sink {
  readonly runtime: Runtime;
  out(data: string | Uint8Array): Promise<void>;
  passError(data: string | Uint8Array): Promise<void>;
  err(text: string): void;
  /** What is passed from now on is of this attempt, which ran there. */
  of?(attempt: number, node: string | undefined): Promise<void>;
}

export interface TaskRef {
  id: string;
  number: number;
  index: number;
  /** What is known of it now. */
  now?: { attempt?: number; node?: string };
}

export interface Ended {
  outcome: Outcome;
  attempt: number;
  node?: string;
}

/** Bytes that the output stream should have. */
function kept(outcome: Outcome): number {
  if (outcome.inline === true) return 0;
  return [outcome.stdout, outcome.stderr].reduce((sum, one) => sum + (one?.bytes ?? 0) - (one?.cut_bytes ?? 0), 0);
}

/** Its node was lost and told nothing: what reached the stream is all that there is. */
function isUntold({ reason, stdout, stderr, exit_code, signal, started_at, ended_at }: Outcome): boolean {
  if (stdout !== undefined || stderr !== undefined) return false;
  if (reason === "lost" || reason === "poison") return true;
  // What was to be stopped on it anyway has the end that it was told to have; a node says how what it stopped ended.
  const told = exit_code !== undefined || signal !== undefined;
  return (reason === "cancelled" || reason === "deadline") && !told && started_at < ended_at;
}

/** There is nothing to show, or to say, of what an attempt that ended so wrote. */
export function isSilent(outcome: Outcome): boolean {
  const { stdout, stderr, stdout_tail = "", stderr_tail = "" } = outcome;
  const bytes = (stdout?.bytes ?? 0) + (stderr?.bytes ?? 0);
  return bytes === 0 && stdout_tail === "" && stderr_tail === "" && !isUntold(outcome);
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

/** How it ended, once it has; `tell` is told each attempt before the last one as soon as that is over. */
export type UntilOver = (tell: (one: AttemptView) => void) => Promise<Ended>;

/** Everything that a task writes, attempt by attempt, until it is over and all that was kept has come. */
export async function followTask(
  io: Sink,
  client: RequestClient,
  task: TaskRef,
  over: UntilOver = (tell) => waitThrough(client, task, tell).then(endedOf),
  attempts: readonly AttemptView[] = [],
): Promise<Ended> {
  const done = new AbortController();
  let end: Ended | undefined;
  let idle = 0;
  let gone = io.runtime.after(0, () => undefined);
  const shown = new Shown(io, task, () => look());
  const look = (): void => {
    gone.cancel();
    idle = 0;
    // Only waiting for a chunk counts, never a reader of ours that takes its time.
    if (end === undefined || shown.writing) return;
    if (shown.complete(end)) done.abort();
    else gone = io.runtime.after(GONE_MS, () => done.abort());
  };
  const onIdle = (): void => {
    shown.idle();
    if (end !== undefined && !shown.writing && ++idle === IDLE_TIMES) done.abort();
  };
  for (const one of attempts) shown.over(one);
  const finished = over((one) => shown.over(one));
  finished.then(
    (result) => {
      end = result;
      shown.ranOn(result);
      look();
    },
    () => done.abort(),
  );
  const { runtime } = io;
  await pass(client, task, shown, { follow: true, done: done.signal, onIdle, nodeOf: shown.nodeOf, runtime });
  gone.cancel();
  const ended = await finished;
  await shown.last(ended);
  return ended;
}

/** The output of a task that is over; `attempts` are those before its last one. */
export async function printFinished(
  io: Sink,
  client: RequestClient,
  task: TaskRef,
  ended: Ended,
  attempts: readonly AttemptView[] = [],
): Promise<void> {
  const all = [ended.outcome, ...attempts.map(({ outcome }) => outcome)];
  // One that was cut off is before all that the last one wrote: with that it has come as well.
  const cut_off = kept(ended.outcome) === 0 && all.includes(undefined);
  const untold = isUntold(ended.outcome) || cut_off;
  if (!untold && all.some((one) => one !== undefined && kept(one) > 0)) {
    await followTask(io, client, task, () => Promise.resolve(ended), attempts);
    return;
  }
  const shown = new Shown(io, task, () => undefined);
  for (const one of attempts) shown.over(one);
  shown.ranOn(ended);
  if (untold) await passSoFar(io, client, task, shown);
  await shown.last(ended);
}

/** What a running task has written so far. */
export async function printSoFar(
  io: Sink,
  client: RequestClient,
  task: TaskRef,
  attempts: readonly AttemptView[] = [],
): Promise<void> {
  const shown = new Shown(io, task, () => undefined);
  for (const one of attempts) shown.over(one);
  await passSoFar(io, client, task, shown);
  await shown.earlier(Number.POSITIVE_INFINITY);
}

async function passSoFar(io: Sink, client: RequestClient, task: TaskRef, shown: Shown): Promise<void> {
  const never = new AbortController();
  const { runtime } = io;
  await pass(client, task, shown, { follow: false, done: never.signal, nodeOf: shown.nodeOf, runtime });
}

async function pass(client: RequestClient, task: TaskRef, shown: Shown, options: FollowOptions): Promise<void> {
  const chunks = followOutput(client.connection, client.cluster, task.number, task.index, options);
  for await (const chunk of chunks) await shown.chunk(chunk);
}

/** One task's output in the order of its attempts, of which some come in chunks and some with their report. */
class Shown {
  readonly #io: Sink;
  readonly #id: string;
  readonly #moved: () => void;
  readonly #got = new Map<number, number>();
  readonly #nodes = new Map<number, string>();
  /** Attempts that are over, and not told yet: their last chunks may be on their way. */
  readonly #ended: AttemptView[] = [];
  /** The attempt that was told of last. */
  #told = 0;
  #current = 0;
  #turn: Promise<void> = Promise.resolve();
  #waiting = 0;

  /** `moved`: something was written. */
  constructor(io: Sink, { id, now = {} }: TaskRef, moved: () => void) {
    this.#io = io;
    this.#id = id;
    this.#moved = moved;
    this.ranOn(now);
  }

  get writing(): boolean {
    return this.#waiting > 0;
  }

  /** Whether everything that was kept has come. */
  complete(end: Ended): boolean {
    if (isUntold(end.outcome)) return false;
    return [end, ...this.#ended].every(({ attempt, outcome }) => outcome === undefined || this.#has(attempt, outcome));
  }

  #has(attempt: number, outcome: Outcome): boolean {
    return this.#bytes(attempt) >= kept(outcome);
  }

  #bytes(attempt: number): number {
    return this.#got.get(attempt) ?? 0;
  }

  readonly nodeOf = (attempt: number): string | undefined => this.#nodes.get(attempt);

  ranOn({ attempt, node }: NonNullable<TaskRef["now"]>): void {
    if (attempt !== undefined && node !== undefined) this.#nodes.set(attempt, node);
  }

  /** An attempt that another one follows. */
  over(one: AttemptView): void {
    this.ranOn(one);
    this.#ended.push(one);
    // An error of the reader's comes up with the next write.
    this.earlier(0).catch(() => undefined);
  }

  /** All that was written by now has come, of those too whose node told nothing. */
  idle(): void {
    const cut_off = this.#ended.length > 0 && this.#ended.every(({ outcome }) => outcome === undefined);
    if (cut_off) this.earlier(Number.POSITIVE_INFINITY).catch(() => undefined);
  }

  chunk({ attempt, stream, bytes }: OutputChunk): Promise<void> {
    return this.#inTurn(async () => {
      await this.#tell(attempt);
      if (attempt > this.#current && this.#current > this.#told) this.#say(this.#current, "is over");
      this.#current = Math.max(this.#current, attempt);
      await this.#io.of?.(attempt, this.nodeOf(attempt));
      if (stream === "stdout") await this.#io.out(bytes);
      else await this.#io.passError(bytes);
      this.#got.set(attempt, this.#bytes(attempt) + bytes.length);
    });
  }

  /** Tells of those whose output is there, and of all before attempt `before`. */
  earlier(before: number): Promise<void> {
    return this.#inTurn(() => this.#tell(before));
  }

  /** What the last attempt's report brings. */
  last({ outcome, attempt }: Ended): Promise<void> {
    return this.#inTurn(async () => {
      // All that are known are before it, though one that never began has no number to tell it by.
      await this.#tell(Number.POSITIVE_INFINITY);
      await this.#report(attempt, outcome);
      sayMissing(this.#io, this.#id, outcome, this.#bytes(attempt));
    });
  }

  async #tell(before: number): Promise<void> {
    for (;;) {
      const [one] = this.#ended;
      if (one === undefined) return;
      const { attempt, outcome, reason } = one;
      // How much one wrote whose node told nothing is known when something later comes.
      const here = outcome === undefined ? attempt <= this.#told : this.#has(attempt, outcome);
      if (attempt >= before && !here) return;
      this.#ended.shift();
      if (attempt <= this.#told) continue;
      if (outcome !== undefined) await this.#report(attempt, outcome);
      const cut = outcome === undefined ? CUT_OFF[reason] : undefined;
      const how = outcome === undefined ? reason : endOf(outcome);
      this.#say(attempt, cut === undefined ? `ended: ${how}` : `was ${cut}`);
    }
  }

  #say(attempt: number, what: string): void {
    this.#told = attempt;
    this.#io.err(`claw: ${this.#id}: attempt ${attempt} ${what}\n`);
  }

  async #report(attempt: number, { inline, stdout_tail, stderr_tail }: Outcome): Promise<void> {
    if (inline !== true) return;
    await this.#io.of?.(attempt, this.nodeOf(attempt));
    if (stdout_tail !== undefined) await this.#io.out(stdout_tail);
    if (stderr_tail !== undefined) await this.#io.passError(stderr_tail);
  }

  #inTurn(write: () => Promise<void>): Promise<void> {
    this.#waiting += 1;
    const turn = this.#turn.then(write).finally(() => {
      this.#waiting -= 1;
      this.#moved();
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}
