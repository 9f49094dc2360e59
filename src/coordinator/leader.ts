// The leader of a term: commands and reports in, decisions into the log, replies and orders out, each only after the
// log has what it rests on. Synchronous, and it touches the world through four methods, so the simulator runs it as it is.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type {
  CommandType,
  DownMessage,
  TaskCancelCommand,
  TaskExtend,
  TaskRetry,
  TaskSubmit,
  UpMessage,
} from "../communication/messages.ts";
import { heldBy } from "../core/apply.ts";
import { planted } from "../core/canary.ts";
import {
  currentPieces,
  decideAbandoned,
  decideCancel,
  decideExtend,
  decideLost,
  decideSubmit,
} from "../core/decide.ts";
import { decideDrains, decideManage, type Manage } from "../core/decide-nodes.ts";
import { decideRetry, type PastView } from "../core/decide-retry.ts";
import { decideDue } from "../core/due.ts";
import type { Event, EventRun } from "../core/event.ts";
import { decideGone } from "../core/lost.ts";
import { without } from "../core/runs.ts";
import { piecesOf } from "../core/segments.ts";
import { isOver, type Node, type State } from "../core/state.ts";
import { Admission } from "./admission.ts";
import { Alarms } from "./alarms.ts";
import { assignMessages, type Material } from "./assign.ts";
import { type Committed, Committer, type Tail } from "./committer.ts";
import { Known } from "./known.ts";
import type { Anchor, LeaderOptions, LeaderView, LeaderWorld, Now } from "./leader-world.ts";
import { LogClock } from "./log-clock.ts";
import { Contacts } from "./nodes.ts";
import { ProgressBook } from "./progress.ts";
import { Pruner } from "./pruner.ts";
import { reportEvents } from "./reports.ts";
import { Scheduler } from "./scheduler.ts";

export class Leader {
  readonly state: State;
  readonly contacts = new Contacts();
  readonly progress = new ProgressBook();
  readonly scheduler: Scheduler;
  readonly #world: LeaderWorld;
  readonly #view: LeaderView;
  readonly #options: LeaderOptions;
  readonly #committer: Committer;
  readonly #alarms: Alarms;
  readonly #known: Known;
  readonly #pruner: Pruner;
  readonly #over: { number: number; sequence: number }[] = [];
  readonly #admission: Admission;
  /** Submissions with members that were told to stop. */
  readonly #stopping = new Set<number>();
  #serving = false;
  #started_ms: number;
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
    this.#pruner = new Pruner(state, view.prunable, this.#known, options.retention);
    this.#world = world;
    this.#options = options;
    this.#started_ms = now.monotonic_ms;
    this.scheduler = new Scheduler(state);
    this.#alarms = new Alarms(state);
    const epoch = state.epoch + 1;
    this.#committer = new Committer(
      state,
      tail,
      epoch,
      (batch) => world.append(batch),
      (committed) => this.#onCommitted(committed),
      (event) => this.#alarms.noted(state, event),
    );
    this.#admission = new Admission((bytes) => this.#committer.fits(bytes));
    for (const number of state.active) this.#stopping.add(number);
    const at = this.#time(now);
    if (state.cluster_id === "") {
      this.#committer.add({ t: "cluster", cluster_id: options.fresh_cluster_id, name: options.cluster, at });
    }
    this.#committer.add({ t: "term", epoch, leader: options.name, at });
    this.#committer.afterwards(() => this.#open());
    this.#committer.close(at);
  }

  get serving(): boolean {
    return this.#serving;
  }

  /** Whether everything that was decided is in the log. */
  get idle(): boolean {
    return this.#committer.idle;
  }

  /** The barrier is in the log: serve. Nodes are asked to register again, which brings what they could not report. */
  #open(): void {
    this.#serving = true;
    for (const node of this.state.nodes.values()) {
      if (node.status !== "offline") this.#control(node.id, node.incarnation, { kind: "register" });
    }
  }

  /** The log has stored the batch with this sequence. */
  stored(sequence: number, now: Now): void {
    this.#committer.stored(sequence);
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
        if (!(error instanceof ClawError)) throw error;
        // Who was deposed without noticing knows less than the log: only one that still leads may refuse.
        this.#committer.confirmed(() => this.#world.reply(token, error));
      }
    });
    if (!admitted) this.#world.reply(token, new ClawError("too_many", "too many requests are waiting"));
  }

  /** A message from a worker. */
  up(node: string, message: UpMessage, bytes: number, now: Now): void {
    if (!this.#serving) return;
    if (message.type === "node.heartbeat") this.#heartbeat(node, message, now);
    else this.#admission.admit(bytes, now, (then) => this.#report(node, message, then)); // or it is sent again
  }

  /** Ends a turn: takes what was deferred, places what waits and closes the batch if it is time. */
  settle(now: Now): void {
    if (this.#serving) this.#schedule(now);
    this.#committer.close(this.#time(now));
    this.#admission.drain(now, () => this.#committer.close(this.#time(now)));
  }

  /** Log time at which a tick is wanted at the latest, if any is. */
  get next_alarm(): number | undefined {
    return this.#alarms.next;
  }

  /** Starts that were put off, deadlines. */
  #ring(at: number): void {
    if (planted("timer_lost") && this.state.epoch > 1) return;
    for (const number of this.#alarms.take(at)) {
      const { events, stop } = decideDue(this.state, number, at);
      for (const event of events) this.#committer.add(event);
      this.#stopOrders(stop);
    }
  }

  /** What was decided to be stopped, told to its nodes, and again at each heartbeat until it is gone. */
  #stopOrders(stop: ReadonlyMap<string, EventRun[]>): void {
    for (const [node, runs] of stop) {
      for (const [number] of runs) this.#stopping.add(number);
      this.#stop(node, runs, "cancelled");
    }
  }

  /** Once a second or so: nodes that fell silent, arrays that nobody extends. */
  tick(now: Now): void {
    if (!this.#serving) return;
    const at = this.#time(now);
    for (const node of this.state.nodes.values()) {
      if (node.status !== "online" || this.#reachable(node, now)) continue;
      this.#committer.add({ t: "node", node: node.id, status: "offline", reason: "its heartbeats stopped", at });
    }
    const { abandoned_after_ms, lost_after_ms } = this.#options;
    const watched_ms = now.monotonic_ms - this.#started_ms;
    for (const event of decideGone(this.state, at, watched_ms, lost_after_ms)) this.#committer.add(event);
    const drains = decideDrains(this.state, at);
    for (const event of drains.events) this.#committer.add(event);
    this.#stopOrders(drains.stop);
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

  /** A new leader gives every node a full interval before it calls one silent. */
  #reachable(node: Node, now: Now): boolean {
    const heard_ms = this.contacts.get(node.id)?.heard_ms ?? this.#started_ms;
    return now.monotonic_ms - heard_ms <= this.#options.heartbeat_ms * (this.#options.missed_heartbeats + 0.5);
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
        this.#addAll(events);
        this.#stopOrders(stop);
        for (const event of events) if (event.t === "removed") this.contacts.forget(event.node);
        return () => ({});
      }
      case "task.retry": {
        const past: PastView = {
          findIds: this.#known.ids,
          retryable: (number) => this.#view.retryable(number),
          ended: (number, statuses) => this.#view.ended(number, statuses),
        };
        const { events, answer } = decideRetry(this.state, past, payload as TaskRetry, who, at);
        this.#addAll(events);
        return () => ({ ...answer });
      }
      default:
        throw new ClawError("unsupported", `the leader does not know the command ${type}`);
    }
  }

  #addAll(events: readonly Event[]): void {
    this.#committer.addTogether(events);
    for (const event of events) if (event.t === "submitted") this.#known.note(event);
  }

  #cancel(command: TaskCancelCommand, at: number): () => object {
    const total = { cancelled: 0, stopping: 0, finished: 0 };
    for (const { number, from, to } of command.targets) {
      const { events, answer, stop } = decideCancel(this.state, number, from, to, at, command.only);
      for (const event of events) this.#committer.add(event);
      total.cancelled += answer.cancelled;
      total.stopping += answer.stopping;
      total.finished += answer.finished;
      this.#stopOrders(stop);
    }
    return () => total;
  }

  #stop(id: string, runs: readonly EventRun[], reason: "cancelled" | "superseded"): void {
    const incarnation = this.state.nodes.get(id)?.incarnation;
    if (incarnation === undefined) return;
    this.#committer.afterwards(() => {
      for (let at = 0; at < runs.length; at += LIMITS.assign_runs_per_message) {
        const part = runs.slice(at, at + LIMITS.assign_runs_per_message);
        this.#world.send(id, { type: "task.cancel", incarnation, runs: part, reason });
      }
    });
  }

  #schedule(now: Now): void {
    const at = this.#time(now);
    this.#ring(at);
    const events = this.scheduler.assignments((node) => this.#reachable(node, now), at);
    for (const event of events) {
      this.#committer.add(event);
      if (event.t === "assigned") this.#assign(event.node, event.runs);
    }
  }

  #assign(id: string, runs: readonly EventRun[]): void {
    const incarnation = this.state.nodes.get(id)?.incarnation;
    if (incarnation === undefined) throw new Error(`assigned to an unknown node ${id}`);
    this.#committer.afterwards(() => {
      const material: Material = {
        submission: (number) => this.state.submissions.get(number),
        specification: (number) => this.#view.specification(number),
        inputs: (number, from, to) => this.#view.inputs(number, from, to),
        source: (number) => this.#view.source(number),
      };
      for (const message of assignMessages(incarnation, runs, material)) this.#world.send(id, message);
    });
  }

  #control(node: string, incarnation: string, action: Extract<DownMessage, { type: "node.control" }>["action"]): void {
    this.#world.send(node, { type: "node.control", incarnation, action });
  }

  #heartbeat(id: string, message: Extract<UpMessage, { type: "node.heartbeat" }>, now: Now): void {
    const node = this.state.nodes.get(id);
    if (node === undefined || !node.incarnation.startsWith(message.i)) {
      this.#control(id, message.i.padEnd(16, "0"), { kind: "register" });
      return;
    }
    const contact = this.contacts.heard(id, now.monotonic_ms);
    if (message.c !== undefined) contact.cpu_percent = message.c;
    if (message.m !== undefined) contact.free_memory_mib = message.m;
    if (node.status === "offline") {
      const at = this.#time(now);
      this.#committer.add({ t: "node", node: id, status: "online", reason: "", at });
    }
    const agrees = node.held.count === message.n && node.held.hash === message.h;
    if (this.contacts.compare(contact, agrees)) this.#askForList(node);
    this.#stopAgain(id);
  }

  /** The order to stop may have been lost on its way, and no difference would show it. */
  #stopAgain(id: string): void {
    const runs: EventRun[] = [];
    for (const number of this.#stopping) {
      const { segments = [], count = 0 } = this.state.submissions.get(number) ?? {};
      const pieces = piecesOf(segments, 0, count, (piece) => piece.stopping !== undefined);
      if (pieces.length === 0) this.#stopping.delete(number);
      for (const { from, to, attempt, node } of pieces) if (node === id) runs.push([number, from, to, attempt]);
    }
    if (runs.length > 0) this.#stop(id, runs, "cancelled");
  }

  #askForList(node: Node): void {
    const contact = this.contacts.get(node.id);
    if (contact === undefined) return;
    const runs = heldBy(this.state, node.id).map(
      ({ number, piece }): EventRun => [number, piece.from, piece.to, piece.attempt],
    );
    const { id, incarnation } = node;
    const list = this.contacts.ask(contact, runs);
    // Behind every assignment that the copy holds, so that the answer comes after them.
    this.#committer.afterwards(() => this.#control(id, incarnation, { kind: "list", list }));
  }

  #report(id: string, message: Exclude<UpMessage, { type: "node.heartbeat" }>, now: Now): void {
    const at = this.#time(now);
    switch (message.type) {
      case "node.register":
        this.#register(id, message, now);
        return;
      case "node.shutdown":
        this.#shutdown(id, message.incarnation, message.reason, at);
        return;
      case "node.held":
        this.#reconcile(id, message);
        return;
      case "task.progress":
        this.#progressed(id, message);
        return;
      default: {
        this.contacts.heard(id, now.monotonic_ms);
        const { state, scheduler } = this;
        const events = reportEvents({ state, scheduler, chance: this.#options.chance }, id, message, at);
        for (const event of events) this.#committer.add(event);
        if (message.type === "task.start") return;
        const acknowledge = (): void => this.#world.send(id, { type: "report.ack", seqs: [message.seq] });
        // Refused as a whole: the worker may forget it only once it is certain that this leader still leads.
        if (events.length === 0) this.#committer.confirmed(acknowledge);
        else this.#committer.afterwards(acknowledge);
      }
    }
  }

  #progressed(id: string, message: Extract<UpMessage, { type: "task.progress" }>): void {
    const { incarnation, task, stdout_bytes, stderr_bytes } = message;
    const [number, index, attempt] = task;
    if (this.state.nodes.get(id)?.incarnation !== incarnation) return;
    if (currentPieces(this.state, id, number, index, index + 1, attempt).length === 0) return;
    this.progress.heard(number, index, attempt, { stdout_bytes, stderr_bytes });
  }

  #register(id: string, message: Extract<UpMessage, { type: "node.register" }>, now: Now): void {
    const { incarnation, info, cluster_id } = message;
    if (cluster_id !== undefined && cluster_id !== this.state.cluster_id) {
      const text = `node ${id} belongs to another cluster (${cluster_id}), this one is ${this.state.cluster_id}`;
      this.#control(id, incarnation, { kind: "refuse", code: "wrong_cluster", message: text });
      return;
    }
    const at = this.#time(now);
    const known = this.state.nodes.get(id);
    this.contacts.heard(id, now.monotonic_ms);
    if (known?.incarnation !== incarnation || JSON.stringify(known.info) !== JSON.stringify(info)) {
      if (known !== undefined && known.incarnation !== incarnation) this.#supersede(known, message.held, at);
      this.#committer.add({ t: "registered", node: id, incarnation, info, at });
    } else if (known.status === "offline") {
      this.#committer.add({ t: "node", node: id, status: "online", reason: "", at });
    }
    const heartbeat_ms = this.#options.heartbeat_ms;
    this.#committer.afterwards(() => {
      this.#control(id, incarnation, { kind: "welcome", cluster_id: this.state.cluster_id, heartbeat_ms });
    });
    this.#stopAgain(id);
  }

  /** Attempts of a node's earlier life are over, but for those whose reports it still has to send. */
  #supersede(node: Node, reported: readonly EventRun[], at: number): void {
    const held = heldBy(this.state, node.id);
    const runs = held.map(({ number, piece }): EventRun => [number, piece.from, piece.to, piece.attempt]);
    const lost = without(runs, reported).map(([number, from, to, attempt]) => {
      const whole = held.find((entry) => entry.number === number && entry.piece.from <= from && entry.piece.to >= to);
      if (whole === undefined) throw new Error(`node ${node.id} does not hold ${number}.${from}`);
      return { number, piece: { ...whole.piece, from, to, attempt } };
    });
    for (const event of decideLost(this.state, node.id, lost, at)) this.#committer.add(event);
  }

  #shutdown(id: string, incarnation: string, reason: string, at: number): void {
    const node = this.state.nodes.get(id);
    if (node === undefined || node.incarnation !== incarnation || node.status === "offline") return;
    for (const event of decideLost(this.state, id, heldBy(this.state, id), at, "released")) this.#committer.add(event);
    this.#committer.add({ t: "node", node: id, status: "offline", reason: `said goodbye: ${reason}`, at });
    this.contacts.forget(id);
  }

  /** Both lists are known: what only the leader has was lost on the way and is sent again, what only the node has stops. */
  #reconcile(id: string, message: Extract<UpMessage, { type: "node.held" }>): void {
    const contact = this.contacts.get(id);
    const node = this.state.nodes.get(id);
    const asked = contact?.asked;
    if (node === undefined || asked === undefined || asked.list !== message.list) return;
    if (node.incarnation !== message.incarnation) return;
    asked.got.push(...message.held);
    if (!message.last || contact === undefined) return;
    contact.asked = undefined;
    const now_held = heldBy(this.state, id).map(
      ({ number, piece }): EventRun => [number, piece.from, piece.to, piece.attempt],
    );
    const gone = without(asked.runs, asked.got);
    const again = without(gone, without(gone, now_held));
    if (again.length > 0 && !planted("lost_assignment_forgotten")) this.#assign(id, again);
    const strange = without(asked.got, [...asked.runs, ...now_held]);
    if (strange.length > 0) this.#stop(id, strange, "superseded");
    this.#stopAgain(id);
  }
}
