// Folders that tasks ask for: which machine has which, that they come and go, and that work is given to no node that did
// not say that it has what the work asks for.

import type { UpMessage } from "../../src/communication/messages.ts";
import type { Event } from "../../src/core/event.ts";
import type { State } from "../../src/core/state.ts";
import { Chance } from "./chance.ts";
import type { World } from "./world.ts";

export const FOLDERS = ["/data/0", "/data/1"] as const;

export class FolderTrouble {
  readonly #world: World;
  readonly #chance: Chance;

  constructor(world: World, seed: number) {
    this.#world = world;
    // Of its own, so that the rest of a run is what it is without this fault.
    this.#chance = new Chance(seed ^ 0xf01de5);
  }

  start(): void {
    this.#later();
  }

  /** From now on every machine has everything. */
  end(): void {
    for (const worker of this.#world.workers) for (const folder of FOLDERS) worker.folders.add(folder);
  }

  #later(): void {
    this.#world.clock.after(this.#chance.between(50, 1_500), () => {
      if (this.#world.peace) return;
      this.#change();
      this.#later();
    });
  }

  #change(): void {
    const { workers } = this.#world;
    const one = workers[this.#chance.below(workers.length)];
    const folder = FOLDERS[this.#chance.below(FOLDERS.length)];
    if (one === undefined || folder === undefined || !this.#world.befalls("folders", true)) return;
    const gone = one.folders.delete(folder);
    if (!gone) one.folders.add(folder);
    this.#world.tell(`${one.id}: ${folder} ${gone ? "goes" : "comes"}`);
  }
}

/** A word that is as young as this may still wait for its turn at the leader. */
const SETTLED_MS = 1_000;

/** What nodes told a coordinator in its present term, by their lives; says when it gives work that nothing of it speaks for. */
export class Said {
  readonly #said = new Map<string, { usable: boolean; at_ms: number }>();

  heard({ incarnation, folders }: Extract<UpMessage, { type: "node.folders" }>, now_ms: number): void {
    for (const [folder, usable] of folders) this.#said.set(`${incarnation} ${folder}`, { usable, at_ms: now_ms });
  }

  decided(event: Event, state: State, now_ms: number): void {
    if (event.t === "assigned") {
      for (const [number] of event.runs) this.#requireFolder(event.node, number, state, now_ms);
    } else if (event.t === "ended" || event.t === "retried") {
      for (const { task, outcome } of event.results) {
        if (outcome.reason === "not_found") this.#said.delete(keyOf(event.node, task[0], state) ?? "");
      }
    }
  }

  #requireFolder(node: string, number: number, state: State, now_ms: number): void {
    const key = keyOf(node, number, state);
    if (key === undefined) return;
    const said = this.#said.get(key);
    if (said?.usable === true || (said !== undefined && now_ms - said.at_ms < SETTLED_MS)) return;
    throw new Error(`${node} is given work of ${number} and did not say that it has the folder (${key})`);
  }
}

/** Undefined where no folder is asked for. */
function keyOf(node: string, number: number, state: State): string | undefined {
  const submission = state.submissions.get(number);
  const folder = submission === undefined ? undefined : state.needsOf(submission).folder;
  return folder === undefined ? undefined : `${state.nodes.get(node)?.incarnation} ${folder}`;
}
