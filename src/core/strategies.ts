// Which of the nodes that have room is given the next tasks. Each strategy is a rank (the highest is given first) and a
// share (how many at once); `round_robin` is a round of its own.

import type { Needs } from "../common/models.ts";
import type { Strategy } from "../common/vocabulary.ts";
import { holds } from "./conditions.ts";
import type { NodeLoad } from "./fit.ts";

/** What `best_fit` counts, each from 0 to 1. */
export interface Weights {
  cpu: number;
  memory: number;
  tasks: number;
  affinity: number;
}

export interface Choice {
  needs: Needs;
  weights: Weights;
  /** Nodes that ran tasks of this kind last: their caches are warm. */
  warm: ReadonlySet<string> | undefined;
  /** A fresh number from 0 up to 1 at each call, the same for the same seed. */
  chance: () => number;
}

type Rank = (node: NodeLoad, choice: Choice) => number;

const RANKS: Record<Exclude<Strategy, "round_robin">, Rank> = {
  best_fit: fitness,
  least_tasks: (node) => -node.held,
  pack: (node) => fullness(node),
  random: (_, { chance }) => chance(),
  affinity: (node, choice) => affinity(node, choice) * FIRST + fitness(node, choice),
};

/** More than any score. */
const FIRST = 1_000;
/** A node that gave tasks back comes last: it has less room than it seems, and would give the same ones back again. */
const LAST = 1_000_000;

function part(free: number, all: number): number {
  return all > 0 ? free / all : 0;
}

function fitness(node: NodeLoad, choice: Choice): number {
  const { capacity } = node.info;
  const { cpu, memory, tasks, affinity: liking } = choice.weights;
  return (
    cpu * part(capacity.cpu_millis - node.used.cpu_millis, capacity.cpu_millis) +
    memory * part(capacity.memory_mib - node.used.memory_mib, capacity.memory_mib) +
    tasks / (1 + node.held) +
    liking * affinity(node, choice)
  );
}

/** How much of what the task prefers is there; without a preference half where its like ran last. */
function affinity(node: NodeLoad, { needs, warm }: Choice): number {
  const { prefer } = needs;
  if (prefer === undefined || prefer.length === 0) return warm?.has(node.id) === true ? 0.5 : 0;
  return prefer.filter((condition) => holds(node.info, condition)).length / prefer.length;
}

/** The scarcest of what it has: the fullest first, so that others stay free for what is large. */
function fullness({ used, info }: NodeLoad): number {
  const { cpu_millis, memory_mib, gpus } = info.capacity;
  return Math.max(part(used.cpu_millis, cpu_millis), part(used.memory_mib, memory_mib), part(used.gpus, gpus));
}

/** Where tasks are given to: both are asked anew each time, for what is given to one node may close another. */
export interface Giving {
  room: (node: NodeLoad) => number;
  give: (node: NodeLoad, count: number) => void;
}

/** Gives out up to `most` tasks over nodes with room; returns how many. */
export function giveOut(
  strategy: Strategy,
  choice: Choice,
  most: number,
  nodes: readonly NodeLoad[],
  giving: Giving,
): number {
  const open = new Set(nodes);
  if (strategy === "round_robin") return inRounds(most, open, giving);
  const rank = RANKS[strategy];
  let given = 0;
  while (given < most && open.size > 0) {
    let best: { node: NodeLoad; rank: number } | undefined;
    for (const node of open) {
      const ranked = rank(node, choice) - (node.full ? LAST : 0);
      // Of equals always the same one, whoever lists them.
      const same = ranked === best?.rank && node.id < best.node.id;
      if (best === undefined || ranked > best.rank || same) best = { node, rank: ranked };
    }
    if (best === undefined) break;
    const room = giving.room(best.node);
    // Never so many that another would have been better for the last of them.
    const share = strategy === "pack" ? most : Math.max(1, Math.ceil((most - given) / (open.size * 2)));
    const count = Math.min(room, share, most - given);
    if (room <= count) open.delete(best.node);
    if (count === 0) {
      // What another was given has closed it, and others with it: those of a place that was taken.
      for (const node of open) if (giving.room(node) === 0) open.delete(node);
      continue;
    }
    giving.give(best.node, count);
    given += count;
  }
  return given;
}

/** Who was given something longest ago comes first, and each gets as many as the next. */
function inRounds(most: number, open: Set<NodeLoad>, { room, give }: Giving): number {
  let given = 0;
  while (given < most && open.size > 0) {
    const round = [...open].sort(byTurn);
    const share = Math.max(1, Math.min(Math.floor((most - given) / round.length), ...round.map(room)));
    for (const node of round) {
      const there = room(node);
      const count = Math.min(share, there, most - given);
      if (there <= share) open.delete(node);
      if (count === 0) continue;
      give(node, count);
      given += count;
    }
  }
  return given;
}

function byTurn(a: NodeLoad, b: NodeLoad): number {
  return Number(a.full) - Number(b.full) || (a.turn ?? 0) - (b.turn ?? 0) || (a.id < b.id ? -1 : 1);
}
