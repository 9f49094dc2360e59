// What a leader tells nodes to start and to stop: what is in the log, and only while it is certain to lead. One that slept may
// have been deposed, and what the next one has had run, or has sent elsewhere, must not be ordered again.

import { LIMITS } from "../common/limits.ts";
import type { EventRun } from "../core/event.ts";
import type { State } from "../core/state.ts";
import { assignMessages, type Material } from "./assign.ts";
import type { Committer } from "./committer.ts";
import type { LeaderView, LeaderWorld } from "./leader-world.ts";

export class Orders {
  readonly #state: State;
  readonly #committer: Committer;
  readonly #world: LeaderWorld;
  readonly #view: LeaderView;
  /** Those that wait for a proof. */
  #unproven = 0;

  constructor(state: State, committer: Committer, world: LeaderWorld, view: LeaderView) {
    this.#state = state;
    this.#committer = committer;
    this.#world = world;
    this.#view = view;
  }

  assign(id: string, runs: readonly EventRun[]): void {
    const incarnation = this.#state.nodes.get(id)?.incarnation;
    if (incarnation === undefined) throw new Error(`assigned to an unknown node ${id}`);
    this.#order(() => {
      const material: Material = {
        submission: (number) => this.#state.submissions.get(number),
        specification: (number) => this.#view.specification(number),
        inputs: (number, from, to) => this.#view.inputs(number, from, to),
        source: (number) => this.#view.source(number),
      };
      for (const message of assignMessages(incarnation, runs, material)) this.#world.send(id, message);
    });
  }

  stop(id: string, runs: readonly EventRun[], reason: "cancelled" | "superseded"): void {
    const incarnation = this.#state.nodes.get(id)?.incarnation;
    if (incarnation === undefined) return;
    this.#order(() => {
      for (let at = 0; at < runs.length; at += LIMITS.assign_runs_per_message) {
        const part = runs.slice(at, at + LIMITS.assign_runs_per_message);
        this.#world.send(id, { type: "task.cancel", incarnation, runs: part, reason });
      }
    });
  }

  /** Where the lease is not trusted one more append proves it. In their order: a cancel is for what was assigned before. */
  #order(send: () => void): void {
    this.#committer.afterwards(() => {
      if (this.#unproven === 0 && this.#world.trusted()) {
        send();
        return;
      }
      this.#unproven += 1;
      this.#committer.confirmed(() => {
        this.#unproven -= 1;
        send();
      });
    });
  }
}
