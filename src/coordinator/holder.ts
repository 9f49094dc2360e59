// What is going on with a task that a node holds: since when it runs, whether it is being stopped, and, where its node is
// not well, when it counts as lost.

import type { HeldView } from "../common/models.ts";
import { lostAt } from "../core/lost.ts";
import type { Segment } from "../core/segments.ts";
import { type Node, statusShown } from "../core/state.ts";
import type { SubmissionRecord } from "../storage/queries.ts";
import type { Leader } from "./leader.ts";

/** Heartbeats' intervals without a word after which that is worth one. */
const SILENT_INTERVALS = 1.5;

/** `monotonic_ms`: now, as the leader's contacts count. */
export function heldView(
  leader: Leader,
  { number, array }: SubmissionRecord,
  piece: Segment,
  monotonic_ms: number,
): HeldView {
  const { node: id, stopping, since, status } = piece;
  const node = id === undefined ? undefined : leader.state.nodes.get(id);
  if (node === undefined) return {};
  // Of an array only the first order is known, which may be another member's.
  const ordered = stopping === undefined || array ? undefined : leader.stoppingSince(number);
  const { started_at, lost_after_ms } = leader.patience;
  const lost_at = lostAt(node, piece, started_at, lost_after_ms);
  return {
    ...(status === "running" && since !== undefined ? { started_at: since } : {}),
    ...(stopping === undefined ? {} : { stopping }),
    ...(ordered === undefined ? {} : { stopping_since: ordered }),
    node_status: statusShown(node),
    ...(node.reason === "" ? {} : { node_reason: node.reason }),
    ...(node.offline_at === undefined ? {} : { node_offline_since: node.offline_at }),
    ...silence(leader, node, monotonic_ms),
    ...(lost_at === undefined ? {} : { lost_at }),
  };
}

function silence(leader: Leader, { id, status }: Node, monotonic_ms: number): HeldView {
  const heard_ms = leader.contacts.get(id)?.heard_ms;
  if (status === "offline" || heard_ms === undefined) return {};
  const node_silent_ms = Math.round(monotonic_ms - heard_ms);
  return node_silent_ms > leader.heartbeats.heartbeat_ms * SILENT_INTERVALS ? { node_silent_ms } : {};
}

/** Of an array: told only where it is true of everything that is not over. */
export function stoppingOf({ counts, segments }: SubmissionRecord): HeldView {
  if (counts.pending > 0) return {};
  const live = segments.filter(({ status }) => status !== "over");
  const [first] = live;
  if (first?.stopping === undefined || live.some(({ stopping }) => stopping === undefined)) return {};
  return { stopping: first.stopping };
}
