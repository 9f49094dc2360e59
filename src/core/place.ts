// Which node gets how many of which waiting tasks: a pure function of lanes (waiting tasks grouped by what they need)
// and nodes. It fills free capacity first, the oldest and most urgent lane first, and then prefetches short tasks, so
// that no worker waits a round trip between two of them.

import { LIMITS } from "../common/limits.ts";
import type { Capacity, Needs, NodeInfo } from "../common/models.ts";
import type { Used } from "./state.ts";

export interface WaitingLane {
  needs: Needs;
  waiting: number;
  /** Measured running time of its tasks; absent until one ended. */
  mean_ms?: number | undefined;
}

export interface NodeLoad {
  id: string;
  info: NodeInfo;
  /** Accepts new work: online and not cordoned. */
  open: boolean;
  /** Why it is not, where somebody wanted it so. */
  closed?: string;
  used: Used;
  /** Attempts it holds, running or prefetched. */
  held: number;
  /** It gave tasks back unstarted: until its next result no prefetching, and the others first. */
  full: boolean;
}

export interface Placement {
  /** Position in the lanes given. */
  lane: number;
  node: string;
  count: number;
}

/** Work that a node is given ahead, in milliseconds of its own speed. */
const PREFETCH_MS = 30;

/** Why a node can never take a task with these needs as it is now; undefined where it could, were it idle. */
function misfit(needs: Needs, node: Pick<NodeLoad, "id" | "info">): string | undefined {
  const { info } = node;
  if (needs.node !== undefined && needs.node !== node.id && needs.node !== info.name) return `is not ${needs.node}`;
  if (!info.executors.includes(needs.executor)) return `does not run ${needs.executor} tasks`;
  const tag = needs.tags?.find((name) => !info.tags.includes(name));
  if (tag !== undefined) return `lacks the tag ${tag}`;
  return shortage(needs, info.capacity, "has");
}

function shortage(needs: Needs, free: Capacity, verb: string): string | undefined {
  if (needs.cpu_millis > free.cpu_millis) {
    return `needs ${needs.cpu_millis / 1000} cpu, ${verb} ${Math.max(0, free.cpu_millis) / 1000}`;
  }
  if (needs.memory_mib > free.memory_mib) {
    return `needs ${needs.memory_mib} MiB of memory, ${verb} ${Math.max(0, free.memory_mib)}`;
  }
  if (needs.gpus > free.gpus) return `needs ${needs.gpus} gpus, ${verb} ${Math.max(0, free.gpus)}`;
  for (const [name, amount] of Object.entries(needs.resources ?? {})) {
    const there = free.resources[name] ?? 0;
    if (amount > there) return `needs ${amount} ${name}, ${verb} ${Math.max(0, there)}`;
  }
  return undefined;
}

function freeOf(info: NodeInfo, used: Used): Capacity {
  const { capacity } = info;
  const resources: Record<string, number> = {};
  for (const [name, amount] of Object.entries(capacity.resources)) {
    resources[name] = amount - (used.resources[name] ?? 0);
  }
  return {
    cpu_millis: capacity.cpu_millis - used.cpu_millis,
    memory_mib: capacity.memory_mib - used.memory_mib,
    gpus: capacity.gpus - used.gpus,
    resources,
  };
}

/** What keeps a task from this node just now, in words; undefined when it could start. */
export function obstacle(needs: Needs, node: NodeLoad): string | undefined {
  return (
    misfit(needs, node) ??
    (node.open ? undefined : (node.closed ?? "takes no new work")) ??
    shortage(needs, freeOf(node.info, node.used), "has free")
  );
}

/** How many tasks with these needs fit into `free` side by side. */
export function fits(needs: Needs, free: Capacity): number {
  let most: number = LIMITS.prefetch_tasks;
  const bound = (need: number, there: number): void => {
    if (need > 0) most = Math.min(most, Math.floor(there / need));
  };
  bound(needs.cpu_millis, free.cpu_millis);
  bound(needs.memory_mib, free.memory_mib);
  bound(needs.gpus, free.gpus);
  for (const [name, amount] of Object.entries(needs.resources ?? {})) bound(amount, free.resources[name] ?? 0);
  return Math.max(0, most);
}

/**
 * best_fit: the highest score of free cpu .4, free memory .4 and few tasks .2, so that it spreads over unequal nodes. One
 * that gave tasks back comes last: it has less room than it seems, and would give the same ones back again.
 */
function score(node: NodeLoad): number {
  const { capacity } = node.info;
  const part = (free: number, all: number): number => (all > 0 ? free / all : 0);
  return (
    0.4 * part(capacity.cpu_millis - node.used.cpu_millis, capacity.cpu_millis) +
    0.4 * part(capacity.memory_mib - node.used.memory_mib, capacity.memory_mib) +
    0.2 / (1 + node.held) -
    (node.full ? 1 : 0)
  );
}

/** Places what it can; never more than a lane has waiting, never over a node's capacity but for prefetched tasks. */
export function place(lanes: readonly WaitingLane[], nodes: readonly NodeLoad[]): Placement[] {
  const loads = nodes.filter((node) => node.open).map((node) => ({ ...node, used: copyUsed(node.used) }));
  const placements: Placement[] = [];
  for (const [position, lane] of lanes.entries()) {
    let waiting = lane.waiting;
    const suited = loads.filter((node) => misfit(lane.needs, node) === undefined);
    waiting -= fill(position, lane.needs, waiting, suited, placements);
    if (waiting > 0 && lane.mean_ms !== undefined) {
      prefetch(position, lane.needs, lane.mean_ms, waiting, suited, placements);
    }
  }
  return placements;
}

function copyUsed(used: Used): Used {
  return { ...used, resources: { ...used.resources } };
}

function give(load: NodeLoad, needs: Needs, count: number): void {
  load.used.cpu_millis += needs.cpu_millis * count;
  load.used.memory_mib += needs.memory_mib * count;
  load.used.gpus += needs.gpus * count;
  for (const [name, amount] of Object.entries(needs.resources ?? {})) {
    load.used.resources[name] = (load.used.resources[name] ?? 0) + amount * count;
  }
  load.held += count;
}

/** How many more may run there: by what they need, and by the number of processes, for tasks that need next to nothing. */
function roomOf(needs: Needs, node: NodeLoad): number {
  return Math.max(0, Math.min(fits(needs, freeOf(node.info, node.used)), LIMITS.node_processes - node.held));
}

/** Free capacity, in even shares: each round gives the best node its share of what waits. */
function fill(lane: number, needs: Needs, most: number, suited: NodeLoad[], placements: Placement[]): number {
  let given = 0;
  const open = new Set(suited.filter((node) => roomOf(needs, node) > 0));
  while (given < most && open.size > 0) {
    let best: NodeLoad | undefined;
    for (const node of open) if (best === undefined || score(node) > score(best)) best = node;
    if (best === undefined) break;
    const room = roomOf(needs, best);
    const count = Math.min(room, Math.max(1, Math.ceil((most - given) / (open.size * 2))), most - given);
    if (room <= count) open.delete(best);
    if (count === 0) continue;
    give(best, needs, count);
    record(placements, lane, best.id, count);
    given += count;
  }
  return given;
}

function prefetch(
  lane: number,
  needs: Needs,
  mean_ms: number,
  most: number,
  suited: NodeLoad[],
  placements: Placement[],
): void {
  let left = most;
  for (const [position, node] of suited.entries()) {
    if (node.full || left === 0) continue;
    const abreast = Math.max(1, Math.min(fits(needs, node.info.capacity), LIMITS.node_processes));
    const ahead = Math.min(LIMITS.prefetch_tasks, Math.floor((abreast * PREFETCH_MS) / Math.max(mean_ms, 0.005)));
    const count = Math.min(abreast + ahead - node.held, Math.ceil(left / (suited.length - position)));
    // A half-empty reserve is filled in one go: many small assignments cost more than one large one.
    if (count <= 0 || (count < ahead / 2 && node.held > abreast)) continue;
    give(node, needs, count);
    record(placements, lane, node.id, count);
    left -= count;
  }
}

function record(placements: Placement[], lane: number, node: string, count: number): void {
  const same = placements.find((placement) => placement.lane === lane && placement.node === node);
  if (same === undefined) placements.push({ lane, node, count });
  else same.count += count;
}
