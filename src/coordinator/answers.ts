// Answers to queries, out of the view and, for what only the leader knows (why a task waits, a node's load), out of its
// memory. Requests that wait are held until the submission that they name changes.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type {
  AttemptView,
  FailureView,
  HeldView,
  NodeView,
  Outcome,
  RefusalView,
  TaskView,
  WaitingView,
} from "../common/models.ts";
import { isoTime } from "../common/runtime.ts";
import { finishedCount, hasBegun, type TaskStatus } from "../common/vocabulary.ts";
import type { QueryAnswers, QueryRequest, ResolvedRef, ResultRow } from "../communication/queries.ts";
import { abandonedAt } from "../core/decide.ts";
import { healthOf } from "../core/health.ts";
import { formatTaskId, parseTaskRef } from "../core/ids.ts";
import { Members, type Range } from "../core/members.ts";
import { isReady, piecesOf, type Segment } from "../core/segments.ts";
import { memberId, statusShown } from "../core/state.ts";
import {
  memberOf,
  overallStatus,
  type Queries,
  type RecordedResult,
  type Standing,
  type SubmissionRecord,
  type Wanted,
  within,
} from "../storage/queries.ts";
import { heldView, stoppingOf } from "./holder.ts";
import type { Leader } from "./leader.ts";
import { listSkills } from "./registry.ts";
import { retriedAs } from "./retried.ts";
import { planFor, waitingOf } from "./waiting.ts";

export class Answers {
  readonly #queries: Queries;
  readonly #leader: () => Leader | undefined;
  readonly #monotonic_ms: () => number;
  /** Of the retry that was asked about last: a list asks member by member. */
  #asked: { number: number; members: Members } | undefined;

  constructor(queries: Queries, leader: () => Leader | undefined, monotonic_ms: () => number) {
    this.#queries = queries;
    this.#leader = leader;
    this.#monotonic_ms = monotonic_ms;
  }

  resolve(request: QueryRequest<"task.resolve">): QueryAnswers["task.resolve"] {
    return { refs: request.refs.map((ref) => this.#resolveOne(ref)) };
  }

  #resolveOne(text: string): ResolvedRef {
    const ref = parseTaskRef(text);
    const found = this.#queries.idsBetween(ref.low, ref.high, 5);
    const [first] = found;
    if (first === undefined) {
      const pruned = this.#queries.prunedBetween(ref.low, ref.high);
      if (pruned === undefined) throw new ClawError("not_found", `there is no task ${text}`, { field: text });
      throw new ClawError("not_found", `${text} was over and is forgotten since ${isoTime(pruned)}`, {
        field: text,
        hint: "coordinator.yaml says how long finished tasks are kept: retention.age, keep and tasks",
      });
    }
    if (found.length > 1) {
      const names = found.map(({ id }) => formatTaskId(id)).join(", ");
      throw new ClawError("ambiguous", `${text} may be ${names}`, { field: text });
    }
    const { id, number, member, array } = first;
    if (!array) {
      if (ref.index !== undefined)
        throw new ClawError("not_found", `${formatTaskId(id)} is not an array`, { field: text });
      return { ref: text, id: formatTaskId(id), number, index: member, array };
    }
    const { index } = ref;
    const { total } = this.#standing(number).counts;
    if (index !== undefined && index >= total) {
      throw new ClawError("not_found", `${formatTaskId(id)} has ${total} members`, { field: text });
    }
    return { ref: text, id: formatTaskId(id, index), number, array, ...(index === undefined ? {} : { index }) };
  }

  list(request: QueryRequest<"task.list">): QueryAnswers["task.list"] {
    const tasks: TaskView[] = [];
    const { start, skip: listed } = startOf(request.cursor);
    let skip = listed;
    let bytes = 0;
    const { records, next } =
      request.number === undefined
        ? this.#queries.submissions(start, wantedOf(request), mostOf(request))
        : { records: [this.#record(request.number)], next: undefined };
    for (const record of records) {
      const whole = record.array && request.number === undefined;
      const members = whole ? wholeArray(record, request, skip) : this.#members(record, request, skip);
      for (const index of matches(record, request) ? members : []) {
        const cursor = `${record.number}.${index}`;
        if (tasks.length === request.limit) return { tasks, cursor };
        const task = this.#view(record, whole ? undefined : index, false);
        bytes += sizeOf(task);
        if (tasks.length > 0 && bytes > LIMITS.answer_bytes) return { tasks, cursor };
        tasks.push(task);
      }
      skip = 0;
    }
    return next === undefined ? { tasks } : { tasks, cursor: `${next}.0` };
  }

  /** Members from `from` on in one of the statuses that are wanted, in their order. */
  *#members(record: SubmissionRecord, request: QueryRequest<"task.list">, from: number): Iterable<number> {
    const { number, segments, counts } = record;
    const { statuses } = request;
    if (statuses === undefined) {
      for (let index = from; index < counts.total; index++) yield index;
      return;
    }
    if (statuses.every((status) => counts[status] === 0)) return;
    const wanted = new Set<string>(statuses);
    const live = piecesOf(segments, from, counts.total, ({ status }) => wanted.has(status));
    yield* inOrder(live, this.#queries.ended(number, from, counts.total, statuses));
  }

  show(request: QueryRequest<"task.show">): QueryAnswers["task.show"] {
    const record = this.#record(request.number);
    const index = request.index ?? (record.array ? undefined : 0);
    const failures = index === undefined ? this.#failures(record) : [];
    return { task: { ...this.#view(record, index, true), ...(failures.length > 0 ? { failures } : {}) } };
  }

  /** The answer to a wait that was not long enough: asked every few seconds, so that failures are not looked for. */
  soFar({ number, index }: QueryRequest<"task.wait">): QueryAnswers["task.wait"] {
    const record = this.#record(number);
    return { task: this.#view(record, index ?? (record.array ? undefined : 0), true) };
  }

  /** The first members of an array that failed or took too long. */
  #failures({ number, array, ids, counts }: SubmissionRecord): FailureView[] {
    const failures: FailureView[] = [];
    if (counts.failed + counts.timeout === 0) return failures;
    for (const { from, to } of this.#queries.ended(number, 0, counts.total, ["failed", "timeout"])) {
      const outcome = this.#queries.resultOf(number, from)?.outcome;
      if (outcome === undefined) throw new Error(`members ${from} to ${to} of ${number} ended without a result`);
      for (let index = from; index < to; index++) {
        if (failures.length === LIMITS.failures_shown) return failures;
        const member = memberId({ array, ids }, index);
        failures.push({ id: formatTaskId(member.id, member.index), ...inShort(outcome) });
      }
    }
    return failures;
  }

  /** The answer to a wait, or undefined while there is still something to wait for. */
  wait(request: QueryRequest<"task.wait">): QueryAnswers["task.wait"] | undefined {
    return this.#isAwaited(request) ? undefined : this.show(request);
  }

  /** Asked with every batch that touches the submission, and by everybody who waits: so it looks at no more than it must. */
  #isAwaited({ number, index, until, after }: QueryRequest<"task.wait">): boolean {
    const { array, live, counts } = this.#standing(number);
    const begun = until === "started" && counts.running > 0;
    const member = index ?? (array ? undefined : 0);
    if (member === undefined) return live && !begun;
    if (!live || member >= counts.total || this.#queries.resultOf(number, member) !== undefined) return false;
    if (begun && memberOf(this.#record(number), member)?.status === "running") return false;
    return after === undefined || !this.#queries.attempts(number, member).some(({ attempt }) => attempt > after);
  }

  results(request: QueryRequest<"task.results">): QueryAnswers["task.results"] {
    const { counts, open, live, cut_short } = this.#standing(request.number);
    const { found, cursor } = this.#queries.results(request.number, request.cursor, request.limit);
    const called_off = this.#calledOff(request.number, found);
    const results: ResultRow[] = [];
    let bytes = 0;
    for (const { from, to, attempt, node, outcome } of found) {
      const tried = attempt === 0 ? within(called_off, from, to) : [];
      const row: ResultRow = { from, to, attempt, node, outcome, ...(tried.length === 0 ? {} : { tried }) };
      bytes += sizeOf(row);
      if (results.length > 0 && bytes > LIMITS.answer_bytes) break;
      results.push(row);
    }
    const cut = results.length < found.length ? found[results.length - 1]?.position : undefined;
    return {
      results,
      cursor: cut ?? cursor,
      more: found.length === request.limit || cut !== undefined,
      counts,
      open,
      finished: !live,
      ...(cut_short === undefined ? {} : { cut_short }),
    };
  }

  /** Where those of the results are that were called off behind an attempt: read once, for all of them. */
  #calledOff(number: number, found: readonly ResultRow[]): Range[] {
    const rows = found.filter(({ attempt }) => attempt === 0);
    if (rows.length === 0) return [];
    const from = rows.reduce((least, row) => Math.min(least, row.from), Number.POSITIVE_INFINITY);
    const to = rows.reduce((most, row) => Math.max(most, row.to), 0);
    return this.#queries.tried(number, from, to);
  }

  #leading(): Leader {
    const leader = this.#leader();
    if (leader === undefined) throw new ClawError("not_leading", "this coordinator is not leading");
    return leader;
  }

  plan({ specification }: QueryRequest<"task.plan">): QueryAnswers["task.plan"] {
    return { plan: planFor(this.#leading(), specification) };
  }

  skills(request: QueryRequest<"skill.list">): QueryAnswers["skill.list"] {
    return listSkills(this.#leading().state, request);
  }

  nodes(request: QueryRequest<"node.list">): QueryAnswers["node.list"] {
    const leader = this.#leading();
    const { node: only, after = "", limit = LIMITS.list_rows } = request;
    if (only !== undefined) {
      const there = leader.state.nodes.has(only);
      const nodes = there ? [{ ...this.#node(leader, only), refused: this.#refused(leader, only) }] : [];
      return { nodes, more: false };
    }
    const nodes: NodeView[] = [];
    let bytes = 0;
    for (const id of [...leader.state.nodes.keys()].sort()) {
      if (id <= after) continue;
      const node = this.#node(leader, id);
      bytes += sizeOf(node);
      if (nodes.length === limit || (nodes.length > 0 && bytes > LIMITS.answer_bytes)) return { nodes, more: true };
      nodes.push(node);
    }
    return { nodes, more: false };
  }

  everyNode(): NodeView[] {
    const leader = this.#leading();
    return [...leader.state.nodes.keys()].map((id) => this.#node(leader, id));
  }

  /** What was forgotten since has no id any more. */
  #refused(leader: Leader, node: string): RefusalView[] {
    return leader.ends.refused(node).flatMap(({ at, number, from, to, why }) => {
      const record = this.#queries.submission(number);
      if (record === undefined) return [];
      const { id, index } = memberId(record, from);
      return [{ at, task: formatTaskId(id, index), count: to - from, reason: why }];
    });
  }

  #node(leader: Leader, id: string): NodeView {
    const node = leader.state.nodes.get(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    const contact = leader.contacts.get(id);
    const { cpu_millis, memory_mib, gpus, resources } = node.used;
    return {
      ...node.info,
      id,
      status: statusShown(node),
      ...(node.reason === "" ? {} : { reason: node.reason }),
      ...(node.cordon === undefined ? {} : { cordon: node.cordon }),
      ...(node.settings === undefined ? {} : { settings: node.settings }),
      incarnation: node.incarnation,
      registered_at: node.registered_at,
      used: { cpu_millis, memory_mib, gpus, resources },
      held: node.held.count,
      running: node.held.count,
      completed: node.completed,
      failed: node.failed,
      ...(contact === undefined ? {} : { last_heartbeat_ms_ago: Math.round(this.#monotonic_ms() - contact.heard_ms) }),
      ...(contact?.cpu_percent === undefined ? {} : { cpu_percent: contact.cpu_percent }),
      ...(contact?.free_memory_mib === undefined ? {} : { free_memory_mib: contact.free_memory_mib }),
      ...(contact?.disk_free_percent === undefined ? {} : { disk_free_percent: contact.disk_free_percent }),
      health: healthOf({
        status: node.status,
        reason: node.reason,
        silent_ms: contact === undefined ? undefined : this.#monotonic_ms() - contact.heard_ms,
        ...leader.heartbeats,
        cpu_percent: contact?.cpu_percent,
        free_memory_mib: contact?.free_memory_mib,
        memory_mib: node.info.capacity.memory_mib,
        disk_free_percent: contact?.disk_free_percent,
        recent: leader.ends.recent(id),
      }),
    };
  }

  #record(number: number): SubmissionRecord {
    return found(number, this.#queries.submission(number));
  }

  #standing(number: number): Standing {
    return found(number, this.#queries.standing(number));
  }

  #view(record: SubmissionRecord, index: number | undefined, whole: boolean): TaskView {
    const { number, array, specification, by, at, counts, open } = record;
    const { name } = specification;
    const retried_as = whole && finishedCount(counts) > 0 ? retriedAs(this.#queries, record, index) : undefined;
    const base = {
      number,
      array,
      specification,
      submitted_by: by,
      submitted_at: at,
      ...(name === undefined ? {} : { name }),
      ...this.#retryOf(record, index),
      ...(retried_as === undefined ? {} : { retried_as }),
      ...(specification.deadline_ms === undefined ? {} : { deadline_at: at + specification.deadline_ms }),
    };
    if (index === undefined) {
      const id = formatTaskId(record.ids[0] ?? 0);
      const waiting = whole && counts.pending > 0 ? this.#waiting(record) : undefined;
      return {
        ...base,
        id,
        open,
        status: overallStatus(record),
        counts,
        ...this.#inputs(record),
        ...stoppingOf(record),
        ...(waiting === undefined ? {} : { waiting }),
      };
    }
    const segment = memberOf(record, index);
    if (segment === undefined)
      throw new ClawError("not_found", `${formatTaskId(record.ids[0] ?? 0)} has no member ${index}`);
    const member = memberId(record, index);
    const result = segment.status === "over" ? this.#queries.resultOf(number, index) : undefined;
    const node = result?.node ?? segment.node;
    const attempt = result?.attempt ?? segment.attempt;
    const progress = segment.status === "running" ? this.#leader()?.progress.of(number, index, attempt) : undefined;
    const attempts = whole ? this.#history(number, index) : [];
    return {
      ...base,
      id: formatTaskId(member.id, member.index),
      index,
      status: statusOf(segment, result),
      ...(attempt > 0 ? { attempt } : {}),
      ...this.#holder(node),
      ...this.#held(record, segment),
      ...(result === undefined
        ? {}
        : { ...begunAt(result.outcome), finished_at: result.outcome.ended_at, outcome: result.outcome }),
      ...(progress === undefined ? {} : { progress }),
      ...(attempts.length > 0 ? { attempts } : {}),
      ...(segment.not_before === undefined ? {} : { not_before: segment.not_before }),
      ...(whole && segment.status === "pending" ? { waiting: this.#waiting(record, segment) } : {}),
    };
  }

  /** What is known of an array's further inputs: when the last sign of its client came, or that it gave none. */
  #inputs(record: SubmissionRecord): Pick<TaskView, "cut_short" | "extended_at" | "abandoned_at"> {
    const { open, extended_at, cut_short } = record;
    if (!open) return cut_short === undefined ? {} : { cut_short };
    const patience = this.#leader()?.patience;
    if (patience === undefined) return { extended_at };
    return { extended_at, abandoned_at: abandonedAt(record, patience.started_at, patience.abandoned_after_ms) };
  }

  /** What a retry stands for, by the id that people know. */
  #retryOf({ number, source }: SubmissionRecord, index: number | undefined): { retry_of?: string } {
    if (source === undefined) return {};
    const old = this.#queries.submission(source.number);
    if (old === undefined) return {};
    const [range] = index === undefined ? [] : this.#standFor(number, source.members, index);
    const member = range === undefined ? { id: old.ids[0] ?? 0 } : memberId(old, range.from);
    return { retry_of: formatTaskId(member.id, member.index) };
  }

  #standFor(number: number, members: string, index: number): Range[] {
    if (this.#asked?.number !== number) this.#asked = { number, members: new Members(members) };
    return [...this.#asked.members.standFor(index, index + 1)];
  }

  /** The attempts before the present one, each with its node's name. */
  #history(number: number, index: number): AttemptView[] {
    return this.#queries.attempts(number, index).map((one) => ({ ...one, ...this.#holder(one.node) }));
  }

  #holder(node: string | undefined): { node?: string; node_name?: string } {
    if (node === undefined || node === "") return {};
    const name = this.#leader()?.state.nodes.get(node)?.info.name;
    return { node, ...(name === undefined ? {} : { node_name: name }) };
  }

  #held(record: SubmissionRecord, segment: Segment): HeldView {
    const leader = this.#leader();
    return leader === undefined ? {} : heldView(leader, record, segment, this.#monotonic_ms());
  }

  /** Why it waits, a line a node. */
  #waiting(record: SubmissionRecord, segment?: Segment): WaitingView {
    const leader = this.#leader();
    if (leader === undefined) return { summary: "no coordinator is leading", nodes: [] };
    const { not_before, failures = 0 } = segment ?? nextOf(record.segments) ?? {};
    if (not_before !== undefined) {
      const why = failures > 0 ? "for its next attempt" : "to be started";
      return { summary: `${why}, not before ${isoTime(not_before)}`, nodes: [] };
    }
    const live = leader.state.submissions.get(record.number);
    return live === undefined ? { summary: "it is over", nodes: [] } : waitingOf(leader, live);
  }
}

function found<T>(number: number, submission: T | undefined): T {
  if (submission === undefined) throw new ClawError("not_found", `there is no submission ${number}`);
  return submission;
}

/** Bytes on the wire: output's ends may be full of what JSON writes six times as long. */
function sizeOf(row: object): number {
  return Buffer.byteLength(JSON.stringify(row));
}

/** Where a list goes on: submissions below `start`, and how many members of the first one were listed already. */
function startOf(cursor: string | undefined): { start: number; skip: number } {
  if (cursor === undefined) return { start: Number.MAX_SAFE_INTEGER, skip: 0 };
  const [, number, index] = /^(\d{1,15})\.(\d{1,15})$/.exec(cursor) ?? [];
  if (number !== undefined && index !== undefined) return { start: Number(number) + 1, skip: Number(index) };
  throw new ClawError("bad_request", "no such cursor", { field: "cursor", hint: "take it from the list before" });
}

function statusOf(segment: Segment, result: RecordedResult | undefined): TaskStatus {
  if (segment.status !== "over") return segment.status;
  if (result === undefined) throw new Error(`members ${segment.from} to ${segment.to} are over without a result`);
  return result.outcome.status;
}

/** Rows that are read for an answer: labels are looked for in each of them. */
function mostOf({ limit, labels }: QueryRequest<"task.list">): number {
  return labels === undefined ? limit + 1 : LIMITS.list_rows;
}

function wantedOf({ name, priority, labels, statuses, since }: QueryRequest<"task.list">): Wanted {
  return { name, priority, statuses, since, labelled: Object.keys(labels ?? {}).length > 0 };
}

function matches(record: SubmissionRecord, request: QueryRequest<"task.list">): boolean {
  const { specification } = record;
  if (request.priority !== undefined && specification.priority !== request.priority) return false;
  if (request.name !== undefined && specification.name !== request.name) return false;
  return Object.entries(request.labels ?? {}).every(([name, value]) => specification.labels?.[name] === value);
}

/** An array in a list of submissions: one line, or none. */
function wholeArray(record: SubmissionRecord, request: QueryRequest<"task.list">, skip: number): number[] {
  const { statuses } = request;
  return skip > 0 || (statuses !== undefined && !statuses.includes(overallStatus(record))) ? [] : [0];
}

/** Of an array's waiting members those whose turn is next: that wait for nothing but a node, or for the nearest time. */
function nextOf(segments: readonly Segment[]): Segment | undefined {
  let next: Segment | undefined;
  for (const segment of segments) {
    if (isReady(segment)) return segment;
    const { status, not_before = 0 } = segment;
    if (status === "pending" && not_before < (next?.not_before ?? Number.POSITIVE_INFINITY)) next = segment;
  }
  return next;
}

function inShort({ status, reason, exit_code, signal, message }: Outcome): Omit<FailureView, "id"> {
  return {
    ...{ status, reason },
    ...(exit_code === undefined ? {} : { exit_code }),
    ...(signal === undefined ? {} : { signal }),
    ...(message === undefined ? {} : { message }),
  };
}

function begunAt(outcome: Outcome): Pick<TaskView, "started_at"> {
  return hasBegun(outcome) ? { started_at: outcome.started_at } : {};
}

/** Two kinds of ranges, each in its order and none in both, as one row of indexes. */
function* inOrder(
  one: Iterable<{ from: number; to: number }>,
  other: Iterable<{ from: number; to: number }>,
): Iterable<number> {
  const sources = [one[Symbol.iterator](), other[Symbol.iterator]()].map((source) => ({ source, head: source.next() }));
  for (;;) {
    const [next] = sources
      .filter(({ head }) => head.done !== true)
      .sort((a, b) => (a.head.value?.from ?? 0) - (b.head.value?.from ?? 0));
    if (next === undefined || next.head.done === true) return;
    const { from, to } = next.head.value;
    for (let index = from; index < to; index++) yield index;
    next.head = next.source.next();
  }
}
