// The state in memory, made again from the view: what is live, and the nodes with what they hold.

import type { Database } from "bun:sqlite";
import type { Specification, TaskCounts } from "../common/models.ts";
import type { CutShort } from "../common/vocabulary.ts";
import type { MetaRow, NodeRow } from "../core/changes.ts";
import { withSettings } from "../core/configure.ts";
import { FOLD_VERSION } from "../core/fold.ts";
import { Held } from "../core/held.ts";
import { isReady, type Segment } from "../core/segments.ts";
import { addUse, emptyUsed, State, type Submission, termsOf } from "../core/state.ts";
import { guarded } from "./database.ts";
import { VIEW_REMEDY, type View } from "./view.ts";

interface Row extends Omit<TaskCounts, "total"> {
  number: number;
  nonce: string;
  by: string;
  at: number;
  is_array: number;
  ids: string;
  specification: string;
  count: number;
  open: number;
  cut_short: CutShort | null;
  extended_at: number;
  segments: string;
}

export function restoreState(view: View): State {
  return guarded(view.database, VIEW_REMEDY, () => restore(view));
}

/** Why the rows that were read are not those that were folded into the view; undefined when they are, or nobody knows. */
export function strangeness(view: View, state: State): string | undefined {
  const { fold, sequence } = view.witness();
  if (fold?.v !== FOLD_VERSION || fold.state === state.rows.hash(state)) return undefined;
  return `its rows are not what batch ${sequence} was folded to`;
}

function restore(view: View): State {
  const state = new State();
  const meta = view.meta("state");
  if (meta === undefined) return state;
  const { totals, ...rest } = JSON.parse(meta) as MetaRow;
  Object.assign(state, rest);
  Object.assign(state.totals, totals);
  restoreNodes(view.database, state);
  const rows = view.database.query<Row, []>("SELECT * FROM submissions WHERE live = 1 ORDER BY number");
  for (const row of rows.iterate()) restoreSubmission(state, row);
  return state;
}

function restoreNodes(database: Database, state: State): void {
  for (const { node } of database.query<{ node: string }, []>("SELECT node FROM nodes").all()) {
    const row = JSON.parse(node) as NodeRow;
    state.nodes.set(row.id, {
      ...row,
      declared: row.info,
      settings: row.settings,
      info: withSettings(row.info, row.settings),
      offline_at: row.offline_at,
      cordon: row.cordon,
      skills: row.skills,
      used: emptyUsed(),
      held: new Held(),
    });
    state.rows.node(row.id, state.nodes.get(row.id));
  }
}

function restoreSubmission(state: State, row: Row): void {
  const specification = JSON.parse(row.specification) as Specification;
  const { pending, scheduled, running, completed, failed, cancelled, timeout, count: total } = row;
  const ids = JSON.parse(row.ids) as number[];
  const submission: Submission = {
    number: row.number,
    nonce: row.nonce,
    by: row.by,
    at: row.at,
    array: row.is_array === 1,
    ids,
    ...termsOf(state, specification, ids, row.at),
    count: row.count,
    open: row.open === 1,
    cut_short: row.cut_short ?? undefined,
    extended_at: row.extended_at,
    segments: JSON.parse(row.segments) as Segment[],
    counts: { total, pending, scheduled, running, completed, failed, cancelled, timeout },
    ready: 0,
    row_hash: 0,
  };
  for (const segment of submission.segments) if (isReady(segment)) submission.ready += segment.to - segment.from;
  state.submissions.set(row.number, submission);
  if (submission.ready > 0) state.ready.add(submission, submission.ready);
  for (const segment of submission.segments) {
    if (segment.node === undefined) continue;
    state.active.add(row.number);
    const node = state.nodes.get(segment.node);
    if (node === undefined) throw new Error(`submission ${row.number} is held by an unknown node ${segment.node}`);
    addUse(node.used, state.needsOf(submission), segment.to - segment.from);
    node.held.add(row.number, segment.from, segment.to, segment.attempt);
  }
  state.rows.submission(state, submission, true);
}
