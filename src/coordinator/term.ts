// One term of leadership after the other: catch up, open a leader, feed it, and begin anew when an append was refused or
// nobody can say what became of it. Commands in doubt are answered `unknown_outcome`, never with a rejection.

import { ClawError } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import { type Runtime, randomHex, randomUnit, type Timer } from "../common/runtime.ts";
import type { CoordinatorBus, Request } from "../communication/bus.ts";
import type { AppendResult, Log } from "../communication/log.ts";
import type { CommandType, UpMessage } from "../communication/messages.ts";
import { Queries } from "../storage/queries.ts";
import type { View } from "../storage/view.ts";
import type { Committed } from "./committer.ts";
import { Leader } from "./leader.ts";
import { leaderView } from "./leader-view.ts";
import type { Now } from "./leader-world.ts";
import { catchUp } from "./replica.ts";

export interface TermOptions {
  cluster: string;
  /** Who leads, for people. */
  name: string;
  heartbeat_ms: number;
  missed_heartbeats: number;
  lost_after_ms: number | undefined;
}

/** How long an open array may go without an extension before its client counts as gone. */
const ABANDONED_AFTER_MS = 600_000;
const TICK_MS = 1_000;
/** The view may lag behind the log by this much when nobody asks. */
const FLUSH_MS = 50;
const AGAIN_MS = 250;

export class Terms {
  readonly #runtime: Runtime;
  readonly #log: Log;
  readonly #view: View;
  readonly #bus: Pick<CoordinatorBus, "send">;
  readonly #logger: Logger;
  readonly #options: TermOptions;
  readonly #queries: Queries;
  readonly #onCommitted: (committed: Committed) => void;
  #leader: Leader | undefined;
  #term = 0;
  #open = new Set<Request>();
  #ticking: Timer | undefined;
  #waiting: Timer | undefined;
  #settling = false;
  #alarm: { at: number; timer: Timer } | undefined;
  #flushing: Timer | undefined;
  #stopped = false;
  #serving: { resolve: () => void; promise: Promise<void> };
  #failed: (error: unknown) => void;

  constructor(
    runtime: Runtime,
    log: Log,
    view: View,
    bus: Pick<CoordinatorBus, "send">,
    logger: Logger,
    options: TermOptions,
    onCommitted: (committed: Committed) => void,
    onFailed: (error: unknown) => void,
  ) {
    this.#runtime = runtime;
    this.#log = log;
    this.#view = view;
    this.#bus = bus;
    this.#logger = logger;
    this.#options = options;
    this.#queries = new Queries(view.database);
    this.#onCommitted = onCommitted;
    this.#failed = onFailed;
    this.#serving = Promise.withResolvers<void>();
  }

  get leader(): Leader | undefined {
    return this.#leader?.serving === true ? this.#leader : undefined;
  }

  /** Resolves when the first term serves. */
  get serving(): Promise<void> {
    return this.#serving.promise;
  }

  #now(): Now {
    return { wall_ms: this.#runtime.wall_ms(), monotonic_ms: this.#runtime.monotonic_ms() };
  }

  /** Opens a term; the first failure that waiting does not cure is thrown. */
  async begin(): Promise<void> {
    const { state, tail } = await catchUp(this.#view, this.#log);
    if (this.#stopped) return;
    this.#sequence = tail.sequence;
    this.#term += 1;
    const term = this.#term;
    const nonce = randomHex(this.#runtime, 8);
    const leader = new Leader(
      state,
      tail,
      leaderView(this.#view, this.#queries),
      {
        append: (batch) => {
          this.#append(term, nonce, batch.sequence, batch.payload);
        },
        committed: (committed) => this.#committed(committed),
        reply: (token, answer) => {
          const request = token as Request;
          this.#open.delete(request);
          request.respond(answer instanceof ClawError ? answer : { ...answer, sequence: this.#sequence });
        },
        send: (node, message) => this.#bus.send(node, message),
      },
      {
        ...this.#options,
        fresh_cluster_id: randomHex(this.#runtime, 16),
        abandoned_after_ms: ABANDONED_AFTER_MS,
        chance: () => randomUnit(this.#runtime),
      },
      this.#now(),
    );
    this.#leader = leader;
    this.#tick(term);
  }

  #sequence = 0;
  /** The newest append's result was handled, and with it all before it. */
  #appended: Promise<void> = Promise.resolve();

  /** The log's last acknowledged sequence. */
  get sequence(): number {
    return this.#sequence;
  }

  #append(term: number, nonce: string, sequence: number, payload: Uint8Array): void {
    const appended = this.#log.append(sequence, nonce, payload);
    // In the order of the appends: an acknowledgement that was lost and looked up comes after a later one's.
    this.#appended = Promise.all([appended, this.#appended]).then(
      ([result]) => this.#onAppended(term, sequence, result),
      (error: unknown) => this.#failed(error),
    );
  }

  #onAppended(term: number, sequence: number, result: AppendResult): void {
    if (term !== this.#term || this.#leader === undefined) return;
    if (result !== "stored") {
      this.#stepDown(result === "deposed" ? "another coordinator leads" : "the log does not answer");
      return;
    }
    this.#guard(() => {
      this.#sequence = sequence;
      this.#leader?.stored(sequence, this.#now());
      if (this.#leader?.serving === true) this.#serving.resolve();
    });
  }

  #committed(committed: Committed): void {
    const { sequence, hash } = committed;
    this.#sequence = sequence;
    this.#view.enqueue(committed.changes, { stream_created: this.#log.created, sequence, hash });
    this.#onCommitted(committed);
    this.#flushing ??= this.#runtime.after(FLUSH_MS, () => {
      this.#flushing = undefined;
      this.#guard(() => this.flush());
    });
  }

  /** Brings the view's file up to the log. */
  flush(): void {
    if (this.#stopped) return;
    this.#view.flush();
    this.#leader?.flushed(this.#view.flushed);
  }

  command(type: CommandType, payload: unknown, who: string, bytes: number, request: Request): void {
    const leader = this.#leader;
    if (leader === undefined) {
      request.respond(new ClawError("not_leading", "this coordinator is not leading"));
      return;
    }
    this.#open.add(request);
    this.#guard(() => leader.command(type, payload, who, request, bytes, this.#now()));
    this.#settle();
  }

  up(node: string, message: UpMessage, bytes: number): void {
    this.#guard(() => this.#leader?.up(node, message, bytes, this.#now()));
    this.#settle();
  }

  /** One settle for everything that arrived in this turn of the event loop. */
  #settle(): void {
    if (this.#settling) return;
    this.#settling = true;
    this.#runtime.soon(() => {
      this.#settling = false;
      this.#guard(() => this.#leader?.settle(this.#now()));
      this.#setAlarm();
    });
  }

  /** A turn of its own at the leader's next alarm, where that comes before the next tick. */
  #setAlarm(): void {
    const next = this.leader?.next_alarm;
    if (next === undefined || this.#alarm?.at === next) return;
    this.#alarm?.timer.cancel();
    const delay_ms = Math.max(1, Math.ceil(next - this.#runtime.wall_ms()));
    this.#alarm = undefined;
    if (delay_ms >= TICK_MS) return;
    const timer = this.#runtime.after(delay_ms, () => {
      this.#alarm = undefined;
      this.#settle();
    });
    this.#alarm = { at: next, timer };
  }

  #tick(term: number): void {
    if (this.#stopped || term !== this.#term) return;
    this.#guard(() => this.#leader?.tick(this.#now()));
    this.#setAlarm();
    this.#ticking = this.#runtime.after(TICK_MS, () => this.#tick(term));
  }

  /** An error inside the leader is a bug or a full disk: either way nothing may go on as if it had not happened. */
  #guard(action: () => void): void {
    try {
      if (!this.#stopped) action();
    } catch (error) {
      this.#failed(error);
    }
  }

  #stepDown(why: string): void {
    this.#logger.warn(`stepping down: ${why}`);
    this.#leader = undefined;
    this.#term += 1;
    for (const request of this.#open) {
      request.respond(new ClawError("unknown_outcome", `it is not known whether this was recorded: ${why}`));
    }
    this.#open.clear();
    this.#ticking?.cancel();
    this.#alarm?.timer.cancel();
    this.#alarm = undefined;
    this.#beginAgain();
  }

  /** In a moment, and then again and again until there is a term: a broker that is away comes back. */
  #beginAgain(): void {
    this.#waiting = this.#runtime.after(AGAIN_MS, () => {
      this.begin().catch((error: unknown) => {
        if (this.#stopped) return;
        if (!(error instanceof ClawError) || error.code !== "broker") {
          this.#failed(error);
          return;
        }
        this.#logger.warn("cannot lead yet", { why: error.message });
        this.#beginAgain();
      });
    });
  }

  stop(): void {
    if (this.#stopped) return;
    this.#guard(() => this.flush());
    this.#stopped = true;
    this.#leader = undefined;
    this.#term += 1;
    this.#ticking?.cancel();
    this.#alarm?.timer.cancel();
    this.#waiting?.cancel();
    this.#flushing?.cancel();
    for (const request of this.#open) request.respond(new ClawError("unknown_outcome", "the coordinator is stopping"));
    this.#open.clear();
  }
}
