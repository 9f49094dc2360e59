// `ls`, `show`, `logs`, `wait`, `cancel`: tasks by id, by unique prefix, several at once, from standard input with `-`.

import { taskDocument } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { TaskView } from "../../common/models.ts";
import { plural } from "../../common/units.ts";
import { endOf, finishedCount, isTerminal, TASK_STATUSES, type TaskStatus } from "../../common/vocabulary.ts";
import { followTask, printFinished, printSoFar, type TaskRef } from "../../communication/follow.ts";
import type { CommandAnswers } from "../../communication/messages.ts";
import type { QueryRequest, ResolvedRef } from "../../communication/queries.ts";
import type { RequestClient } from "../../communication/request.ts";
import { endedOf, waitFor } from "../../communication/waiting.ts";
import type { Io } from "../io.ts";
import { JsonLogs } from "../json-logs.ts";
import { labelled } from "../labelled.ts";
import { type Column, modeOf, printRows, statusColor } from "../output.ts";
import { Recorded } from "../recorded.ts";
import { distinctRefs, refs } from "../refs.ts";
import { confirmed, refuseBoth, type SelectOptions, select, selects, statusesOf } from "../select.ts";
import { ageOf, arrayText, commandOf, nodeText, taskText } from "../show.ts";
import { count, distinct, duration, oneOf } from "../values.ts";

interface Mode {
  json?: boolean;
  quiet?: boolean;
}

const COLUMNS = (now: number): Column<TaskView>[] => [
  { title: "TASK", value: (task) => task.id },
  { title: "STATUS", value: (task) => task.status, color: (task) => statusColor(task.status) },
  { title: "NODE", value: nodeText },
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
  label?: string[];
  since?: string;
  limit?: string;
  color?: string;
}

/** So many tasks, or all of them: an answer has as many as fit. */
async function listTasks(
  client: RequestClient,
  limit: number,
  filter: Omit<QueryRequest<"task.list">, "seen" | "limit" | "cursor">,
): Promise<{ tasks: TaskView[]; more: boolean }> {
  const tasks: TaskView[] = [];
  let cursor: string | undefined;
  // A page may be empty and not the last: one more than wanted is looked for, to know whether there is one.
  do {
    const from = cursor === undefined ? {} : { cursor };
    const left = Math.min(LIMITS.list_rows, limit + 1 - tasks.length);
    const page = await client.query("task.list", { ...filter, ...from, limit: left });
    tasks.push(...page.tasks);
    cursor = page.cursor;
  } while (cursor !== undefined && tasks.length <= limit);
  return { tasks: tasks.slice(0, limit), more: tasks.length > limit };
}

export async function listCommand(io: Io, client: RequestClient, options: ListOptions): Promise<number> {
  const statuses = options.status
    ?.flatMap((text) => text.split(","))
    .map((text) => oneOf<TaskStatus>("--status", text, TASK_STATUSES));
  const limit = count("--limit", options.limit ?? "50", LIMITS.list_rows);
  const labels = distinct("--label", options.label);
  const { tasks, more } = await listTasks(client, limit, {
    ...(statuses === undefined ? {} : { statuses }),
    ...(options.name === undefined ? {} : { name: options.name.normalize("NFC") }),
    ...(labels === undefined ? {} : { labels }),
    ...(options.since === undefined
      ? {}
      : { since: Math.max(0, io.runtime.wall_ms() - duration("--since", options.since)) }),
  });
  const mode = modeOf(options);
  await printRows(io, mode, tasks, COLUMNS(io.runtime.wall_ms()), {
    id: (task) => task.id,
    json: taskDocument,
    color: options.color,
    empty:
      statuses === undefined && options.name === undefined && labels === undefined && options.since === undefined
        ? "no tasks; try: claw run -- uname -a"
        : "no such tasks",
  });
  if (more && mode === "table") io.err(`more than ${plural(limit, "task")}: --limit shows more\n`);
  return 0;
}

export async function showCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: Mode,
): Promise<number> {
  const found = await refs(io, client, ids);
  const views: TaskView[] = [];
  for (const ref of found) views.push((await client.query("task.show", targetOf(ref))).task);
  if (options.json === true) {
    const documents = views.map(taskDocument);
    await io.out(`${JSON.stringify(documents.length === 1 ? documents[0] : documents)}\n`);
    return 0;
  }
  const now = io.runtime.wall_ms();
  await io.out(views.map((view) => taskText(view, now) + failuresOf(view)).join("\n"));
  return 0;
}

/** Members of an array that did not succeed. */
function failuresOf({ counts, failures = [] }: TaskView): string {
  const bad = (counts?.failed ?? 0) + (counts?.timeout ?? 0);
  // A coordinator of an earlier version names none.
  if (bad === 0 || failures.length === 0) return "";
  const lines = failures.map((one) => `  ${one.id}  ${endOf(one)}`);
  if (bad > failures.length) lines.push(`  and ${bad - failures.length} more`);
  return `did not succeed:\n${lines.join("\n")}\n`;
}

function targetOf(ref: Pick<ResolvedRef, "number" | "index">): { number: number; index?: number } {
  return { number: ref.number, ...(ref.index === undefined ? {} : { index: ref.index }) };
}

interface LogsOptions {
  follow?: boolean;
  json?: boolean;
}

/** Which task's output goes where; absent: as it is. */
type SinkOf = (id: string) => ReturnType<typeof labelled>;

export async function logsCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: LogsOptions,
): Promise<number> {
  const found = await refs(io, client, ids);
  const follow = options.follow === true;
  const json = options.json === true ? new JsonLogs(io, follow) : undefined;
  const several = found.length > 1;
  for (const ref of found) {
    const { id, number: submission, index } = ref;
    const sinkOf = json === undefined ? undefined : (task: string) => json.of(task);
    if (index === undefined) await logsOfArray(io, client, submission, follow, sinkOf ?? arrayLabels(io, several));
    else {
      const { task } = await client.query("task.show", { number: submission, index });
      const single = several ? (name: string) => labelled(io, name) : undefined;
      await logsOf(io, client, { id, number: submission, index }, task, { follow, sinkOf: sinkOf ?? single });
    }
  }
  await json?.end();
  return 0;
}

/** The index says which line is whose, unless other tasks' lines stand beside them. */
function arrayLabels(io: Io, several: boolean): SinkOf {
  return (id) => labelled(io, several ? id : id.slice(id.lastIndexOf(".") + 1));
}

/** Between two looks at an array that may get further members. */
const LOOK_MS = 1_000;

/** Member by member in their order; followed, until there will be no more of them. */
async function logsOfArray(
  io: Io,
  client: RequestClient,
  submission: number,
  follow: boolean,
  sinkOf: SinkOf,
): Promise<void> {
  const recorded = new Recorded(client, submission);
  let next = 0;
  for (;;) {
    await recorded.read();
    const { from, to } = recorded.next(next);
    next = from;
    const limit = Math.min(LIMITS.list_rows, to - from);
    const page = await client.query("task.list", { number: submission, limit, cursor: `${submission}.${from}` });
    for (const view of page.tasks) {
      const member = { id: view.id, number: submission, index: view.index ?? 0 };
      // A list has no attempts.
      const earlier = hasEarlier(view) || (view.attempt === undefined && recorded.tried(member.index));
      const whole = earlier ? (await client.query("task.show", targetOf(member))).task : view;
      await logsOf(io, client, member, whole, { follow, sinkOf });
      next = member.index + 1;
    }
    if (page.cursor !== undefined) continue;
    if (!follow) return;
    const whole = { number: submission, until: "finished" as const, wait_ms: LOOK_MS };
    const { task } = await client.query("task.wait", whole);
    if (task.open !== true && next >= (task.counts?.total ?? 0)) return;
  }
}

/** Whether it had attempts before the one that it has, or waits for. */
function hasEarlier({ status, attempt = 0 }: TaskView): boolean {
  return attempt > (status === "pending" ? 0 : 1);
}

async function logsOf(
  io: Io,
  client: RequestClient,
  task: TaskRef,
  view: TaskView,
  { follow, sinkOf }: { follow: boolean; sinkOf: SinkOf | undefined },
): Promise<void> {
  const own = sinkOf?.(task.id);
  const sink = own ?? io;
  if (isTerminal(view.status)) {
    await printFinished(sink, client, task, endedOf(view), view.attempts);
  } else if (follow) {
    await followTask(sink, client, { ...task, now: view });
  } else {
    await printSoFar(sink, client, { ...task, now: view }, view.attempts);
    io.err(`claw: ${task.id} is ${view.status}; -f follows its output\n`);
  }
  await own?.end();
}

/** For the answer that says so itself. */
const LATE_MS = 500;

export async function waitCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: Mode & { timeout?: string },
): Promise<number> {
  const limit_ms = options.timeout === undefined ? undefined : duration("--timeout", options.timeout);
  const begun_ms = io.runtime.monotonic_ms();
  const left_ms = (): number => (limit_ms ?? Number.POSITIVE_INFINITY) - (io.runtime.monotonic_ms() - begun_ms);
  // A coordinator that is away answers nothing: the limit holds all the same.
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = limit_ms === undefined ? undefined : io.runtime.after(left_ms() + LATE_MS, () => resolve(undefined));
  const ask = async () => {
    const found = await Promise.race([refs(io, client, ids), late]);
    if (found === undefined) throw new ClawError("timeout", `nobody answered within ${options.timeout}`);
    return await Promise.all(
      found.map((ref) => Promise.race([waitFor(client, targetOf(ref), "finished", left_ms), late])),
    );
  };
  const ends = await ask().finally(() => timer?.cancel());
  const over = ends.filter((end) => end !== undefined);
  if (options.json === true) await io.out(`${JSON.stringify(over.map(taskDocument))}\n`);
  if (over.length < ends.length) {
    io.err(`claw: ${plural(ends.length - over.length, "task")} still not over after ${options.timeout}\n`);
    return 75;
  }
  const bad = over.filter((task) => task.status !== "completed");
  for (const task of options.quiet === true || options.json === true ? [] : bad)
    io.err(`claw: ${task.id}: ${task.outcome === undefined ? arrayText(task) : endOf(task.outcome)}\n`);
  return bad.length === 0 ? 0 : 1;
}

type CancelTotal = Omit<CommandAnswers["task.cancel"], "sequence">;

const LIVE = ["pending", "scheduled", "running"] as const;

export async function cancelCommand(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  options: Mode & SelectOptions,
): Promise<number> {
  refuseBoth(ids, options);
  const only = options.status === undefined ? undefined : statusesOf(options.status, LIVE);
  const targets = await cancelTargets(io, client, ids, only ?? LIVE, options);
  const total: CancelTotal = { cancelled: 0, stopping: 0, finished: 0 };
  if (targets === undefined) {
    if (options.json === true) await io.out(`${JSON.stringify(total)}\n`);
    return 1;
  }
  for (let at = 0; at < targets.length; at += LIMITS.list_rows) {
    const part = targets.slice(at, at + LIMITS.list_rows);
    const answer = await client.command("task.cancel", {
      v: 1,
      targets: part,
      ...(only === undefined ? {} : { only }),
    });
    for (const name of ["cancelled", "stopping", "finished"] as const) total[name] += answer[name];
    if (answer.closed !== undefined) total.closed = (total.closed ?? 0) + answer.closed;
  }
  if (options.json === true) await io.out(`${JSON.stringify(total)}\n`);
  else if (options.quiet !== true) io.err(`claw: ${cancelText(total) || "nothing to cancel"}\n`);
  return 0;
}

function cancelText({ cancelled, stopping, finished, closed = 0 }: CancelTotal): string {
  const members = [`${cancelled} cancelled`, `${stopping} told to stop`, `${finished} over already`];
  return [...members, `${plural(closed, "open array")} closed (more inputs might have come)`]
    .filter((part) => !part.startsWith("0 "))
    .join(", ");
}

/** Undefined when there is none, or somebody thought better of it. */
async function cancelTargets(
  io: Io,
  client: RequestClient,
  ids: readonly string[],
  statuses: readonly TaskStatus[],
  options: SelectOptions,
): Promise<{ number: number; from: number; to?: number }[] | undefined> {
  const target = (submission: number, index: number | undefined) => ({
    number: submission,
    from: index ?? 0,
    ...(index === undefined ? {} : { to: index + 1 }),
  });
  if (ids.length > 0 || !selects(options)) {
    return distinctRefs(await refs(io, client, ids)).map((ref) => target(ref.number, ref.index));
  }
  const { selected } = await select(io, client, statuses, options);
  if (selected.length === 0) {
    io.err("claw: no such tasks\n");
    return undefined;
  }
  const count = selected.reduce((sum, one) => sum + one.count, 0);
  const agreed = await confirmed(io, count, "cancel", options.yes === true);
  return agreed ? selected.map((one) => target(one.number, one.index)) : undefined;
}
