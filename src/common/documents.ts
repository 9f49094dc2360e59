// Tasks, nodes, the cluster and its events as people's scripts see them, on the command line (`--json`) and over HTTP alike:
// made of what the views say. What they look like is in document-schemas.ts, apart because a command needs no schemas.

import type {
  AttemptDocument,
  ClusterDocument,
  NodeDocument,
  PlacementDocument,
  PlacementRequest,
  TaskDocument,
} from "./document-schemas.ts";
import type { AttemptView, ClusterState, NodeView, Outcome, TaskView } from "./models.ts";
import { nearest } from "./nearest.ts";
import { isoTime } from "./runtime.ts";
import type { PlacementChange } from "./settings.ts";
import { hasBegun } from "./vocabulary.ts";

type OutcomeDocument = Omit<Outcome, "started_at" | "ended_at"> & {
  started_at?: string;
  finished_at: string;
  duration_ms?: number;
  waited_ms?: number;
};

/** `since`: when it began to wait. */
export function outcomeDocument(outcome: Outcome, since?: number): OutcomeDocument {
  const { started_at, ended_at, ...rest } = outcome;
  const waited = since === undefined ? {} : { waited_ms: Math.max(0, ended_at - since) };
  const ran = { started_at: isoTime(started_at), duration_ms: Math.max(0, ended_at - started_at) };
  return { ...rest, ...(hasBegun(outcome) ? ran : waited), finished_at: isoTime(ended_at) };
}

/** When a task that is over began to wait for its last attempt, as far as its attempts are told. */
export function waitedSince({ submitted_at, attempts = [] }: Pick<TaskView, "submitted_at" | "attempts">): number {
  return Math.max(submitted_at, ...attempts.map(({ at }) => at));
}

/** Those that there are. */
function isoTimes<K extends string>(times: { [name in K]: number | undefined }): { [name in K]?: string } {
  const known = Object.entries<number | undefined>(times).flatMap(([name, at]) =>
    at === undefined ? [] : [[name, isoTime(at)]],
  );
  return Object.fromEntries(known) as { [name in K]?: string };
}

export function taskDocument(task: TaskView): TaskDocument {
  const { outcome, submitted_at, attempts, attempt, number: _number, ...rest } = task;
  // What ended between two attempts has none of its own.
  const last = attempt ?? attempts?.at(-1)?.attempt;
  const { started_at, finished_at, not_before, deadline_at, ...more } = rest;
  const { node_offline_since, lost_at, stopping_since, extended_at, abandoned_at, ...plain } = more;
  const life = { extended_at, abandoned_at, not_before, deadline_at, started_at, finished_at };
  const times = { ...life, node_offline_since, lost_at, stopping_since };
  return {
    ...plain,
    submitted_at: isoTime(submitted_at),
    ...isoTimes(times),
    ...(last === undefined ? {} : { attempt: last }),
    ...(outcome === undefined ? {} : outcomeDocument(outcome, waitedSince(task))),
    ...(attempts === undefined ? {} : { attempts: attempts.map(attemptDocument) }),
  };
}

function attemptDocument({ outcome, at, started_at, ...rest }: AttemptView): AttemptDocument {
  const began =
    started_at === undefined ? {} : { started_at: isoTime(started_at), duration_ms: Math.max(0, at - started_at) };
  return { ...rest, at: isoTime(at), ...began, ...(outcome === undefined ? {} : outcomeDocument(outcome)) };
}

export function nodeDocument({ registered_at, cordon, refused, ...node }: NodeView): NodeDocument {
  return {
    ...node,
    registered_at: isoTime(registered_at),
    ...(cordon === undefined ? {} : { cordon: cordonDocument(cordon) }),
    ...(refused === undefined ? {} : { refused: refused.map((one) => ({ ...one, at: isoTime(one.at) })) }),
  };
}

function cordonDocument({ at, drain_at, ...cordon }: NonNullable<NodeView["cordon"]>): NodeDocument["cordon"] {
  return { ...cordon, at: isoTime(at), ...(drain_at === undefined ? {} : { drain_at: isoTime(drain_at) }) };
}

export function placementChange({ weights, ...rest }: PlacementRequest): PlacementChange {
  return weights === undefined ? rest : { ...rest, weights: scaled(weights, (value) => Math.round(value * 1000)) };
}

export function placementDocument({ set, ...placement }: ClusterState["placement"]): PlacementDocument {
  if (set === undefined) return placement;
  const { weights, ...rest } = set;
  const fractions = weights === undefined ? {} : { weights: scaled(weights, (thousandths) => thousandths / 1000) };
  return { ...placement, set: { ...rest, ...fractions } };
}

function scaled<T extends Record<string, number | undefined>>(weights: T, change: (value: number) => number): T {
  const entries = Object.entries(weights).map(([name, value]) => [name, value === undefined ? value : change(value)]);
  return Object.fromEntries(entries) as T;
}

export function clusterDocument(state: ClusterState): ClusterDocument {
  const { started_at, waiting, placement, ...status } = state;
  const groups = waiting.map(({ since, ...group }) => ({ ...group, since: isoTime(since) }));
  return {
    ...status,
    started_at: isoTime(started_at),
    placement: placementDocument(placement),
    waiting: groups,
  };
}

export const EVENT_TYPES = [
  "cluster.created",
  "cluster.configured", // how tasks are placed was changed
  "leader.elected",
  "task.submitted",
  "task.extended", // more inputs came to an open array
  "task.closed", // no more will come
  "task.ready", // its time has come
  "task.scheduled",
  "task.started",
  "task.completed",
  "task.failed",
  "task.cancelled",
  "task.timeout",
  "task.retried", // it failed and will be tried again
  "task.requeued", // its attempt was lost or given back
  "task.stopping", // its node was told to stop it
  "task.pruned",
  "node.joined",
  "node.online",
  "node.offline",
  "node.maintenance",
  "node.error",
  "node.cordoned",
  "node.skills", // it has found others than before
  "node.resumed",
  "node.configured", // what people set over what its worker says
  "node.removed",
] as const;
export type EventType = (typeof EVENT_TYPES)[number];
/** The first words of them: each stands for all that begin with it. */
const EVENT_KINDS = ["cluster", "leader", "task", "node"] as const;

/** What may be asked for: a type, or all of a kind. Whatever else would be waited for in vain. */
export const EVENT_FILTERS = [...EVENT_KINDS, ...EVENT_TYPES] as const;

export function noEvents(text: string): { message: string; hint: string } {
  const near = nearest(text, EVENT_FILTERS);
  const hint =
    near === undefined ? `${EVENT_KINDS.join(", ")}, or one of them such as task.failed` : `did you mean ${near}?`;
  return { message: `there are no events '${text}'`, hint };
}
