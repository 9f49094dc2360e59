// What a leader needs of the world around it, and is told about itself.

import type { ClawError } from "../common/errors.ts";
import type { DownMessage } from "../communication/messages.ts";
import type { FindKey } from "../core/decide.ts";
import type { PastView } from "../core/decide-retry.ts";
import type { Event } from "../core/event.ts";
import type { PlacementSettings } from "../core/place.ts";
import type { PastResults, Retention } from "../core/prune.ts";
import type { State } from "../core/state.ts";
import type { Material } from "./assign.ts";
import type { Committed, OutgoingBatch } from "./committer.ts";

export interface LeaderWorld {
  append(batch: OutgoingBatch): void;
  /** The batch is in the log: the view and whoever waits may know. Comes before the effects that rest on it. */
  committed(committed: Committed): void;
  reply(token: unknown, answer: object | ClawError): void;
  send(node: string, message: DownMessage): void;
  /** Whether the lease is certain to be this leader's own: nobody else leads. */
  trusted(): boolean;
}

/** What the leader reads of the view. */
export interface LeaderView extends Omit<Material, "submission">, PastView, PastResults {
  findKey: FindKey;
}

export interface LeaderOptions {
  /** Who leads, for people. */
  name: string;
  cluster: string;
  /** 128 random bits for a cluster that does not exist yet. */
  fresh_cluster_id: string;
  heartbeat_ms: number;
  missed_heartbeats: number;
  /** Absence of a node after which its attempts are lost; absent: as long as each had run, within bounds. */
  lost_after_ms: number | undefined;
  abandoned_after_ms: number;
  retention: Retention;
  placement: PlacementSettings;
  /** Told of each event as it is decided: for figures, nothing rests on it. */
  decided?: (event: Event, state: State) => void;
  /** A node said which folders it has: plans may wait for that. */
  looked?: () => void;
  /** From 0 up to 1: spreads retries over time. */
  chance: () => number;
}

export interface Now {
  wall_ms: number;
  monotonic_ms: number;
}

/** A moment of log time, and when it was by this process's own clock: so much time has passed since then at least. */
export interface Anchor {
  at: number;
  monotonic_ms: number;
}
