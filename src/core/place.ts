// Which node gets how many of which waiting tasks: a pure function of lanes (waiting tasks grouped by what they need),
// nodes and the moment. Whose turn it is comes first; who finds no room is passed by, and the oldest of these that is too
// large for the gaps has a node emptied for it. Then short tasks are prefetched, so that no worker waits a round trip.

import { LIMITS } from "../common/limits.ts";
import type { Needs } from "../common/models.ts";
import type { Priority, Strategy } from "../common/vocabulary.ts";
import { PRIORITIES } from "../common/vocabulary.ts";
import { distance, fits, fitsBeside, type Lasting, largerThanUsual, type NodeLoad, roomOf, suits } from "./fit.ts";
import { Neighbours } from "./neighbours.ts";
import { addUse, copyUsed } from "./state.ts";
import { type Choice, giveOut, type Weights } from "./strategies.ts";

/** Tasks of one submission that wait. The lower the turn the sooner; of the same turn the lower number. */
export interface Waiting {
  turn: number;
  number: number;
  count: number;
}

export interface WaitingLane {
  needs: Needs;
  waiting: number;
  /** What waits in the order in which it is taken; read no further than it is placed. */
  queue: Iterable<Waiting>;
  /** Since when nothing of it was placed, in log time. */
  since: number;
  /** Measured running time of its tasks; absent until one ended. */
  mean_ms?: number | undefined;
  /** Nodes that ran its tasks last. */
  warm?: ReadonlySet<string> | undefined;
}

export interface PlacementSettings {
  strategy: Strategy;
  weights: Weights;
  /** Waiting so long is worth one step of priority. */
  aging_ms: number;
  /** A task that the gaps are too small for has a node emptied for it when it waited so long. */
  reserve_after_ms: number;
}

export interface PlaceNow {
  /** Log time. */
  at: number;
  seed: number;
  settings: PlacementSettings;
  /** What on a node ends only when somebody ends it. */
  lasting?: (node: string) => Lasting | undefined;
  /** Nodes of which none is emptied now: it was tried for long. */
  rested?: ReadonlySet<string>;
}

export interface Placement {
  /** Position in the lanes given. */
  lane: number;
  node: string;
  count: number;
  /** Its place in the round, among all placements of this turn: who was given something last has the highest. */
  turn: number;
}

export interface Placed {
  placements: Placement[];
  /** The node that is being emptied, and the lane whose first task it is for. */
  reserved?: { node: string; lane: number };
}

/** Work that a node is given ahead, in milliseconds of its own speed. */
const PREFETCH_MS = 30;
/** Even what would fit the gaps left by one task has a node emptied for it when it waited so many times longer. */
const AT_LAST = 10;

/** When a task's turn is: its submission, put off by its priority. So nothing waits for ever behind what came much later. */
export function turnOf(at: number, priority: Priority, aging_ms: number): number {
  return at + PRIORITIES.indexOf(priority) * aging_ms;
}

/** Places what it can; never more than a lane has waiting, never over a node's capacity but for prefetched tasks. */
export function place(ready: readonly WaitingLane[], nodes: readonly NodeLoad[], now: PlaceNow): Placed {
  return new Placing(ready, nodes, now).run();
}

/** A lane and how far it was read. */
class Head {
  readonly position: number;
  readonly lane: WaitingLane;
  readonly #open: readonly NodeLoad[];
  #suited: NodeLoad[] | undefined;
  #roomy: readonly NodeLoad[] | undefined;
  readonly #queue: Iterator<Waiting>;
  #next: Waiting | undefined;
  waiting: number;

  constructor(position: number, lane: WaitingLane, open: readonly NodeLoad[]) {
    this.position = position;
    this.lane = lane;
    this.#open = open;
    this.waiting = lane.waiting;
    this.#queue = lane.queue[Symbol.iterator]();
    this.#advance();
  }

  /** Looked for only when somebody asks: in a full cluster most lanes are passed by without. */
  get suited(): readonly NodeLoad[] {
    this.#suited ??= this.#open.filter((node) => suits(this.lane.needs, node));
    return this.#suited;
  }

  /** Those with room; asked again only of those that had some before, as a turn only takes. */
  roomy(room: (node: NodeLoad) => number): readonly NodeLoad[] {
    const { needs } = this.lane;
    const before =
      this.#roomy ?? this.#suited ?? this.#open.filter((node) => mayFit(needs, node) && suits(needs, node));
    this.#roomy = before.filter((node) => room(node) > 0);
    return this.#roomy;
  }

  get turn(): Waiting | undefined {
    return this.#next;
  }

  #advance(): void {
    const { done, value } = this.#queue.next();
    this.#next = done === true ? undefined : { ...value };
  }

  /** How many of its tasks come before `until`, at most so many. */
  take(most: number, until: Waiting | undefined): number {
    let count = 0;
    while (this.#next !== undefined && count < most && before(this.#next, until)) {
      const size = Math.min(this.#next.count, most - count);
      count += size;
      this.#next.count -= size;
      if (this.#next.count === 0) this.#advance();
    }
    this.waiting -= count;
    return count;
  }
}

function before(one: Waiting, other: Waiting | undefined): boolean {
  return other === undefined || one.turn < other.turn || (one.turn === other.turn && one.number <= other.number);
}

class Placing {
  readonly #loads: NodeLoad[];
  readonly #open: readonly NodeLoad[];
  readonly #neighbours: Neighbours;
  readonly #now: PlaceNow;
  readonly #placements: Placement[] = [];
  readonly #by_pair = new Map<string, Placement>();
  /** Those whose turn is to come, the last one first. */
  readonly #heads: Head[];
  readonly #blocked: { head: Head; first: Waiting }[] = [];
  readonly #chance: () => number;
  #turn: number;
  /** How often something was given. */
  #served = 0;
  #reserved: { node: string; lane: number } | undefined;

  constructor(ready: readonly WaitingLane[], nodes: readonly NodeLoad[], now: PlaceNow) {
    this.#now = now;
    this.#loads = nodes.map((node) => ({ ...node, used: copyUsed(node.used) }));
    this.#neighbours = new Neighbours(this.#loads);
    this.#turn = Math.max(0, ...this.#loads.map(({ turn }) => turn ?? 0));
    this.#chance = seeded(now.seed);
    this.#open = this.#loads.filter((node) => node.open);
    this.#heads = ready
      .map((lane, position) => new Head(position, lane, this.#open))
      .filter((head) => head.turn !== undefined)
      .sort(later);
  }

  run(): Placed {
    for (let head = this.#heads.pop(); head !== undefined; head = this.#heads.pop()) {
      this.#serve(head);
      if (this.#served >= LIMITS.placed_turns) break;
    }
    if (this.#heads.length === 0) this.#prefetchAll();
    const reserved = this.#reserved;
    return { placements: this.#placements, ...(reserved === undefined ? {} : { reserved }) };
  }

  #serve(head: Head): void {
    const { needs } = head.lane;
    const room = (node: NodeLoad): number => roomOf(needs, node, this.#neighbours);
    const open = head.roomy(room);
    if (open.length === 0) {
      this.#pass(head);
      return;
    }
    this.#served += 1;
    const most = open.reduce((sum, node) => sum + room(node), 0);
    const first = head.turn;
    const count = head.take(most, this.#heads.at(-1)?.turn);
    const given = giveOut(needs.strategy ?? this.#now.settings.strategy, this.#choice(head), count, open, {
      room,
      give: (node, some) => this.#give(head, node, some),
    });
    // Where one node's room is another's, there was less than it seemed.
    if (given < count) head.waiting += count - given;
    if (head.turn === undefined && given === count) return;
    if (given < count && first !== undefined) this.#blocked.push({ head, first });
    else this.#again(head);
  }

  #choice({ lane }: Head): Choice {
    return { needs: lane.needs, weights: this.#now.settings.weights, warm: lane.warm, chance: this.#chance };
  }

  /** It has more, and its turn comes again behind those that came before what it has left. */
  #again(head: Head): void {
    let low = 0;
    let high = this.#heads.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#heads[middle];
      if (other !== undefined && later(other, head) < 0) low = middle + 1;
      else high = middle;
    }
    this.#heads.splice(low, 0, head);
  }

  /** There is no room for it now. The oldest that has waited for long keeps the node that is nearest to having it. */
  #pass(head: Head): void {
    const { lane, turn } = head;
    if (turn === undefined) return;
    this.#blocked.push({ head, first: turn });
    if (this.#reserved !== undefined) return;
    const waited_ms = this.#now.at - lane.since;
    const { reserve_after_ms } = this.#now.settings;
    if (waited_ms < reserve_after_ms) return;
    const { lasting, rested } = this.#now;
    const [nearest] = head.suited
      .filter((node) => distance(lane.needs, node) > 0 && rested?.has(node.id) !== true)
      .filter((node) => this.#neighbours.of(lane.needs, node) === 0)
      .filter((node) => fitsBeside(lane.needs, node, lasting?.(node.id)))
      .filter((node) => waited_ms >= reserve_after_ms * AT_LAST || largerThanUsual(lane.needs, node))
      .map((node) => ({ node, far: distance(lane.needs, node) }))
      .sort((a, b) => a.far - b.far || (a.node.id < b.node.id ? -1 : 1));
    if (nearest === undefined) return;
    this.#reserved = { node: nearest.node.id, lane: head.position };
    // As if it ran there: the others have what it leaves over.
    const { spread: _apart, ...needs } = lane.needs;
    addUse(nearest.node.used, needs, 1);
  }

  #give(head: Head, load: NodeLoad, count: number): void {
    addUse(load.used, head.lane.needs, count);
    this.#neighbours.given(head.lane.needs, load, count);
    load.held += count;
    this.#turn += 1;
    load.turn = this.#turn;
    const key = `${head.position} ${load.id}`;
    const same = this.#by_pair.get(key);
    if (same !== undefined) {
      same.count += count;
      same.turn = this.#turn;
      return;
    }
    const placement: Placement = { lane: head.position, node: load.id, count, turn: this.#turn };
    this.#by_pair.set(key, placement);
    this.#placements.push(placement);
  }

  /**
   * In the order of their turn, and only what nobody waits in front of: work given ahead takes the room of others. Those whose
   * turn is first are looked at; the next one stands for all behind them.
   */
  #prefetchAll(): void {
    const waited_for = new Set<NodeLoad>();
    const first = this.#blocked.slice(0, LIMITS.prefetched_lanes);
    const known: ReadonlySet<NodeLoad>[] = [];
    const kept = (head: Head, at: number): ReadonlySet<NodeLoad> => {
      known[at] ??= new Set(head.suited.filter((node) => this.#keeps(head, node)));
      return known[at];
    };
    for (const [position, { head }] of first.entries()) {
      if (waited_for.size === this.#open.length) return;
      const { mean_ms, needs } = head.lane;
      if (mean_ms !== undefined && needs.exclusive !== true && needs.spread === undefined) {
        const free = head.suited.filter((node) => !waited_for.has(node));
        const next = first.findIndex((other, at) => {
          return at > position && free.some((node) => kept(other.head, at).has(node));
        });
        this.#prefetch(head, mean_ms, free, this.#blocked[next < 0 ? first.length : next]?.first);
      }
      for (const node of kept(head, position)) waited_for.add(node);
    }
  }

  /**
   * Whether a lane that waits for a node keeps others from being given work ahead there: while its turn may come with the
   * next end. One that waits for more than that has a node emptied for it, and the others need not be idle meanwhile.
   */
  #keeps({ lane }: Head, node: NodeLoad): boolean {
    const { needs } = lane;
    if (distance(needs, node) === 0) return false;
    if (needs.spread !== undefined && this.#neighbours.of(needs, node) > 0) return false;
    return this.#now.at - lane.since < this.#now.settings.reserve_after_ms || !largerThanUsual(needs, node);
  }

  #prefetch(head: Head, mean_ms: number, nodes: readonly NodeLoad[], until: Waiting | undefined): void {
    const { needs } = head.lane;
    for (const [position, node] of nodes.entries()) {
      if (node.full || node.used.exclusive > 0 || node.id === this.#reserved?.node) continue;
      const abreast = Math.max(1, Math.min(fits(needs, node.info.capacity), LIMITS.node_processes));
      const ahead = Math.min(LIMITS.prefetch_tasks, Math.floor((abreast * PREFETCH_MS) / Math.max(mean_ms, 0.005)));
      const wanted = Math.min(abreast + ahead - node.held, Math.ceil(head.waiting / (nodes.length - position)));
      // A half-empty reserve is filled in one go: many small assignments cost more than one large one.
      if (wanted <= 0 || (wanted < ahead / 2 && node.held > abreast)) continue;
      const count = head.take(wanted, until);
      if (count === 0) return;
      this.#give(head, node, count);
    }
  }
}

/** A look that costs nothing, for what is full to the brim. */
function mayFit(needs: Needs, { used, info }: NodeLoad): boolean {
  return needs.cpu_millis === 0 || used.cpu_millis + needs.cpu_millis <= info.capacity.cpu_millis;
}

/** The last turn first. */
function later(a: Head, b: Head): number {
  const [one, other] = [a.turn, b.turn];
  if (one === undefined || other === undefined) return 0;
  return other.turn - one.turn || other.number - one.number || b.position - a.position;
}

/** From 0 up to 1, the same row for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
