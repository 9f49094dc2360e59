// Who is there, and well: registrations, heartbeats, pings, goodbyes, two processes that both claim to be one node, and what both sides
// believe the node to hold. A part of the leader, as synchronous as the rest of it.

import { sharedNames, sharedNameText } from "../common/find-nodes.ts";
import { isoTime } from "../common/runtime.ts";
import { formatDuration } from "../common/units.ts";
import type { DownMessage, UpMessage } from "../communication/messages.ts";
import { heldBy, heldByEach } from "../core/apply.ts";
import { planted } from "../core/canary.ts";
import { decideLost } from "../core/decide.ts";
import { mayEnd } from "../core/decide-nodes.ts";
import type { Event, EventRun } from "../core/event.ts";
import { decideUnheard } from "../core/lost.ts";
import { without } from "../core/runs.ts";
import type { Node, State } from "../core/state.ts";
import type { LeaderOptions, Now } from "./leader-world.ts";
import type { Contact, Contacts } from "./nodes.ts";

type Of<T extends UpMessage["type"]> = Extract<UpMessage, { type: T }>;
type Action = Extract<DownMessage, { type: "node.control" }>["action"];

/** What it needs of the leader that it is a part of. */
export interface LivenessHost {
  readonly state: State;
  readonly contacts: Contacts;
  readonly options: Pick<LeaderOptions, "heartbeat_ms" | "missed_heartbeats" | "lost_after_ms">;
  /** Folds an event and puts it into the open batch. `at` of events is log time. */
  add(event: Event): void;
  /** Once everything decided so far is in the log. */
  afterwards(action: () => void): void;
  /** Once it is certain that this leader still leads. */
  confirmed(action: () => void): void;
  send(node: string, message: DownMessage): void;
  /** Sends what was assigned. */
  assign(node: string, runs: readonly EventRun[]): void;
  stop(node: string, runs: readonly EventRun[], reason: "cancelled" | "superseded"): void;
  /** Orders to stop that may have been lost on their way. */
  stopAgain(node: string): void;
}

/** For so many the life of a node that stands may be silent before another process may take its place, and before nobody
 * can say that it is heard. */
const SILENT_INTERVALS = 1.5;

/** Each answer takes a look at all that runs. */
const LISTS_A_TURN = 32;

const DEAF = "it is heard and does not hear: it answers no ping";

/** A process that claims to be a node which another one is. */
interface Rival {
  incarnation: string;
  since_ms: number;
}

export class Liveness {
  readonly #host: LivenessHost;
  /** Since when it hears anybody. */
  #started_ms: number;
  readonly #rivals = new Map<string, Rival>();
  /** Whose list is to be asked for, in the order in which that was found. */
  readonly #doubtful = new Set<string>();

  constructor(host: LivenessHost, started_ms: number) {
    this.#host = host;
    this.#started_ms = started_ms;
  }

  /** What was said before is not known: the leader did not serve yet. */
  watchFrom(now_ms: number): void {
    this.#started_ms = now_ms;
  }

  /** A new leader gives every node a full interval before it calls one silent. */
  reachable(node: Node, now: Now): boolean {
    return this.#silentFor(node, now) <= this.#intervals(this.#host.options.missed_heartbeats + 0.5);
  }

  #intervals(count: number): number {
    return this.#host.options.heartbeat_ms * count;
  }

  #silentFor(node: Node, now: Now): number {
    return now.monotonic_ms - (this.#host.contacts.get(node.id)?.heard_ms ?? this.#started_ms);
  }

  /** Nodes that fell silent, those that may end, and what deaf ones never heard of. */
  tick(now: Now, at: number): void {
    const { state, contacts, options } = this.#host;
    const deaf_ms = new Map<string, number>();
    for (const node of state.nodes.values()) {
      if (mayEnd(node)) this.#shutDown(node);
      if (node.status === "offline") continue;
      const contact = contacts.get(node.id);
      if (!this.reachable(node, now)) {
        if (contact !== undefined) contact.pinged_ms = undefined;
        this.#host.add({ t: "node", node: node.id, status: "offline", reason: "its heartbeats stopped", at });
      } else if (contact !== undefined && this.#isDeaf(contact, now) && this.#isHeard(node, now)) {
        // In error before its work waits again: else it would be given the same once more.
        this.#judge(node, contact, now, at);
        deaf_ms.set(node.id, now.monotonic_ms - (contact.pinged_ms ?? 0));
      }
    }
    for (const event of decideUnheard(state, deaf_ms, at, options.lost_after_ms)) this.#host.add(event);
    this.#askForLists();
  }

  /** What is not heard of late may be cut off: that it does not hear is not said of it, only not taken back. */
  #isHeard(node: Node, now: Now): boolean {
    return node.reason === DEAF || this.#silentFor(node, now) <= this.#intervals(SILENT_INTERVALS);
  }

  /** As many pings without an answer as heartbeats may be missed. */
  #isDeaf({ pinged_ms }: Contact, now: Now): boolean {
    const { missed_heartbeats } = this.#host.options;
    return pinged_ms !== undefined && now.monotonic_ms - pinged_ms > this.#intervals(missed_heartbeats + 0.5);
  }

  /** Through the subscription that brings the work: who does not answer hears nothing of that either. */
  #ping({ id, incarnation }: Node, contact: Contact, now: Now): void {
    contact.pinged_ms ??= now.monotonic_ms;
    this.#control(id, incarnation, { kind: "ping" });
  }

  /** A node that was heard: well, or in error for what it says itself, or because it does not hear. */
  #judge(node: Node, contact: Contact, now: Now, at: number): void {
    const reason = this.#isDeaf(contact, now) ? DEAF : (contact.trouble ?? "");
    // What it says of itself is not known before it has registered with this leader.
    if (reason === "" && !contact.registered) return;
    const status = reason === "" ? "online" : "error";
    if (node.status === status && node.reason === reason) return;
    this.#host.add({ t: "node", node: node.id, status, reason, at });
  }

  /** Everybody is asked to register again, which brings what they could not report. */
  askAll(): void {
    for (const node of this.#host.state.nodes.values()) {
      if (node.status !== "offline") this.#control(node.id, node.incarnation, { kind: "register" });
    }
  }

  /** Told again until it says goodbye; only when all that it held is in the log. */
  #shutDown({ id, incarnation, cordon }: Node): void {
    const message = `shut down by ${cordon?.by}: ${cordon?.reason}`;
    this.#host.afterwards(() => this.#control(id, incarnation, { kind: "shutdown", message }));
  }

  #control(node: string, incarnation: string, action: Action): void {
    this.#host.send(node, { type: "node.control", incarnation, action });
  }

  /** What a node has found, unless it is known: told again until this answers. */
  skills(id: string, { incarnation, hash, skills }: Of<"skill.update">, at: number): void {
    const known = this.#host.state.nodes.get(id)?.skills;
    if (known?.hash !== hash) this.#host.add({ t: "skills", node: id, hash, skills, at });
    this.#host.afterwards(() => this.#control(id, incarnation, { kind: "skills", hash }));
  }

  heartbeat(id: string, message: Of<"node.heartbeat">, now: Now, at: number): void {
    const { state, contacts } = this.#host;
    const node = state.nodes.get(id);
    if (node === undefined || !node.incarnation.startsWith(message.i)) {
      this.#control(id, message.i.padEnd(16, "0"), { kind: "register" });
      return;
    }
    const contact = contacts.heard(id, now.monotonic_ms);
    if (message.c !== undefined) contact.cpu_percent = message.c;
    if (message.m !== undefined) contact.free_memory_mib = message.m;
    if (message.d !== undefined) contact.disk_free_percent = message.d;
    if (message.p !== undefined) contact.pinged_ms = undefined;
    if (!contact.registered || this.#askAgain(contact, now)) {
      this.#control(id, node.incarnation, { kind: "register" });
    }
    this.#judge(node, contact, now, at);
    this.#ping(node, contact, now);
    const agrees = node.held.count === message.n && node.held.hash === message.h;
    if (contacts.compare(contact, agrees)) this.#doubtful.add(id);
    else if (agrees) this.#doubtful.delete(id);
    this.#host.stopAgain(id);
  }

  /** That its trouble is over is said once, and may be lost: so who is in error is asked, once a heartbeat. */
  #askAgain(contact: Contact, now: Now): boolean {
    if (contact.trouble === undefined || now.monotonic_ms - (contact.asked_again_ms ?? 0) < this.#intervals(1))
      return false;
    contact.asked_again_ms = now.monotonic_ms;
    return true;
  }

  /** Tells a node as how large it counts from now on. */
  configured(id: string): void {
    this.#host.afterwards(() => {
      const node = this.#host.state.nodes.get(id);
      if (node === undefined || node.status === "offline") return;
      this.#control(id, node.incarnation, { kind: "capacity", capacity: node.info.capacity });
    });
  }

  /** Whether a message is from the life of the node that stands. */
  isCurrent(id: string, incarnation: string): boolean {
    return this.#host.state.nodes.get(id)?.incarnation === incarnation;
  }

  register(id: string, message: Of<"node.register">, now: Now, at: number): void {
    const { state, contacts, options } = this.#host;
    const { incarnation, info, cluster_id } = message;
    if (cluster_id !== undefined && cluster_id !== state.cluster_id) {
      const text = `node ${id} belongs to another cluster (${cluster_id}), this one is ${state.cluster_id}`;
      // True whoever leads: nothing has to be in the log for it.
      this.#control(id, incarnation, { kind: "refuse", code: "wrong_cluster", message: text });
      return;
    }
    const known = state.nodes.get(id);
    if (known !== undefined && !this.#mayStand(known, message, now)) return;
    this.#rivals.delete(id);
    const contact = contacts.heard(id, now.monotonic_ms);
    // Who is in error is asked to register again and again.
    contacts.registered(contact, message.trouble, message.trouble === undefined && known?.status !== "error");
    if (known?.incarnation !== incarnation) contact.pinged_ms = undefined;
    if (known?.incarnation !== incarnation || JSON.stringify(known.declared) !== JSON.stringify(info)) {
      if (known !== undefined && known.incarnation !== incarnation) this.#supersede(known, message.held, at);
      this.#host.add({ t: "registered", node: id, incarnation, info, at });
    }
    const node = state.nodes.get(id);
    if (node !== undefined) this.#judge(node, contact, now, at);
    const { heartbeat_ms } = options;
    contact.pinged_ms ??= now.monotonic_ms;
    this.#host.afterwards(() => {
      // The log may have taken so long that another one stands by now.
      if (!this.isCurrent(id, incarnation)) return;
      const { capacity } = node?.settings === undefined ? {} : node.info;
      const skills = state.nodes.get(id)?.skills?.hash;
      const others = sharedNames(state.nodes.values()).get(info.name);
      const same = others === undefined ? {} : { same_name: sharedNameText(info.name, others) };
      const set = { ...(capacity === undefined ? {} : { capacity }), ...(skills === undefined ? {} : { skills }) };
      this.#control(id, incarnation, { kind: "welcome", cluster_id: state.cluster_id, heartbeat_ms, ...set, ...same });
    });
    this.#host.stopAgain(id);
  }

  /**
   * One process is a node at a time. Another one takes its place when it is certain to be dead (the other one has its data
   * folder and was started after it), said goodbye, or fell silent. While that is not known it waits; it is refused when
   * the one that stands is heard after it came.
   */
  #mayStand(known: Node, { incarnation, earlier, info }: Of<"node.register">, now: Now): boolean {
    if (known.incarnation === incarnation || known.status === "offline") return true;
    if (earlier?.includes(known.incarnation) === true || planted("rival_welcomed")) return true;
    if (this.#silentFor(known, now) > this.#intervals(SILENT_INTERVALS)) return true;
    const rival = this.#rivals.get(known.id);
    if (rival?.incarnation !== incarnation) this.#rivals.set(known.id, { incarnation, since_ms: now.monotonic_ms });
    const heard_ms = this.#host.contacts.get(known.id)?.heard_ms;
    const where = `process ${known.info.pid} on ${known.info.machine === info.machine ? "this" : "another"} machine`;
    const other = `${known.id} is ${known.info.name}, ${where}, since ${isoTime(known.registered_at)}`;
    if (rival?.incarnation === incarnation && heard_ms !== undefined && heard_ms > rival.since_ms) {
      this.#rivals.delete(known.id);
      const refusal: Action = { kind: "refuse", code: "node_taken", message: `${other}, and is alive` };
      // Who was deposed without noticing may take a life for the present one that is long over.
      this.#host.confirmed(() => this.#control(known.id, incarnation, refusal));
      return false;
    }
    const silent = formatDuration(Math.round(this.#silentFor(known, now)));
    const message = `${other}, heard ${silent} ago: waiting to see whether it still lives`;
    this.#control(known.id, incarnation, { kind: "wait", message });
    this.#control(known.id, known.incarnation, { kind: "ping", answer: true });
    return false;
  }

  /** Attempts of a node's earlier life are over, but for those whose reports it still has to send. */
  #supersede(node: Node, reported: readonly EventRun[], at: number): void {
    const { state } = this.#host;
    const held = heldBy(state, node.id);
    let place = 0;
    // In the order of what it holds: looked for from the beginning each time, a node that holds much takes seconds.
    const lost = without(held.map(runOf), reported).map(([number, from, to, attempt]) => {
      const covers = (entry: (typeof held)[number] | undefined): boolean =>
        entry === undefined || (entry.number === number && entry.piece.from <= from && entry.piece.to >= to);
      while (!covers(held[place])) place += 1;
      const whole = held[place];
      if (whole === undefined) throw new Error(`node ${node.id} does not hold ${number}.${from}`);
      return { number, piece: { ...whole.piece, from, to, attempt } };
    });
    for (const event of decideLost(state, node.id, lost, at)) this.#host.add(event);
  }

  goodbye(id: string, { incarnation, reason }: Of<"node.shutdown">, at: number): void {
    const { state, contacts } = this.#host;
    const node = state.nodes.get(id);
    if (node === undefined || node.incarnation !== incarnation || node.status === "offline") return;
    for (const event of decideLost(state, id, heldBy(state, id), at, "released")) this.#host.add(event);
    const { shutdown, by, reason: why } = node.cordon ?? {};
    const told = shutdown === true ? `shut down by ${by}: ${why}` : `said goodbye: ${reason}`;
    this.#host.add({ t: "node", node: id, status: "offline", reason: told, at });
    contacts.forget(id);
  }

  /** A few at a time, in one look at what they hold: when the broker was started again all of them may differ. */
  #askForLists(): void {
    const { state, contacts } = this.#host;
    const ids = [...this.#doubtful].slice(0, LISTS_A_TURN);
    const held = heldByEach(state, new Set(ids));
    for (const id of ids) {
      this.#doubtful.delete(id);
      const [node, contact] = [state.nodes.get(id), contacts.get(id)];
      if (node === undefined || contact === undefined) continue;
      const { incarnation } = node;
      const list = contacts.ask(contact, (held.get(id) ?? []).map(runOf));
      // Behind every assignment that the copy holds, so that the answer comes after them.
      this.#host.afterwards(() => this.#control(id, incarnation, { kind: "list", list }));
    }
  }

  /** Both lists are known: what only the leader has was lost on the way and is sent again, what only the node has stops. */
  reconcile(id: string, message: Of<"node.held">): void {
    const { state, contacts } = this.#host;
    const contact = contacts.get(id);
    const asked = contact?.asked;
    if (!this.isCurrent(id, message.incarnation) || asked === undefined || asked.list !== message.list) return;
    asked.got.push(...message.held);
    if (!message.last || contact === undefined) return;
    contact.asked = undefined;
    const now_held = heldBy(state, id).map(runOf);
    const gone = without(asked.runs, asked.got);
    const again = without(gone, without(gone, now_held));
    if (again.length > 0 && !planted("lost_assignment_forgotten")) this.#host.assign(id, again);
    const strange = without(asked.got, [...asked.runs, ...now_held]);
    if (strange.length > 0) this.#host.stop(id, strange, "superseded");
    this.#host.stopAgain(id);
  }
}

function runOf({ number, piece }: ReturnType<typeof heldBy>[number]): EventRun {
  return [number, piece.from, piece.to, piece.attempt];
}
