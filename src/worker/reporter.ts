// Reports on their way to the log: collected, written to the outbox as messages, sent, sent again, and forgotten when
// the leader says that they are in the log. While one is in flight the next ones gather, so that a busy node sends few
// large messages and an idle one sends at once.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Outcome } from "../common/models.ts";
import type { PlainRun, Run, TaskResult, UpMessage } from "../communication/messages.ts";
import { planted } from "../core/canary.ts";
import { parseBody, readableBody } from "./readable.ts";

/** The durable side; `storage/outbox` in production and in the simulator. */
export interface ReportStore {
  add(kind: "task.complete" | "task.fail", body: string): { seq: number };
  remove(seqs: readonly number[]): void;
  all(): { seq: number; kind: "task.complete" | "task.fail"; body: string }[];
}

type Report = Extract<UpMessage, { type: "task.complete" | "task.fail" }>;

/** A report that waits, and what it adds to a message. */
interface Waiting {
  result: TaskResult;
  bytes: number;
}

/** Given back unstarted, and why, where it was this node's own choice. */
interface Released {
  run: Run;
  why: string | undefined;
}

interface Sent {
  message: Report;
  runs: Run[];
  sent_ms: number;
}

const IN_FLIGHT = 2;
const RESEND_MS = 5_000;

export class Reporter {
  readonly #store: ReportStore;
  readonly #incarnation: string;
  readonly #send: (message: UpMessage) => void;
  readonly #sent = new Map<number, Sent>();
  #plain: PlainRun[] = [];
  #succeeded: Waiting[] = [];
  #failed: Waiting[] = [];
  #released: Released[] = [];
  /** Why the store takes nothing, while it does not. */
  #broken: string | undefined;
  /** Reports that are in the log, and could not be removed. */
  #done: number[] = [];

  constructor(store: ReportStore, incarnation: string, send: (message: UpMessage) => void) {
    this.#store = store;
    this.#incarnation = incarnation;
    this.#send = send;
    for (const row of store.all()) {
      const message = this.#message(row.kind, row.seq, readableBody(row.kind, parseBody(row.body)));
      this.#sent.set(row.seq, { message, runs: runsOf(message), sent_ms: Number.NEGATIVE_INFINITY });
    }
  }

  /** Whatever life a report is from, the present one vouches for it. */
  #message(type: Report["type"], seq: number, body: object): Report {
    return { type, incarnation: this.#incarnation, seq, ...body } as Report;
  }

  /** Attempts whose reports are not in the log yet, as far as this side knows. */
  get runs(): Run[] {
    const waiting: Run[] = [
      ...this.#plain.map(([number, from, to, attempt]): Run => [number, from, to, attempt]),
      ...[...this.#succeeded, ...this.#failed].map(
        ({
          result: {
            task: [number, index, attempt],
          },
        }): Run => [number, index, index + 1, attempt],
      ),
      ...this.#released.map(({ run }) => run),
    ];
    for (const sent of this.#sent.values()) waiting.push(...sent.runs);
    return waiting;
  }

  get unacknowledged(): number {
    return this.#sent.size;
  }

  plain(run: PlainRun): void {
    const last = this.#plain.at(-1);
    if (last !== undefined && last[0] === run[0] && last[2] === run[1] && last[3] === run[3]) {
      last[2] = run[2];
      last[5] = Math.max(last[5], run[5]);
    } else {
      this.#plain.push(run);
    }
  }

  result(number: number, index: number, attempt: number, outcome: Outcome): void {
    const result: TaskResult = { task: [number, index, attempt], outcome };
    const waiting = { result, bytes: Buffer.byteLength(JSON.stringify(result)) + 1 };
    if (outcome.status === "completed") this.#succeeded.push(waiting);
    else this.#failed.push(waiting);
  }

  release(run: Run, why?: string): void {
    this.#released.push({ run, why });
  }

  /** Why the store takes nothing: what ends meanwhile is kept in memory, and written when it does again. */
  get broken(): string | undefined {
    return this.#broken;
  }

  /** Sends what gathered, unless enough is in flight already; `all` sends whatever is in flight. */
  flush(now_ms: number, all = false): void {
    if (this.#done.length > 0) this.#remove([]);
    while (this.#gathered() && (all || this.#sent.size < IN_FLIGHT || this.#crowded())) {
      if (!this.#flushSome(now_ms)) return;
    }
  }

  /** A message of each kind; false when the store does not take it. */
  #flushSome(now_ms: number): boolean {
    const most = LIMITS.report_items_per_message;
    if (this.#plain.length > 0 || this.#succeeded.length > 0) {
      const runs = this.#plain.slice(0, most);
      const results = firstMessage(this.#succeeded);
      if (!this.#write("task.complete", { runs, results }, now_ms)) return false;
      this.#plain.splice(0, runs.length);
      this.#succeeded.splice(0, results.length);
    }
    if (this.#failed.length > 0 || this.#released.length > 0) {
      const results = firstMessage(this.#failed);
      const [first] = this.#released;
      const other = this.#released.findIndex(({ why }) => why !== first?.why);
      const given = this.#released.slice(0, Math.min(most, other < 0 ? most : other));
      const why = first?.why === undefined ? {} : { why: first.why };
      if (!this.#write("task.fail", { results, released: given.map(({ run }) => run), ...why }, now_ms)) return false;
      this.#failed.splice(0, results.length);
      this.#released.splice(0, given.length);
    }
    return true;
  }

  #gathered(): boolean {
    return this.#plain.length + this.#succeeded.length + this.#failed.length + this.#released.length > 0;
  }

  /** A whole message has gathered. */
  #crowded(): boolean {
    const most = LIMITS.report_items_per_message;
    return this.#plain.length >= most || this.#succeeded.length >= most || this.#failed.length >= most;
  }

  #write(kind: Report["type"], gathered: Record<string, unknown>, now_ms: number): boolean {
    const body = readableBody(kind, gathered);
    const seq = this.#stored(() => this.#store.add(kind, JSON.stringify(body)).seq);
    if (seq === undefined) return false;
    const message = this.#message(kind, seq, body);
    this.#sent.set(seq, { message, runs: runsOf(message), sent_ms: now_ms });
    this.#send(message);
    if (planted("outbox_cleared_early")) this.#store.remove([seq]);
    return true;
  }

  /** Undefined when the store does not take it: a full disk, or one that fails. */
  #stored<T>(action: () => T): T | undefined {
    try {
      const done = action();
      this.#broken = undefined;
      return done;
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
      this.#broken = error.message;
      return undefined;
    }
  }

  #remove(seqs: readonly number[]): void {
    this.#done.push(...seqs);
    const removed = this.#stored(() => {
      this.#store.remove(this.#done);
      return true;
    });
    if (removed === true) this.#done = [];
  }

  /** Sends everything again that is not acknowledged: a new leader, or a connection that came back. */
  resendAll(now_ms: number): void {
    for (const sent of this.#sent.values()) {
      sent.sent_ms = now_ms;
      this.#send(sent.message);
    }
  }

  /** Sends again what nobody acknowledged for long. */
  resendOld(now_ms: number): void {
    for (const sent of this.#sent.values()) {
      if (now_ms - sent.sent_ms < RESEND_MS) continue;
      sent.sent_ms = now_ms;
      this.#send(sent.message);
    }
  }

  /** They are in the log, or refused for good: the attempts that may be forgotten. */
  acknowledged(seqs: readonly number[]): Run[] {
    const known = seqs.filter((seq) => this.#sent.has(seq));
    this.#remove(known);
    const runs: Run[] = [];
    for (const seq of known) {
      runs.push(...(this.#sent.get(seq)?.runs ?? []));
      this.#sent.delete(seq);
    }
    return runs;
  }
}

/** As many of the oldest as one message takes: by number and by bytes. */
function firstMessage(waiting: readonly Waiting[]): TaskResult[] {
  let bytes = 0;
  let count = 0;
  for (const one of waiting) {
    bytes += one.bytes;
    if (count === LIMITS.report_items_per_message || (count > 0 && bytes > LIMITS.report_message_bytes)) break;
    count += 1;
  }
  return waiting.slice(0, count).map(({ result }) => result);
}

function runsOf(message: Report): Run[] {
  const single = ({ task: [number, index, attempt] }: TaskResult): Run => [number, index, index + 1, attempt];
  if (message.type === "task.fail") return [...message.results.map(single), ...message.released];
  const plain = message.runs.map(([number, from, to, attempt]): Run => [number, from, to, attempt]);
  return [...plain, ...message.results.map(single)];
}
