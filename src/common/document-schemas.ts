// The documents that people's scripts see (documents.ts makes them), as `/openapi.json` promises them: snake_case, times in
// ISO-8601 UTC, durations in milliseconds.

import { z } from "zod";
import { EVENT_TYPES } from "./documents.ts";
import { LIMITS } from "./limits.ts";
import { Capacity, NodeInfo, Specification, StreamSummary } from "./models.ts";
import { NodeSettings, PlacementChange } from "./settings.ts";
import {
  CUT_SHORT,
  END_REASONS,
  EXECUTORS,
  NODE_STATUSES,
  PRIORITIES,
  STOP_REASONS,
  STRATEGIES,
  TASK_STATUSES,
} from "./vocabulary.ts";

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
  waited_ms: count
    .optional()
    .describe("of what is not known to have begun: since its submission, or the last of the attempts that are told"),
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
export type AttemptDocument = z.infer<typeof AttemptDocument>;

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
  extended_at: time.optional().describe("of an open array: when its client extended it last"),
  abandoned_at: time.optional().describe("of an open array: when it is closed, if nobody extends it until then"),
  cut_short: z
    .enum(CUT_SHORT)
    .optional()
    .describe("of an array: it was closed, and not by its client, so that inputs may be missing"),
  retry_of: z.string().optional(),
  retried_as: z.string().optional().describe("of one task: the newest retry of it"),
  status: z.enum(TASK_STATUSES),
  specification: Specification,
  input: z.string().optional(),
  counts: Counts.optional(),
  failures: z
    .array(
      z.strictObject({
        id: z.string(),
        status: z.enum(TASK_STATUSES),
        reason: z.enum(END_REASONS),
        exit_code: z.int().optional(),
        signal: z.string().optional(),
        message: z.string().optional(),
      }),
    )
    .max(LIMITS.failures_shown)
    .optional()
    .describe(
      "of one array: the first of its members that failed or ended by a timeout; counts has how many there are",
    ),
  attempt: count.optional(),
  node: z.string().optional(),
  node_name: z.string().optional(),
  node_status: z.enum(NODE_STATUSES).optional().describe("while it is there: of the node that holds it"),
  node_reason: z.string().optional().describe("why that node is offline or in error"),
  node_offline_since: time.optional(),
  node_silent_ms: count.optional().describe("how long ago that node was heard, where it is overdue"),
  lost_at: time
    .optional()
    .describe(
      "when it is given up, if that node stays offline: it runs elsewhere then, waits for it again if it is bound to it, or fails",
    ),
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
export type TaskDocument = z.infer<typeof TaskDocument>;

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
export type NodeDocument = z.infer<typeof NodeDocument>;

const weight = z.number().min(0).max(1000).describe("to the thousandth");
const Weights = z.strictObject({ cpu: weight, memory: weight, tasks: weight, affinity: weight });

/** What can be set of placement, as it is told; in the log weights are whole thousandths. */
export const PlacementRequest = PlacementChange.extend({ weights: Weights.partial().optional() });
export type PlacementRequest = z.infer<typeof PlacementRequest>;

const PlacementDocument = PlacementRequest.required().extend({
  weights: Weights,
  set: PlacementRequest.optional().describe("what of it was set over the coordinator's file"),
});
export type PlacementDocument = z.infer<typeof PlacementDocument>;

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
export type ClusterDocument = z.infer<typeof ClusterDocument>;

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
