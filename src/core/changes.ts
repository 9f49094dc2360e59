// What one or several batches changed, as the view's rows. The fold notes what it touched; `seal` takes the rows'
// images at the batch's end, so that only acknowledged states ever reach the view.

import type { NodeInfo, Outcome, Specification, TaskCounts } from "../common/models.ts";
import type { NodeSettings, PlacementChange } from "../common/settings.ts";
import type { CutShort, EndReason, NodeStatus } from "../common/vocabulary.ts";
import type { Segment } from "./segments.ts";
import type { NodeSkills } from "./skills.ts";
import type { Cordon, Node, State, Submission } from "./state.ts";

export interface SubmissionRow {
  number: number;
  count: number;
  open: boolean;
  cut_short?: CutShort;
  extended_at: number;
  live: boolean;
  /** Log time at which it was seen to be over. */
  over_at?: number;
  segments: Segment[];
  counts: TaskCounts;
}

export interface NewSubmission {
  number: number;
  nonce: string;
  by: string;
  at: number;
  array: boolean;
  ids: readonly number[];
  specification: Specification;
  source?: { number: number; members: string };
}

export interface InputsRow {
  number: number;
  offset: number;
  inputs: readonly string[];
}

export interface ResultRecord {
  /** Its place in the order of all results. */
  position: number;
  number: number;
  from: number;
  to: number;
  attempt: number;
  /** Empty when it never ran. */
  node: string;
  outcome: Outcome;
}

export interface AttemptRecord {
  number: number;
  from: number;
  to: number;
  attempt: number;
  node: string;
  reason: EndReason;
  at: number;
  /** When one without an outcome began, as far as that is known. */
  started_at?: number;
  /** Absent when its node never told. */
  outcome?: Outcome;
}

export interface NodeRow {
  id: string;
  incarnation: string;
  /** As its worker says. */
  info: NodeInfo;
  settings?: NodeSettings;
  status: NodeStatus;
  reason: string;
  registered_at: number;
  offline_at?: number;
  cordon?: Cordon;
  skills?: NodeSkills;
  completed: number;
  failed: number;
}

export interface MetaRow {
  cluster_id: string;
  name: string;
  epoch: number;
  leader: string;
  time_ms: number;
  created_at: number;
  next_number: number;
  results: number;
  placement?: PlacementChange;
  totals: TaskCounts;
}

/** Submissions of which only the ids are kept, for a while. */
export interface Pruned {
  numbers: readonly number[];
  at: number;
}

export interface Changes {
  submitted: NewSubmission[];
  inputs: InputsRow[];
  submissions: Map<number, SubmissionRow>;
  results: ResultRecord[];
  attempts: AttemptRecord[];
  pruned: Pruned[];
  /** Those that were removed have no row. */
  nodes: Map<string, NodeRow | undefined>;
  meta: MetaRow;
}

/** What the fold touched since the batch was opened. */
export class Touched {
  readonly submitted: NewSubmission[] = [];
  readonly inputs: InputsRow[] = [];
  readonly results: ResultRecord[] = [];
  readonly attempts: AttemptRecord[] = [];
  readonly pruned: Pruned[] = [];
  readonly submissions = new Set<number>();
  readonly nodes = new Set<string>();

  seal(state: State): Changes {
    const submissions = new Map<number, SubmissionRow>();
    for (const number of this.submissions) {
      const submission = state.submissions.get(number);
      if (submission !== undefined) submissions.set(number, submissionRow(submission, state.time_ms));
    }
    const nodes = new Map<string, NodeRow | undefined>();
    for (const id of this.nodes) {
      const node = state.nodes.get(id);
      nodes.set(id, node === undefined ? undefined : nodeRow(node));
    }
    const { submitted, inputs, results, attempts, pruned } = this;
    return { submitted, inputs, results, attempts, pruned, submissions, nodes, meta: metaRow(state) };
  }
}

function submissionRow(submission: Submission, now: number): SubmissionRow {
  const { counts, cut_short } = submission;
  const live = submission.open || counts.pending + counts.scheduled + counts.running > 0;
  return {
    number: submission.number,
    count: submission.count,
    open: submission.open,
    ...(cut_short === undefined ? {} : { cut_short }),
    extended_at: submission.extended_at,
    live,
    ...(live ? {} : { over_at: now }),
    segments: submission.segments.map((segment) => ({ ...segment })),
    counts: { ...counts },
  };
}

function nodeRow(node: Node): NodeRow {
  const { id, incarnation, declared: info, settings, status, reason, registered_at } = node;
  const { offline_at, cordon, skills, completed, failed } = node;
  const since = { ...(offline_at === undefined ? {} : { offline_at }), ...(cordon === undefined ? {} : { cordon }) };
  const more = { ...(settings === undefined ? {} : { settings }), ...(skills === undefined ? {} : { skills }) };
  return { id, incarnation, info, ...more, status, reason, registered_at, ...since, completed, failed };
}

function metaRow(state: State): MetaRow {
  const { cluster_id, name, epoch, leader, time_ms, created_at, next_number, results, placement } = state;
  const set = placement === undefined ? {} : { placement };
  return {
    cluster_id,
    name,
    epoch,
    leader,
    time_ms,
    created_at,
    next_number,
    results,
    ...set,
    totals: { ...state.totals },
  };
}
