// Tasks chosen by what they are instead of by their ids: `cancel --status pending`, `retry --status failed --since 1h`. How
// many they are is said and, on a terminal, asked about before anything happens.

import { isOnlyCutShort } from "../common/cut-short.ts";
import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { TaskView } from "../common/models.ts";
import { plural } from "../common/units.ts";
import type { TaskStatus } from "../common/vocabulary.ts";
import type { RequestClient } from "../communication/request.ts";
import type { Io } from "./io.ts";
import { readLines } from "./lines.ts";
import { distinct, duration, oneOf } from "./values.ts";

export interface SelectOptions {
  status?: string[];
  label?: string[];
  name?: string;
  since?: string;
  yes?: boolean;
}

export interface Selected {
  number: number;
  /** Absent for an array. */
  index?: number;
  /** Members that are meant. */
  count: number;
}

/** Statuses in which an array may have members of any other. */
const MIXED: readonly TaskStatus[] = ["pending", "scheduled", "running", "failed", "timeout", "cancelled"];

/** Whether tasks are to be chosen by what they are. */
export function selects({ status, label, name, since }: SelectOptions): boolean {
  return [status, label, name, since].some((option) => option !== undefined);
}

/** Which of the two is meant would be a guess. (`--status` beside ids says in which state they are meant.) */
export function refuseBoth(ids: readonly string[], { label, name, since }: SelectOptions): void {
  const [filter] = Object.entries({ name, label, since }).find(([, value]) => value !== undefined) ?? [];
  if (filter === undefined || ids.length === 0) return;
  throw new ClawError("usage", `ids or --${filter}, not both: either they are named, or chosen by what they are`, {
    hint: `leave the ids away, or --${filter}`,
    field: `--${filter}`,
  });
}

export function statusesOf<T extends TaskStatus>(given: readonly string[] | undefined, valid: readonly T[]): T[] {
  return (given ?? []).flatMap((text) => text.split(",")).map((text) => oneOf<T>("--status", text, valid));
}

interface Selection {
  /** Newest first. */
  selected: Selected[];
  /** Arrays without such members that are called so all the same. */
  only_cut_short: number;
}

/** Every submission with members in one of the statuses. */
export async function select(
  io: Io,
  client: RequestClient,
  statuses: readonly TaskStatus[],
  { label, name, since }: SelectOptions,
): Promise<Selection> {
  const labels = distinct("--label", label);
  const oldest = since === undefined ? 0 : io.runtime.wall_ms() - duration("--since", since);
  const wanted = new Set(statuses);
  const found: Selection = { selected: [], only_cut_short: 0 };
  let cursor: string | undefined;
  do {
    const page = await client.query("task.list", {
      statuses: [...new Set([...MIXED, ...statuses])],
      limit: LIMITS.list_rows,
      ...(labels === undefined ? {} : { labels }),
      ...(name === undefined ? {} : { name: name.normalize("NFC") }),
      ...(cursor === undefined ? {} : { cursor }),
    });
    for (const task of page.tasks) {
      if (task.submitted_at < oldest) return found;
      const count = membersIn(task, wanted);
      if (count === 0) {
        if (isOnlyCutShort(task, statuses)) found.only_cut_short += 1;
        continue;
      }
      found.selected.push({ number: task.number, count, ...(task.index === undefined ? {} : { index: task.index }) });
    }
    cursor = page.cursor;
  } while (cursor !== undefined);
  return found;
}

function membersIn({ counts, status }: TaskView, wanted: ReadonlySet<TaskStatus>): number {
  if (counts === undefined) return wanted.has(status) ? 1 : 0;
  return [...wanted].reduce((sum, one) => sum + counts[one], 0);
}

export async function confirmed(io: Io, count: number, verb: string, yes: boolean): Promise<boolean> {
  return count === 0 || (await agreed(io, `${verb} ${plural(count, "task")}`, yes));
}

/** Asks on a terminal; elsewhere `--yes` has to be there. False when the answer is no. */
export async function agreed(io: Io, what: string, yes: boolean): Promise<boolean> {
  if (yes) return true;
  if (!io.terminal.in || !io.terminal.err) {
    throw new ClawError("usage", `this would ${what}`, { hint: "add --yes", field: "--yes" });
  }
  io.err(`${what}? [y/N] `);
  for await (const [line = ""] of readLines(io.input(), false)) return /^y(es)?$/i.test(line.trim());
  return false;
}
