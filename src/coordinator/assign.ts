// `task.assign` messages out of assigned runs: with each run's specification, ids and inputs, cut to what one message
// may carry. Specifications and inputs are read from the view, in bulk, when their turn has come.

import { LIMITS } from "../common/limits.ts";
import type { Specification } from "../common/models.ts";
import type { AssignItem, DownMessage } from "../communication/messages.ts";
import type { EventRun } from "../core/event.ts";
import type { Members } from "../core/members.ts";
import type { Submission } from "../core/state.ts";

export interface Material {
  submission(number: number): Submission | undefined;
  specification(number: number): Specification;
  inputs(number: number, from: number, to: number): string[] | undefined;
  /** What a retry stands for. */
  source(number: number): { members: Members } | undefined;
}

type Assign = Extract<DownMessage, { type: "task.assign" }>;

/** Members of one run whose inputs are read at a time. */
const INPUTS_AT_ONCE = 64;

export function assignMessages(incarnation: string, runs: readonly EventRun[], material: Material): Assign[] {
  const messages: Assign[] = [];
  let open: Assign = { type: "task.assign", incarnation, specifications: [], items: [] };
  let size = 0;
  let spec_of = new Map<number, number>();
  const flush = (): void => {
    if (open.items.length > 0) messages.push(open);
    open = { type: "task.assign", incarnation, specifications: [], items: [] };
    spec_of = new Map();
    size = 0;
  };
  for (const run of runs) {
    const submission = material.submission(run[0]);
    if (submission === undefined) continue;
    for (const part of placed(run, submission, material)) {
      const cost = bytesOf(part) + 32;
      const specification = spec_of.has(run[0]) ? undefined : material.specification(run[0]);
      const more = cost + (specification === undefined ? 0 : bytesOf(specification));
      if (size + more > LIMITS.assign_message_bytes || open.items.length === LIMITS.assign_runs_per_message) flush();
      let spec = spec_of.get(run[0]);
      if (spec === undefined) {
        const needed = specification ?? material.specification(run[0]);
        spec = open.specifications.push(needed) - 1;
        spec_of.set(run[0], spec);
        size += bytesOf(needed);
      }
      open.items.push({ ...part, spec });
      size += cost;
    }
  }
  flush();
  return messages;
}

/** A retry's members keep the places of those that they stand for: cut where these lie apart. */
function* placed(run: EventRun, submission: Submission, material: Material): Iterable<Omit<AssignItem, "spec">> {
  const source = material.source(run[0]);
  if (source === undefined) {
    yield* parts(run, submission, material);
    return;
  }
  const [number, from, to, attempt] = run;
  let start = from;
  for (const range of source.members.standFor(from, to)) {
    const end = start + range.to - range.from;
    for (const part of parts([number, start, end, attempt], submission, material)) {
      yield { ...part, first: range.from + part.run[1] - start };
    }
    start = end;
  }
}

function* parts(run: EventRun, submission: Submission, material: Material): Iterable<Omit<AssignItem, "spec">> {
  const [number, from, to, attempt] = run;
  if (!submission.array) {
    yield { run, ids: submission.ids.slice(from, to) };
    return;
  }
  const id = submission.ids[0] ?? 0;
  const first = material.inputs(number, from, Math.min(to, from + 1));
  if (first === undefined) {
    yield { run, id };
    return;
  }
  for (let start = from; start < to; start += INPUTS_AT_ONCE) {
    const end = Math.min(to, start + INPUTS_AT_ONCE);
    const inputs = material.inputs(number, start, end) ?? [];
    yield* cutInputs(number, start, attempt, id, inputs);
  }
}

/** Inputs can be large: a part holds at least one and otherwise at most half a message. */
function* cutInputs(
  number: number,
  start: number,
  attempt: number,
  id: number,
  inputs: string[],
): Iterable<Omit<AssignItem, "spec">> {
  let begin = 0;
  let size = 0;
  for (const [position, input] of inputs.entries()) {
    const cost = bytesOf(input);
    if (position > begin && size + cost > LIMITS.assign_message_bytes / 2) {
      yield { run: [number, start + begin, start + position, attempt], id, inputs: inputs.slice(begin, position) };
      begin = position;
      size = 0;
    }
    size += cost;
  }
  yield { run: [number, start + begin, start + inputs.length, attempt], id, inputs: inputs.slice(begin) };
}

/** On the wire, where a quote or a control character takes more than itself. */
function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
