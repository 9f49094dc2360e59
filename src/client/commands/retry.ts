// `retry`: what is over, anew, as tasks of their own that name the old ones.

import { CUT_SHORT_HINT, isOnlyCutShort, onlyCutShort } from "../../common/cut-short.ts";
import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { TaskView } from "../../common/models.ts";
import { plural } from "../../common/units.ts";
import { isTerminal, TERMINAL_STATUSES, type TerminalStatus } from "../../common/vocabulary.ts";
import type { RequestClient } from "../../communication/request.ts";
import { retryTasks } from "../../communication/submitting.ts";
import { formatTaskId } from "../../core/ids.ts";
import type { Io } from "../io.ts";
import { distinctRefs, refs } from "../refs.ts";
import { confirmed, refuseBoth, type Selected, type SelectOptions, select, selects, statusesOf } from "../select.ts";

interface RetryOptions extends SelectOptions {
  again?: boolean;
  json?: boolean;
  quiet?: boolean;
}

type Target = Pick<Selected, "number" | "index">;

const UNSUCCESSFUL: TerminalStatus[] = ["failed", "timeout", "cancelled"];

export async function retryCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: RetryOptions,
): Promise<number> {
  refuseBoth(ids, options);
  const statuses = options.status === undefined ? UNSUCCESSFUL : statusesOf(options.status, TERMINAL_STATUSES);
  if (ids.length === 0) return await retrySelected(io, client, statuses, options);
  const targets = distinctRefs(await refs(io, client, ids)).map(({ number, index }) => only(number, index));
  const { retried, skipped } = await retryAll(io, client, targets, statuses, {});
  await report(io, retried, options);
  if (skipped.length > 0 && options.quiet !== true) await sayWhy(io, client, skipped, statuses, options);
  return skipped.length > 0 && retried.length === 0 ? 1 : 0;
}

/** Tasks with nothing to retry that are named each. */
const NAMED = 10;

/** What had nothing to retry: because it is not over, because it ended otherwise, or because only its inputs are missing. */
async function sayWhy(
  io: Io,
  client: RequestClient,
  skipped: readonly Target[],
  statuses: readonly TerminalStatus[],
  { status }: RetryOptions,
): Promise<void> {
  const tasks: TaskView[] = [];
  for (const target of skipped) tasks.push((await client.query("task.show", target)).task);
  const unfinished = tasks.filter((task) => !isTerminal(task.status));
  const named = unfinished.slice(0, NAMED);
  for (const task of named) io.err(`claw: ${task.id} is ${task.status}: only what is over can be retried\n`);
  if (unfinished.length > named.length) io.err(`claw: and so are ${unfinished.length - named.length} more\n`);
  const ids = named.map(({ id }) => id).join(" ");
  if (ids !== "") io.err(`  claw cancel ${ids} ends it, claw wait ${ids} waits for its end\n`);
  const over = tasks.filter((task) => isTerminal(task.status));
  const cut = over.filter((task) => isOnlyCutShort(task, statuses));
  for (const task of cut.slice(0, NAMED)) io.err(`claw: ${onlyCutShort(task, statuses)}\n`);
  if (cut.length > NAMED) io.err(`claw: and so it is with ${cut.length - NAMED} more\n`);
  if (cut.length > 0) io.err(`  ${CUT_SHORT_HINT}\n`);
  const others = over.length - cut.length;
  if (others > 0) io.err(`claw: ${plural(others, "task")} had nothing that is ${statuses.join(", ")}\n`);
  const some = others > 0 || cut.some(({ counts }) => (counts?.completed ?? 0) > 0);
  if (some && status === undefined) io.err("  --status completed runs again what succeeded\n");
}

/** Chosen by what they are: what was retried already is left out, so that the same line can be typed again. */
async function retrySelected(
  io: Io,
  client: RequestClient,
  statuses: readonly TerminalStatus[],
  options: RetryOptions,
): Promise<number> {
  if (!selects(options)) {
    throw new ClawError("usage", "which tasks?", { hint: "claw retry ID, or claw retry --status failed --since 1h" });
  }
  const { selected, only_cut_short } = await select(io, client, statuses, options);
  const targets = selected.map(({ number, index }) => only(number, index));
  const how = { fresh: options.again !== true };
  const would = await retryAll(io, client, targets, statuses, { ...how, dry: true });
  const count = would.retried.reduce((sum, one) => sum + one.count, 0);
  if (would.left_out > 0 && options.quiet !== true) {
    io.err(`claw: left out: ${plural(would.left_out, "task")} retried already (--again takes them too)\n`);
  }
  if (only_cut_short > 0 && options.quiet !== true) {
    const arrays = plural(only_cut_short, "array");
    io.err(`claw: left out: ${arrays} of which no member ended so: inputs may be missing (claw retry ID says more)\n`);
  }
  if (count === 0 && would.left_out === 0 && only_cut_short === 0) io.err("claw: no such tasks\n");
  if (count === 0 || !(await confirmed(io, count, "retry", options.yes === true))) {
    await report(io, [], options);
    return 1;
  }
  await report(io, (await retryAll(io, client, targets, statuses, how)).retried, options);
  return 0;
}

async function report(io: Io, retried: readonly { id: string; count: number }[], options: RetryOptions): Promise<void> {
  if (options.json === true) await io.out(`${JSON.stringify(retried)}\n`);
  else await io.out(retried.map(({ id }) => `${id}\n`).join(""));
}

async function retryAll(
  io: Io,
  client: RequestClient,
  targets: readonly Target[],
  statuses: readonly TerminalStatus[],
  how: { fresh?: boolean; dry?: boolean },
): Promise<{ retried: { id: string; count: number }[]; skipped: Target[]; left_out: number }> {
  const all = { retried: [] as { id: string; count: number }[], skipped: [] as Target[], left_out: 0 };
  for (let at = 0; at < targets.length; at += LIMITS.list_rows) {
    const part = targets.slice(at, at + LIMITS.list_rows);
    const answer = await retryTasks(io.runtime, client, part, statuses, how);
    const skipped = new Set(answer.skipped);
    all.skipped.push(...part.filter((_target, position) => skipped.has(position)));
    all.left_out += answer.left_out;
    for (const { id, count } of answer.retried) all.retried.push({ id: formatTaskId(id), count });
  }
  return all;
}

function only(number: number, index: number | undefined): Target {
  return index === undefined ? { number } : { number, index };
}
