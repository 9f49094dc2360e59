// Tasks, nodes, the cluster and its events as people's scripts see them, on the command line (`--json`) and over HTTP alike:
// snake_case, times in ISO-8601 UTC, durations in milliseconds. The schemas are what `/openapi.json` promises.

import { z } from "zod";
import { LIMITS } from "./limits.ts";
import {
  type AttemptView,
  Capacity,
  type ClusterState,
  END_REASONS,
  EXECUTORS,
  NODE_STATUSES,
  NodeInfo,
  type NodeView,
  type Outcome,
  PRIORITIES,
  Specification,
  STOP_REASONS,
  STRATEGIES,
  StreamSummary,
  TASK_STATUSES,
  type TaskView,
} from "./models.ts";
import { nearest } from "./nearest.ts";
import { isoTime } from "./runtime.ts";
import { NodeSettings, PlacementChange } from "./settings.ts";

const count = z.int().min(0);
const time = z.iso.datetime().describe("ISO-8601, UTC");
const bytes = count.describe("bytes");

const Counts = z.strictObject({
  total: count,
  pending: count,
  scheduled: count,
  running: count,
  completed: count,
  failed: count,
  cancelled: count,
  timeout: count,
});

/** How an attempt ended. */
const End = {
  reason: z.enum(END_REASONS).optional(),
  exit_code: z.int().min(0).max(255).optional(),
  signal: z.string().optional(),
  duration_ms: count.optional(),
  cpu_ms: count.optional(),
  peak_memory_mib: count.optional(),
  stdout_tail: z.string().optional().describe(`the last part of it; both together at most ${LIMITS.tail_bytes} bytes`),
  stderr_tail: z.string().optional(),
  inline: z.boolean().optional().describe("the tails are the whole output"),
  stdout: StreamSummary.optional(),
  stderr: StreamSummary.optional(),
  message: z.string().optional(),
} as const;

const AttemptDocument = z.strictObject({
  attempt: count,
  node: z.string().optional(),
  node_name: z.string().optional(),
  status: z.enum(TASK_STATUSES).optional(),
  at: time,
  started_at: time.optional(),
  finished_at: time.optional(),
  ...End,
});

const Waiting = z.strictObject({
  summary: z.string(),
  nodes: z.array(z.strictObject({ node: z.string(), reason: z.string() })),
  ahead: z
    .strictObject({ tasks: count, first: z.string() })
    .optional()
    .describe("tasks that wait for the same nodes and have their turn before"),
  change: z.array(z.string()).optional().describe("what would change it"),
});

export const TaskDocument = z.strictObject({
  id: z.string().describe("task_35f04cf1, or task_35f04cf1.17 for a member of an array"),
  name: z.string().optional(),
  index: count.optional().describe("absent for an array as a whole"),
  array: z.boolean(),
  open: z.boolean().optional().describe("an array to which more inputs may come"),
  retry_of: z.string().optional(),
  retried_as: z.string().optional().describe("of one task: the newest retry of it"),
  status: z.enum(TASK_STATUSES),
  specification: Specification,
  input: z.string().optional(),
  counts: Counts.optional(),
  attempt: count.optional(),
  node: z.string().optional(),
  node_name: z.string().optional(),
  node_status: z.enum(NODE_STATUSES).optional().describe("while it is there: of the node that holds it"),
  node_reason: z.string().optional().describe("why that node is offline or in error"),
  node_offline_since: time.optional(),
  node_silent_ms: count.optional().describe("how long ago that node was heard, where it is overdue"),
  lost_at: time
    .optional()
    .describe("when it is given up, if that node stays offline: it runs elsewhere then, or fails"),
  stopping: z.enum(STOP_REASONS).optional().describe("its node was told to stop it, and why"),
  stopping_since: time.optional(),
  submitted_by: z.string(),
  submitted_at: time,
  not_before: time.optional(),
  deadline_at: time.optional(),
  started_at: time.optional(),
  finished_at: time.optional(),
  ...End,
  progress: z.strictObject({ stdout_bytes: bytes, stderr_bytes: bytes }).optional(),
  attempts: z.array(AttemptDocument).optional(),
  waiting: Waiting.optional().describe("why it is pending"),
});
type TaskDocument = z.infer<typeof TaskDocument>;

type OutcomeDocument = Omit<Outcome, "started_at" | "ended_at"> & {
  started_at: string;
  finished_at: string;
  duration_ms: number;
};

export function outcomeDocument(outcome: Outcome): OutcomeDocument {
  const { started_at, ended_at, ...rest } = outcome;
  return {
    ...rest,
    started_at: isoTime(started_at),
    finished_at: isoTime(ended_at),
    duration_ms: Math.max(0, ended_at - started_at),
  };
}

/** Those that there are. */
function isoTimes<K extends string>(times: { [name in K]: number | undefined }): { [name in K]?: string } {
  const known = Object.entries<number | undefined>(times).flatMap(([name, at]) =>
    at === undefined ? [] : [[name, isoTime(at)]],
  );
  return Object.fromEntries(known) as { [name in K]?: string };
}

export function taskDocument(task: TaskView): TaskDocument {
  const { outcome, submitted_at, attempts, number: _number, ...rest } = task;
  const { started_at, finished_at, not_before, deadline_at, ...more } = rest;
  const { node_offline_since, lost_at, stopping_since, ...plain } = more;
  const times = { not_before, deadline_at, started_at, finished_at, node_offline_since, lost_at, stopping_since };
  return {
    ...plain,
    submitted_at: isoTime(submitted_at),
    ...isoTimes(times),
    ...(outcome === undefined ? {} : outcomeDocument(outcome)),
    ...(attempts === undefined ? {} : { attempts: attempts.map(attemptDocument) }),
  };
}

function attemptDocument({ outcome, at, started_at, ...rest }: AttemptView): z.infer<typeof AttemptDocument> {
  const began =
    started_at === undefined ? {} : { started_at: isoTime(started_at), duration_ms: Math.max(0, at - started_at) };
  return { ...rest, at: isoTime(at), ...began, ...(outcome === undefined ? {} : outcomeDocument(outcome)) };
}

export const NodeDocument = z.strictObject({
  id: z.string(),
  name: z.string(),
  machine: z.string().describe("a hash, the same for every process on one machine"),
  os: z.string(),
  arch: z.string(),
  version: z.string(),
  pid: count,
  capacity: Capacity,
  tags: z.array(z.string()),
  attributes: z.record(z.string(), z.string()),
  executors: z.array(z.enum(EXECUTORS)),
  limits: NodeInfo.shape.limits.describe("what it holds tasks to by cgroup v2, and why not to the rest"),
  status: z.enum(NODE_STATUSES),
  reason: z.string().optional().describe("why it is offline or in error"),
  settings: NodeSettings.optional().describe("what people set over what its worker says"),
  cordon: z
    .strictObject({
      reason: z.string(),
      by: z.string(),
      at: time,
      drain_at: time.optional(),
      shutdown: z.boolean().optional(),
    })
    .optional()
    .describe(
      "who took it out of service; what still runs there is stopped at drain_at; with shutdown its worker ends",
    ),
  incarnation: z.string(),
  registered_at: time,
  last_heartbeat_ms_ago: count.optional(),
  used: z.strictObject({ cpu_millis: count, memory_mib: count, gpus: count, resources: z.record(z.string(), count) }),
  held: count.describe("tasks that it was given and that are not over"),
  running: count,
  completed: count,
  failed: count,
  cpu_percent: count.optional(),
  free_memory_mib: count.optional(),
  disk_free_percent: count.optional().describe("of the file system that its data folder is on"),
  health: z.strictObject({
    score: count.describe("from 100, all is well, to 0, it is offline"),
    parts: z
      .array(z.strictObject({ sign: z.string(), lost: count, says: z.string(), unknown: z.literal(true).optional() }))
      .describe("what each sign takes, and why"),
  }),
  refused: z
    .array(z.strictObject({ at: time, task: z.string(), count, reason: z.string() }))
    .optional()
    .describe("of one node: what it was given and did not begin lately, the latest first"),
});
type NodeDocument = z.infer<typeof NodeDocument>;

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

const weight = z.number().min(0).max(1000).describe("to the thousandth");
const Weights = z.strictObject({ cpu: weight, memory: weight, tasks: weight, affinity: weight });

/** What can be set of placement, as it is told; in the log weights are whole thousandths. */
export const PlacementRequest = PlacementChange.extend({ weights: Weights.partial().optional() });
export type PlacementRequest = z.infer<typeof PlacementRequest>;

export function placementChange({ weights, ...rest }: PlacementRequest): PlacementChange {
  return weights === undefined ? rest : { ...rest, weights: scaled(weights, (value) => Math.round(value * 1000)) };
}

const PlacementDocument = PlacementRequest.required().extend({
  weights: Weights,
  set: PlacementRequest.optional().describe("what of it was set over the coordinator's file"),
});

export function placementDocument({ set, ...placement }: ClusterState["placement"]): z.infer<typeof PlacementDocument> {
  if (set === undefined) return placement;
  const { weights, ...rest } = set;
  const fractions = weights === undefined ? {} : { weights: scaled(weights, (thousandths) => thousandths / 1000) };
  return { ...placement, set: { ...rest, ...fractions } };
}

function scaled<T extends Record<string, number | undefined>>(weights: T, change: (value: number) => number): T {
  const entries = Object.entries(weights).map(([name, value]) => [name, value === undefined ? value : change(value)]);
  return Object.fromEntries(entries) as T;
}

export const ClusterDocument = z.strictObject({
  cluster: z.string(),
  cluster_id: z.string(),
  name: z.string().describe("the machine of whoever answers"),
  epoch: count.describe("the term of the leader"),
  leader: z.string(),
  sequence: count.describe("the log's last sequence"),
  version: z.string(),
  started_at: time,
  nats_url: z.string(),
  http_url: z.string().optional(),
  broker: z.strictObject({ managed: z.boolean(), version: z.string(), sync: z.string() }),
  coordinators: z.array(
    z.strictObject({ id: z.string(), name: z.string(), version: z.string(), leads: z.boolean(), behind: count }),
  ),
  nodes: z.strictObject({ total: count, online: count }),
  tasks: Counts,
  placement: PlacementDocument.describe("how a node is chosen"),
  waiting: z
    .array(
      z.strictObject({
        needs: z.string(),
        priority: z.enum(PRIORITIES),
        tasks: count,
        oldest: z.string(),
        since: time,
        why: z.string(),
      }),
    )
    .describe("what waits for a node, by what it needs, whose turn is next first"),
  notes: z.array(z.string()).describe("what an operator should know"),
});

export function clusterDocument(state: ClusterState): z.infer<typeof ClusterDocument> {
  const { started_at, waiting, placement, ...status } = state;
  const groups = waiting.map(({ since, ...group }) => ({ ...group, since: isoTime(since) }));
  return {
    ...status,
    started_at: isoTime(started_at),
    placement: placementDocument(placement),
    waiting: groups,
  };
}

/** Where a task would go now. */
export const PlanDocument = z.strictObject({
  strategy: z.enum(STRATEGIES),
  node: z.string().optional().describe("absent: it would wait"),
  node_name: z.string().optional(),
  nodes: z.array(
    z.strictObject({
      node: z.string(),
      room: count.describe("for so many of them now"),
      free: z.strictObject({ cpu_millis: count, memory_mib: count }),
      held: count,
      reason: z.string().optional().describe("what is in the way"),
    }),
  ),
  waiting: Waiting.optional(),
});

export const SkillDocument = z.strictObject({
  name: z.string(),
  description: z.string(),
  nodes: z.array(
    z.strictObject({
      node: z.string(),
      node_name: z.string(),
      node_status: z.enum(NODE_STATUSES),
      usable: z.boolean().describe("on that node, with every skill that it needs"),
      reason: z.string().optional().describe("why it is not"),
      missing: z.array(z.string()).optional(),
      requires: z.array(z.string()).optional(),
      source: z.string(),
      hash: z.string(),
    }),
  ),
});

const EVENT_TYPES = [
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

export const EventDocument = z.strictObject({
  id: z.string().describe("its place in the log: 812.3"),
  at: time,
  type: z.enum(EVENT_TYPES),
  task: z.string().optional().describe("absent when it was forgotten meanwhile"),
  first: count.optional().describe("of an array's members"),
  last: count.optional().describe("of an array's members, it included"),
  count: count.optional().describe("how many tasks"),
  name: z.string().optional(),
  by: z.string().optional(),
  node: z.string().optional(),
  node_name: z.string().optional(),
  attempt: count.optional(),
  reason: z.string().optional(),
  exit_code: z.int().optional(),
  signal: z.string().optional(),
  message: z.string().optional(),
  not_before: time.optional(),
  drain_at: time.optional(),
  epoch: count.optional(),
});
export type EventDocument = z.infer<typeof EventDocument>;
