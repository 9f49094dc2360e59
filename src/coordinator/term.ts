// Following the log, and one term of leadership after the other: catch up, follow until elected, open a leader and feed it,
// and begin anew when an append was refused or nobody can say what became of it. Commands in doubt are answered
// `unknown_outcome`, never with a rejection.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Logger } from "../common/logging.ts";
import { type Runtime, randomHex, randomUnit, type Timer } from "../common/runtime.ts";
import type { CoordinatorBus, Request } from "../communication/bus.ts";
import { type AppendResult, isBehind, type Log } from "../communication/log.ts";
import type { CommandType, UpMessage } from "../communication/messages.ts";
import { planted } from "../core/canary.ts";
import type { PlacementSettings } from "../core/place.ts";
import type { Retention } from "../core/prune.ts";
import { Damaged } from "../storage/database.ts";
import { Queries } from "../storage/queries.ts";
import type { View } from "../storage/view.ts";
import type { Committed } from "./committer.ts";
import type { Differs } from "./differing.ts";
import { Leader } from "./leader.ts";
import { leaderView } from "./leader-view.ts";
import type { Anchor, LeaderOptions, Now } from "./leader-world.ts";
import { Replica } from "./replica.ts";

export interface TermOptions {
  cluster: string;
  /** Who leads, for people. */
  name: string;
  heartbeat_ms: number;
  missed_heartbeats: number;
  lost_after_ms: number | undefined;
  retention: Retention;
  placement: PlacementSettings;
}

export interface TermsWorld {
  runtime: Runtime;
  log: Log;
  view: View;
  bus: Pick<CoordinatorBus, "send">;
  logger: Logger;
  /** Whether what is answered now may rest on the lease. */
  trusted: () => boolean;
  committed: (committed: Committed) => void;
  /** A term was opened, and wants to be asked; or it is over. */
  leads: (leads: boolean) => void;
  differs: Differs;
  /** Makes the view anew: the log does not go on from it any more, or it is not what was folded into it. */
  renew: (why: ClawError) => Promise<void>;
  /** Told of what a leader decides, and of how long each append took, for figures. */
  decided?: LeaderOptions["decided"];
  appended?: (ms: number) => void;
  /** A node said which folders it has. */
  looked?: () => void;
  /** What waiting does not cure. */
  failed: (error: unknown) => void;
}

/** How long an open array may go without an extension before its client counts as gone. */
const ABANDONED_AFTER_MS = 600_000;
const TICK_MS = 1_000;
/** The view may lag behind the log by this much when nobody asks. */
const FLUSH_MS = 50;
const AGAIN_MS = 250;
/** Views that are tried one after the other: while one is fetched the log may be shortened again. */
const RENEWALS = 3;

export class Terms {
  readonly #world: TermsWorld;
  readonly #options: TermOptions;
  readonly #queries: Queries;
  /** What it follows with; the leader has taken it over while there is one. */
  #replica: Replica | undefined;
  #leader: Leader | undefined;
  #elected = false;
  #term = 0;
  #open = new Set<Request>();
  #ticking: Timer | undefined;
  #settling = false;
  #alarm: { at: number; timer: Timer } | undefined;
  #flushing: Timer | undefined;
  #anchor: Anchor | undefined;
  #stopped = false;
  /** Ends what the loop waits for: following, a pause, a term. */
  #wake: (() => void) | undefined;
  /** Told when nothing is on its way to the log. */
  #idle: (() => void) | undefined;
  readonly #served = Promise.withResolvers<boolean>();

  constructor(world: TermsWorld, options: TermOptions) {
    this.#world = world;
    this.#options = options;
    this.#queries = new Queries(world.view);
  }

  /** Who may answer: it serves, and the lease is certain to be its own. */
  get leader(): Leader | undefined {
    return this.#leader?.serving === true && this.#world.trusted() ? this.#leader : undefined;
  }

  /** Whether it knows the log, as it leads or follows it. */
  get ready(): boolean {
    return this.#leader !== undefined || this.#replica !== undefined;
  }

  /** Whether the first term came to serve: false when the lease went to another before, or everything was stopped. */
  get serving(): Promise<boolean> {
    return this.#served.promise;
  }

  #now(): Now {
    const { runtime } = this.#world;
    return { wall_ms: runtime.wall_ms(), monotonic_ms: runtime.monotonic_ms() };
  }

  /** Catches up and follows from then on; the first failure that waiting does not cure is thrown. */
  async start(): Promise<void> {
    this.#replica = await this.#catchUp();
    if (!this.#stopped) void this.#run();
  }

  /** The lease is ours: opens a term as soon as everything in the log is known. */
  elect(): void {
    this.#elected = true;
    if (this.#leader === undefined) this.#wake?.();
  }

  /** The lease is no longer ours. */
  depose(why: string): void {
    this.#elected = false;
    this.#served.resolve(false);
    if (this.#leader !== undefined) this.#stepDown(why);
  }

  async #catchUp(): Promise<Replica> {
    const { view, log, logger, differs } = this.#world;
    for (let left = RENEWALS; ; left--) {
      try {
        const replica = await Replica.open(view, log, differs);
        this.#sequence = replica.tail.sequence;
        return replica;
      } catch (error) {
        if (left === 0 || !(error instanceof Damaged || isBehind(error))) throw error;
        logger.warn("begins anew with another view", { why: error.message });
        await this.#world.renew(error);
      }
    }
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        // What a leader has folded may never get into the log: after a term the state is made again.
        this.#replica ??= await this.#catchUp();
        await this.#follow(this.#replica);
        if (this.#stopped) return;
        await this.#replica.catchUp();
        this.#sequence = this.#replica.tail.sequence;
        if (this.#stopped || !this.#elected) continue;
        // One whose lease is in doubt would depose a leader that goes on answering from what it knows.
        if (this.#world.trusted()) {
          await this.#lead(this.#replica);
          if (!planted("head_kept_after_term")) this.#replica = undefined;
        }
      } catch (error) {
        if (this.#stopped) return;
        if (isBehind(error)) this.#replica = undefined;
        else if (error instanceof ClawError && error.code === "broker") {
          this.#world.logger.warn("cannot follow the log yet", { why: error.message });
        } else {
          this.#world.failed(error);
          return;
        }
      }
      await this.#pause();
    }
  }

  /** In a moment again: a broker that is away comes back. */
  #pause(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#world.runtime.after(AGAIN_MS, resolve);
    this.#wake = () => {
      if (!this.#stopped) return;
      timer.cancel();
      resolve();
    };
    return promise;
  }

  /** Until this coordinator is elected. */
  async #follow(replica: Replica): Promise<void> {
    if (this.#elected || this.#stopped) return;
    const stop = new AbortController();
    this.#wake = () => stop.abort();
    for await (const entry of this.#world.log.follow(replica.tail.sequence + 1, stop.signal)) {
      if (this.#stopped) return;
      const committed = replica.take(entry);
      this.#anchor = { at: replica.state.time_ms, monotonic_ms: this.#now().monotonic_ms };
      this.#sequence = entry.sequence;
      this.#world.committed(committed);
      this.#flushSoon();
    }
  }

  /** Opens a term and resolves when it is over. */
  async #lead(replica: Replica): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    this.#term += 1;
    const term = this.#term;
    const { runtime, view, bus } = this.#world;
    const nonce = randomHex(runtime, 8);
    const open = (): Leader =>
      new Leader(
        replica.state,
        replica.tail,
        leaderView(view, this.#queries),
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
          send: (node, message) => bus.send(node, message),
          trusted: () => this.#world.trusted(),
        },
        {
          ...this.#options,
          fresh_cluster_id: randomHex(runtime, 16),
          abandoned_after_ms: ABANDONED_AFTER_MS,
          chance: () => randomUnit(runtime),
          ...(this.#world.decided === undefined ? {} : { decided: this.#world.decided }),
          ...(this.#world.looked === undefined ? {} : { looked: this.#world.looked }),
        },
        this.#now(),
        this.#anchor,
      );
    // Before the nodes are asked to register: their answers must not be missed.
    this.#world.leads(true);
    this.#guard(() => {
      this.#leader = open();
      this.#tick(term);
    });
    await over;
  }

  #sequence = 0;
  /** The newest append's result was handled, and with it all before it. */
  #appended: Promise<void> = Promise.resolve();

  /** The log's last acknowledged sequence. */
  get sequence(): number {
    return this.#sequence;
  }

  #append(term: number, nonce: string, sequence: number, payload: Uint8Array): void {
    const { runtime, log } = this.#world;
    const begun_ms = runtime.monotonic_ms();
    const appended = log.append(sequence, nonce, payload);
    // In the order of the appends: an acknowledgement that was lost and looked up comes after a later one's.
    this.#appended = Promise.all([appended, this.#appended]).then(
      ([result]) => {
        if (result === "stored") this.#world.appended?.(runtime.monotonic_ms() - begun_ms);
        this.#guard(() => this.#onAppended(term, sequence, result));
      },
      (error: unknown) => this.#world.failed(error),
    );
  }

  #onAppended(term: number, sequence: number, result: AppendResult): void {
    if (term !== this.#term || this.#leader === undefined) return;
    if (result !== "stored" && !(planted("deposition_ignored") && result === "deposed")) {
      this.#stepDown(result === "deposed" ? "another coordinator leads" : "the log does not answer");
      return;
    }
    const served = this.#leader.serving;
    this.#sequence = sequence;
    this.#leader.stored(sequence, this.#now());
    if (!served && this.#leader?.serving === true) {
      this.#served.resolve(true);
      this.#world.logger.info("leads", { term: this.#leader.state.epoch });
    }
    if (this.#leader?.idle === true) this.#idle?.();
  }

  #committed(committed: Committed): void {
    const { sequence, hash, fold } = committed;
    const { view, log } = this.#world;
    this.#sequence = sequence;
    view.enqueue(committed.changes, { stream_created: log.created, sequence, hash, fold });
    if (this.#leader !== undefined) {
      this.#anchor = { at: this.#leader.state.time_ms, monotonic_ms: this.#now().monotonic_ms };
    }
    this.#world.committed(committed);
    this.#flushSoon();
  }

  #flushSoon(): void {
    const { view } = this.#world;
    this.#flushing ??= this.#world.runtime.after(FLUSH_MS, () => {
      this.#flushing = undefined;
      this.#guard(() => {
        this.flush();
        if (view.sweep(LIMITS.swept_rows)) this.#flushSoon();
      });
    });
  }

  /** Brings the view's file up to the log. */
  flush(): void {
    if (this.#stopped) return;
    const { view } = this.#world;
    if (this.#leader === undefined && this.#replica !== undefined) {
      this.#replica.flush();
      return;
    }
    view.flush();
    this.#leader?.flushed(view.flushed);
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

  /** The broker says that its log ends before what it has acknowledged. */
  prove(): void {
    this.#guard(() => this.#leader?.prove());
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
    this.#world.runtime.soon(() => {
      this.#settling = false;
      this.#guard(() => this.#leader?.settle(this.#now()));
      this.#setAlarm();
    });
  }

  /** A turn of its own at the leader's next alarm, where that comes before the next tick. */
  #setAlarm(): void {
    const next = this.leader?.alarm(this.#now());
    if (next === undefined || this.#alarm?.at === next.at) return;
    this.#alarm?.timer.cancel();
    this.#alarm = undefined;
    if (next.in_ms >= TICK_MS) return;
    const timer = this.#world.runtime.after(Math.max(1, next.in_ms), () => {
      this.#alarm = undefined;
      this.#settle();
    });
    this.#alarm = { at: next.at, timer };
  }

  #tick(term: number): void {
    if (this.#stopped || term !== this.#term) return;
    this.#guard(() => this.#leader?.tick(this.#now()));
    this.#setAlarm();
    this.#ticking = this.#world.runtime.after(TICK_MS, () => this.#tick(term));
  }

  /** An error inside the leader is a bug or a full disk: either way nothing may go on as if it had not happened. */
  #guard(action: () => void): void {
    try {
      if (!this.#stopped) action();
    } catch (error) {
      this.#world.failed(error);
    }
  }

  #stepDown(why: string): void {
    this.#world.logger.warn(`stepping down: ${why}`);
    this.#endTerm(`it is not known whether this was recorded: ${why}`);
    this.#wake?.();
  }

  #endTerm(why: string): void {
    const led = this.#leader !== undefined;
    this.#leader = undefined;
    this.#idle?.();
    this.#term += 1;
    for (const request of this.#open) request.respond(new ClawError("unknown_outcome", why));
    this.#open.clear();
    this.#ticking?.cancel();
    this.#alarm?.timer.cancel();
    this.#alarm = undefined;
    if (led) this.#world.leads(false);
  }

  /** Resolves when everything that was decided is in the log and answered, at the latest after `most_ms`. */
  async settled(most_ms: number): Promise<void> {
    if (this.#leader === undefined || this.#leader.idle) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#world.runtime.after(most_ms, resolve);
    this.#idle = resolve;
    await promise;
    timer.cancel();
  }

  stop(): void {
    if (this.#stopped) return;
    this.#guard(() => this.flush());
    this.#stopped = true;
    this.#served.resolve(false);
    this.#endTerm("the coordinator is stopping");
    this.#flushing?.cancel();
    this.#wake?.();
  }
}
