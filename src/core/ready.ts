// Which submissions have members that wait, in the order of their turn: a lane for each requirement and priority, so
// that the cost of placing grows with the number of different requirements and not with the backlog.
//
// One rule: a submission's place is by when it could first have begun, and of two that could at the same time the one that
// was submitted first has it. Members that wait again (a retry, also one that was put off; a lost node; work given back)
// have the place of their submission, not the end of the line. Nothing of this is in the log: it follows from what is.

import { PRIORITIES, type Priority } from "../common/vocabulary.ts";
import { firstWhere } from "./first-where.ts";
import type { Submission } from "./state.ts";

/** Submissions of a lane that lie together: in one array a million would be moved whenever one in the middle is cancelled. */
const CHUNK = 512;

type Placed = Pick<Submission, "number" | "at" | "start_at">;

/** Log time since which it waits for nothing but a node, but for what its attempts took. */
export function readyAt({ at, start_at }: Pick<Placed, "at" | "start_at">): number {
  return start_at ?? at;
}

function compare(one: Placed, other: Placed): number {
  return readyAt(one) - readyAt(other) || one.number - other.number;
}

export class Lane {
  readonly group: string;
  readonly priority: Priority;
  /** Members that wait, over all submissions of the lane. */
  waiting = 0;
  /** None is empty, and none longer than CHUNK. */
  readonly #chunks: Submission[][] = [];

  constructor(group: string, priority: Priority) {
    this.group = group;
    this.priority = priority;
  }

  get first(): Submission | undefined {
    return this.#chunks[0]?.[0];
  }

  /** In the order of their turn; not to be gone on with once one came or went. */
  *[Symbol.iterator](): Iterator<Submission> {
    for (const chunk of this.#chunks) yield* chunk;
  }

  enter(submission: Submission): void {
    const position = this.#chunkOf(submission);
    const chunk = this.#chunks[position];
    if (chunk === undefined) {
      this.#chunks.push([submission]);
      return;
    }
    const at = placeIn(chunk, submission);
    if (chunk[at]?.number === submission.number) return;
    if (chunk.length < CHUNK) chunk.splice(at, 0, submission);
    else if (at === CHUNK) this.#chunks.splice(position + 1, 0, [submission]);
    else {
      const behind = chunk.splice(CHUNK / 2);
      this.#chunks.splice(position + 1, 0, behind);
      if (at <= CHUNK / 2) chunk.splice(at, 0, submission);
      else behind.splice(at - CHUNK / 2, 0, submission);
    }
  }

  leave(submission: Submission): void {
    const position = this.#chunkOf(submission);
    const chunk = this.#chunks[position];
    const at = chunk === undefined ? 0 : placeIn(chunk, submission);
    if (chunk?.[at]?.number !== submission.number) throw new Error(`submission ${submission.number} is in no lane`);
    if (chunk.length === 1) this.#chunks.splice(position, 1);
    else chunk.splice(at, 1);
  }

  /** The last chunk that does not begin behind it, or the first. */
  #chunkOf(submission: Submission): number {
    const at = firstWhere(this.#chunks, ([first]) => first !== undefined && compare(first, submission) > 0);
    return Math.max(0, at - 1);
  }
}

function placeIn(chunk: readonly Submission[], submission: Submission): number {
  return firstWhere(chunk, (other) => compare(other, submission) >= 0);
}

export class Ready {
  readonly #lanes = new Map<string, Lane>();

  /** `count` members of a submission wait for a node. */
  add(submission: Submission, count: number): void {
    const { group, priority } = submission;
    const key = keyOf(submission);
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(group, priority);
      this.#lanes.set(key, lane);
    }
    lane.waiting += count;
    lane.enter(submission);
  }

  /** `count` members of a submission wait no longer, and `submission.ready` still do. */
  take(submission: Submission, count: number): void {
    const key = keyOf(submission);
    const lane = this.#lanes.get(key);
    if (lane === undefined) throw new Error(`no lane for submission ${submission.number}`);
    lane.waiting -= count;
    if (submission.ready === 0) lane.leave(submission);
    if (lane.first === undefined) this.#lanes.delete(key);
  }

  /** Lanes with something waiting, the turn's order first: priority, then how long the first submission waits. */
  lanes(): Lane[] {
    return [...this.#lanes.values()].sort(
      (a, b) =>
        PRIORITIES.indexOf(a.priority) - PRIORITIES.indexOf(b.priority) ||
        (a.first === undefined || b.first === undefined ? 0 : compare(a.first, b.first)),
    );
  }
}

function keyOf({ group, priority }: Submission): string {
  return `${PRIORITIES.indexOf(priority)} ${group}`;
}
