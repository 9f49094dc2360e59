// What a fold makes of a batch, in two short hashes that travel with it: whoever folds the same log has to get the same.
// `state` is a function of the state alone, whatever way led to it: a sum over its rows, in which a changed row is exchanged,
// so that a view, a snapshot and a fold of years can be compared. `changes` is what the batch added for good. Batches are
// chained (`prev`), and so these are.
//
// What an event says word for word (a specification, inputs, an outcome) is compared by that chain already: hashed here is
// what `apply` makes of it. The hash is this file's own, as it may not change with the runtime. It guards against bugs, bad
// memory and mixed versions, not against people.

import { z } from "zod";
import type { Changes } from "./changes.ts";
import type { Segment } from "./segments.ts";
import type { Node, State, Submission } from "./state.ts";

/** Rises with every change of what `apply` makes of an event, or of what is hashed here: only equal ones are compared. */
export const FOLD_VERSION = 2;

/** Other versions may say more, but this. */
export const Fold = z.looseObject({ v: z.int().min(0), state: z.string().max(64), changes: z.string().max(64) });
export type Fold = { v: number; state: string; changes: string };

const TWO_32 = 0x1_0000_0000;
const TEXTS_KEPT = 4096;

/** Two lanes of 32 bits, of which 53 bits come out: a number. */
class Mixer {
  #a = 0;
  #b = 0;
  readonly #texts = new Map<string, number>();
  readonly #objects = new WeakMap<object, number>();

  begin(): this {
    this.#a = 0x2545f491;
    this.#b = 0x9e3779b9 | 0;
    return this;
  }

  #lane(value: number): void {
    const a = this.#a ^ Math.imul(value, 0xcc9e2d51);
    this.#a = (Math.imul((a << 13) | (a >>> 19), 5) + 0xe6546b64) | 0;
    const b = this.#b ^ Math.imul(value ^ (value >>> 15), 0x1b873593);
    this.#b = (Math.imul((b << 17) | (b >>> 15), 9) + 0x38b34ae5) | 0;
  }

  /** An integer below 2^53, or nothing, which is no integer. */
  number(value: number | undefined): this {
    const known = value ?? -1;
    this.#lane(known | 0);
    this.#lane(Math.floor(known / TWO_32));
    return this;
  }

  /** The same texts come again and again: nodes, statuses, groups. */
  text(value: string): this {
    return this.number(this.#textHash(value));
  }

  #textHash(value: string): number {
    const known = this.#texts.get(value);
    if (known !== undefined) return known;
    const [a, b] = [this.#a, this.#b];
    this.begin().number(value.length);
    for (let at = 0; at < value.length; at++) this.#lane(value.charCodeAt(at));
    const hash = this.end();
    this.#a = a;
    this.#b = b;
    if (this.#texts.size >= TEXTS_KEPT) this.#texts.clear();
    this.#texts.set(value, hash);
    return hash;
  }

  /** Something that is never changed, only replaced. */
  constant(value: object | undefined): this {
    if (value === undefined) return this.number(undefined);
    let hash = this.#objects.get(value);
    if (hash === undefined) {
      hash = this.#textHash(JSON.stringify(sorted(value)));
      this.#objects.set(value, hash);
    }
    return this.number(hash);
  }

  end(): number {
    const a = scatter(this.#a ^ ((this.#b << 16) | (this.#b >>> 16)));
    const b = scatter(this.#b ^ a);
    return (a >>> 0) + (b & 0x1f_ffff) * TWO_32;
  }
}

function scatter(value: number): number {
  const first = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  const second = Math.imul(first ^ (first >>> 13), 0xc2b2ae35);
  return second ^ (second >>> 16);
}

/** Keys in one order, whoever made the object. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, part]) => [key, sorted(part)]));
}

const mixer = new Mixer();

/** The sum over a state's rows: live submissions and nodes. */
export class Rows {
  #low = 0;
  #high = 0;
  readonly #nodes = new Map<string, number>();

  /** 0 stands for no row. */
  exchange(before: number, after: number): void {
    this.#low = (this.#low + (after | 0) - (before | 0)) | 0;
    this.#high = (this.#high + Math.floor(after / TWO_32) - Math.floor(before / TWO_32)) | 0;
  }

  submission(state: State, submission: Submission, live: boolean): void {
    const after = live ? submissionHash(state, submission) : 0;
    this.exchange(submission.row_hash, after);
    submission.row_hash = after;
  }

  node(id: string, node: Node | undefined): void {
    const after = node === undefined ? 0 : nodeHash(node);
    this.exchange(this.#nodes.get(id) ?? 0, after);
    if (node === undefined) this.#nodes.delete(id);
    else this.#nodes.set(id, after);
  }

  /** Of the whole state, its rows and what it says beside them. */
  hash(state: State): string {
    const { cluster_id, name, epoch, leader, time_ms, created_at, next_number, results } = state;
    mixer.begin().number(this.#low).number(this.#high).text(cluster_id).text(name).text(leader);
    mixer
      .constant(state.placement)
      .number(epoch)
      .number(time_ms)
      .number(created_at)
      .number(next_number)
      .number(results);
    mixCounts(state.totals);
    return hex(mixer.end());
  }
}

function hex(hash: number): string {
  return hash.toString(16).padStart(14, "0");
}

function mixCounts(counts: Submission["counts"]): void {
  const { total, pending, scheduled, running, completed, failed, cancelled, timeout } = counts;
  mixer.number(total).number(pending).number(scheduled).number(running);
  mixer.number(completed).number(failed).number(cancelled).number(timeout);
}

function submissionHash(state: State, submission: Submission): number {
  const { number, at, array, priority, policy, deadline_at, start_at } = submission;
  mixer.begin().text(priority).constant(policy).constant(state.needsOf(submission));
  mixer
    .number(number)
    .number(at)
    .number(array ? 1 : 0);
  mixer.number(deadline_at).number(start_at);
  mixer
    .number(submission.count)
    .number(submission.open ? 1 : 0)
    .number(submission.extended_at);
  mixCounts(submission.counts);
  for (const segment of submission.segments) mixSegment(segment);
  return mixer.end();
}

/** They are gapless: where one begins the one before ends. */
function mixSegment({ to, status, attempt, node, since, stopping, not_before, failures, lost }: Segment): void {
  const has = (node === undefined ? 0 : 1) + (not_before === undefined ? 0 : 2) + (stopping === undefined ? 0 : 4);
  const [failed, gone] = [failures ?? 0, lost ?? 0];
  mixer
    .number(to)
    .text(status)
    .number(attempt)
    .number(has + (failed > 0 ? 8 : 0) + (gone > 0 ? 16 : 0));
  if (node !== undefined) mixer.text(node).number(since);
  if (not_before !== undefined) mixer.number(not_before);
  if (stopping !== undefined) mixer.text(stopping);
  if (failed > 0) mixer.number(failed);
  if (gone > 0) mixer.number(gone);
}

function nodeHash(node: Node): number {
  const { id, incarnation, declared, settings, status, reason, registered_at, offline_at, cordon, completed, failed } =
    node;
  mixer
    .begin()
    .text(id)
    .text(incarnation)
    .constant(declared)
    .constant(settings)
    .text(status)
    .text(reason)
    .number(registered_at);
  mixer.number(offline_at).constant(cordon).number(completed).number(failed);
  // Logs from before there were skills have to give what they gave.
  return (node.skills === undefined ? mixer : mixer.constant(node.skills)).end();
}

/** Takes a batch's changes into the state's sum, and says what came of them. */
export function foldOf(state: State, changes: Changes): Fold {
  for (const [number, { live }] of changes.submissions) {
    const submission = state.submissions.get(number);
    if (submission !== undefined) state.rows.submission(state, submission, live);
  }
  for (const id of changes.nodes.keys()) state.rows.node(id, state.nodes.get(id));
  return { v: FOLD_VERSION, state: state.rows.hash(state), changes: changesHash(state, changes) };
}

/** What leaves the state with the batch, or was never in it; and what its nodes hold, which no row says. */
function changesHash(state: State, changes: Changes): string {
  mixer.begin();
  for (const { number, at, ids } of changes.submitted) mixer.number(number).number(at).number(ids.length);
  for (const { number, offset, inputs } of changes.inputs) mixer.number(number).number(offset).number(inputs.length);
  for (const { position, number, from, to, attempt, node, outcome } of changes.results) {
    mixer.number(position).number(number).number(from).number(to).number(attempt).text(node).text(outcome.status);
  }
  for (const { number, from, to, attempt, node, reason, at } of changes.attempts) {
    mixer.number(number).number(from).number(to).number(attempt).text(node).text(reason).number(at);
  }
  for (const { numbers, at } of changes.pruned) {
    mixer.number(numbers.length).number(at);
    for (const number of numbers) mixer.number(number);
  }
  for (const { number, live, count, over_at, counts } of changes.submissions.values()) {
    if (live) continue;
    mixer.number(number).number(count).number(over_at);
    mixCounts(counts);
  }
  for (const id of changes.nodes.keys()) {
    const node = state.nodes.get(id);
    if (node === undefined) continue;
    const { cpu_millis, memory_mib, gpus } = node.used;
    mixer.text(id).number(node.held.count).number(Number.parseInt(node.held.hash, 16));
    mixer.number(cpu_millis).number(memory_mib).number(gpus);
  }
  return hex(mixer.end());
}

/** Which of the two another fold of the same batch got otherwise; undefined when they agree, or cannot be compared. */
export function differenceOf(theirs: Fold | undefined, ours: Fold): "state" | "changes" | undefined {
  if (theirs?.v !== ours.v) return undefined;
  if (theirs.state !== ours.state) return "state";
  return theirs.changes === ours.changes ? undefined : "changes";
}
