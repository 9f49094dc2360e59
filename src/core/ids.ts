// Public ids: `task_35f04cf1`, `task_35f04cf1.17`, `node_9ab34c21`. Inside, a task is (submission number, index); an id
// is an unsigned 32-bit integer and only people see its eight hex digits.

import { ClawError } from "../common/errors.ts";

export const TASK_REF = /^(?:task_)?([0-9a-f]{1,8})(?:\.(0|[1-9][0-9]{0,8}))?$/;

/** A task's id as typed: possibly a prefix, possibly with a member's index. */
export interface TaskRef {
  /** Lowest and highest id that begin with what was typed. */
  low: number;
  high: number;
  exact: boolean;
  index?: number;
}

export function formatTaskId(id: number, index?: number): string {
  const base = `task_${id.toString(16).padStart(8, "0")}`;
  return index === undefined ? base : `${base}.${index}`;
}

/** Parses an id or a unique prefix; throws `usage` naming what it should look like. */
export function parseTaskRef(text: string): TaskRef {
  const match = TASK_REF.exec(text);
  if (match === null) {
    throw new ClawError("usage", `'${text}' is not a task id`, {
      hint: "a task id looks like task_35f04cf1, a member of an array like task_35f04cf1.17",
      field: text,
    });
  }
  const digits = match[1] ?? "";
  const low = Number.parseInt(digits.padEnd(8, "0"), 16);
  const high = Number.parseInt(digits.padEnd(8, "f"), 16);
  const index = match[2];
  return {
    low,
    high,
    exact: digits.length === 8,
    ...(index === undefined ? {} : { index: Number(index) }),
  };
}
