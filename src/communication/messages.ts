// What crosses the wire between client, leader and worker: one zod schema a message, JSON, versioned by `v` in the
// messages that open a conversation. A golden file per message (test/golden) shows every change of the format.
// A run is a tuple of integers, because there are thousands of them: [submission, from, to, attempt, …], `to` excluded.

import { z } from "zod";
import { LIMITS } from "../common/limits.ts";
import { Capacity, FolderPath, NodeInfo, Outcome, Specification } from "../common/models.ts";
import { NodeSettings, PlacementChange } from "../common/settings.ts";
import { Skill } from "../common/skills.ts";
import type { Manifest } from "../common/snapshot.ts";
import { TERMINAL_STATUSES } from "../common/vocabulary.ts";

const WIRE_VERSION = 1;

const integer = z.int().min(0);
/** No most: what ends and is begun again for ever gets to any number, and a message that cannot be read is stuck for ever. */
const attempt = z.int().min(1);
const incarnation = z.string().regex(/^[0-9a-f]{16}$/);
const taskId = z.int().min(0).max(0xffff_ffff);
const nonce = z.string().regex(/^[0-9a-f]{32}$/);
const skillsHash = z.string().regex(/^[0-9a-f]{16}$/);
/** `to` is excluded, so an empty run, or one that goes backwards, is nobody's. */
const BACKWARD = "a run ends before it begins";

function forward([, from, to]: readonly [number, number, number, ...number[]]): boolean {
  return from < to;
}

const input = z.string().max(LIMITS.input_bytes);

/** [submission, from, to, attempt] */
export const Run = z.tuple([integer, integer, integer, attempt]).refine(forward, BACKWARD);
export type Run = z.infer<typeof Run>;

/** Of a node: as far as dates go. */
const wall_ms = integer.max(10 ** 13);

/** [submission, from, to, attempt, started_at] in wall milliseconds of the node */
const StartRun = z.tuple([integer, integer, integer, attempt, wall_ms]).refine(forward, BACKWARD);
/** [submission, from, to, attempt, started_at, ended_at]: plain successes that have nothing else to tell */
export const PlainRun = z.tuple([integer, integer, integer, attempt, wall_ms, wall_ms]).refine(forward, BACKWARD);
export type PlainRun = z.infer<typeof PlainRun>;

export const TaskResult = z.strictObject({
  task: z.tuple([integer, integer, attempt]),
  outcome: Outcome,
});
export type TaskResult = z.infer<typeof TaskResult>;

/** Whether each attempt is named once: two ends of one are none. */
function disjoint(parts: readonly (readonly (readonly number[])[])[]): boolean {
  const ends = new Map<string, number>();
  const ranges = parts.flat().sort((a, b) => (a[1] ?? 0) - (b[1] ?? 0));
  for (const [number, from = 0, to = 0, one] of ranges) {
    const key = `${number}/${one}`;
    if ((ends.get(key) ?? 0) > from) return false;
    ends.set(key, to);
  }
  return true;
}

function tasksOf(results: readonly TaskResult[]): Run[] {
  return results.map(({ task: [number, index, one] }) => [number, index, index + 1, one]);
}

const TWICE = "it names an attempt twice";

const runs = <T extends z.ZodType>(of: T, most: number) => z.array(of).max(most);

// ---- worker → leader, on claw.<c>.node.<id>.up -----------------------------------------------------------------

const NodeRegister = z.strictObject({
  type: z.literal("node.register"),
  v: z.literal(WIRE_VERSION),
  /** The cluster that this worker belongs to; absent until it was welcomed once. */
  cluster_id: z.string().max(64).optional(),
  incarnation,
  /** Lives that are certain to be over: those before it in the same data folder, which it alone has open. */
  earlier: z.array(incarnation).max(LIMITS.earlier_lives).optional(),
  info: NodeInfo,
  /** What of its own checks fails: it takes no new work until it registers without. */
  trouble: z.string().min(1).max(LIMITS.trouble_chars).optional(),
  /** Attempts whose reports wait in the outbox: they ended, whatever life they began in. */
  held: runs(Run, LIMITS.held_runs_per_message),
});

/** Short names: at most 149 bytes as sent, subject and all. i incarnation, n attempts held, h their hash, p pings heard
 * since the one before, c % of all processors busy, m MiB of memory free and d % of the disk free, in turn. */
const NodeHeartbeat = z.strictObject({
  type: z.literal("node.heartbeat"),
  i: z.string().regex(/^[0-9a-f]{8}$/),
  n: integer.max(LIMITS.heartbeat_attempts),
  h: z.string().regex(/^[0-9a-f]{8}$/),
  p: integer.min(1).max(9).optional(),
  c: integer.max(100).optional(),
  m: integer.max(LIMITS.heartbeat_memory_mib).optional(),
  d: integer.max(100).optional(),
});

/** What the node has found, whenever that changes; told until `node.control {kind: "skills"}` names its hash. */
const SkillUpdate = z.strictObject({
  type: z.literal("skill.update"),
  incarnation,
  hash: skillsHash,
  skills: z
    .array(Skill)
    .max(LIMITS.node_skills)
    .refine((skills) => Buffer.byteLength(JSON.stringify(skills)) <= LIMITS.node_skills_bytes, "has too many bytes"),
});

const NodeShutdown = z.strictObject({
  type: z.literal("node.shutdown"),
  incarnation,
  reason: z.string().max(256),
});

/** Answer to `node.control {action: "list"}`: everything that the worker holds, in parts. */
const NodeHeld = z.strictObject({
  type: z.literal("node.held"),
  incarnation,
  /** The list that this is a part of, and whether it is the last part. */
  list: integer,
  last: z.boolean(),
  held: runs(Run, LIMITS.held_runs_per_message),
});

/** Answer to `node.control {action: "look"}`: which of these folders a task could be started in, in one part or several. */
const NodeFolders = z.strictObject({
  type: z.literal("node.folders"),
  incarnation,
  folders: z.array(z.tuple([FolderPath, z.boolean()])).max(LIMITS.look_folders),
});

const TaskStart = z
  .strictObject({
    type: z.literal("task.start"),
    incarnation,
    runs: runs(StartRun, LIMITS.report_items_per_message),
  })
  .refine(({ runs }) => disjoint([runs]), TWICE);

/** Every few seconds for a task that has written more since: `claw show` tells it. Nothing is decided by it. */
const TaskProgress = z.strictObject({
  type: z.literal("task.progress"),
  incarnation,
  task: z.tuple([integer, integer, attempt]),
  stdout_bytes: integer,
  stderr_bytes: integer,
});

/** Successes. `seq` is the outbox row: it is sent again until `report.ack` names it. */
const TaskComplete = z
  .strictObject({
    type: z.literal("task.complete"),
    incarnation,
    seq: integer,
    runs: runs(PlainRun, LIMITS.report_items_per_message),
    results: runs(TaskResult, LIMITS.report_items_per_message),
  })
  .refine(({ runs, results }) => disjoint([runs, tasksOf(results)]), TWICE);

/** Everything that did not succeed, and what is given back unstarted. */
const TaskFail = z
  .strictObject({
    type: z.literal("task.fail"),
    incarnation,
    seq: integer,
    results: runs(TaskResult, LIMITS.report_items_per_message),
    released: runs(Run, LIMITS.report_items_per_message),
    /** Why the node did not begin what it releases, where it was not told to. */
    why: z.string().min(1).max(LIMITS.trouble_chars).optional(),
  })
  .refine(({ results, released }) => disjoint([tasksOf(results), released]), TWICE);

export const UpMessage = z.discriminatedUnion("type", [
  NodeRegister,
  NodeHeartbeat,
  NodeShutdown,
  SkillUpdate,
  NodeHeld,
  NodeFolders,
  TaskStart,
  TaskProgress,
  TaskComplete,
  TaskFail,
]);
export type UpMessage = z.infer<typeof UpMessage>;

// ---- leader → worker, on claw.<c>.node.<id>.down ---------------------------------------------------------------

/** One run of alike tasks. `id` is the array's id (members are `id.index`), or `ids` a lone task's id a member. */
export const AssignItem = z.strictObject({
  run: Run,
  /** Index into the message's specifications. */
  spec: integer,
  id: taskId.optional(),
  ids: z.array(taskId).optional(),
  inputs: z.array(input).optional(),
  /** The place of the run's first member in its array, where that is not its index: a retry's members keep theirs. */
  first: integer.optional(),
});
export type AssignItem = z.infer<typeof AssignItem>;

const TaskAssign = z.strictObject({
  type: z.literal("task.assign"),
  incarnation,
  specifications: z.array(Specification),
  items: z.array(AssignItem).max(LIMITS.assign_runs_per_message),
});

const TaskCancel = z.strictObject({
  type: z.literal("task.cancel"),
  incarnation,
  runs: runs(Run, LIMITS.assign_runs_per_message),
  /** `cancelled`: report it as such; `superseded`: stop it and forget it, a later attempt stands elsewhere. */
  reason: z.enum(["cancelled", "superseded"]),
});

const NodeControl = z.strictObject({
  type: z.literal("node.control"),
  incarnation,
  action: z.discriminatedUnion("kind", [
    z.strictObject({
      kind: z.literal("welcome"),
      cluster_id: z.string(),
      heartbeat_ms: integer,
      /** What was set over the capacity that it said. */
      capacity: Capacity.optional(),
      /** Of the skills that it told before. */
      skills: skillsHash.optional(),
      /** That another node has its name, for its log. */
      same_name: z.string().optional(),
    }),
    /** It counts as one of this capacity from now on. */
    z.strictObject({ kind: z.literal("capacity"), capacity: Capacity }),
    /** The skills with this hash are in the log. */
    z.strictObject({ kind: z.literal("skills"), hash: skillsHash }),
    z.strictObject({
      kind: z.literal("refuse"),
      code: z.string(),
      message: z.string(),
    }),
    /** Another process is this node, and may be dead: register again until this one is welcome or refused. */
    z.strictObject({ kind: z.literal("wait"), message: z.string() }),
    /** `answer`: a heartbeat at once, and not only when it is time. */
    z.strictObject({ kind: z.literal("ping"), answer: z.boolean().optional() }),
    z.strictObject({ kind: z.literal("list"), list: integer }),
    /** Something waits for these folders: can they be used? */
    z.strictObject({ kind: z.literal("look"), folders: z.array(FolderPath).max(LIMITS.look_folders) }),
    /** Somebody wants this worker to end, and it holds nothing. */
    z.strictObject({ kind: z.literal("shutdown"), message: z.string() }),
    /** The leader does not know this life of the node: register again. */
    z.strictObject({ kind: z.literal("register") }),
  ]),
});

const ReportAck = z.strictObject({
  type: z.literal("report.ack"),
  incarnation,
  seqs: z.array(integer),
});

export const DownMessage = z.discriminatedUnion("type", [TaskAssign, TaskCancel, NodeControl, ReportAck]);
export type DownMessage = z.infer<typeof DownMessage>;

// ---- client → leader, requests on claw.<c>.client.<who>.cmd.<type> ----------------------------------------------

/** One array, or up to 1000 separate tasks, with ids and a nonce that the client drew: sent again, it is done once. */
export const TaskSubmit = z.strictObject({
  v: z.literal(WIRE_VERSION),
  nonce,
  specifications: z.array(Specification).min(1).max(LIMITS.tasks_per_request),
  /** Separate tasks: [id, index into specifications]. */
  tasks: z
    .array(z.tuple([taskId, integer]))
    .max(LIMITS.tasks_per_request)
    .optional(),
  /** An array: `count` members without inputs, or `inputs`, and `open` when more will be sent by task.extend. */
  array: z
    .strictObject({
      id: taskId,
      count: integer.max(LIMITS.array_members).optional(),
      inputs: z.array(input).max(LIMITS.inputs_per_request).optional(),
      open: z.boolean().optional(),
    })
    .optional(),
});
export type TaskSubmit = z.infer<typeof TaskSubmit>;

/** More inputs for an open array. A repeat is answered, a gap refused; `close` ends it with its total. */
export const TaskExtend = z.strictObject({
  v: z.literal(WIRE_VERSION),
  id: taskId,
  nonce,
  offset: integer,
  inputs: z.array(input).max(LIMITS.inputs_per_request),
  close: z.strictObject({ total: integer }).optional(),
});
export type TaskExtend = z.infer<typeof TaskExtend>;

/** Tasks by submission number and index range, as the client resolved them; `to` absent: to the end. */
export const TaskCancelCommand = z.strictObject({
  v: z.literal(WIRE_VERSION),
  targets: z
    .array(
      z
        .strictObject({
          number: integer,
          from: integer,
          to: integer.optional(),
        })
        .refine(({ from, to }) => to === undefined || from < to, BACKWARD),
    )
    .max(LIMITS.list_rows),
  /** Only members in one of these statuses; absent: whatever is not over. */
  only: z
    .array(z.enum(["pending", "scheduled", "running"]))
    .min(1)
    .optional(),
});
export type TaskCancelCommand = z.infer<typeof TaskCancelCommand>;

/** What is over, anew: an id that the client drew for each target. Answered alike when it is sent again. */
export const TaskRetry = z.strictObject({
  v: z.literal(WIRE_VERSION),
  nonce,
  targets: z
    .array(z.strictObject({ id: taskId, number: integer, index: integer.optional() }))
    .min(1)
    .max(LIMITS.list_rows),
  statuses: z.array(z.enum(TERMINAL_STATUSES)).min(1),
  /** Leaves out the members that a later retry stands for. */
  fresh: z.boolean().optional(),
  /** Nothing is made: only what would be is answered. */
  dry: z.boolean().optional(),
});
export type TaskRetry = z.infer<typeof TaskRetry>;

/** Takes nodes, by their ids, out of service and back. */
const NodeManage = z.strictObject({
  v: z.literal(WIRE_VERSION),
  action: z.enum(["cordon", "drain", "shutdown", "resume", "remove"]),
  nodes: z.array(z.string().max(64)).min(1).max(LIMITS.list_rows),
  reason: z.string().min(1).max(LIMITS.label_chars).optional(),
  deadline_ms: integer.max(10 ** 13).optional(),
});

/** What people set over what workers say of their nodes; `reset` takes back what was set before. */
const NodeConfigure = z.strictObject({
  v: z.literal(WIRE_VERSION),
  nodes: z.array(z.string().max(64)).min(1).max(LIMITS.list_rows),
  reset: z.boolean().optional(),
  set: NodeSettings.optional(),
});

/** What people set over the coordinator's file. */
const ClusterConfigure = z.strictObject({
  v: z.literal(WIRE_VERSION),
  reset: z.boolean().optional(),
  placement: PlacementChange.optional(),
});

const CredentialsExport = z.strictObject({
  v: z.literal(WIRE_VERSION),
  /** A coordinator's only for who asks on the machine of the one that runs the broker. */
  role: z.enum(["worker", "client", "coordinator"]),
});

/** Takes a snapshot; asked again with the same nonce until it is done. */
const SnapshotTake = z.strictObject({ v: z.literal(WIRE_VERSION), nonce });

export const COMMANDS = {
  "task.submit": TaskSubmit,
  "task.extend": TaskExtend,
  "task.cancel": TaskCancelCommand,
  "task.retry": TaskRetry,
  "node.manage": NodeManage,
  "node.configure": NodeConfigure,
  "cluster.configure": ClusterConfigure,
  "credentials.export": CredentialsExport,
  "snapshot.take": SnapshotTake,
} as const;
export type CommandType = keyof typeof COMMANDS;

/** Answers to commands. `sequence` is what a later query must have seen (read your writes). */
export interface CommandAnswers {
  /** `existing`: the first id of the submission that has this key, made earlier; the ids of this one stay free. */
  "task.submit": { number: number; existing?: number; sequence: number };
  "task.extend": { total: number; sequence: number };
  "task.cancel": {
    cancelled: number;
    stopping: number;
    finished: number;
    /** Arrays to which more inputs might have come; absent: none, or its coordinator is older than this. */
    closed?: number;
    sequence: number;
  };
  "task.retry": {
    /** One for each target that had something to retry. */
    retried: { id: number; number: number; of: number; count: number }[];
    /** Positions of the targets that had nothing. */
    skipped: number[];
    /** Members that `fresh` left out. */
    left_out: number;
    sequence: number;
  };
  "node.manage": { sequence: number };
  "node.configure": { sequence: number };
  "cluster.configure": { sequence: number };
  "credentials.export": { creds: string; id: string; nats_url: string };
  /** Without a manifest: it is being taken, ask again. */
  "snapshot.take": { manifest?: Manifest };
}
