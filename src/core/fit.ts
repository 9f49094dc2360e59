// Whether a task may go to a node, how many side by side, and in words what is in the way: what the node lacks for good,
// and what others have taken of it just now.

import { LIMITS } from "../common/limits.ts";
import type { Capacity, Needs, NodeInfo } from "../common/models.ts";
import { SAY } from "../common/units.ts";
import type { LimitKind } from "../common/vocabulary.ts";
import { planted } from "./canary.ts";
import { attributeOf, conditionText, holds } from "./conditions.ts";
import { Neighbours, placeOf } from "./neighbours.ts";
import { type NodeSkills, skillObstacle, usableSkills } from "./skills.ts";
import type { Used } from "./state.ts";

export interface NodeLoad {
  id: string;
  info: NodeInfo;
  skills?: NodeSkills | undefined;
  /** Whether tasks can be started in a folder, as far as the node was asked. */
  folders?: Pick<ReadonlyMap<string, boolean>, "get"> | undefined;
  /** Accepts new work: online and not cordoned. */
  open: boolean;
  /** Why it is not, for people; with `cordoned`, because somebody wants it so. */
  closed?: string;
  /** Because its worker is gone, or is not well. */
  absent?: "offline" | "error";
  /** What on it ends only when somebody ends it; told where words are made of it. */
  lasting?: Lasting | undefined;
  cordoned?: boolean;
  used: Used;
  /** Attempts it holds, running or prefetched. */
  held: number;
  /** It gave tasks back unstarted: until its next result no prefetching, and the others first. */
  full: boolean;
  /** Its place in the round: the lower, the longer ago it was given anything. */
  turn?: number;
}

/** What on a node ends only when somebody ends it: daemons. */
export interface Lasting {
  used: Used;
  held: number;
}

/** Whether there will be room when everything is over that ends by itself. */
export function fitsBeside(needs: Needs, { info }: Pick<NodeLoad, "info">, lasting: Lasting | undefined): boolean {
  if (lasting === undefined) return true;
  if (lasting.used.exclusive > 0 || (needs.exclusive === true && lasting.held > 0)) return false;
  return fits(needs, freeOf(info.capacity, lasting.used)) > 0;
}

/** What of a node does not depend on what runs there. */
type Standing = Pick<NodeLoad, "id" | "info" | "skills" | "folders">;

/** What a node lacks for such a task as it is now, were it idle. */
function lacks(needs: Needs, node: Standing): string[] {
  const { info } = node;
  const found: string[] = [];
  if (needs.node !== undefined && needs.node !== node.id && needs.node !== info.name) return [`is not ${needs.node}`];
  if (!info.executors.includes(needs.executor)) found.push(`does not run ${needs.executor} tasks`);
  const tags = (needs.tags ?? []).filter((name) => !info.tags.includes(name));
  if (tags.length > 0) found.push(`lacks the tag${tags.length > 1 ? "s" : ""} ${tags.join(", ")}`);
  for (const name of needs.skills ?? []) {
    const why = skillObstacle(node.skills, name);
    if (why !== undefined) found.push(why);
  }
  for (const condition of needs.where ?? []) {
    if (holds(info, condition)) continue;
    const value = attributeOf(info, condition.attribute);
    const there = value === undefined ? `has no ${condition.attribute}` : `has ${condition.attribute}=${value}`;
    found.push(`${there}, not ${conditionText(condition)}`);
  }
  const unenforced = limitsMissing(needs, info);
  if (unenforced.length > 0) {
    found.push(
      `cannot limit ${unenforced.join(", ")}: ${info.limits?.reason ?? "its worker does not say that it can"}`,
    );
  }
  const { spread } = needs;
  if (spread !== undefined && placeOf(node, spread.by) === undefined) found.push(`has no ${spread.by} to spread by`);
  found.push(...shortages(needs, info.capacity, "has"));
  const { folder } = needs;
  if (folder === undefined) return found;
  const there = node.folders?.get(folder);
  if (there === false) found.push(`has no folder ${folder}`);
  // Who lacks something else is not asked.
  if (there === undefined && found.length === 0) found.push(`has not said yet whether it has the folder ${folder}`);
  return found;
}

/** `lacks` without the words: asked for every lane and node in every turn. */
export function suits(needs: Needs, node: Standing): boolean {
  const { folder } = needs;
  if (folder !== undefined && node.folders?.get(folder) !== true && !planted("folder_assumed")) return false;
  return suitsOtherwise(needs, node);
}

/** Whether it suits if only it has the folder. */
export function suitsOtherwise(needs: Needs, node: Standing): boolean {
  const { info } = node;
  const { capacity } = info;
  if (needs.cpu_millis > capacity.cpu_millis || needs.memory_mib > capacity.memory_mib) return false;
  if (needs.gpus > capacity.gpus || !info.executors.includes(needs.executor)) return false;
  if (needs.node !== undefined && needs.node !== node.id && needs.node !== info.name) return false;
  if (needs.tags?.some((name) => !info.tags.includes(name)) === true) return false;
  if (needs.skills?.every((name) => usableSkills(node.skills).has(name)) === false) return false;
  if (needs.where?.some((condition) => !holds(info, condition)) === true) return false;
  if (needs.spread !== undefined && placeOf(node, needs.spread.by) === undefined) return false;
  if (needs.enforce === true && limitsMissing(needs, info).length > 0) return false;
  if (needs.resources === undefined) return true;
  return Object.entries(needs.resources).every(([name, amount]) => amount <= (capacity.resources[name] ?? 0));
}

/** What a task wants to be held to, and the node cannot. */
export function limitsMissing({ enforce, cpu_millis, memory_mib, pids }: Needs, { limits }: NodeInfo): LimitKind[] {
  if (enforce !== true) return [];
  const asked: LimitKind[] = [];
  if (memory_mib > 0) asked.push("memory");
  if (cpu_millis > 0) asked.push("cpu");
  if (pids !== undefined) asked.push("pids");
  return asked.filter((kind) => limits?.enforced.includes(kind) !== true);
}

function shortages(needs: Needs, free: Capacity, verb: string): string[] {
  const found: string[] = [];
  const compare = (need: number, there: number, say: (amount: number) => string): void => {
    if (need > 0 && need > there) found.push(`needs ${say(need)}, ${verb} ${said(Math.max(0, there), say)}`);
  };
  compare(needs.cpu_millis, free.cpu_millis, SAY.cpu);
  compare(needs.memory_mib, free.memory_mib, SAY.memory);
  compare(needs.gpus, free.gpus, SAY.gpus);
  for (const [name, amount] of Object.entries(needs.resources ?? {})) {
    compare(amount, free.resources[name] ?? 0, (some) => `${some} ${name}`);
  }
  return found;
}

/** The amount alone: of what, was said before it. */
function said(amount: number, say: (amount: number) => string): string {
  return amount === 0 ? "0" : (say(amount).split(" ")[0] ?? "");
}

export function freeOf(capacity: Capacity, used: Used): Capacity {
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

/** What is in the way just now on a node that suits. */
function taken(needs: Needs, node: NodeLoad, neighbours: Neighbours): string[] {
  const found: string[] = [];
  if (!node.open) found.push(stateOf(node));
  if (node.held >= LIMITS.node_processes) found.push(`holds ${node.held} tasks, as many as a node may`);
  if (node.used.exclusive > 0) found.push("is taken whole by another task");
  else if (needs.exclusive === true && node.held > 0) {
    found.push(`has to be empty, holds ${node.held} ${node.held === 1 ? "task" : "tasks"}`);
  }
  const { spread } = needs;
  if (spread !== undefined && neighbours.of(needs, node) > 0) {
    const where = spread.by === "node" ? "" : ` in ${spread.by}=${placeOf(node, spread.by)}`;
    found.push(`has a task${where} already that it keeps away from`);
  }
  found.push(...shortages(needs, freeOf(node.info.capacity, node.used), "has free"));
  return found;
}

/** Whether it may have the folder, and did not say so yet: one that takes work is being asked. */
export function isUnsaid(needs: Needs, node: Standing): boolean {
  const { folder } = needs;
  return folder !== undefined && node.folders?.get(folder) === undefined && suitsOtherwise(needs, node);
}

/** Why it takes nothing. */
export function stateOf({ closed }: NodeLoad): string {
  return closed ?? "takes no new work";
}

/** All that is in the way: what it lacks, or what is so just now where it lacks nothing. */
export function inTheWay(needs: Needs, node: NodeLoad, neighbours: Neighbours): { lasting: string[]; now: string[] } {
  const lasting = lacks(needs, node);
  if (lasting.length === 0) return { lasting, now: taken(needs, node, neighbours) };
  // Who takes no work is not asked for its folder either.
  return { lasting, now: !node.open && isUnsaid(needs, node) ? [stateOf(node)] : [] };
}

/** What keeps a task from this node just now, in words; undefined when it could start. */
export function obstacle(needs: Needs, node: NodeLoad, neighbours = new Neighbours([node])): string | undefined {
  const { lasting, now } = inTheWay(needs, node, neighbours);
  const found = [...lasting, ...now];
  return found.length === 0 ? undefined : found.join("; ");
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

/** How many more may run on a node that suits: by what they need, by what keeps apart, and by the number of processes. */
export function roomOf(needs: Needs, node: NodeLoad, neighbours: Neighbours): number {
  if (node.used.exclusive > 0) return 0;
  if (needs.exclusive === true && node.held > 0) return 0;
  if (needs.spread !== undefined && neighbours.of(needs, node) > 0) return 0;
  const room = Math.min(
    fits(needs, freeOf(node.info.capacity, node.used)),
    Math.max(0, LIMITS.node_processes - node.held),
  );
  return needs.exclusive === true || needs.spread !== undefined ? Math.min(room, 1) : room;
}

/** How far a node that suits is from having room, from 0 up: what it is short of, as a share of what it has. */
export function distance(needs: Needs, node: NodeLoad): number {
  const { capacity } = node.info;
  const free = freeOf(capacity, node.used);
  const short = (need: number, there: number, all: number): number =>
    need > 0 && need > there ? (need - there) / all : 0;
  return Math.max(
    short(needs.cpu_millis, free.cpu_millis, capacity.cpu_millis),
    short(needs.memory_mib, free.memory_mib, capacity.memory_mib),
    short(needs.gpus, free.gpus, capacity.gpus),
    ...Object.entries(needs.resources ?? {}).map(([name, amount]) =>
      short(amount, free.resources[name] ?? 0, capacity.resources[name] ?? 0),
    ),
    needs.exclusive === true ? node.held : node.used.exclusive,
  );
}

/** Whether it is larger than what runs there: then whatever ends leaves a gap for others, and never one for this. */
export function largerThanUsual(needs: Needs, node: NodeLoad): boolean {
  if (needs.exclusive === true) return true;
  const { capacity } = node.info;
  const share = (of: Pick<Needs, "cpu_millis" | "memory_mib" | "gpus" | "resources">): number =>
    Math.max(
      of.cpu_millis / (capacity.cpu_millis || 1),
      of.memory_mib / (capacity.memory_mib || 1),
      of.gpus / (capacity.gpus || 1),
      ...Object.entries(of.resources ?? {}).map(([name, amount]) => amount / (capacity.resources[name] || 1)),
    );
  return share(needs) > share(node.used) / Math.max(1, node.held);
}
