// When what is over is forgotten: a few at a time, one event at a time, so that what one names is gone from the view
// before the next is decided.

import { finishedCount } from "../common/vocabulary.ts";
import type { Event } from "../core/event.ts";
import { decidePruned, type PastResults, type Retention } from "../core/prune.ts";
import type { State } from "../core/state.ts";
import type { Known } from "./known.ts";

/** Counting a million results takes a leader some ten milliseconds: so they are counted once in ten seconds. */
const COUNTED_PER_MS = 100;

export class Pruner {
  readonly #state: State;
  readonly #past: PastResults;
  readonly #known: Known;
  readonly #retention: Retention;
  #under_way = false;
  /** The last event did not take all that there was. */
  #more = false;
  /** Results that are too many, as they were counted last, but for those that were forgotten since. */
  #surplus = 0;
  /** Log time before which they are not counted again. */
  #count_at = 0;

  constructor(state: State, past: PastResults, known: Known, retention: Retention) {
    this.#state = state;
    this.#past = past;
    this.#known = known;
    this.#retention = retention;
  }

  /** What is to be forgotten now; `stored` says that it is in the log. */
  decide(at: number): Extract<Event, { t: "pruned" }> | undefined {
    if (this.#under_way) return undefined;
    const kept = (number: number): boolean => this.#known.isSource(number);
    this.#count(at);
    const { event, surplus, more } = decidePruned(this.#past, kept, this.#surplus, this.#retention, at);
    this.#surplus = surplus;
    this.#more = more;
    if (event === undefined) return undefined;
    this.#under_way = true;
    for (const number of event.numbers) this.#known.leave(number, this.#state.submissions.get(number)?.ids ?? []);
    return event;
  }

  /** There is more to forget than the last event took, and that is in the log. */
  get behind(): boolean {
    return this.#more && !this.#under_way;
  }

  stored(): void {
    this.#under_way = false;
    this.#known.left();
  }

  /** There are no more results than tasks that are over. */
  #count(at: number): void {
    const { tasks } = this.#retention;
    if (finishedCount(this.#state.totals) <= tasks) {
      this.#surplus = 0;
      return;
    }
    if (at < this.#count_at) return;
    this.#count_at = at + Math.floor(tasks / COUNTED_PER_MS);
    this.#surplus = this.#past.finishedResults() - tasks;
  }
}
