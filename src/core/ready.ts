// Which submissions have members that wait, in the order of their turn: a lane for each requirement and priority, so
// that the cost of placing grows with the number of different requirements and not with the backlog.

import { PRIORITIES, type Priority } from "../common/models.ts";

export interface Lane {
  readonly group: string;
  readonly priority: Priority;
  /** Submission numbers in ascending order from `head` on; numbers rise with time, so this is first come, first served. */
  numbers: number[];
  head: number;
  /** Members that wait, over all submissions of the lane. */
  waiting: number;
}

export class Ready {
  readonly #lanes = new Map<string, Lane>();

  add(group: string, priority: Priority, number: number, count: number): void {
    const key = `${PRIORITIES.indexOf(priority)} ${group}`;
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = { group, priority, numbers: [], head: 0, waiting: 0 };
      this.#lanes.set(key, lane);
    }
    lane.waiting += count;
    insert(lane, number);
  }

  /** `count` members of a submission wait no longer; `none_left` when it was the last of them. */
  take(group: string, priority: Priority, number: number, count: number, none_left: boolean): void {
    const key = `${PRIORITIES.indexOf(priority)} ${group}`;
    const lane = this.#lanes.get(key);
    if (lane === undefined) throw new Error(`no lane for submission ${number}`);
    lane.waiting -= count;
    if (none_left) remove(lane, number);
    if (lane.head === lane.numbers.length) this.#lanes.delete(key);
  }

  /** Lanes with something waiting, the turn's order first: priority, then age of the oldest submission. */
  lanes(): Lane[] {
    return [...this.#lanes.values()].sort(
      (a, b) =>
        PRIORITIES.indexOf(a.priority) - PRIORITIES.indexOf(b.priority) ||
        (a.numbers[a.head] ?? 0) - (b.numbers[b.head] ?? 0),
    );
  }
}

function position(lane: Lane, number: number): number {
  let low = lane.head;
  let high = lane.numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((lane.numbers[middle] ?? 0) < number) low = middle + 1;
    else high = middle;
  }
  return low;
}

function insert(lane: Lane, number: number): void {
  const at = position(lane, number);
  if (lane.numbers[at] === number) return;
  if (at === lane.numbers.length) lane.numbers.push(number);
  else lane.numbers.splice(at, 0, number);
}

function remove(lane: Lane, number: number): void {
  const at = position(lane, number);
  if (lane.numbers[at] !== number) return;
  if (at === lane.head) {
    lane.head += 1;
    if (lane.head > 1024 && lane.head * 2 > lane.numbers.length) {
      lane.numbers = lane.numbers.slice(lane.head);
      lane.head = 0;
    }
  } else {
    lane.numbers.splice(at, 1);
  }
}
