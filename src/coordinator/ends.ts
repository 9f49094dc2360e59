// What the leader remembers of how attempts ended on each node: how many of the latest failed, and which it did not begin.
// In its memory alone, and so as of its term: nothing is decided by it.

import { LIMITS } from "../common/limits.ts";
import type { UpMessage } from "../communication/messages.ts";
import type { Event } from "../core/event.ts";
import { ended, type Recent } from "../core/health.ts";

type Report = Extract<UpMessage, { type: "task.complete" | "task.fail" | "task.start" }>;

/** Members of a submission that a node was given and did not begin. */
export interface Refusal {
  at: number;
  number: number;
  from: number;
  to: number;
  why: string;
}

/** The latest ones that are kept of a node. */
const REFUSALS = 10;
/** Ends that say that the task was never begun: the node could start nothing, or did not have what it needs. */
const UNBEGUN = new Set<string>(["spawn", "not_found"]);

export class Ends {
  readonly #nodes = new Map<string, { recent: Recent; refused: Refusal[] }>();

  #of(node: string): { recent: Recent; refused: Refusal[] } {
    let found = this.#nodes.get(node);
    if (found === undefined) {
      found = { recent: { ended: 0, failed: 0, unstarted: 0 }, refused: [] };
      this.#nodes.set(node, found);
    }
    return found;
  }

  recent(node: string): Recent {
    return this.#nodes.get(node)?.recent ?? { ended: 0, failed: 0, unstarted: 0 };
  }

  /** The latest first. */
  refused(node: string): readonly Refusal[] {
    return this.#nodes.get(node)?.refused ?? [];
  }

  forget(node: string): void {
    this.#nodes.delete(node);
  }

  /** What came of a report; a repeated one makes no events. */
  noted(node: string, report: Report, events: readonly Event[], at: number): void {
    const more: Recent = { ended: 0, failed: 0, unstarted: 0 };
    for (const event of events) {
      if (event.t === "succeeded") {
        for (const [, from, to] of event.runs) more.ended += to - from;
      } else if (event.t === "ended" || event.t === "retried") {
        this.#outcomes(node, event.results, more, at);
      } else if (event.t === "requeued" && event.reason === "released" && "why" in report && report.why !== undefined) {
        for (const [number, from, to] of event.runs) this.#refuse(node, { at, number, from, to, why: report.why });
      }
    }
    if (more.ended === 0) return;
    const mine = this.#of(node);
    mine.recent = ended(mine.recent, more);
  }

  #outcomes(node: string, results: Extract<Event, { t: "ended" }>["results"], more: Recent, at: number): void {
    for (const { task, outcome } of results) {
      if (outcome.status === "cancelled") continue;
      more.ended += 1;
      if (outcome.status === "completed") continue;
      more.failed += 1;
      // A program that is nowhere may as well be a slip of the pen.
      if (outcome.reason === "spawn") more.unstarted += 1;
      if (!UNBEGUN.has(outcome.reason)) continue;
      const [number, index] = task;
      const why = (outcome.message ?? outcome.reason).slice(0, LIMITS.trouble_chars);
      this.#refuse(node, { at, number, from: index, to: index + 1, why });
    }
  }

  #refuse(node: string, refusal: Refusal): void {
    const { refused } = this.#of(node);
    refused.unshift(refusal);
    refused.splice(REFUSALS);
  }
}
