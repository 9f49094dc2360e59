// The cluster's truth in memory: what is live (waiting, assigned, running) and the nodes. What is over stands in the
// view only. `core/apply` is the only writer.

import type { Needs, NodeInfo, Retry, Specification, TaskCounts } from "../common/models.ts";
import type { NodeSettings, PlacementChange } from "../common/settings.ts";
import { type CutShort, finishedCount, type NodeStatus, type OnLost, type Priority } from "../common/vocabulary.ts";
import { Rows } from "./fold.ts";
import type { Held } from "./held.ts";
import { formatTaskId } from "./ids.ts";
import { Ready } from "./ready.ts";
import type { Segment } from "./segments.ts";
import { Shared } from "./shared.ts";
import type { NodeSkills } from "./skills.ts";

/** What follows the end of an attempt: few different ones, shared by all submissions that say the same. */
export interface Policy {
  /** Kept running: every end but a cancel is followed by another attempt. */
  readonly daemon: boolean;
  readonly retry: Retry | undefined;
  readonly on_lost: OnLost;
}

/** One submission: a range of members that share a specification. */
export interface Submission {
  readonly number: number;
  readonly nonce: string;
  readonly by: string;
  readonly at: number;
  readonly array: boolean;
  /** The array's id, or an id a member. */
  readonly ids: readonly number[];
  readonly priority: Priority;
  readonly group: string;
  readonly policy: Policy;
  /** Log time at which everything that is not over is ended. */
  readonly deadline_at: number | undefined;
  /** Log time before which nothing of it starts. */
  readonly start_at: number | undefined;
  count: number;
  open: boolean;
  /** It was closed, and not by its client. */
  cut_short: CutShort | undefined;
  /** Log time of the last extension: an open array that nobody extends is abandoned. */
  extended_at: number;
  segments: Segment[];
  counts: TaskCounts;
  /** Pending members that wait for nothing but a node. */
  ready: number;
  /** What it adds to the hash of the state (core/fold.ts): as of the last batch. */
  row_hash: number;
}

export interface Used {
  cpu_millis: number;
  memory_mib: number;
  gpus: number;
  resources: Record<string, number>;
  /** Attempts that want the node for themselves. */
  exclusive: number;
  /** Attempts of tasks that keep apart, by what they say that they have in common. */
  spread: Record<string, number>;
}

/** A node that takes no new work, and why. */
export interface Cordon {
  readonly reason: string;
  readonly by: string;
  /** Log times; what still runs at `drain_at` is stopped. */
  readonly at: number;
  readonly drain_at?: number | undefined;
  /** When it holds nothing any more its worker ends; a worker that is started later takes work again. */
  readonly shutdown?: boolean | undefined;
}

export interface Node {
  readonly id: string;
  incarnation: string;
  /** As its worker says. */
  declared: NodeInfo;
  /** What people set over it. */
  settings: NodeSettings | undefined;
  /** As it counts: the two together. */
  info: NodeInfo;
  status: NodeStatus;
  reason: string;
  registered_at: number;
  /** Log time at which it went offline, while it is. */
  offline_at: number | undefined;
  /** Somebody took it out of service. */
  cordon: Cordon | undefined;
  /** Undefined until it told for the first time. */
  skills: NodeSkills | undefined;
  completed: number;
  failed: number;
  /** What its attempts need, running or prefetched. */
  used: Used;
  held: Held;
}

/** As people are told it: one that is well and takes no work is in maintenance. */
export function statusShown({ status, cordon }: Pick<Node, "status" | "cordon">): NodeStatus {
  return status === "online" && cordon !== undefined ? "maintenance" : status;
}

export class State {
  cluster_id = "";
  name = "";
  epoch = 0;
  leader = "";
  /** The highest log time so far: it never goes back. */
  time_ms = 0;
  created_at = 0;
  next_number = 1;
  /** Rows that the results table has had: the next one's position. */
  results = 0;
  /** What people set over the coordinator's file. */
  placement: PlacementChange | undefined;
  readonly totals: TaskCounts = emptyCounts();
  /** The hash over what stands here, kept batch by batch. */
  readonly rows = new Rows();
  readonly submissions = new Map<number, Submission>();
  readonly nodes = new Map<string, Node>();
  /** Submissions with members on a node. */
  readonly active = new Set<number>();
  readonly ready = new Ready();
  /** What tasks need; those of one group can go to the same nodes. */
  readonly groups = new Shared<Needs>();
  readonly policies = new Shared<Policy>();

  needsOf(submission: Submission): Needs {
    const needs = this.groups.get(submission.group);
    if (needs === undefined) throw new Error(`submission ${submission.number} has no group`);
    return needs;
  }

  /** Forgets a submission whose end is in the view. */
  retire(number: number): void {
    const submission = this.submissions.get(number);
    if (submission === undefined || !isOver(submission)) throw new Error(`submission ${number} is not over`);
    this.forget(submission);
  }

  forget(submission: Submission): void {
    this.submissions.delete(submission.number);
    this.groups.release(submission.group);
    this.policies.release(keyOf(submission.policy));
  }
}

function keyOf(shared: Needs | Policy): string {
  return JSON.stringify(shared);
}

/** Tasks that keep apart, and did not say from which: from those with the same name. */
export function apartFrom(needs: Needs, name: string): Needs {
  const { spread } = needs;
  return spread === undefined ? needs : { ...needs, spread: { by: spread.by, among: spread.among ?? name } };
}

/** What of a submission's specification the fold needs. What it shares is its own until the state forgets it. */
export function termsOf(state: State, spec: Specification, ids: readonly number[], at: number) {
  const { type, retry, on_lost = "retry", start_after_ms, start_at, deadline_ms } = spec;
  const needs = apartFrom(spec.needs, spec.name ?? formatTaskId(ids[0] ?? 0));
  const policy: Policy = { daemon: type === "daemon", retry, on_lost };
  const group = keyOf(needs);
  state.groups.share(group, needs);
  const start = Math.max(start_after_ms === undefined ? 0 : at + start_after_ms, start_at ?? 0);
  return {
    priority: spec.priority,
    group,
    policy: state.policies.share(keyOf(policy), policy),
    deadline_at: deadline_ms === undefined ? undefined : at + deadline_ms,
    start_at: start > at ? start : undefined,
  };
}

export function emptyCounts(): TaskCounts {
  return { total: 0, pending: 0, scheduled: 0, running: 0, completed: 0, failed: 0, cancelled: 0, timeout: 0 };
}

export function emptyUsed(): Used {
  return { cpu_millis: 0, memory_mib: 0, gpus: 0, resources: {}, exclusive: 0, spread: {} };
}

export function isOver(submission: Submission): boolean {
  return !submission.open && finishedCount(submission.counts) === submission.count;
}

/** Adds (or, with a negative count, takes) what `count` tasks need. */
export function addUse(used: Used, needs: Needs, count: number): void {
  used.cpu_millis += needs.cpu_millis * count;
  used.memory_mib += needs.memory_mib * count;
  used.gpus += needs.gpus * count;
  for (const [name, amount] of Object.entries(needs.resources ?? {})) {
    used.resources[name] = (used.resources[name] ?? 0) + amount * count;
  }
  if (needs.exclusive === true) used.exclusive += count;
  const among = needs.spread?.among;
  if (among === undefined) return;
  const key = apartKey(among);
  const apart = (used.spread[key] ?? 0) + count;
  if (apart === 0) delete used.spread[key];
  else used.spread[key] = apart;
}

/** Where those that keep apart are counted: what people call them may be the name of what every object has. */
export function apartKey(among: string): string {
  return `=${among}`;
}

export function copyUsed(used: Used): Used {
  return { ...used, resources: { ...used.resources }, spread: { ...used.spread } };
}

/** Id and index by which people know a member. */
export function memberId(submission: Pick<Submission, "array" | "ids">, index: number): { id: number; index?: number } {
  if (submission.array) return { id: submission.ids[0] ?? 0, index };
  return { id: submission.ids[index] ?? 0 };
}
