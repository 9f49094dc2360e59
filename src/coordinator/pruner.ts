// When what is over is forgotten: a few at a time, one event at a time, so that what one names is gone from the view
// before the next is decided.

import type { TaskCounts } from "../common/models.ts";
import type { Event } from "../core/event.ts";
import { decidePruned, type FindPrunable, type Retention } from "../core/prune.ts";
import { isOver, type State } from "../core/state.ts";
import type { Known } from "./known.ts";

const over = ({ completed, failed, cancelled, timeout }: TaskCounts): number =>
  completed + failed + cancelled + timeout;

export class Pruner {
  readonly #state: State;
  readonly #find: FindPrunable;
  readonly #known: Known;
  readonly #retention: Retention;
  #under_way = false;

  constructor(state: State, find: FindPrunable, known: Known, retention: Retention) {
    this.#state = state;
    this.#find = find;
    this.#known = known;
    this.#retention = retention;
  }

  /** What is to be forgotten now; `stored` says that it is in the log. */
  decide(at: number): Extract<Event, { t: "pruned" }> | undefined {
    if (this.#under_way) return undefined;
    const kept = (number: number): boolean => this.#known.isSource(number);
    const event = decidePruned(this.#find, kept, this.#finished(), this.#retention, at);
    if (event === undefined) return undefined;
    this.#under_way = true;
    for (const number of event.numbers) this.#known.forget(number, this.#state.submissions.get(number)?.ids ?? []);
    return event;
  }

  stored(): void {
    this.#under_way = false;
  }

  /** Tasks of submissions that are over, where that may be too many. */
  #finished(): number {
    let finished = over(this.#state.totals);
    if (finished <= this.#retention.tasks) return finished;
    for (const submission of this.#state.submissions.values()) {
      if (!isOver(submission)) finished -= over(submission.counts);
    }
    return finished;
  }
}
