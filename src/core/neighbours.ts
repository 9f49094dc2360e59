// Tasks that keep apart (`--spread`): how many of them are where a node stands. All nodes are counted once for each way to
// spread that is asked for; from then on an answer costs the same with three nodes or with a thousand.

import type { Needs, NodeInfo } from "../common/models.ts";
import { attributeOf } from "./conditions.ts";
import { apartKey, type Used } from "./state.ts";

interface Standing {
  id: string;
  info: NodeInfo;
}

/** Where a node stands for tasks that keep apart. */
export function placeOf({ id, info }: Standing, by: string): string | undefined {
  return by === "node" ? id : attributeOf(info, by);
}

export class Neighbours {
  readonly #nodes: readonly (Standing & { used: Used })[];
  /** By what they keep apart from, by what they spread by: how many are in each place. */
  readonly #counted = new Map<string, Map<string, Map<string | undefined, number>>>();

  constructor(nodes: readonly (Standing & { used: Used })[]) {
    this.#nodes = nodes;
  }

  /** Tasks on the nodes of its place that this one keeps away from; what a lost node held may still run. */
  of({ spread }: Needs, node: Standing & { used: Used }): number {
    const { by = "node", among = "" } = spread ?? {};
    const key = apartKey(among);
    if (by === "node") return node.used.spread[key] ?? 0;
    return this.#places(key, by).get(placeOf(node, by)) ?? 0;
  }

  /** The node was given one more, after all of them may have been counted. */
  given({ spread }: Needs, node: Standing, count: number): void {
    if (spread?.among === undefined) return;
    for (const [by, places] of this.#counted.get(apartKey(spread.among)) ?? []) {
      add(places, placeOf(node, by), count);
    }
  }

  #places(key: string, by: string): Map<string | undefined, number> {
    let ways = this.#counted.get(key);
    if (ways === undefined) {
      ways = new Map();
      this.#counted.set(key, ways);
    }
    let places = ways.get(by);
    if (places === undefined) {
      places = new Map();
      ways.set(by, places);
      for (const node of this.#nodes) {
        const count = node.used.spread[key] ?? 0;
        if (count !== 0) add(places, placeOf(node, by), count);
      }
    }
    return places;
  }
}

function add(places: Map<string | undefined, number>, place: string | undefined, count: number): void {
  places.set(place, (places.get(place) ?? 0) + count);
}
