// Tasks as people see them; what scripts see is in common/documents.ts.

import { cutShortText } from "../common/cut-short.ts";
import { waitedSince } from "../common/documents.ts";
import { LIMITS } from "../common/limits.ts";
import type { AttemptView, Outcome, TaskView } from "../common/models.ts";
import { isoTime } from "../common/runtime.ts";
import { formatDuration } from "../common/units.ts";
import { CUT_OFF, endOf, hasBegun } from "../common/vocabulary.ts";
import { printableText, sheet } from "./output.ts";
import { specificationLines, wordsOf } from "./specification-text.ts";

export function ageOf(at: number, now: number): string {
  const seconds = Math.max(0, Math.floor((now - at) / 1000));
  return seconds === 0 ? "0s" : formatDuration(seconds * 1000);
}

const COMMAND_CHARS = 60;

/** The command in one line, as short as a table wants it. */
export function commandOf(task: TaskView): string {
  const text = task.specification.name ?? wordsOf(task.specification);
  return text.length > COMMAND_CHARS ? `${text.slice(0, COMMAND_CHARS - 1)}…` : text;
}

function lasted(from: number, to: number): string {
  return formatDuration(Math.max(0, to - from));
}

/** What became of an attempt that is not the last word, in a line; `since`: when it began to wait, where that is known. */
function attemptText({ node, node_name, reason, at, started_at, outcome }: AttemptView, since?: number): string {
  const begun = outcome?.started_at ?? started_at;
  const end = outcome?.ended_at ?? at;
  const ran = begun === undefined ? "" : ` after ${lasted(begun, end)}`;
  const waited = begun === undefined || since === undefined ? "" : ` (it had waited ${lasted(since, begun)})`;
  const what = outcome !== undefined ? endOf(outcome) : reason === "stopped" ? CUT_OFF.stopped : reason;
  const place = ` on ${node_name ?? node}`;
  // What was not found says itself where.
  return `${what}${what?.includes(place) === true ? "" : place}${ran}${waited}, ${isoTime(end)}`;
}

/** A line an attempt before the present one. What came before the first that is kept is not known. */
function attemptLines({ attempts = [], attempt, status, submitted_at }: TaskView): [string, string][] {
  const lines: [string, string][] = [];
  const forgotten = (attempts.at(-1)?.attempt ?? 0) > LIMITS.attempts_kept;
  if (forgotten) lines.push(["attempts", `the newest ${attempts.length}; earlier ones are not kept`]);
  let next = forgotten ? (attempts[0]?.attempt ?? 1) : 1;
  for (const [place, one] of attempts.entries()) {
    lines.push(...givenBack(next, one.attempt));
    const before = place > 0 ? attempts[place - 1]?.at : forgotten ? undefined : submitted_at;
    lines.push([`attempt ${one.attempt}`, attemptText(one, before)]);
    next = one.attempt + 1;
  }
  // The number of one that waits is its last attempt's.
  if (attempt !== undefined) lines.push(...givenBack(next, status === "pending" ? attempt + 1 : attempt));
  return lines;
}

/** Attempts of which only the number is known: those that a node took and did not begin (an older claw: or stopped). */
function givenBack(from: number, to: number): [string, string][] {
  if (from >= to) return [];
  const name = to - from === 1 ? `attempt ${from}` : `attempts ${from} to ${to - 1}`;
  return [[name, "given back by its node"]];
}

/** How long it ran, and how long it had waited then. */
function timesOf(outcome: Outcome, since: number, again: boolean): [string, string] {
  const { started_at, ended_at } = outcome;
  if (!hasBegun(outcome)) {
    const waited = lasted(since, ended_at);
    return ["waited", again ? `${waited} for its next attempt` : `${waited}, and is not known to have begun`];
  }
  return ["ran for", `${lasted(started_at, ended_at)}, after a wait of ${lasted(since, started_at)}`];
}

/** What became of an array's members. */
function countsText({ counts, status }: TaskView): string {
  const parts = Object.entries(counts ?? {}).filter(([name, count]) => name !== "total" && count > 0);
  return parts.map(([name, count]) => `${count} ${name}`).join(", ") || status;
}

/** What became of an array. */
export function arrayText(task: TaskView): string {
  const cut = cutShortText(task);
  return `${countsText(task)}${cut === undefined ? "" : `; ${cut}`}`;
}

/** What is known of inputs that may come, or of some that never came. */
function inputsText({ open, extended_at, abandoned_at, ...task }: TaskView, now: number): string | undefined {
  if (open !== true || extended_at === undefined) return cutShortText(task);
  const last = `more may come; last sign of its client ${isoTime(extended_at)} (${ageOf(extended_at, now)} ago)`;
  return abandoned_at === undefined ? last : `${last}; without another one it is closed at ${isoTime(abandoned_at)}`;
}

function statusText({ status, open, started_at, stopping, ...task }: TaskView, now: number): string {
  if (open === true) return `${status} (open: more inputs may come)`;
  const since = status === "running" && started_at !== undefined ? started_at : undefined;
  const runs = since === undefined ? "" : ` since ${isoTime(since)} (for ${ageOf(since, now)})`;
  if (stopping === undefined) return `${status}${runs}`;
  const told = task.stopping_since ?? (stopping === "deadline" ? task.deadline_at : undefined);
  return `${status}${runs}, being stopped${told === undefined ? "" : ` since ${isoTime(told)}`} (${stopping})`;
}

/** What is wrong with the node that holds it, and what comes of that. */
function nodeTrouble(task: TaskView): string | undefined {
  const { node_status, node_reason, node_offline_since, node_silent_ms, lost_at } = task;
  const why = node_reason === undefined ? "" : `: ${node_reason}`;
  if (node_status === "offline" && node_offline_since !== undefined) {
    const then = lost_at === undefined ? "" : `; if it stays so until ${isoTime(lost_at)}, the task ${afterLoss(task)}`;
    return `offline since ${isoTime(node_offline_since)}${why}${then}`;
  }
  if (node_status === "error") return `in error${why}`;
  return node_silent_ms === undefined ? undefined : `not heard for ${formatDuration(node_silent_ms)}`;
}

function afterLoss({ stopping, specification }: TaskView): string {
  if (stopping === "cancel") return "is cancelled";
  if (stopping === "deadline") return "counts as ended by its deadline";
  if (specification.on_lost === "fail") return "is given up and fails, as it must not run twice";
  const { node } = specification.needs;
  return node === undefined ? "is given up and runs elsewhere" : `is given up and waits for ${node} again`;
}

/** The node in a table: one that is not there says so. */
export function nodeText({ node, node_name, node_status }: TaskView): string {
  const name = node_name ?? node ?? "-";
  return node_status === "offline" || node_status === "error" ? `${name} (${node_status})` : name;
}

export function taskText(task: TaskView, now: number): string {
  const lines: [string, string][] = [
    ["task", task.id],
    ["status", statusText(task, now)],
    ...specificationLines(task.specification),
    ["submitted", `${isoTime(task.submitted_at)} (${ageOf(task.submitted_at, now)} ago) by ${task.submitted_by}`],
  ];
  const { counts, outcome, waiting, attempts } = task;
  if (task.input !== undefined) lines.push(["input", task.input]);
  if (task.retry_of !== undefined) lines.push(["retry of", task.retry_of]);
  if (task.retried_as !== undefined) lines.push(["retried as", task.retried_as]);
  if (task.node !== undefined) lines.push(["node", `${task.node_name ?? ""} ${task.node}`.trim()]);
  const trouble = nodeTrouble(task);
  if (trouble !== undefined) lines.push(["which is", trouble]);
  if (task.attempt !== undefined) lines.push(["attempt", String(task.attempt)]);
  if (counts !== undefined) lines.push(["members", `${counts.total}: ${countsText(task)}`]);
  const inputs = inputsText(task, now);
  if (inputs !== undefined) lines.push(["inputs", inputs]);
  if (task.progress !== undefined) {
    const { stdout_bytes, stderr_bytes } = task.progress;
    lines.push(["so far", `${stdout_bytes} bytes on stdout, ${stderr_bytes} on stderr`]);
  }
  if (outcome !== undefined) {
    const since = waitedSince(task);
    lines.push(
      ["ended", `${isoTime(outcome.ended_at)}: ${endOf(outcome)}`],
      timesOf(outcome, since, (attempts ?? []).length > 0),
    );
    if (outcome.cpu_ms !== undefined) lines.push(["cpu", formatDuration(outcome.cpu_ms)]);
    for (const name of ["stdout", "stderr"] as const) {
      const { bytes = 0, cut_bytes = 0 } = outcome[name] ?? {};
      if (bytes > 0) lines.push([name, cut_bytes > 0 ? `${bytes} bytes, ${cut_bytes} of them cut` : `${bytes} bytes`]);
    }
  }
  if (task.deadline_at !== undefined) lines.push(["deadline", isoTime(task.deadline_at)]);
  lines.push(...attemptLines(task));
  if (waiting !== undefined) {
    lines.push(["waits", waiting.summary]);
    for (const sentence of waiting.change ?? []) lines.push(["would help", sentence]);
    if (waiting.nodes.length > 1) for (const { node, reason } of waiting.nodes) lines.push([`  ${node}`, reason]);
  }
  const tails = [
    ["stdout", outcome?.stdout_tail],
    ["stderr", outcome?.stderr_tail],
  ].filter(([, text]) => text !== undefined && text !== "");
  return `${sheet(lines)}${tails.map(([name, text]) => `${name}:\n${printableText(text ?? "")}`.trimEnd()).join("\n")}${tails.length > 0 ? "\n" : ""}`;
}
