// The leader of a term: commands and reports in, decisions into the log, replies and orders out, each only after the
// log has what it rests on. Synchronous, and it touches the world through `LeaderWorld` only: the simulator runs it as it is.

import { ClawError, isFault } from "../common/errors.ts";
import type { Needs } from "../common/models.ts";
import type {
  CommandType,
  TaskCancelCommand,
  TaskExtend,
  TaskRetry,
  TaskSubmit,
  UpMessage,
} from "../communication/messages.ts";
import { planted } from "../core/canary.ts";
import {
  type ConfigureNodes,
  type ConfigurePlacement,
  decideConfigureNodes,
  decidePlacement,
} from "../core/configure.ts";
import {
  type CancelAnswer,
  currentPieces,
  decideAbandoned,
  decideCancel,
  decideExtend,
  decideSubmit,
  requireTargets,
} from "../core/decide.ts";
import { decideDrains, decideManage, type Manage } from "../core/decide-nodes.ts";
import { decideRetry, type PastView } from "../core/decide-retry.ts";
import { decideDue } from "../core/due.ts";
import type { Event, EventRun } from "../core/event.ts";
import type { NodeLoad } from "../core/fit.ts";
import { decideGone } from "../core/lost.ts";
import { piecesOf } from "../core/segments.ts";
import { isOver, type Node, type State } from "../core/state.ts";
import { Admission } from "./admission.ts";
import { Alarms } from "./alarms.ts";
import { type Committed, Committer, type Tail } from "./committer.ts";
import { Ends } from "./ends.ts";
import { Known } from "./known.ts";
import type { Anchor, LeaderOptions, LeaderView, LeaderWorld, Now } from "./leader-world.ts";
import { Liveness } from "./liveness.ts";
import { LogClock } from "./log-clock.ts";
import { Contacts } from "./nodes.ts";
import { Orders } from "./orders.ts";
import { ProgressBook } from "./progress.ts";
import { Pruner } from "./pruner.ts";
import { reportEvents } from "./reports.ts";
import { Scheduler } from "./scheduler.ts";

export class Leader {
  readonly state: State;
  readonly contacts = new Contacts();
  readonly progress = new ProgressBook();
  readonly ends = new Ends();
  readonly scheduler: Scheduler;
  readonly #world: LeaderWorld;
  readonly #view: LeaderView;
  readonly #options: LeaderOptions;
  readonly #committer: Committer;
  readonly #orders: Orders;
  readonly #alarms: Alarms;
  readonly #known: Known;
  readonly #pruner: Pruner;
  readonly #over: { number: number; sequence: number }[] = [];
  readonly #admission: Admission;
  readonly #liveness: Liveness;
  /** Submissions with members that were told to stop, and the log time at which this leader told the first of them. */
  readonly #stopping = new Map<number, number | undefined>();
  #serving = false;
  #started_ms: number;
  #started_at: number;
  readonly #clock: LogClock;

  /** `anchor`: where a follower has watched log time go on; without it the wall clock is believed at first. */
  constructor(
    state: State,
    tail: Tail,
    view: LeaderView,
    world: LeaderWorld,
    options: LeaderOptions,
    now: Now,
    anchor?: Anchor,
  ) {
    this.state = state;
    this.#clock = new LogClock(anchor);
    this.#view = view;
    this.#known = new Known(view);
    this.#pruner = new Pruner(state, view, this.#known, options.retention);
    this.#world = world;
    this.#options = options;
    this.#started_ms = now.monotonic_ms;
    this.scheduler = new Scheduler(state, options.placement, options.chance);
    this.#alarms = new Alarms(state);
    const epoch = state.epoch + 1;
    this.#committer = new Committer(
      state,
      tail,
      epoch,
      (batch) => world.append(batch),
      (committed) => this.#onCommitted(committed),
      (event) => {
        this.#alarms.noted(state, event);
        if (event.t === "registered" || event.t === "removed") this.scheduler.folders.forget(event.node);
        options.decided?.(event, state);
      },
    );
    this.#orders = new Orders(state, this.#committer, world, view);
    this.#admission = new Admission((bytes) => this.#committer.fits(bytes));
    this.#liveness = this.#watchNodes(now);
    for (const number of state.active) this.#stopping.set(number, undefined);
    const at = this.#time(now);
    this.#started_at = at;
    if (state.cluster_id === "") {
      this.#committer.add({ t: "cluster", cluster_id: options.fresh_cluster_id, name: options.cluster, at });
    }
    this.#committer.add({ t: "term", epoch, leader: options.name, at });
    this.#committer.afterwards(() => this.#open());
    this.#committer.close(at);
  }

  #watchNodes(now: Now): Liveness {
    const { state, contacts } = this;
    return new Liveness(
      {
        state,
        contacts,
        options: this.#options,
        add: (event) => this.#committer.add(event),
        afterwards: (action) => this.#committer.afterwards(action),
        confirmed: (action) => this.#committer.confirmed(action),
        send: (node, message) => this.#world.send(node, message),
        assign: (node, runs) => this.#orders.assign(node, runs),
        stop: (node, runs, reason) => this.#orders.stop(node, runs, reason),
        stopAgain: (node) => this.#stopAgain(node),
      },
      now.monotonic_ms,
    );
  }

  /** How often nodes are to be heard, and how many heartbeats they may miss. */
  get heartbeats(): { heartbeat_ms: number; missed: number } {
    const { heartbeat_ms, missed_heartbeats } = this.#options;
    return { heartbeat_ms, missed: missed_heartbeats };
  }

  get serving(): boolean {
    return this.#serving;
  }

  /** Log time from which on it could be told anything, and how long it waits then for a node, and for an array's client. */
  get patience(): { started_at: number } & Pick<LeaderOptions, "lost_after_ms" | "abandoned_after_ms"> {
    return { ...this.#options, started_at: this.#started_at };
  }

  /** Log time at which the first of its members was told to stop, if this leader told it. */
  stoppingSince(number: number): number | undefined {
    return this.#stopping.get(number);
  }

  /** Whether everything that was decided is in the log. */
  get idle(): boolean {
    return this.#committer.idle;
  }

  /** The barrier is in the log: serve. */
  #open(): void {
    this.#serving = true;
    this.#liveness.askAll();
  }

  /** The log has stored the batch with this sequence. */
  stored(sequence: number, now: Now): void {
    const served = this.#serving;
    this.#committer.stored(sequence);
    if (!served && this.#serving) {
      // Nobody was heard before that.
      this.#started_at = this.#time(now);
      this.#started_ms = now.monotonic_ms;
      this.#liveness.watchFrom(now.monotonic_ms);
    }
    // With the next tick more may be over than one event takes.
    if (this.#pruner.behind) this.#prune(this.#time(now));
    this.settle(now);
  }

  /** The view's file has everything up to this sequence: what is over need not be kept in memory. */
  flushed(sequence: number): void {
    let first = this.#over[0];
    while (first !== undefined && first.sequence <= sequence) {
      this.#over.shift();
      const submission = this.state.submissions.get(first.number);
      if (submission !== undefined) {
        this.#known.forget(first.number, submission.ids);
        this.state.retire(first.number);
      }
      first = this.#over[0];
    }
  }

  /** Finds out by one more append whether the log still is what this leader wrote. */
  prove(): void {
    if (this.#serving) this.#committer.confirmed(() => undefined);
  }

  /** A command from a client; `bytes` is its size on the wire. */
  command(type: CommandType, payload: unknown, who: string, token: unknown, bytes: number, now: Now): void {
    if (!this.#serving) {
      this.#world.reply(token, new ClawError("not_leading", "this coordinator is not leading yet"));
      return;
    }
    const admitted = this.#admission.admit(bytes, now, (then) => {
      try {
        const answer = this.#decide(type, payload, who, then);
        this.#committer.afterwards(() => this.#world.reply(token, answer()));
      } catch (error) {
        if (isFault(error)) throw error;
        // Who was deposed without noticing knows less than the log: only one that still leads may refuse.
        this.#committer.confirmed(() => this.#world.reply(token, error as ClawError));
      }
    });
    if (!admitted) this.#world.reply(token, new ClawError("too_many", "too many requests are waiting"));
  }

  /** A message from a worker. */
  up(node: string, message: UpMessage, bytes: number, now: Now): void {
    if (!this.#serving) return;
    if (message.type === "node.heartbeat") this.#liveness.heartbeat(node, message, now, this.#time(now));
    else this.#admission.admit(bytes, now, (then) => this.#report(node, message, then)); // or it is sent again
  }

  /** Ends a turn: takes what was deferred, places what waits and closes the batch if it is time. */
  settle(now: Now): void {
    if (this.#serving) this.#schedule(now);
    this.#committer.close(this.#time(now));
    this.#admission.drain(now, () => this.#committer.close(this.#time(now)));
  }

  /** Log time at which a tick is wanted at the latest, and in how long by this leader's own: a wall clock may be ahead of it. */
  alarm(now: Now): { at: number; in_ms: number } | undefined {
    const at = this.#alarms.next;
    return at === undefined ? undefined : { at, in_ms: at - this.#time(now) };
  }

  /** Starts that were put off, deadlines. */
  #ring(at: number): void {
    if (planted("timer_lost") && this.state.epoch > 1) return;
    for (const number of this.#alarms.take(at)) {
      const { events, stop } = decideDue(this.state, number, at);
      for (const event of events) this.#committer.add(event);
      this.#stopOrders(stop, at);
    }
  }

  /** What was decided to be stopped, told to its nodes, and again at each heartbeat until it is gone. */
  #stopOrders(stop: ReadonlyMap<string, EventRun[]>, at: number): void {
    for (const [node, runs] of stop) {
      for (const [number] of runs) this.#stopping.set(number, this.#stopping.get(number) ?? at);
      this.#orders.stop(node, runs, "cancelled");
    }
  }

  /** Once a second or so: nodes that fell silent, arrays that nobody extends. */
  tick(now: Now): void {
    if (!this.#serving) return;
    const at = this.#time(now);
    this.#liveness.tick(now, at);
    const { abandoned_after_ms, lost_after_ms } = this.#options;
    const watched_ms = now.monotonic_ms - this.#started_ms;
    for (const event of decideGone(this.state, at, watched_ms, lost_after_ms)) this.#committer.add(event);
    const drains = decideDrains(this.state, at);
    for (const event of drains.events) this.#committer.add(event);
    this.#stopOrders(drains.stop, at);
    this.#prune(at);
    // Nobody could extend anything while nobody led: a new leader gives every array its full time.
    if (watched_ms >= abandoned_after_ms) {
      for (const event of decideAbandoned(this.state, at, abandoned_after_ms)) this.#committer.add(event);
    }
    this.settle(now);
  }

  #prune(at: number): void {
    const event = this.#pruner.decide(at);
    if (event === undefined) return;
    this.#committer.add(event);
    this.#committer.afterwards(() => this.#pruner.stored());
  }

  #time(now: Now): number {
    const at = this.#clock.read(now, this.state.time_ms);
    this.#committer.at = at;
    return at;
  }

  #onCommitted(committed: Committed): void {
    for (const [number, row] of committed.changes.submissions) {
      const submission = this.state.submissions.get(number);
      if (!row.live && submission !== undefined && isOver(submission)) {
        this.#over.push({ number, sequence: committed.sequence });
      }
    }
    this.#world.committed(committed);
  }

  #decide(type: CommandType, payload: unknown, who: string, now: Now): () => object {
    const at = this.#time(now);
    switch (type) {
      case "task.submit": {
        const { events, answer } = decideSubmit(this.state, this.#known, payload as TaskSubmit, who, at);
        this.#addAll(events);
        return () => ({ ...answer });
      }
      case "task.extend": {
        const { events, answer } = decideExtend(this.state, this.#known.ids, payload as TaskExtend, at);
        this.#addAll(events);
        return () => ({ ...answer });
      }
      case "task.cancel":
        return this.#cancel(payload as TaskCancelCommand, at);
      case "node.manage": {
        const { events, stop } = decideManage(this.state, payload as Manage, who, at);
        // Not in one batch: nodes may hold more than it takes. What of it a lost leader left undone is done when it is said again.
        for (const event of events) this.#committer.add(event);
        this.#stopOrders(stop, at);
        for (const event of events) if (event.t === "removed") this.#forget(event.node);
        return () => ({});
      }
      case "node.configure": {
        const events = decideConfigureNodes(this.state, payload as ConfigureNodes, who, at);
        this.#addAll(events);
        for (const event of events) if (event.t === "configured") this.#liveness.configured(event.node);
        return () => ({});
      }
      case "cluster.configure":
        this.#addAll(decidePlacement(this.state, payload as ConfigurePlacement, who, at));
        return () => ({});
      case "task.retry": {
        const past: PastView = {
          findIds: this.#known.ids,
          retryable: (number) => (this.#known.isLeaving(number) ? undefined : this.#view.retryable(number)),
          ended: (number, from, to, statuses) => this.#view.ended(number, from, to, statuses),
          retries: (root, after) => this.#view.retries(root, after),
        };
        const { events, answer } = decideRetry(this.state, past, payload as TaskRetry, who, at);
        this.#addAll(events);
        return () => ({ ...answer });
      }
      default:
        throw new ClawError("unsupported", `the leader does not know the command ${type}`);
    }
  }

  #forget(node: string): void {
    this.contacts.forget(node);
    this.ends.forget(node);
  }

  #addAll(events: readonly Event[]): void {
    this.#committer.addTogether(events);
    for (const event of events) if (event.t === "submitted") this.#known.note(event);
  }

  #cancel(command: TaskCancelCommand, at: number): () => object {
    const total: CancelAnswer = { cancelled: 0, stopping: 0, finished: 0 };
    requireTargets(this.state, command.targets);
    for (const { number, from, to } of command.targets) {
      const { events, answer, stop } = decideCancel(this.state, number, from, to, at, command.only);
      for (const event of events) this.#committer.add(event);
      total.cancelled += answer.cancelled;
      total.stopping += answer.stopping;
      total.finished += answer.finished;
      if (answer.closed !== undefined) total.closed = (total.closed ?? 0) + answer.closed;
      this.#stopOrders(stop, at);
    }
    return () => total;
  }

  #schedule(now: Now): void {
    const at = this.#time(now);
    this.#ring(at);
    const reachable = (node: Node): boolean => this.#liveness.reachable(node, now);
    const events = this.scheduler.assignments(reachable, at, (wanted, nodes) => this.#look(wanted, nodes, now));
    for (const event of events) {
      this.#committer.add(event);
      if (event.t === "assigned") this.#orders.assign(event.node, event.runs);
    }
  }

  /** Asks for folders; whoever leads next asks again, so nothing of it waits for the log. */
  #look(wanted: readonly Needs[], nodes: readonly NodeLoad[], now: Now): void {
    for (const [id, folders] of this.scheduler.folders.ask(wanted, nodes, now.monotonic_ms)) {
      const incarnation = this.state.nodes.get(id)?.incarnation;
      if (incarnation === undefined) throw new Error(`an unknown node ${id} is asked for folders`);
      this.#world.send(id, { type: "node.control", incarnation, action: { kind: "look", folders } });
    }
  }

  /** For who asks where such a task would go: asks what is not known of late, and says whether an answer is awaited. */
  looks(needs: Needs, now: Now): boolean {
    if (needs.folder === undefined) return false;
    const nodes = this.scheduler.loads((node) => this.#liveness.reachable(node, now));
    this.#look([needs], nodes, now);
    return this.scheduler.folders.awaits(needs, nodes, now.monotonic_ms);
  }

  /** The order to stop may have been lost on its way, and no difference would show it. */
  #stopAgain(id: string): void {
    const runs: EventRun[] = [];
    for (const number of this.#stopping.keys()) {
      const { segments = [], count = 0 } = this.state.submissions.get(number) ?? {};
      const pieces = piecesOf(segments, 0, count, (piece) => piece.stopping !== undefined);
      if (pieces.length === 0) this.#stopping.delete(number);
      for (const { from, to, attempt, node } of pieces) if (node === id) runs.push([number, from, to, attempt]);
    }
    if (runs.length > 0) this.#orders.stop(id, runs, "cancelled");
  }

  #report(id: string, message: Exclude<UpMessage, { type: "node.heartbeat" }>, now: Now): void {
    const at = this.#time(now);
    if (message.type === "node.register") {
      this.#liveness.register(id, message, now, at);
      return;
    }
    // What an earlier life says, or another process that takes itself for this node, is not this node's.
    if (!this.#liveness.isCurrent(id, message.incarnation)) return;
    switch (message.type) {
      case "node.shutdown":
        this.#liveness.goodbye(id, message, at);
        return;
      case "skill.update":
        this.#liveness.skills(id, message, at);
        return;
      case "node.held":
        this.#liveness.reconcile(id, message);
        return;
      case "node.folders":
        this.scheduler.folders.said(id, message.folders, now.monotonic_ms);
        this.#options.looked?.();
        return;
      case "task.progress":
        this.#progressed(id, message);
        return;
      default: {
        this.contacts.heard(id, now.monotonic_ms);
        const { state, scheduler } = this;
        const events = reportEvents({ state, scheduler, chance: this.#options.chance }, id, message, at);
        for (const event of events) this.#committer.add(event);
        this.ends.noted(id, message, events, at);
        if (message.type === "task.start") return;
        const { incarnation, seq } = message;
        const acknowledge = (): void => this.#world.send(id, { type: "report.ack", incarnation, seqs: [seq] });
        // Refused as a whole: the worker may forget it only once it is certain that this leader still leads.
        if (events.length === 0) this.#committer.confirmed(acknowledge);
        else this.#committer.afterwards(acknowledge);
      }
    }
  }

  #progressed(id: string, message: Extract<UpMessage, { type: "task.progress" }>): void {
    const { task, stdout_bytes, stderr_bytes } = message;
    const [number, index, attempt] = task;
    if (currentPieces(this.state, id, number, index, index + 1, attempt).length === 0) return;
    this.progress.heard(number, index, attempt, { stdout_bytes, stderr_bytes });
  }
}
