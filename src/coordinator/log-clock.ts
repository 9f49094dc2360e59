// Log time: the wall clock as far as it can be believed. It never goes back, never runs further ahead of the time that
// passed than one bounded jump, and never stands still: timers rest on it.

import type { Anchor, Now } from "./leader-world.ts";

/** A wall clock that jumps forward is followed so far at once, and no further in this term. */
const FORWARD_JUMP_MS = 60_000;
/** While a wall clock is behind log time, log time goes on at this share of the time that passes. */
const SLOWEST = 0.9;

export class LogClock {
  #anchor: Anchor | undefined;
  /** What was read last, and when. */
  #last: Anchor | undefined;

  /** `anchor`: where log time was watched to go on; without it the wall clock is believed at first. */
  constructor(anchor: Anchor | undefined) {
    this.#anchor = anchor;
  }

  /** Wall milliseconds, never before `latest`, the newest time in the log. */
  read({ wall_ms, monotonic_ms }: Now, latest: number): number {
    this.#anchor ??= { at: Math.max(latest, wall_ms), monotonic_ms };
    const most = this.#anchor.at + (monotonic_ms - this.#anchor.monotonic_ms) + FORWARD_JUMP_MS;
    const last = this.#last ?? { at: latest, monotonic_ms };
    const least = last.at + (monotonic_ms - last.monotonic_ms) * SLOWEST;
    const at = Math.max(latest, least, Math.min(wall_ms, most));
    this.#last = { at, monotonic_ms };
    return Math.floor(at);
  }
}
