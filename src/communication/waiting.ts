// Waiting for tasks: long polls, asked again until what they wait for is there. A coordinator that restarts meanwhile is
// waited for by the request client.

import type { AttemptView, TaskView } from "../common/models.ts";
import { isTerminal } from "../common/vocabulary.ts";
import type { Ended } from "./follow.ts";
import type { RequestClient } from "./request.ts";

/** Short enough that a coordinator that forgot us is noticed soon, long enough to cost nothing. */
const POLL_MS = 5_000;

interface Target {
  number: number;
  index?: number;
}

/** The task, or the array as a whole, when it has begun or is over; undefined when `left_ms` came to nothing before. */
export async function waitFor(
  client: RequestClient,
  { number, index }: Target,
  until: "started" | "finished",
  left_ms: () => number,
): Promise<TaskView | undefined> {
  const target = { number, ...(index === undefined ? {} : { index }) };
  for (;;) {
    const left = left_ms();
    const wait_ms = Math.max(0, Math.min(POLL_MS, Math.ceil(left)));
    const { task } = await client.query("task.wait", { ...target, until, wait_ms });
    if (isTerminal(task.status) && task.open !== true) return task;
    if (until === "started" && task.status === "running") return task;
    if (left <= 0) return undefined;
  }
}

export async function waitUntil(
  client: RequestClient,
  target: Target,
  until: "started" | "finished",
): Promise<TaskView> {
  const task = await waitFor(client, target, until, () => Number.POSITIVE_INFINITY);
  if (task === undefined) throw new Error("waited without a limit, and the limit was reached");
  return task;
}

/** The task when it is over, or `left`; `onAttempt` is told each attempt before the last one as soon as it ended. */
export async function waitThrough(
  client: RequestClient,
  { number, index }: Required<Target>,
  onAttempt: (one: AttemptView) => void,
  left?: AbortSignal,
): Promise<TaskView> {
  let after = 0;
  for (;;) {
    const request = { number, index, until: "finished" as const, wait_ms: POLL_MS, after };
    const { task } = await client.query("task.wait", request);
    for (const one of task.attempts ?? []) {
      if (one.attempt <= after) continue;
      after = one.attempt;
      onAttempt(one);
    }
    if (isTerminal(task.status) || left?.aborted === true) return task;
  }
}

export function endedOf(task: TaskView): Ended {
  if (task.outcome === undefined) throw new Error(`${task.id} is over without an outcome`);
  const { outcome, attempt = 1, node } = task;
  return { outcome, attempt, ...(node === undefined ? {} : { node }) };
}
