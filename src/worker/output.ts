// The pump between a task's pipes and whoever keeps its output. Memory is bounded: a pipe is read only when its last
// chunk was taken. The first 1 KiB is held back a moment, so that a short task costs no message of its own: its output
// rides in its report. Whatever is not kept is counted, and hashed all the same.

import { isUtf8 } from "node:buffer";
import { LIMITS } from "../common/limits.ts";
import type { StreamSummary } from "../common/models.ts";
import type { Runtime, Timer } from "../common/runtime.ts";

export type StreamName = "stdout" | "stderr";

/** Takes one chunk: true when it is kept, false when it could not be; the answer may come when there is room again. */
export type Publish = (stream: StreamName, chunk: Uint8Array) => Promise<boolean> | boolean;

export interface OutputCaps {
  /** Published bytes of one attempt, both streams. */
  task_bytes: number;
  stall_ms: number;
  /** Kept aside while nobody takes a chunk. */
  aside_bytes: number;
  /** How long the report waits for what was kept aside. */
  finish_ms: number;
  hold_ms: number;
  drain_ms: number;
  drain_most_ms: number;
}

export const DEFAULT_OUTPUT_CAPS: OutputCaps = {
  task_bytes: LIMITS.output_task_bytes,
  stall_ms: LIMITS.output_stall_ms,
  aside_bytes: LIMITS.output_aside_bytes,
  finish_ms: LIMITS.output_finish_ms,
  hold_ms: LIMITS.output_hold_ms,
  drain_ms: LIMITS.output_drain_ms,
  drain_most_ms: LIMITS.output_drain_most_ms,
};

/** What the outcome says of the output. Empty when there was none. */
export interface OutputReport {
  stdout_tail?: string;
  stderr_tail?: string;
  inline?: boolean;
  stdout?: StreamSummary;
  stderr?: StreamSummary;
  message?: string;
}

const CUT_OFF =
  "its output was cut off: a process that it left behind, and that nobody could find, went on writing to it";

interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

interface StreamState {
  readonly name: StreamName;
  bytes: number;
  cut_bytes: number;
  hash: Bun.CryptoHasher | undefined;
  /** The last `tail_bytes` at least, seldom more than twice that. */
  tail: Uint8Array;
  reader: Reader | undefined;
}

const NOTHING = new Uint8Array(0);

function newState(name: StreamName): StreamState {
  return { name, bytes: 0, cut_bytes: 0, hash: undefined, tail: NOTHING, reader: undefined };
}

function extendTail(tail: Uint8Array, chunk: Uint8Array): Uint8Array {
  if (chunk.length >= LIMITS.tail_bytes) return chunk.slice(-LIMITS.tail_bytes);
  const kept = tail.subarray(Math.max(0, tail.length + chunk.length - LIMITS.tail_bytes));
  return Buffer.concat([kept, chunk]);
}

/** The last `limit` bytes as text; a character that the limit cuts in two is left out. */
function tailText(state: StreamState, limit: number): string {
  let tail = state.tail.subarray(Math.max(0, state.tail.length - limit));
  if (state.bytes > tail.length) {
    let first = 0;
    while (first < 3 && ((tail[first] ?? 0) & 0xc0) === 0x80) first += 1;
    tail = tail.subarray(first);
  }
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(tail);
}

function summaryOf(state: StreamState): StreamSummary | undefined {
  if (state.hash === undefined) return undefined;
  return {
    bytes: state.bytes,
    hash: state.hash.digest("hex").slice(0, 16),
    ...(state.cut_bytes === 0 ? {} : { cut_bytes: state.cut_bytes }),
  };
}

export class OutputPump {
  readonly #runtime: Runtime;
  readonly #publish: Publish;
  readonly #caps: OutputCaps;
  readonly #states: Record<StreamName, StreamState> = { stdout: newState("stdout"), stderr: newState("stderr") };
  readonly #readers: Promise<void>[] = [];
  /** holding: all output so far may still ride in the report; streaming: chunks are published; closed: reported. */
  #mode: "holding" | "streaming" | "closed" = "holding";
  #held: { state: StreamState; chunk: Uint8Array }[] = [];
  #held_bytes = 0;
  #hold_timer: Timer | undefined;
  #published_bytes = 0;
  /** Publishing goes one chunk at a time, so that order holds between the pipes and the held chunks. */
  #line: Promise<void> = Promise.resolve();
  /** A chunk that nobody took within `stall_ms`; until its answer comes what follows is kept aside. */
  #stuck: { state: StreamState; bytes: number } | undefined;
  #aside: { state: StreamState; parts: Uint8Array[]; bytes: number }[] = [];
  #aside_bytes = 0;
  /** Somebody waits until nothing is stuck or aside. */
  #caught_up: (() => void) | undefined;
  /** What is stuck or aside is not waited for any more. */
  #given_up = false;
  #open = 0;
  #publishing = 0;
  #chunks = 0;
  /** Nobody waits for those who write after the task's tree is gone. */
  #hurried = false;
  /** All that was written was read. */
  #finishing = false;
  #cut_off = false;

  constructor(runtime: Runtime, publish: Publish, caps: OutputCaps = DEFAULT_OUTPUT_CAPS) {
    this.#runtime = runtime;
    this.#publish = publish;
    this.#caps = caps;
  }

  /** Bytes written so far, for `task.progress`. */
  get bytes(): { stdout: number; stderr: number } {
    return { stdout: this.#states.stdout.bytes, stderr: this.#states.stderr.bytes };
  }

  attach(name: StreamName, source: ReadableStream<Uint8Array>): void {
    const state = this.#states[name];
    const reader: Reader = source.getReader();
    state.reader = reader;
    this.#open += 1;
    this.#readers.push(this.#read(state, reader));
  }

  /** Nobody is waited for any more: neither who still writes when the task's tree is gone, nor who does not take it. */
  hurry(): void {
    this.#hurried = true;
    if (this.#finishing) this.#giveUp();
  }

  /** After the task's tree is gone: reads what the pipes still hold and gives the report. Never waits for ever. */
  async finish(): Promise<OutputReport> {
    if (this.#open > 0) await this.#drain();
    await this.#settle();
    this.#hold_timer?.cancel();
    await this.#catchUp();
    if (this.#stuck !== undefined) this.#stuck.state.cut_bytes += this.#stuck.bytes;
    this.#stuck = undefined;
    for (const { state, bytes } of this.#aside.splice(0)) state.cut_bytes += bytes;
    const inline = this.#mode === "holding";
    this.#mode = "closed";
    return this.#report(inline);
  }

  /** Waits for what nobody took yet, but not for ever. */
  async #catchUp(): Promise<void> {
    this.#finishing = true;
    const timer = this.#runtime.after(this.#caps.finish_ms, () => this.#giveUp());
    if (this.#hurried) this.#giveUp();
    await this.#line; // what is on its way has an end of its own
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#caught_up = resolve;
    if (!this.#given_up && (this.#stuck !== undefined || this.#aside.length > 0)) await promise;
    timer.cancel();
  }

  #giveUp(): void {
    this.#given_up = true;
    this.#caught_up?.();
  }

  /** Bytes that are not text would not survive the report's JSON: such output is published, however short. */
  async #settle(): Promise<void> {
    if (this.#mode !== "holding" || this.#held_bytes === 0) return;
    if (isUtf8(this.#states.stdout.tail) && isUtf8(this.#states.stderr.tail)) return;
    await this.#release();
  }

  #report(inline: boolean): OutputReport {
    const { stdout, stderr } = this.#states;
    if (stdout.bytes + stderr.bytes === 0) return {};
    const half = LIMITS.tail_bytes / 2;
    const out_limit = LIMITS.tail_bytes - Math.min(half, stderr.tail.length);
    const err_limit = LIMITS.tail_bytes - Math.min(out_limit, stdout.tail.length);
    const out_summary = summaryOf(stdout);
    const err_summary = summaryOf(stderr);
    return {
      ...(out_summary === undefined ? {} : { stdout_tail: tailText(stdout, out_limit), stdout: out_summary }),
      ...(err_summary === undefined ? {} : { stderr_tail: tailText(stderr, err_limit), stderr: err_summary }),
      ...(inline ? { inline: true } : {}),
      ...(this.#cut_off ? { message: CUT_OFF } : {}),
    };
  }

  async #read(state: StreamState, reader: Reader): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || value === undefined) return;
        this.#chunks += 1;
        await this.#take(state, value);
      }
    } finally {
      this.#open -= 1;
    }
  }

  /**
   * Silence ends it: somebody outside the tree may hold the pipe open, and a slow reader is not silence. Who goes on writing
   * is cut off when all that the task itself left in its pipes was read long since.
   */
  async #drain(): Promise<void> {
    const all = Promise.all(this.#readers);
    let over = false;
    let timer: Timer | undefined;
    let left_ms = this.#caps.drain_most_ms;
    const watch = (seen: number): void => {
      timer = this.#runtime.after(this.#caps.drain_ms, () => {
        if (over) return;
        const moved = this.#chunks !== seen;
        if (moved) left_ms -= this.#caps.drain_ms;
        const goes_on = moved || this.#publishing > 0;
        this.#cut_off = goes_on && (this.#hurried || left_ms <= 0);
        if (goes_on && !this.#cut_off) return watch(this.#chunks);
        for (const state of Object.values(this.#states)) void state.reader?.cancel();
      });
    };
    watch(this.#chunks);
    await all;
    over = true;
    timer?.cancel();
  }

  #take(state: StreamState, chunk: Uint8Array): Promise<void> | undefined {
    if (chunk.length === 0) return undefined;
    state.bytes += chunk.length;
    state.hash ??= new Bun.CryptoHasher("sha256");
    state.hash.update(chunk);
    state.tail = extendTail(state.tail, chunk);
    if (this.#mode !== "holding") return this.#queue(state, chunk);
    this.#held.push({ state, chunk });
    this.#held_bytes += chunk.length;
    if (this.#held_bytes > LIMITS.tail_bytes) return this.#release();
    this.#hold_timer ??= this.#runtime.after(this.#caps.hold_ms, () => void this.#release());
    return undefined;
  }

  #release(): Promise<void> {
    if (this.#mode !== "holding") return this.#line;
    this.#mode = "streaming";
    this.#hold_timer?.cancel();
    const held = this.#held;
    this.#held = [];
    for (const { state, chunk } of held) void this.#queue(state, chunk);
    return this.#line;
  }

  #queue(state: StreamState, chunk: Uint8Array): Promise<void> {
    this.#publishing += 1;
    this.#line = this.#line.then(async () => {
      try {
        await this.#sendAll(state, chunk);
      } finally {
        this.#publishing -= 1;
      }
    });
    return this.#line;
  }

  async #sendAll(state: StreamState, chunk: Uint8Array): Promise<void> {
    const room = Math.max(0, this.#caps.task_bytes - this.#published_bytes);
    const fits = chunk.subarray(0, room);
    state.cut_bytes += chunk.length - fits.length;
    for (let from = 0; from < fits.length; from += LIMITS.output_chunk_bytes) {
      const piece = fits.subarray(from, from + LIMITS.output_chunk_bytes);
      this.#published_bytes += piece.length;
      if (this.#stuck !== undefined || this.#aside.length > 0) this.#putAside(state, piece);
      else await this.#send(state, piece);
    }
  }

  #putAside(state: StreamState, piece: Uint8Array): void {
    if (this.#aside_bytes + piece.length > this.#caps.aside_bytes) {
      state.cut_bytes += piece.length;
      return;
    }
    this.#aside_bytes += piece.length;
    const last = this.#aside.at(-1);
    if (last?.state !== state || last.bytes + piece.length > LIMITS.output_chunk_bytes) {
      this.#aside.push({ state, parts: [piece], bytes: piece.length });
      return;
    }
    last.parts.push(piece);
    last.bytes += piece.length;
  }

  /** In its place in the line: nothing that came later goes before. */
  #sendAside(): void {
    this.#publishing += 1;
    this.#line = this.#line.then(async () => {
      while (this.#stuck === undefined && !this.#given_up) {
        const first = this.#aside.shift();
        if (first === undefined) break;
        this.#aside_bytes -= first.bytes;
        await this.#send(first.state, Buffer.concat(first.parts));
      }
      this.#publishing -= 1;
      if (this.#stuck === undefined) this.#caught_up?.();
    });
  }

  async #send(state: StreamState, piece: Uint8Array): Promise<void> {
    let answer: Promise<boolean> | boolean;
    try {
      answer = this.#publish(state.name, piece);
    } catch {
      answer = false; // said in the outcome as cut bytes: that is all a task's output can do about it
    }
    const kept = typeof answer === "boolean" ? answer : await this.#patience(state, piece.length, answer);
    if (!kept) state.cut_bytes += piece.length;
  }

  /** The answer, or "kept" for now when it does not come in time: `#stuck` then holds the doubt. */
  #patience(state: StreamState, bytes: number, answer: Promise<boolean>): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.#runtime.after(this.#caps.stall_ms, () => {
        this.#stuck = { state, bytes };
        resolve(true);
      });
      const settle = (kept: boolean): void => {
        timer.cancel();
        if (this.#stuck !== undefined && this.#mode !== "closed") {
          this.#stuck = undefined;
          if (!kept) state.cut_bytes += bytes;
          this.#sendAside();
        }
        resolve(kept);
      };
      answer.then(settle, () => settle(false));
    });
  }
}
