// Nodes that went away and stay away: when their attempts count as lost, so that the tasks run elsewhere. The longer an
// attempt had run, the longer it is waited for, because the more is thrown away.

import { heldByEach } from "./apply.ts";
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
  const gone = new Map<string, Node>();
  for (const node of state.nodes.values()) {
    const { id, offline_at, held } = node;
    if (offline_at === undefined || held.count === 0) continue;
    if (Math.min(now - offline_at, watched_ms) >= (lost_after_ms ?? LEAST_MS)) gone.set(id, node);
  }
  // They may be many, and away for minutes before anything of theirs is lost.
  const lost = heldByEach(state, new Set(gone.keys()), (piece, id) => {
    const node = gone.get(id);
    const at = node === undefined ? undefined : lostAt(node, piece, now - watched_ms, lost_after_ms);
    return at !== undefined && at <= now;
  });
  return [...gone.keys()].flatMap((id) => decideLost(state, id, lost.get(id) ?? [], now));
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
 * What nodes that hear nothing were given and have not begun, as far as they told: they may never have got it. What they run
 * goes on: their reports are heard. `deaf_ms` has for how long each has not answered.
 */
export function decideUnheard(
  state: State,
  deaf_ms: ReadonlyMap<string, number>,
  now: number,
  lost_after_ms: number | undefined,
): Event[] {
  const ids = [...deaf_ms].filter(([, ms]) => ms >= (lost_after_ms ?? LEAST_MS)).map(([id]) => id);
  const unheard = heldByEach(state, new Set(ids), ({ status }) => status === "scheduled");
  return ids.flatMap((id) => decideLost(state, id, unheard.get(id) ?? [], now));
}

/** As long as it had run when its node went away, within bounds. */
function patienceMs({ since }: Segment, offline_at: number): number {
  const ran_ms = offline_at - (since ?? offline_at);
  return Math.min(MOST_MS, Math.max(LEAST_MS, ran_ms));
}
