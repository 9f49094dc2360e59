// `ls`, `show`, `logs`, `wait`, `cancel`: tasks by id, by unique prefix, several at once, from standard input with `-`.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { finishedCount, isTerminal, TASK_STATUSES, type TaskStatus, type TaskView } from "../../common/models.ts";
import { parseDuration } from "../../common/units.ts";
import type { ResolvedRef } from "../../communication/queries.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { readLines } from "../lines.ts";
import { type Column, modeOf, plural, printRows } from "../output.ts";
import { followTask, printFinished } from "../print.ts";
import { ageOf, commandOf, taskJson, taskText } from "../show.ts";
import { number, oneOf } from "../specification.ts";

interface Mode {
  json?: boolean;
  quiet?: boolean;
}

async function refs(io: Io, client: RequestClient, ids: readonly string[]): Promise<ResolvedRef[]> {
  const all: string[] = [];
  for (const id of ids) {
    if (id !== "-") all.push(id);
    else
      for await (const lines of readLines(io.input(), false))
        all.push(...lines.map((line) => line.trim()).filter((line) => line !== ""));
  }
  if (all.length === 0) throw new ClawError("usage", "which task?", { hint: "`claw ls` lists them" });
  if (all.length > LIMITS.list_rows) throw new ClawError("too_large", `at most ${LIMITS.list_rows} tasks at once`);
  return (await client.query("task.resolve", { refs: all })).refs;
}

const COLUMNS = (now: number): Column<TaskView>[] => [
  { title: "TASK", value: (task) => task.id },
  { title: "STATUS", value: (task) => task.status },
  { title: "NODE", value: (task) => task.node_name ?? task.node ?? "-" },
  { title: "AGE", value: (task) => ageOf(task.submitted_at, now), right: true },
  {
    title: "MEMBERS",
    value: (task) => (task.counts === undefined ? "-" : `${finishedCount(task.counts)}/${task.counts.total}`),
    right: true,
  },
  { title: "EXIT", value: (task) => String(task.outcome?.exit_code ?? task.outcome?.signal ?? "-"), right: true },
  { title: "COMMAND", value: (task) => commandOf(task) },
];

export interface ListOptions extends Mode {
  status?: string[];
  name?: string;
  limit?: string;
}

export async function listCommand(io: Io, client: RequestClient, options: ListOptions): Promise<number> {
  const statuses = options.status
    ?.flatMap((text) => text.split(","))
    .map((text) => oneOf<TaskStatus>("--status", text, TASK_STATUSES));
  const limit = number("--limit", options.limit ?? "50", LIMITS.list_rows, true) || 1;
  const { tasks, cursor } = await client.query("task.list", {
    limit,
    ...(statuses === undefined ? {} : { statuses }),
    ...(options.name === undefined ? {} : { name: options.name }),
  });
  const mode = modeOf(options);
  await printRows(io, mode, tasks, COLUMNS(io.runtime.wall_ms()), {
    id: (task) => task.id,
    json: taskJson,
    empty: "no tasks; try: claw run -- uname -a",
  });
  if (cursor !== undefined && mode === "table") io.err(`more than ${limit} tasks: --limit shows more\n`);
  return 0;
}

export async function showCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: Mode,
): Promise<number> {
  const views: TaskView[] = [];
  for (const ref of await refs(io, client, ids)) views.push((await client.query("task.show", targetOf(ref))).task);
  if (options.json === true) {
    await io.out(
      `${JSON.stringify(views.length === 1 && views[0] !== undefined ? taskJson(views[0]) : views.map(taskJson))}\n`,
    );
  } else {
    await io.out(views.map((view) => taskText(view, io.runtime.wall_ms())).join("\n"));
  }
  return 0;
}

function targetOf(ref: ResolvedRef): { number: number; index?: number } {
  return { number: ref.number, ...(ref.index === undefined ? {} : { index: ref.index }) };
}

export async function logsCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: { follow?: boolean },
): Promise<number> {
  for (const ref of await refs(io, client, ids)) {
    if (ref.index === undefined) {
      throw new ClawError("usage", `${ref.id} is an array`, {
        hint: `name a member: claw logs ${ref.id}.0`,
        field: ref.id,
      });
    }
    await logsOf(io, client, { id: ref.id, number: ref.number, index: ref.index }, options.follow === true);
  }
  return 0;
}

async function logsOf(
  io: Io,
  client: RequestClient,
  task: { id: string; number: number; index: number },
  follow: boolean,
): Promise<void> {
  const { number: submission, index } = task;
  const { task: view } = await client.query("task.show", { number: submission, index });
  if (isTerminal(view.status)) {
    if (view.outcome !== undefined) await printFinished(io, client, task, view.outcome, view.attempt ?? 1);
    return;
  }
  if (!follow) {
    io.err(`claw: ${task.id} is ${view.status}; -f follows its output\n`);
    return;
  }
  let inline: TaskView | undefined;
  const finished = waitEnd(client, { number: submission, index }, undefined).then((end) => {
    if (end?.outcome === undefined) throw new Error(`${task.id} is over without an outcome`);
    if (end.outcome.inline === true) inline = end;
    return { outcome: end.outcome, attempt: end.attempt ?? 1 };
  });
  await followTask(io, client, task, finished);
  if (inline?.outcome !== undefined) await printFinished(io, client, task, inline.outcome, 1);
}

/** The task when it is over; undefined when `until_ms` (monotonic) passes before. */
async function waitEnd(
  client: RequestClient,
  target: { number: number; index?: number },
  left_ms: (() => number) | undefined,
): Promise<TaskView | undefined> {
  for (;;) {
    const left = left_ms?.() ?? LIMITS.wait_ms;
    const wait_ms = Math.max(0, Math.min(LIMITS.wait_ms, Math.ceil(left)));
    const { task } = await client.query("task.wait", { ...target, until: "finished", wait_ms });
    if (isTerminal(task.status) && task.open !== true) return task;
    if (left <= 0) return undefined;
  }
}

export async function waitCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: Mode & { timeout?: string },
): Promise<number> {
  const limit_ms = options.timeout === undefined ? undefined : parseDuration(options.timeout);
  const begun_ms = io.runtime.monotonic_ms();
  const left_ms = limit_ms === undefined ? undefined : () => limit_ms - (io.runtime.monotonic_ms() - begun_ms);
  const found = await refs(io, client, ids);
  const ends = await Promise.all(found.map((ref) => waitEnd(client, targetOf(ref), left_ms)));
  const over = ends.filter((end) => end !== undefined);
  if (options.json === true) await io.out(`${JSON.stringify(over.map(taskJson))}\n`);
  if (over.length < ends.length) {
    io.err(`claw: ${plural(ends.length - over.length, "task")} still not over after ${options.timeout}\n`);
    return 75;
  }
  const bad = over.filter((task) => task.status !== "completed");
  for (const task of options.quiet === true || options.json === true ? [] : bad)
    io.err(`claw: ${task.id}: ${task.status}\n`);
  return bad.length === 0 ? 0 : 1;
}

export async function cancelCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: Mode,
): Promise<number> {
  const targets = (await refs(io, client, ids)).map(({ number: submission, index }) => ({
    number: submission,
    from: index ?? 0,
    ...(index === undefined ? {} : { to: index + 1 }),
  }));
  const { cancelled, stopping, finished } = await client.command("task.cancel", { v: 1, targets });
  if (options.json === true) await io.out(`${JSON.stringify({ cancelled, stopping, finished })}\n`);
  else if (options.quiet !== true) {
    const parts = [`${cancelled} cancelled`, `${stopping} told to stop`, `${finished} over already`].filter(
      (part) => !part.startsWith("0 "),
    );
    io.err(`claw: ${parts.join(", ") || "nothing to cancel"}\n`);
  }
  return 0;
}
