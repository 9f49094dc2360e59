// `retry`: what is over, anew, as tasks of their own that name the old ones.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { TERMINAL_STATUSES, type TerminalStatus } from "../../common/models.ts";
import { plural } from "../../common/units.ts";
import type { RequestClient } from "../../communication/request.ts";
import { retryTasks } from "../../communication/submitting.ts";
import { formatTaskId } from "../../core/ids.ts";
import type { Io } from "../io.ts";
import { refs } from "../refs.ts";
import { confirmed, type Selected, type SelectOptions, select, selects, statusesOf } from "../select.ts";

interface RetryOptions extends SelectOptions {
  json?: boolean;
  quiet?: boolean;
}

const UNSUCCESSFUL: TerminalStatus[] = ["failed", "timeout", "cancelled"];

export async function retryCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: RetryOptions,
): Promise<number> {
  const statuses = options.status === undefined ? UNSUCCESSFUL : statusesOf(options.status, TERMINAL_STATUSES);
  const targets = await targetsOf(io, client, ids, statuses, options);
  if (targets === undefined) return 1;
  const all: { id: string; count: number }[] = [];
  let skipped = 0;
  for (let at = 0; at < targets.length; at += LIMITS.list_rows) {
    const answer = await retryTasks(io.runtime, client, targets.slice(at, at + LIMITS.list_rows), statuses);
    skipped += answer.skipped.length;
    for (const { id, count } of answer.retried) all.push({ id: formatTaskId(id), count });
    if (options.json !== true) await io.out(answer.retried.map(({ id }) => `${formatTaskId(id)}\n`).join(""));
  }
  if (options.json === true) await io.out(`${JSON.stringify(all)}\n`);
  if (skipped > 0 && options.quiet !== true) {
    io.err(`claw: ${plural(skipped, "task")} had nothing that is ${statuses.join(", ")}\n`);
    if (options.status === undefined) io.err("  --status completed runs again what succeeded\n");
  }
  return skipped > 0 && all.length === 0 ? 1 : 0;
}

async function targetsOf(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  statuses: readonly TerminalStatus[],
  options: RetryOptions,
): Promise<Pick<Selected, "number" | "index">[] | undefined> {
  if (ids.length > 0) return (await refs(io, client, ids)).map(({ number, index }) => only(number, index));
  if (!selects(options)) {
    throw new ClawError("usage", "which tasks?", { hint: "claw retry ID, or claw retry --status failed --since 1h" });
  }
  const selected = await select(io, client, statuses, options);
  if (selected.length === 0) {
    io.err("claw: no such tasks\n");
    return undefined;
  }
  const agreed = await confirmed(io, selected, "retry", options.yes === true);
  return agreed ? selected.map(({ number, index }) => only(number, index)) : undefined;
}

function only(number: number, index: number | undefined): Pick<Selected, "number" | "index"> {
  return index === undefined ? { number } : { number, index };
}
