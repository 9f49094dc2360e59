// What a worker reports must be readable: the leader drops a message that its schema refuses and never acknowledges it, so
// it would stay in the outbox for good, with all that is told beside it. What cannot be read is told as an end that says so.

import type { z } from "zod";
import { LIMITS } from "../common/limits.ts";
import { PlainRun, Run, TaskResult, type UpMessage } from "../communication/messages.ts";

type Report = Extract<UpMessage, { type: "task.complete" | "task.fail" }>;
type Parts = Record<string, unknown>;

const LATEST_MS = 10 ** 13;

/** All of a row of the outbox that can be told, whoever wrote it; what is damaged may be nothing. */
export function readableBody(kind: Report["type"], body: Parts): object {
  const results = listOf(body, "results").flatMap(readableResult);
  if (kind === "task.complete") return { runs: listOf(body, "runs").flatMap(readablePlain), results };
  const released = listOf(body, "released").filter((run) => Run.safeParse(run).success);
  const why = typeof body["why"] === "string" ? body["why"].slice(0, LIMITS.trouble_chars) : "";
  return { results, released, ...(why === "" ? {} : { why }) };
}

/** Nothing where the text is none of ours. */
export function parseBody(text: string): Parts {
  try {
    return partsOf(JSON.parse(text));
  } catch {
    return {};
  }
}

function partsOf(found: unknown): Parts {
  return typeof found === "object" && found !== null ? (found as Parts) : {};
}

function listOf(body: Parts, name: string): unknown[] {
  return Array.isArray(body[name]) ? body[name] : [];
}

function readablePlain(found: unknown): PlainRun[] {
  if (!Array.isArray(found)) return [];
  const [number, from, to, attempt, started_at, ended_at] = found as unknown[];
  const run = PlainRun.safeParse([number, from, to, attempt, readableTime(started_at), readableTime(ended_at)]);
  return run.success ? [run.data] : [];
}

/** Nothing where not even the task, or how it ended, can be told. */
function readableResult(found: unknown): TaskResult[] {
  const { task, outcome } = partsOf(found);
  const told = cut(partsOf(outcome));
  const result = TaskResult.safeParse({ task, outcome: told });
  if (result.success) return [result.data];
  const least = TaskResult.safeParse({ task, outcome: leastOf(told, result.error) });
  return least.success ? [least.data] : [];
}

function cut(outcome: Parts): Parts {
  const { message } = outcome;
  if (typeof message !== "string" || message.length <= LIMITS.outcome_message_chars) return outcome;
  return { ...outcome, message: message.slice(0, LIMITS.outcome_message_chars).toWellFormed() };
}

function leastOf({ status, reason, started_at, ended_at }: Parts, { issues: [issue] }: z.ZodError): Parts {
  return {
    ...{ status, reason },
    started_at: readableTime(started_at),
    ended_at: readableTime(ended_at),
    message: `the rest of its report cannot be read: ${issue?.path.join(".")}: ${issue?.message}`,
  };
}

function readableTime(at: unknown): number {
  return typeof at === "number" && at >= 0 && at <= LATEST_MS ? Math.floor(at) : 0;
}
