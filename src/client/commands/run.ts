// `run`, `submit`: one task, or an array of them. `run` follows the output and ends with the task's own exit code.

import { resolve } from "node:path";
import { taskDocument } from "../../common/documents.ts";
import { exitCodeOf } from "../../common/exit-code.ts";
import { LIMITS } from "../../common/limits.ts";
import type { Outcome, Specification, TaskView } from "../../common/models.ts";
import { endOf, isTerminal } from "../../common/vocabulary.ts";
import { FileStore } from "../../communication/files.ts";
import { type Ended, followTask, printFinished, type TaskRef } from "../../communication/follow.ts";
import type { RequestClient } from "../../communication/request.ts";
import { submitTasks } from "../../communication/submitting.ts";
import { endedOf, waitFor, waitUntil } from "../../communication/waiting.ts";
import { formatTaskId } from "../../core/ids.ts";
import { quoteForShell } from "../../core/template.ts";
import { attach, isLost, leftAlone, OUTPUT_CLOSED_EXIT, printId, unprinted } from "../attached.ts";
import { type Io, OutputClosed } from "../io.ts";
import { sayPast } from "../life.ts";
import { isScriptName, specificationOf, type TaskOptions } from "../specification.ts";
import { count as countOf } from "../values.ts";
import { LOOK_MS, SOON_MS, Waits } from "../waits.ts";

export interface RunOptions extends TaskOptions {
  detach?: boolean;
  json?: boolean;
  quiet?: boolean;
  array?: string;
}

interface Submitted {
  id: string;
  number: number;
  count: number | undefined;
}

export async function submitCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: RunOptions,
): Promise<number> {
  const { id, count } = await submitWords(io, client, words, options);
  const json = { id, ...(count === undefined ? {} : { count }) };
  await printId(io, id, options.json === true ? json : undefined);
  return 0;
}

async function submitWords(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: RunOptions,
): Promise<Submitted> {
  const count = options.array === undefined ? undefined : countOf("--array", options.array, LIMITS.array_members);
  const files = (): FileStore => new FileStore(client.connection, client.cluster);
  // Members of a counted array know their place by the template and by CLAW_TASK_INDEX.
  const specification = await specificationOf(options, { words, each: false, cwd: io.cwd }, files);
  const submitted = await submitTasks(io.runtime, client, [specification], count === undefined ? undefined : { count });
  const id = formatTaskId(submitted.id);
  if (!submitted.existing) sayPast(io, specification, options);
  else if (options.quiet !== true) {
    io.err(`claw: ${id} has the key '${options.key}' already: nothing new was submitted\n`);
  }
  return { id, number: submitted.number, count };
}

export async function runCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: RunOptions,
): Promise<number> {
  if (options.detach === true) return await submitCommand(io, client, words, options);
  const { id, number: submission } = await submitWords(io, client, words, options);
  if (io.terminal.err && options.json !== true && options.quiet !== true) io.err(`${id}\n`);
  const cancel = (): Promise<unknown> =>
    client.command("task.cancel", { v: 1, targets: [{ number: submission, from: 0 }] });
  const attached = attach(io, id, cancel);
  const followed = follow(io, client, { id, number: submission, index: 0 }, options);
  try {
    return await Promise.race([attached.left, followed]);
  } catch (error) {
    if (isLost(error)) io.err(`claw: ${unprinted(id)}\n`);
    if (!(error instanceof OutputClosed)) throw error;
    io.err(`claw: nobody reads the output any more: ${leftAlone(id)}\n`);
    return OUTPUT_CLOSED_EXIT;
  } finally {
    attached.end();
    followed.catch(() => undefined);
  }
}

async function follow(
  io: Io,
  client: RequestClient,
  task: TaskRef,
  { json, quiet }: Pick<RunOptions, "json" | "quiet">,
): Promise<number> {
  if (quiet !== true) await begin(io, client, task);
  const begun = await waitUntil(client, task, json === true ? "finished" : "started");
  if (json === true) {
    await io.out(`${JSON.stringify(taskDocument(begun))}\n`);
    return exitCodeOf(endedOf(begun).outcome);
  }
  let ended: Ended;
  if (isTerminal(begun.status)) {
    ended = endedOf(begun);
    await printFinished(io, client, task, ended, begun.attempts);
  } else {
    ended = await followTask(io, client, { ...task, now: begun });
  }
  const { outcome } = ended;
  if (outcome.status !== "completed" && outcome.reason !== "exit") io.err(`claw: ${task.id}: ${endOf(outcome)}\n`);
  if (outcome.reason === "not_found") io.err(hintFor(begun.specification, outcome, io.cwd));
  return exitCodeOf(outcome);
}

/** What a program that is not found may have been meant to be; without an exit code it was the folder that had gone. */
function hintFor({ argv: [program = ""], needs }: Specification, { exit_code }: Outcome, folder: string): string {
  if (needs.folder !== undefined && exit_code === undefined) {
    return `  its node had it when it was asked; which ones have it now: claw plan --cwd ${quoteForShell(needs.folder)} -- true\n`;
  }
  if (needs.executor !== "command") return "";
  if (/\s/.test(program)) {
    const line = quoteForShell(program);
    return `  a word behind -- is the name of a program; for a shell line: claw run --shell ${line}\n`;
  }
  return isScriptName(program) ? `  and there is no file ${resolve(folder, program)} here that could be sent\n` : "";
}

async function begin(io: Io, client: RequestClient, { number: submission, index }: TaskRef): Promise<void> {
  const target = { number: submission, index };
  const within = (ms: number): Promise<TaskView | undefined> => {
    const until_ms = io.runtime.monotonic_ms() + ms;
    return waitFor(client, target, "started", () => until_ms - io.runtime.monotonic_ms());
  };
  const waits = new Waits(io, client);
  for (let begun = await within(SOON_MS); begun === undefined; begun = await within(LOOK_MS)) await waits.tell(target);
}
