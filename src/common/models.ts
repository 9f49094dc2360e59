// The vocabulary that every part shares: tasks, nodes, the cluster. Formats that cross a wire or reach a file are zod
// schemas; the types are inferred from them. Quantities are integers with their unit in the name.

import { z } from "zod";
import { LIMITS } from "./limits.ts";
import { few, named } from "./records.ts";
import type { NodeSettings, PlacementChange } from "./settings.ts";
import { skillName } from "./skills.ts";
import {
  type CutShort,
  END_REASONS,
  type EndReason,
  EXECUTORS,
  LIMIT_KINDS,
  type NodeStatus,
  ON_LOST,
  PRIORITIES,
  type Priority,
  RETRY_REASONS,
  STRATEGIES,
  type StopReason,
  type Strategy,
  TASK_TYPES,
  type TaskStatus,
  TERMINAL_STATUSES,
} from "./vocabulary.ts";

const count = z.int().min(0);
const millis = z
  .int()
  .min(0)
  .max(10 ** 13);
const label = z.string().min(1).max(LIMITS.label_chars);

const VALUES = { "=": "one value", "!=": "one value", in: "at least one value", exists: "no value" } as const;

/** Something that a node's attribute has to be. `os`, `arch`, `name` and `version` are attributes of every node. */
export const Condition = z
  .strictObject({
    attribute: label,
    op: z.enum(["=", "!=", "in", "exists"]),
    values: z.array(z.string().max(LIMITS.label_chars)).max(LIMITS.label_count),
  })
  .superRefine(({ op, values }, context) => {
    const right = op === "exists" ? values.length === 0 : op === "in" ? values.length > 0 : values.length === 1;
    if (!right) context.addIssue({ code: "custom", path: ["values"], message: `'${op}' takes ${VALUES[op]}` });
  });
export type Condition = z.infer<typeof Condition>;

/** Tasks that keep away from each other: no two of them on one node, or on nodes of which an attribute says the same. */
const Spread = z.strictObject({
  /** `node`, or an attribute's name. */
  by: label,
  /** Tasks that say the same keep apart; absent: those with the same name, without one those of the same submission. */
  among: label.optional(),
});

/** What a task needs of a node. Absent means none; `node` is an id or a name. */
/** A path that somebody named: it may be anything. */
export const FolderPath = z.string().min(1).max(4096);

export const Needs = z.strictObject({
  cpu_millis: count.max(10_000_000),
  memory_mib: count.max(2 ** 31),
  gpus: count.max(1024),
  resources: named(z.string().min(1).max(64), count.max(2 ** 31)).optional(),
  tags: z.array(label).max(LIMITS.label_count).optional(),
  /** OpenClaw's, that have to be usable on the node, with everything that they need. */
  skills: z.array(skillName).max(LIMITS.label_count).optional(),
  /** Each has to hold. */
  where: z.array(Condition).max(LIMITS.label_count).optional(),
  /** Better where more of these hold: what `best_fit` and `affinity` go by. */
  prefer: z.array(Condition).max(LIMITS.label_count).optional(),
  spread: Spread.optional(),
  /** Nothing else runs on its node while it does. */
  exclusive: z.boolean().optional(),
  /** Absent: the cluster's. */
  strategy: z.enum(STRATEGIES).optional(),
  /** Processes and threads that it may have at a time, where its node can see to that. */
  pids: count.min(1).max(4_194_304).optional(),
  /** Only where the node holds it to what it asked for. */
  enforce: z.boolean().optional(),
  node: z.string().min(1).max(LIMITS.name_chars).optional(),
  executor: z.enum(EXECUTORS),
  /** A folder that the node has to have (`--cwd`): nodes that lack it are passed by. */
  folder: FolderPath.optional(),
});
export type Needs = z.infer<typeof Needs>;

/** A script that the client bundled; the content stands in the cluster under its hash. */
const Script = z.strictObject({
  name: z.string().min(1).max(255),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  size_bytes: count.max(LIMITS.script_bytes),
});

/**
 * What follows a failure. Wait before the first retry, doubled with each one up to the most; equal: always the same. A
 * daemon waits 100 ms at least.
 */
export const Retry = z.strictObject({
  /** Attempts that may follow the first failed one. A daemon has no limit. */
  limit: count.max(LIMITS.retries),
  backoff_ms: millis,
  backoff_max_ms: millis,
  /** Reasons and exit codes; absent: every reason. */
  on: z
    .array(z.union([z.enum(RETRY_REASONS), z.int().min(1).max(255)]))
    .min(1)
    .max(LIMITS.label_count)
    .optional(),
});
export type Retry = z.infer<typeof Retry>;

/** What to run and how. One serves every member of an array. */
export const Specification = z.strictObject({
  name: z.string().min(1).max(LIMITS.name_chars).optional(),
  type: z.enum(TASK_TYPES),
  priority: z.enum(PRIORITIES),
  needs: Needs,
  /** `command` and `script`: the arguments; `shell`: one text for `sh -c`, a template when `each` is set. */
  argv: z.array(z.string().max(LIMITS.specification_bytes)).max(10_000),
  /** Members' inputs are put into the template as GNU parallel does (`{}`, `{.}`, `{/}`, `{#}` …). */
  each: z.boolean().optional(),
  script: Script.optional(),
  env: named(z.string().min(1).max(256), z.string().max(LIMITS.argument_bytes)).optional(),
  /** The caller's machine and folder: on that machine a task runs there, elsewhere in a fresh folder. */
  origin: z.strictObject({ machine: z.string().max(64), folder: z.string().max(4096) }).optional(),
  /** Limit on one attempt's running time; 0 or absent: none. */
  timeout_ms: millis.optional(),
  /** Limit on everything from the submission on, waiting and retries included. */
  deadline_ms: millis.min(1).optional(),
  /** Not before this long after the submission, or not before this wall time. */
  start_after_ms: millis.optional(),
  start_at: millis.optional(),
  retry: Retry.optional(),
  /** Absent: `retry`. */
  on_lost: z.enum(ON_LOST).optional(),
  /** Time between SIGTERM and SIGKILL; absent: the node's own. */
  grace_ms: millis.optional(),
  labels: named(label, z.string().max(LIMITS.label_chars)).optional(),
  /** Idempotency key: the cluster has one submission with it, however often it is sent. */
  key: z.string().min(1).max(LIMITS.key_chars).optional(),
});
export type Specification = z.infer<typeof Specification>;

/** Length and hash of one output stream, as the task wrote it, whatever was kept of it. */
export const StreamSummary = z.strictObject({
  bytes: z.int().min(0),
  /** The first 16 hex digits of the whole stream's SHA-256: `claw logs ID | sha256sum` shows the same. */
  hash: z.string().regex(/^[0-9a-f]{16}$/),
  /** Bytes that were not kept because the task reached its cap or nobody could take them. */
  cut_bytes: z.int().min(0).optional(),
});
export type StreamSummary = z.infer<typeof StreamSummary>;

/** What is recorded of an attempt that ended: never lost once acknowledged. Times are wall milliseconds of the node. */
export const Outcome = z.strictObject({
  status: z.enum(TERMINAL_STATUSES),
  reason: z.enum(END_REASONS),
  exit_code: z.int().min(0).max(255).optional(),
  signal: z.string().max(16).optional(),
  started_at: millis,
  ended_at: millis,
  /** Processor time of the task's processes, user and system. */
  cpu_ms: count.optional(),
  peak_memory_mib: count.optional(),
  /** The last part of the output, at most 1 KiB for both, UTF-8 with replacement characters. */
  stdout_tail: z
    .string()
    .max(LIMITS.tail_bytes * 3)
    .optional(),
  stderr_tail: z
    .string()
    .max(LIMITS.tail_bytes * 3)
    .optional(),
  /** The tails are the whole output: nothing went to the output stream. */
  inline: z.boolean().optional(),
  stdout: StreamSummary.optional(),
  stderr: StreamSummary.optional(),
  /** One sentence for people, when the reason wants one. */
  message: z.string().max(LIMITS.outcome_message_chars).optional(),
});
export type Outcome = z.infer<typeof Outcome>;

export const Capacity = z.strictObject({
  cpu_millis: count,
  memory_mib: count,
  gpus: count,
  resources: few(z.string().min(1).max(64), count),
});
export type Capacity = z.infer<typeof Capacity>;

/** What a worker says of itself when it registers. */
export const NodeInfo = z.strictObject({
  name: z.string().min(1).max(LIMITS.name_chars),
  /** Tells two processes on one machine from two machines: a hash, never the machine's own id. */
  machine: z.string().min(1).max(64),
  os: z.string().max(32),
  arch: z.string().max(32),
  version: z.string().max(64),
  pid: count,
  capacity: Capacity,
  tags: z.array(label).max(LIMITS.label_count),
  attributes: few(label, z.string().max(LIMITS.label_chars)),
  executors: z.array(z.enum(EXECUTORS)),
  /** What it holds tasks to, and why not to the rest; absent: said by none. */
  limits: z
    .strictObject({ enforced: z.array(z.enum(LIMIT_KINDS)), reason: z.string().max(4096).optional() })
    .optional(),
});
export type NodeInfo = z.infer<typeof NodeInfo>;

/** What one sign takes from a node's health, and what it says. */
export interface HealthPart {
  sign: "status" | "heartbeat" | "load" | "memory" | "disk" | "failures";
  lost: number;
  says: string;
  /** Nobody told it, so it takes nothing. */
  unknown?: true;
}

/** From 100, all is well, to 0, it is offline. */
export interface NodeHealth {
  score: number;
  parts: HealthPart[];
}

/** Tasks that a node was given and did not begin: members `index` and the `count` - 1 behind it. */
export interface RefusalView {
  at: number;
  task: string;
  count: number;
  reason: string;
}

/** A node as commands and the API show it. Load figures are absent until the first heartbeat. */
export interface NodeView extends NodeInfo {
  id: string;
  status: NodeStatus;
  /** Why it is offline or in error. */
  reason?: string;
  /** What people set over what its worker says. */
  settings?: NodeSettings;
  /** Who took it out of service, and when; with `drain_at`, when what still runs there is stopped; with `shutdown` its worker ends. */
  cordon?: { reason: string; by: string; at: number; drain_at?: number | undefined; shutdown?: boolean | undefined };
  incarnation: string;
  registered_at: number;
  last_heartbeat_ms_ago?: number;
  used: { cpu_millis: number; memory_mib: number; gpus: number; resources: Record<string, number> };
  held: number;
  running: number;
  completed: number;
  failed: number;
  cpu_percent?: number;
  free_memory_mib?: number;
  disk_free_percent?: number;
  health: NodeHealth;
  /** Where one node is asked for: what it did not begin lately, as of this leader's term, the latest first. */
  refused?: RefusalView[];
}

/** Counts of tasks by status; `total` is known members so far. */
export interface TaskCounts {
  total: number;
  pending: number;
  scheduled: number;
  running: number;
  completed: number;
  failed: number;
  cancelled: number;
  timeout: number;
}

/** One attempt that did not give the task's result; `outcome` is absent when its node never told. */
export interface AttemptView {
  attempt: number;
  node: string;
  node_name?: string;
  reason: EndReason;
  at: number;
  /** Where there is no outcome: when it began, as far as that is known. */
  started_at?: number;
  outcome?: Outcome;
}

/** A member of an array that did not succeed, in short. */
export type FailureView = Pick<Outcome, "status" | "reason" | "exit_code" | "signal" | "message"> & { id: string };

/** What a running task has written so far; a few seconds old. */
export interface TaskProgress {
  stdout_bytes: number;
  stderr_bytes: number;
}

/** What is going on with a task that a node holds. */
export interface HeldView {
  started_at?: number;
  /** It was told to stop, and why; since when is known to the leader that told it. */
  stopping?: StopReason;
  stopping_since?: number;
  node_status?: NodeStatus;
  /** Why the node is offline or in error. */
  node_reason?: string;
  node_offline_since?: number;
  /** Where it is overdue: how long ago the node was heard. */
  node_silent_ms?: number;
  /** The node is offline: when the attempt is given up, if it stays so. */
  lost_at?: number;
}

/** A task as commands and the API show it; an array's own row has `counts` and no `outcome`. */
export interface TaskView extends HeldView {
  id: string;
  name?: string;
  number: number;
  /** Absent for an array as a whole. */
  index?: number;
  array: boolean;
  open?: boolean;
  /** While it is open: when its client extended it last, and when it is closed, if nobody extends it until then. */
  extended_at?: number;
  abandoned_at?: number;
  /** It was closed, and not by its client: inputs may be missing. */
  cut_short?: CutShort;
  /** The task, or the array, that this one does again. */
  retry_of?: string;
  /** Where one task is asked for: the newest that does this one again. */
  retried_as?: string;
  status: TaskStatus;
  specification: Specification;
  input?: string;
  counts?: TaskCounts;
  /** Where an array is asked for: the first of its members that failed or took too long. */
  failures?: FailureView[];
  attempt?: number;
  node?: string;
  node_name?: string;
  submitted_by: string;
  submitted_at: number;
  finished_at?: number;
  outcome?: Outcome;
  /** While it runs, once it has written anything. */
  progress?: TaskProgress;
  attempts?: AttemptView[];
  /** For a pending task that may not start yet: when it may. */
  not_before?: number;
  /** When it is ended, however far it is. */
  deadline_at?: number;
  /** For a pending task: why it waits. */
  waiting?: WaitingView;
}

/** Why something waits: in one line, and a line a node. */
export interface WaitingView {
  summary: string;
  nodes: { node: string; reason: string }[];
  /** Tasks that wait for the same nodes and have their turn before, and the first of them (or its array). */
  ahead?: { tasks: number; first: string };
  /** What would change it, a sentence each. */
  change?: string[];
}

/** Where a task would go now, were it submitted. */
export interface PlanView {
  strategy: Strategy;
  /** Absent: it would wait. */
  node?: string;
  node_name?: string;
  nodes: {
    node: string;
    /** How many such tasks it has room for now, and what is free of what it has. */
    room: number;
    free: { cpu_millis: number; memory_mib: number };
    held: number;
    /** What is in the way, where there is no room. */
    reason?: string;
  }[];
  waiting?: WaitingView;
}

/** Waiting tasks that need the same. */
export interface WaitingGroup {
  needs: string;
  priority: Priority;
  tasks: number;
  /** The one whose turn is next, or its array, and since when it waits. */
  oldest: string;
  since: number;
  why: string;
}

export interface CoordinatorView {
  id: string;
  /** Its machine. */
  name: string;
  version: string;
  leads: boolean;
  /** Batches of the log that it had not yet when it was heard last. */
  behind: number;
}

export interface ClusterState {
  cluster: string;
  cluster_id: string;
  name: string;
  epoch: number;
  leader: string;
  /** The log's last sequence in the view. */
  sequence: number;
  version: string;
  started_at: number;
  nats_url: string;
  http_url?: string;
  broker: { managed: boolean; version: string; sync: string };
  /** Whoever answers comes first. */
  coordinators: CoordinatorView[];
  nodes: { total: number; online: number };
  tasks: TaskCounts;
  /** How a node is chosen; `set`: what of it people set over the coordinator's file. */
  placement: {
    strategy: Strategy;
    weights: { cpu: number; memory: number; tasks: number; affinity: number };
    aging_ms: number;
    reserve_after_ms: number;
    set?: PlacementChange;
  };
  /** What waits for a node, whose turn is next first; the rest is in `tasks` only. */
  waiting: WaitingGroup[];
  /** Sentences on what an operator should know. */
  notes: string[];
}
