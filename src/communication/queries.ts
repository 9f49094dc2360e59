// Requests that only read: client → any coordinator, on claw.<c>.client.<who>.query.<type>. `seen` is the log sequence
// that the client has seen; the answer is at least as new.

import { z } from "zod";
import type { EventDocument } from "../common/document-schemas.ts";
import { LIMITS } from "../common/limits.ts";
import {
  type ClusterState,
  type NodeView,
  type Outcome,
  type PlanView,
  Specification,
  type TaskCounts,
  type TaskView,
} from "../common/models.ts";
import { named } from "../common/records.ts";
import type { SkillView } from "../common/skills.ts";
import type { Manifest } from "../common/snapshot.ts";
import { type CutShort, PRIORITIES, TASK_STATUSES } from "../common/vocabulary.ts";
import type { Range } from "../core/members.ts";

const integer = z.int().min(0);
const seen = integer.optional();
const wait_ms = integer.max(LIMITS.wait_ms);

export const QUERIES = {
  /** The id, or unique prefix, as typed → submission number and index. */
  "task.resolve": z.strictObject({
    seen,
    refs: z.array(z.string().max(64)).max(LIMITS.list_rows),
  }),
  "task.list": z.strictObject({
    seen,
    statuses: z.array(z.enum(TASK_STATUSES)).optional(),
    priority: z.enum(PRIORITIES).optional(),
    name: z.string().optional(),
    labels: named(z.string(), z.string()).optional(),
    /** Submitted then, by log time, or later. */
    since: integer.optional(),
    /** Members of this submission instead of whole submissions. */
    number: integer.optional(),
    limit: integer.min(1).max(LIMITS.list_rows),
    cursor: z.string().max(64).optional(),
  }),
  "task.show": z.strictObject({
    seen,
    number: integer,
    index: integer.optional(),
  }),
  /** Answers when the task (or all members, with no index) changed from `status`, is over, or after `wait_ms`. */
  "task.wait": z.strictObject({
    seen,
    number: integer,
    index: integer.optional(),
    until: z.enum(["started", "finished"]),
    /** Answers also when an attempt behind this one is over, and another follows it. */
    after: integer.optional(),
    wait_ms,
  }),
  /** Results of a submission in the order in which they were recorded, after `cursor`; waits for at least one. */
  "task.results": z.strictObject({
    seen,
    number: integer,
    cursor: integer,
    limit: integer.min(1).max(LIMITS.list_rows),
    wait_ms,
  }),
  /** Where such a task would go now: nothing is submitted. */
  "task.plan": z.strictObject({ seen, specification: Specification }),
  /** In the order of their ids, behind `after`; with `node`, an id, that one alone, with what it refused. */
  "node.list": z.strictObject({
    seen,
    node: z.string().max(64).optional(),
    after: z.string().max(64).optional(),
    limit: integer.min(1).max(LIMITS.list_rows).optional(),
  }),
  /** Skills by their names, behind `after`; or the one that is named. */
  "skill.list": z.strictObject({
    seen,
    name: z.string().max(64).optional(),
    after: z.string().max(64).optional(),
    limit: integer.min(1).max(LIMITS.list_rows),
  }),
  "cluster.status": z.strictObject({ seen }),
  /** What happened, behind `after` (an event's id, or a list's cursor), or the newest `tail`; waits for at least one. */
  "event.list": z.strictObject({
    seen,
    after: z.string().max(64).optional(),
    tail: integer.max(LIMITS.list_rows).optional(),
    /** The newest `tail` before this place; without it, before the log's end. */
    before: z.string().max(64).optional(),
    limit: integer.min(1).max(LIMITS.list_rows),
    wait_ms,
    /** `task.failed`, or all of a kind: `task`. */
    types: z.array(z.string().max(64)).max(LIMITS.label_count).optional(),
    /** By its id. */
    node: z.string().max(64).optional(),
    number: integer.optional(),
    index: integer.optional(),
  }),
  "snapshot.list": z.strictObject({ seen }),
  /** A piece of a script, by its hash: a worker asks for it too. */
  "file.chunk": z.strictObject({
    seen,
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
    at: integer.max(Math.ceil(LIMITS.script_bytes / LIMITS.file_chunk_bytes)),
  }),
  /** A piece of a snapshot's stored bytes. */
  "snapshot.chunk": z.strictObject({ seen, id: z.string().max(64), at: integer }),
} as const;
export type QueryType = keyof typeof QUERIES;
export type QueryRequest<T extends QueryType> = z.infer<(typeof QUERIES)[T]>;

export interface ResolvedRef {
  ref: string;
  id: string;
  number: number;
  /** Set for one task: a lone one, or a member of an array. */
  index?: number;
  array: boolean;
}

/** A recorded result; `to` > `from` + 1 for a run of plain successes. */
export interface ResultRow {
  from: number;
  to: number;
  attempt: number;
  node: string;
  outcome: Outcome;
  /** Of members that were called off while they waited, those that had an attempt before. */
  tried?: Range[];
}

export interface QueryAnswers {
  "task.resolve": { refs: ResolvedRef[] };
  "task.list": { tasks: TaskView[]; cursor?: string };
  "task.show": { task: TaskView };
  "task.wait": { task: TaskView };
  "task.results": {
    results: ResultRow[];
    cursor: number;
    /** There may be others behind the cursor already. */
    more: boolean;
    counts: TaskCounts;
    open: boolean;
    finished: boolean;
    /** It was closed, and not by its client. */
    cut_short?: CutShort;
  };
  "task.plan": { plan: PlanView };
  /** `more`: there are others behind the last one. */
  "node.list": { nodes: NodeView[]; more: boolean };
  "skill.list": { skills: SkillView[]; more: boolean };
  "cluster.status": { status: ClusterState };
  "event.list": {
    events: EventDocument[];
    cursor: string;
    /** There may be others behind the cursor already. */
    more: boolean;
    /** Some behind `after` are not in the log any more. */
    missed?: boolean;
    /** With `tail`: there may be older ones, before this place. */
    before?: string;
  };
  /** Newest first. */
  "snapshot.list": { snapshots: Manifest[] };
  /** Base64, and how many pieces there are. */
  "file.chunk": { data: string; chunks: number };
  /** Base64. */
  "snapshot.chunk": { data: string };
}
