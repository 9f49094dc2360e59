// `--halt`, as GNU parallel has it: when enough tasks failed (or succeeded, or ended), send no more, or stop all.

import { ClawError } from "../../common/errors.ts";
import type { TaskCounts } from "../../common/models.ts";
import { finishedCount } from "../../common/vocabulary.ts";

export interface Halt {
  when: "soon" | "now";
  why: "fail" | "success" | "done";
  /** Tasks, or a share of those submitted. */
  value: number;
  percent: boolean;
}

export function parseHalt(text: string): Halt | undefined {
  if (text === "never") return undefined;
  const match = /^(soon|now),(fail|success|done)=(\d+)(%?)$/.exec(text);
  const value = Number(match?.[3]);
  if (match === null || value < 1) {
    throw new ClawError("usage", `--halt '${text}' is not known`, {
      hint: "never, soon,fail=1, now,fail=3, now,success=1 or soon,fail=10%",
      field: "--halt",
    });
  }
  return { when: match[1] as Halt["when"], why: match[2] as Halt["why"], value, percent: match[4] === "%" };
}

/** Whether it is time. A share is only one of all tasks, so it waits until all are known. */
export function isHalt(halt: Halt, counts: TaskCounts, all_known: boolean): boolean {
  const failed = counts.failed + counts.timeout;
  const reached = { fail: failed, success: counts.completed, done: finishedCount(counts) }[halt.why];
  if (!halt.percent) return reached >= halt.value;
  return all_known && counts.total > 0 && (reached * 100) / counts.total >= halt.value;
}
