// Arrays that were closed by another than their client: what is said of them, on the command line and over HTTP alike.

import type { TaskView } from "./models.ts";
import { plural } from "./units.ts";
import type { CutShort, TaskStatus } from "./vocabulary.ts";

const CUT_SHORT_BY: Record<CutShort, string> = {
  abandoned: "its client was gone",
  cancelled: "it was cancelled before its client had closed it",
  deadline: "its deadline passed before its client had closed it",
};

/** Why an array's inputs may not be all of them; undefined where they are, or more may come. */
export function cutShortText({ cut_short, counts }: Pick<TaskView, "cut_short" | "counts">): string | undefined {
  if (cut_short === undefined) return undefined;
  return `closed after ${plural(counts?.total ?? 0, "input")}: ${CUT_SHORT_BY[cut_short]}`;
}

/** What can be done about it. */
export const CUT_SHORT_HINT = "submit the inputs that are missing as an array of their own";

/** Whether an array of which no member ended so is called by one of these statuses all the same: its inputs may be missing. */
export function isOnlyCutShort({ cut_short, status }: TaskView, statuses: readonly TaskStatus[]): boolean {
  return cut_short !== undefined && statuses.includes(status);
}

/** That nothing of such an array can be retried, and why it is called so. */
export function onlyCutShort(task: TaskView, statuses: readonly TaskStatus[]): string {
  const { completed = 0, total = 0 } = task.counts ?? {};
  const some = completed === total ? "all of its members succeeded" : `none of its members is ${statuses.join(", ")}`;
  const members = total === 0 ? "it has no members" : some;
  return `${task.id} is ${task.status} because inputs may be missing (${cutShortText(task)}): ${members}`;
}
