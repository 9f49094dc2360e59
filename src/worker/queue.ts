// Assigned tasks that wait for room on this node, as the runs in which they came.

import type { Specification } from "../common/models.ts";
import type { AssignItem, Run } from "../communication/messages.ts";
import { formatTaskId } from "../core/ids.ts";

/** One attempt of one task, ready to be run. */
export interface Job {
  number: number;
  index: number;
  attempt: number;
  task_id: string;
  /** Its place in its array, as the task sees it: a retry's member has that of the one that it stands for. */
  place: number;
  specification: Specification;
  input?: string;
}

export interface QueuedRun {
  number: number;
  from: number;
  to: number;
  attempt: number;
  specification: Specification;
  id: number | undefined;
  ids: readonly number[] | undefined;
  inputs: readonly string[] | undefined;
  /** Place of the first member, where that is not its index. */
  first: number | undefined;
  /** First member that `ids` and `inputs` speak of. */
  base: number;
  received_ms: number;
}

/** Whether it must never run a second time. */
export function runsOnce({ specification }: { specification: Specification }): boolean {
  return specification.on_lost === "fail";
}

export function queuedRun(item: AssignItem, run: Run, specification: Specification, received_ms: number): QueuedRun {
  const [number, from, to, attempt] = run;
  const { id, ids, inputs, first } = item;
  return { number, from, to, attempt, specification, id, ids, inputs, first, base: item.run[1], received_ms };
}

/** The run's first member as a job. */
export function firstJob(run: QueuedRun): Job {
  const index = run.from;
  const input = run.inputs?.[index - run.base];
  const own = run.ids?.[index - run.base];
  return {
    number: run.number,
    index,
    attempt: run.attempt,
    task_id: own === undefined ? formatTaskId(run.id ?? 0, index) : formatTaskId(own),
    place: (run.first ?? run.base) + index - run.base,
    specification: run.specification,
    ...(input === undefined ? {} : { input }),
  };
}

export function runOf(queued: QueuedRun): Run {
  return [queued.number, queued.from, queued.to, queued.attempt];
}

/** Of one attempt, whichever members. */
export function taskKey(number: number, attempt: number): string {
  return `${number}/${attempt}`;
}

export function byTask(runs: readonly Run[]): Map<string, Run[]> {
  const found = new Map<string, Run[]>();
  for (const run of runs) {
    const key = taskKey(run[0], run[3]);
    const list = found.get(key);
    if (list === undefined) found.set(key, [run]);
    else list.push(run);
  }
  return found;
}
