// `nodes`: list them, look at one, take them out of service and back.

import { nodeDocument } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import { findNodes, sharedNames, sharedNameText } from "../../common/find-nodes.ts";
import type { NodeHealth, NodeView, TaskView } from "../../common/models.ts";
import { isoTime } from "../../common/runtime.ts";
import type { NodeSettings } from "../../common/settings.ts";
import { formatDuration, formatSize, plural } from "../../common/units.ts";
import { allNodes } from "../../communication/all-nodes.ts";
import { allTasks } from "../../communication/all-tasks.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { type Column, modeOf, printRows, sheet, statusColor } from "../output.ts";
import { ageOf, commandOf } from "../show.ts";

const MIB = 1024 * 1024;

/** What says that nothing of what was asked was done; of the others nobody can know. */
const REFUSALS: ReadonlySet<string> = new Set(["not_found", "ambiguous", "conflict", "bad_request"]);

/** Where a node has any. */
const GPUS: Column<NodeView> = {
  title: "GPUS",
  value: ({ used, capacity }) => (capacity.gpus === 0 ? "-" : `${used.gpus}/${capacity.gpus}`),
  right: true,
};

const COLUMNS: Column<NodeView>[] = [
  { title: "NODE", value: (node) => node.name },
  { title: "ID", value: (node) => node.id },
  { title: "STATUS", value: (node) => node.status, color: (node) => statusColor(node.status) },
  { title: "HEALTH", value: (node) => String(node.health.score), right: true },
  { title: "CPUS", value: ({ used, capacity }) => usedOf(used.cpu_millis, capacity.cpu_millis, "/"), right: true },
  { title: "MEMORY", value: memory, right: true },
  { title: "LOAD", value: (node) => (node.cpu_percent === undefined ? "-" : `${node.cpu_percent}%`), right: true },
  { title: "TASKS", value: (node) => String(node.held), right: true },
  { title: "DONE", value: (node) => String(node.completed), right: true },
  { title: "FAILED", value: (node) => String(node.failed), right: true },
  { title: "SYSTEM", value: (node) => `${node.os}/${node.arch}` },
  { title: "HEARD", value: heard },
];

/** What of its processors is taken; what it was given ahead of its turn waits there. */
function usedOf(used: number, capacity: number, of: string): string {
  const ahead = used - capacity;
  return `${Math.min(used, capacity) / 1000}${of}${capacity / 1000}${ahead > 0 ? ` +${ahead / 1000} ahead` : ""}`;
}

function memory({ used, capacity }: NodeView): string {
  return `${formatSize(used.memory_mib * MIB)}/${formatSize(capacity.memory_mib * MIB)}`;
}

function heard({ last_heartbeat_ms_ago: ago }: NodeView): string {
  return ago === undefined ? "-" : `${formatDuration(ago)} ago`;
}

export async function nodesCommand(
  io: Io,
  client: RequestClient,
  options: { json?: boolean; quiet?: boolean; color?: string },
): Promise<number> {
  const nodes = (await allNodes(client)).sort(byName);
  const mode = modeOf(options);
  const columns = nodes.some(({ capacity }) => capacity.gpus > 0) ? COLUMNS.toSpliced(6, 0, GPUS) : COLUMNS;
  await printRows(io, mode, nodes, columns, {
    id: (node) => node.id,
    json: nodeDocument,
    empty: "no worker has joined; start one with: claw --role worker",
    color: options.color,
  });
  if (mode !== "table") return 0;
  const named = nodes.map((node) => ({ id: node.id, status: node.status, info: node }));
  for (const [name, ids] of sharedNames(named)) io.err(`${sharedNameText(name, ids)}\n`);
  for (const node of nodes) {
    if (node.cordon !== undefined) io.err(`${outOfService(node, io.runtime.wall_ms())}\n`);
    if (node.status === "error") io.err(`${node.name} is in error: ${node.reason}\n`);
  }
  return 0;
}

function byName(one: NodeView, other: NodeView): number {
  return one.name < other.name ? -1 : Number(one.name > other.name);
}

function outOfService({ name, status, reason, cordon, held }: NodeView, now: number): string {
  const { shutdown = false, drain_at } = cordon ?? {};
  if (shutdown && status === "offline") return `${name} is offline, ${reason}; start its worker to have it back`;
  const word = drain_at !== undefined && drain_at < now ? "since" : "until";
  const empties = drain_at === undefined ? "" : `, being emptied ${word} ${isoTime(drain_at)}`;
  const left = held === 0 ? " and empty" : `${empties}, ${plural(held, "task")} left`;
  return `${name} is ${shutdown ? "being shut down" : "out of service"}${left}: ${cordon?.reason}; claw nodes resume ${name}`;
}

export async function nodesNamed(client: RequestClient, words: readonly string[]): Promise<NodeView[]> {
  return findNodes(await allNodes(client), words);
}

/** For what changes several at once, or none: who is refused for one of them knows that the others are as they were. */
export async function allOrNone<T>(words: readonly string[], change: () => Promise<T>): Promise<T> {
  try {
    return await change();
  } catch (error) {
    if (!(error instanceof ClawError) || words.length < 2 || !REFUSALS.has(error.code)) throw error;
    const wire = error.toWire();
    throw ClawError.fromWire({ ...wire, message: `${wire.message}; nothing was changed` });
  }
}

export async function showNodesCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: { json?: boolean },
): Promise<number> {
  const nodes = await withRefusals(client, await nodesNamed(client, words));
  const running = await tasksOn(client, new Set(nodes.map(({ id }) => id)));
  if (options.json === true) {
    const documents = nodes.map((node) => ({
      ...nodeDocument(node),
      tasks: (running.get(node.id) ?? []).map(({ id, status }) => ({ id, status })),
    }));
    await io.out(`${JSON.stringify(documents.length === 1 ? documents[0] : documents)}\n`);
    return 0;
  }
  const now = io.runtime.wall_ms();
  await io.out(nodes.map((node) => nodeText(node, running.get(node.id) ?? [], now)).join("\n"));
  return 0;
}

/** What each of them refused is told of one at a time. */
async function withRefusals(client: RequestClient, found: readonly NodeView[]): Promise<NodeView[]> {
  const nodes: NodeView[] = [];
  for (const one of found) nodes.push((await client.query("node.list", { node: one.id })).nodes[0] ?? one);
  return nodes;
}

/** Members of arrays are looked for in the arrays that run. */
export async function tasksOn(client: RequestClient, ids: ReadonlySet<string>): Promise<Map<string, TaskView[]>> {
  const found = new Map<string, TaskView[]>();
  const statuses = ["scheduled" as const, "running" as const];
  for await (const task of allTasks(client, { statuses })) {
    const members = task.counts === undefined ? [task] : allTasks(client, { number: task.number, statuses });
    for await (const member of members) {
      if (member.node === undefined || !ids.has(member.node)) continue;
      const there = found.get(member.node);
      if (there === undefined) found.set(member.node, [member]);
      else there.push(member);
    }
  }
  return found;
}

function nodeText(node: NodeView, tasks: readonly TaskView[], now: number): string {
  const { capacity, used, cordon } = node;
  const free = node.free_memory_mib === undefined ? "" : `, ${formatSize(node.free_memory_mib * MIB)} free now`;
  const lines: [string, string][] = [
    ["node", `${node.name} ${node.id}`],
    ["status", node.reason === undefined ? node.status : `${node.status}: ${node.reason}`],
  ];
  lines.push(["health", healthText(node.health)]);
  if (cordon !== undefined) {
    lines.push(["out", `${cordon.reason}, since ${ageOf(cordon.at, now)}, by ${cordon.by}`]);
    if (cordon.drain_at !== undefined)
      lines.push(["emptied", `by ${isoTime(cordon.drain_at)}: what runs then is stopped`]);
  }
  lines.push(
    ["joined", `${isoTime(node.registered_at)} (${ageOf(node.registered_at, now)} ago), heard ${heard(node)}`],
    ["system", `${node.os}/${node.arch}, claw ${node.version}, process ${node.pid}`],
    ["cpus", `${usedOf(used.cpu_millis, capacity.cpu_millis, " of ")} in use`],
    ["memory", `${formatSize(used.memory_mib * MIB)} of ${formatSize(capacity.memory_mib * MIB)} in use${free}`],
  );
  if (node.disk_free_percent !== undefined) lines.push(["disk", `${node.disk_free_percent} % free`]);
  if (capacity.gpus > 0) lines.push(["gpus", `${used.gpus} of ${capacity.gpus} in use`]);
  for (const [name, amount] of Object.entries(capacity.resources)) {
    lines.push([name, `${used.resources[name] ?? 0} of ${amount} in use`]);
  }
  if (node.settings !== undefined) lines.push(["set", settingsText(node.settings)]);
  if (node.limits !== undefined) {
    const { enforced, reason } = node.limits;
    lines.push(["limits", enforced.length > 0 ? `held to ${enforced.join(", ")}` : `none: ${reason ?? "it cannot"}`]);
  }
  for (const [name, value] of Object.entries(node.attributes)) lines.push([name, value]);
  if (node.tags.length > 0) lines.push(["tags", node.tags.join(", ")]);
  lines.push(["done", `${node.completed} succeeded, ${node.failed} did not`], ["holds", plural(node.held, "task")]);
  for (const task of tasks) lines.push([`  ${task.id}`, `${task.status}  ${commandOf(task)}`]);
  const { refused = [] } = node;
  if (refused.length > 0) lines.push(["refused", "lately"]);
  for (const { at, task, count, reason } of refused) {
    const more = count > 1 ? ` and ${count - 1} more` : "";
    lines.push([`  ${task}`, `${ageOf(at, now)} ago${more}: ${reason}`]);
  }
  return sheet(lines);
}

/** `72: memory -18 (…), failures -10 (…)`; what is well says nothing. */
function healthText({ score, parts }: NodeHealth): string {
  const low = parts.filter(({ lost }) => lost > 0).sort((one, other) => other.lost - one.lost);
  const why = low.map(({ sign, lost, says }) => `${sign} -${lost} (${says})`).join(", ");
  const unknown = parts.filter((part) => part.unknown === true).map(({ sign }) => sign);
  const untold = unknown.length === 0 ? "" : `; not known: ${unknown.join(", ")}`;
  return `${score} of 100${why === "" ? "" : `: ${why}`}${untold}`;
}

/** What people set over what its worker says. */
function settingsText({
  tags_added = [],
  tags_removed = [],
  attributes = {},
  resources = {},
  ...amounts
}: NodeSettings): string {
  const { cpu_millis, memory_mib, gpus } = amounts;
  return [
    ...(cpu_millis === undefined ? [] : [`${cpu_millis / 1000} cpus`]),
    ...(memory_mib === undefined ? [] : [`${formatSize(memory_mib * MIB)} of memory`]),
    ...(gpus === undefined ? [] : [`${gpus} gpus`]),
    ...Object.entries(resources).map(([name, amount]) => `${amount} ${name}`),
    ...tags_added.map((tag) => `tag ${tag}`),
    ...tags_removed.map((tag) => `no tag ${tag}`),
    ...Object.entries(attributes).map(([name, value]) => (value === null ? `no ${name}` : `${name}=${value}`)),
  ].join(", ");
}
