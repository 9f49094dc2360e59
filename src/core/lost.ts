// Nodes that went away and stay away: when their attempts count as lost, so that the tasks run elsewhere. The longer an
// attempt had run, the longer it is waited for, because the more is thrown away.

import { heldBy } from "./apply.ts";
import { decideLost } from "./decide.ts";
import type { Event } from "./event.ts";
import type { Segment } from "./segments.ts";
import type { Node, State } from "./state.ts";

const LEAST_MS = 30_000;
const MOST_MS = 600_000;

/**
 * What is to be done about attempts of nodes that are offline, at log time `now`. `watched_ms` is how long this leader has
 * been looking: absence before that proves nothing, since nobody was there to be heard by. `lost_after_ms` overrides the
 * rule for every attempt.
 */
export function decideGone(state: State, now: number, watched_ms: number, lost_after_ms: number | undefined): Event[] {
  const events: Event[] = [];
  for (const node of state.nodes.values()) {
    const { id, offline_at } = node;
    if (offline_at === undefined || node.held.count === 0) continue;
    if (Math.min(now - offline_at, watched_ms) < (lost_after_ms ?? LEAST_MS)) continue;
    const lost = heldBy(state, id).filter(
      ({ piece }) => now >= (lostAt(node, piece, now - watched_ms, lost_after_ms) ?? Number.POSITIVE_INFINITY),
    );
    events.push(...decideLost(state, id, lost, now));
  }
  return events;
}

/** Log time at which an attempt counts as lost if its node stays away; undefined while it is there. */
export function lostAt(
  { offline_at }: Node,
  piece: Segment,
  watched_since: number,
  lost_after_ms: number | undefined,
): number | undefined {
  if (offline_at === undefined) return undefined;
  return Math.max(offline_at, watched_since) + (lost_after_ms ?? patienceMs(piece, offline_at));
}

/**
 * What a node that hears nothing was given and has not begun, as far as it told: it may never have got it. What it runs goes
 * on: its reports are heard.
 */
export function decideUnheard(
  state: State,
  { id, held }: Node,
  deaf_ms: number,
  now: number,
  lost_after_ms: number | undefined,
): Event[] {
  if (held.count === 0 || deaf_ms < (lost_after_ms ?? LEAST_MS)) return [];
  const unheard = heldBy(state, id).filter(({ piece }) => piece.status === "scheduled");
  return decideLost(state, id, unheard, now);
}

/** As long as it had run when its node went away, within bounds. */
function patienceMs({ since }: Segment, offline_at: number): number {
  const ran_ms = offline_at - (since ?? offline_at);
  return Math.min(MOST_MS, Math.max(LEAST_MS, ran_ms));
}
