// Which submission the leader has to look at when: a heap of log times. It only reminds; what is due is read off the
// state, so an alarm too many does no harm, and a new leader makes its own from the state.

import { alarmsOf } from "../core/due.ts";
import type { Event } from "../core/event.ts";
import type { State } from "../core/state.ts";

interface Alarm {
  at: number;
  number: number;
}

export class Alarms {
  /** A binary heap, the earliest first. */
  readonly #heap: Alarm[] = [];

  constructor(state: State) {
    for (const submission of state.submissions.values()) this.#look(state, submission.number);
  }

  #look(state: State, number: number): void {
    const submission = state.submissions.get(number);
    if (submission === undefined) return;
    for (const at of alarmsOf(submission)) this.#push({ at, number });
  }

  /** An event that was just folded may have put something off. */
  noted(state: State, event: Event): void {
    if (event.t === "submitted") this.#look(state, event.number);
    else if (event.t === "retried") {
      for (const { task, not_before } of event.results) this.#push({ at: not_before, number: task[0] });
    } else if (event.t === "extended") {
      const { start_at } = state.submissions.get(event.number) ?? {};
      if (start_at !== undefined && start_at > event.at) this.#push({ at: start_at, number: event.number });
    }
  }

  /** Log time of the earliest alarm. */
  get next(): number | undefined {
    return this.#heap[0]?.at;
  }

  /** Takes what has rung, each submission once. */
  take(now: number): Set<number> {
    const numbers = new Set<number>();
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      numbers.add(first.number);
      this.#pop();
    }
    return numbers;
  }

  #push(alarm: Alarm): void {
    const heap = this.#heap;
    let at = heap.push(alarm) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || above.at <= alarm.at) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = alarm;
  }

  #pop(): void {
    const heap = this.#heap;
    const moved = heap.pop();
    if (moved === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      let least = left;
      if ((heap[right]?.at ?? Number.POSITIVE_INFINITY) < (heap[left]?.at ?? Number.POSITIVE_INFINITY)) least = right;
      const below = heap[least];
      if (below === undefined || below.at >= moved.at) break;
      heap[at] = below;
      at = least;
    }
    heap[at] = moved;
  }
}
