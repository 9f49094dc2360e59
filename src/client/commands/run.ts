// `run`, `submit`: one task, or an array of them. `run` follows the output and ends with the task's own exit code.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { isTerminal, type Specification, type TaskView } from "../../common/models.ts";
import { randomHex, randomU32 } from "../../common/runtime.ts";
import { FileStore } from "../../communication/files.ts";
import type { RequestClient } from "../../communication/request.ts";
import { formatTaskId } from "../../core/ids.ts";
import type { Io } from "../io.ts";
import { followTask, printFinished } from "../print.ts";
import { endOf, taskJson } from "../show.ts";
import { number, specificationOf, type TaskOptions } from "../specification.ts";

export interface RunOptions extends TaskOptions {
  detach?: boolean;
  json?: boolean;
  quiet?: boolean;
  array?: string;
}

const SIGNALS: Record<string, number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
};

export interface Submitted {
  id: string;
  number: number;
  count: number | undefined;
}

/** Draws ids until one is free, and sends the submission until it is answered. */
export async function submitOne(
  io: Io,
  client: RequestClient,
  specification: Specification,
  count: number | undefined,
): Promise<Submitted> {
  const nonce = randomHex(io.runtime, 16);
  for (;;) {
    const id = randomU32(io.runtime);
    const what = count === undefined ? { tasks: [[id, 0] as [number, number]] } : { array: { id, count } };
    try {
      const { number } = await client.command("task.submit", { v: 1, nonce, specifications: [specification], ...what });
      return { id: formatTaskId(id), number, count };
    } catch (error) {
      if (!(error instanceof ClawError) || error.code !== "id_taken") throw error;
    }
  }
}

export async function submitCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: RunOptions,
): Promise<number> {
  const submitted = await submitWords(io, client, words, options);
  if (options.json === true)
    await io.out(
      `${JSON.stringify({ id: submitted.id, ...(submitted.count === undefined ? {} : { count: submitted.count }) })}\n`,
    );
  else await io.out(`${submitted.id}\n`);
  return 0;
}

async function submitWords(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: RunOptions,
): Promise<Submitted> {
  const count = options.array === undefined ? undefined : number("--array", options.array, LIMITS.array_members, true);
  if (count === 0) throw new ClawError("usage", "--array 0 would run nothing", { field: "--array" });
  const files = (): FileStore => new FileStore(client.connection, client.cluster);
  // Members of a counted array know their place by the template and by CLAW_TASK_INDEX.
  const specification = await specificationOf(options, { words, each: false, cwd: io.cwd }, files);
  return await submitOne(io, client, specification, count);
}

export async function runCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: RunOptions,
): Promise<number> {
  if (options.detach === true) return await submitCommand(io, client, words, options);
  if (options.array !== undefined) {
    throw new ClawError("usage", "`run --array` would mix the members' output", {
      hint: "use `claw submit --array N`, then `claw wait` and `claw logs`; or `claw run --each`",
      field: "--array",
    });
  }
  const { id, number: submission } = await submitWords(io, client, words, options);
  if (io.terminal.err && options.json !== true && options.quiet !== true) io.err(`${id}\n`);
  const stop = interruptible(io, client, id, submission);
  try {
    const task = await followUntilEnd(io, client, { id, number: submission, index: 0 }, options.json === true);
    return await finish(io, task, options.json === true);
  } finally {
    stop();
  }
}

/** Ctrl-C cancels the task and waits for its end; a second one leaves it to itself. */
function interruptible(io: Io, client: RequestClient, id: string, submission: number): () => void {
  let asked = 0;
  return io.onInterrupt(() => {
    asked += 1;
    if (asked > 1) {
      io.err(`claw: left ${id}; see \`claw show ${id}\`\n`);
      process.kill(process.pid, "SIGTERM");
      return;
    }
    io.err(`claw: cancelling ${id}; Ctrl-C again leaves it\n`);
    client
      .command("task.cancel", { v: 1, targets: [{ number: submission, from: 0 }] })
      .catch((error: unknown) => io.err(`claw: cannot cancel ${id}: ${String(error)}\n`));
  });
}

async function waitFor(
  client: RequestClient,
  task: { number: number; index: number },
  until: "started" | "finished",
): Promise<TaskView> {
  for (;;) {
    const { number: submission, index } = task;
    const answer = await client.query("task.wait", { number: submission, index, until, wait_ms: LIMITS.wait_ms });
    if (isTerminal(answer.task.status) || (until === "started" && answer.task.status === "running")) return answer.task;
  }
}

async function followUntilEnd(
  io: Io,
  client: RequestClient,
  task: { id: string; number: number; index: number },
  json: boolean,
): Promise<TaskView> {
  const begun = await waitFor(client, task, json ? "finished" : "started");
  if (json) return begun;
  if (isTerminal(begun.status)) {
    if (begun.outcome !== undefined) await printFinished(io, client, task, begun.outcome, begun.attempt ?? 1);
    return begun;
  }
  const finished = waitFor(client, task, "finished");
  let inline: TaskView | undefined;
  const end = finished.then((view) => {
    if (view.outcome === undefined) throw new Error(`${task.id} is over without an outcome`);
    if (view.outcome.inline === true) inline = view;
    return { outcome: view.outcome, attempt: view.attempt ?? 1 };
  });
  await followTask(io, client, task, end);
  if (inline?.outcome !== undefined) await printFinished(io, client, task, inline.outcome, 1);
  return await finished;
}

async function finish(io: Io, task: TaskView, json: boolean): Promise<number> {
  if (json) await io.out(`${JSON.stringify(taskJson(task))}\n`);
  const { outcome } = task;
  if (outcome === undefined) throw new Error(`${task.id} is over without an outcome`);
  if (outcome.status !== "completed" && outcome.reason !== "exit" && !json)
    io.err(`claw: ${task.id}: ${endOf(outcome)}\n`);
  return exitCodeOf(task);
}

/** The task's own; 128 + n for a signal, 124 when its timeout ended it, 125 when it could not be run. */
export function exitCodeOf(task: Pick<TaskView, "outcome">): number {
  const { outcome } = task;
  if (outcome === undefined) return 125;
  if (outcome.status === "timeout") return 124;
  if (outcome.exit_code !== undefined) return outcome.exit_code;
  if (outcome.signal !== undefined) return 128 + (SIGNALS[outcome.signal] ?? 0);
  return outcome.status === "cancelled" ? 130 : 125;
}
