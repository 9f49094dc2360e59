// A specification for people: what was asked for and is not as it is anyway, a line each.

import type { Needs, Retry, Specification } from "../common/models.ts";
import { formatDuration, SAY } from "../common/units.ts";
import { TYPE_PRESETS } from "../common/vocabulary.ts";
import { conditionText } from "../core/conditions.ts";

/** The words that are run. */
export function wordsOf({ argv, script, needs }: Specification): string {
  const words = script === undefined ? argv : [script.name, ...argv];
  return words.join(" ") || needs.executor;
}

export function specificationLines(specification: Specification): [string, string][] {
  const { name, type, priority, env, labels, key, timeout_ms, retry, on_lost } = specification;
  const lines: [string, string][] = [];
  const say = (title: string, text: string | undefined): void => {
    if (text !== undefined && text !== "") lines.push([title, text]);
  };
  say("name", name);
  say("command", short(wordsOf(specification)));
  if (type !== "batch") say("type", type);
  if (priority !== TYPE_PRESETS[type].priority) say("priority", priority);
  say("needs", needsText(specification.needs, type));
  say("labels", pairsText(labels));
  // Values may be secrets: --json has them.
  say("env", Object.keys(env ?? {}).join(", "));
  say("key", key);
  if (timeout_ms !== undefined && timeout_ms > 0) say("timeout", formatDuration(timeout_ms));
  // A daemon's retries have no end.
  if (retry !== undefined && type === "daemon") say("backoff", waitText(retry));
  else if (retry !== undefined) say("retries", retriesText(retry));
  if (on_lost === "fail") say("on lost", "fail: never a second time");
  return lines;
}

const MOST_CHARS = 400;

function short(text: string): string {
  return text.length > MOST_CHARS ? `${text.slice(0, MOST_CHARS - 1)}…` : text;
}

function pairsText(pairs: Readonly<Record<string, string | number>> | undefined): string {
  return Object.entries(pairs ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");
}

function needsText(needs: Needs, type: Specification["type"]): string {
  const { cpu_millis, memory_mib, gpus, resources, tags, where, prefer, spread, exclusive, strategy } = needs;
  const parts: string[] = [];
  if (cpu_millis !== TYPE_PRESETS[type].cpu_millis) parts.push(SAY.cpu(cpu_millis));
  if (memory_mib > 0) parts.push(SAY.memory(memory_mib));
  if (gpus > 0) parts.push(SAY.gpus(gpus));
  if (resources !== undefined) parts.push(pairsText(resources));
  for (const skill of needs.skills ?? []) parts.push(`skill ${skill}`);
  for (const tag of tags ?? []) parts.push(`tag ${tag}`);
  for (const one of where ?? []) parts.push(conditionText(one));
  for (const one of prefer ?? []) parts.push(`rather ${conditionText(one)}`);
  if (spread !== undefined) parts.push(`spread by ${spread.by}`);
  if (exclusive === true) parts.push("a node for itself");
  if (needs.pids !== undefined) parts.push(`${needs.pids} pids`);
  if (needs.enforce === true) parts.push("limits enforced");
  if (strategy !== undefined) parts.push(`strategy ${strategy}`);
  if (needs.node !== undefined) parts.push(`node ${needs.node}`);
  if (needs.folder !== undefined) parts.push(`folder ${needs.folder}`);
  return parts.join(", ");
}

function retriesText(retry: Retry): string {
  const { limit, on } = retry;
  return `${limit}, after ${waitText(retry)}${on === undefined ? "" : `, only on ${on.join(", ")}`}`;
}

function waitText({ backoff_ms, backoff_max_ms }: Retry): string {
  const [first, most] = [formatDuration(backoff_ms), formatDuration(backoff_max_ms)];
  return backoff_ms === backoff_max_ms ? first : `${first}..${most}`;
}
