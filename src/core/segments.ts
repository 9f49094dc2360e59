// A submission's members as runs of alike ones: sorted, gapless segments over [0, count). A million waiting tasks are
// one segment; a member stands alone only while it differs from its neighbours. How a member ended is its result's
// matter: here all that are over are alike, so that a failure now and then does not cut an array to pieces.

import type { StopReason } from "../common/vocabulary.ts";

export interface Segment {
  from: number;
  /** Excluded. */
  to: number;
  status: "pending" | "scheduled" | "running" | "over";
  /** The last attempt that was assigned; 0 before the first. */
  attempt: number;
  /** Holder of the attempt while scheduled or running. */
  node?: string;
  /** Log time at which it was assigned, or, while it runs, began. */
  since?: number;
  /** Its node was told to stop it, and why: it decides what its end means. */
  stopping?: StopReason;
  /** Log time before which it must not start: it waits for no node until then. */
  not_before?: number;
  /** Attempts that failed; a daemon's begin anew when one ran for a while. */
  failures?: number;
  /** Attempts that were lost with their node, counted apart from failures. */
  lost?: number;
}

/** Waits for nothing but a node. */
export function isReady(segment: Segment): boolean {
  return segment.status === "pending" && segment.not_before === undefined;
}

/** Position of the segment that holds `index`, or -1 where there is none. */
export function segmentAt(segments: readonly Segment[], index: number): number {
  let low = 0;
  let high = segments.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const segment = segments[middle];
    if (segment === undefined) return -1;
    if (index < segment.from) high = middle - 1;
    else if (index >= segment.to) low = middle + 1;
    else return middle;
  }
  return -1;
}

function alike(a: Segment, b: Segment): boolean {
  return (
    a.status === b.status &&
    a.attempt === b.attempt &&
    a.node === b.node &&
    a.since === b.since &&
    a.stopping === b.stopping &&
    a.not_before === b.not_before &&
    (a.failures ?? 0) === (b.failures ?? 0) &&
    (a.lost ?? 0) === (b.lost ?? 0)
  );
}

/** Puts a segment behind the others, as part of the last one where they are alike. */
export function appendSegment(into: Segment[], segment: Segment): void {
  const last = into.at(-1);
  if (last !== undefined && last.to === segment.from && alike(last, segment)) last.to = segment.to;
  else into.push(segment);
}

/**
 * Replaces what [from, to) holds by what `change` makes of each piece of it, splitting at the borders and merging alike
 * neighbours. `change` gets a copy and may return it changed.
 */
export function changeRange(segments: Segment[], from: number, to: number, change: (piece: Segment) => Segment): void {
  let first = segmentAt(segments, from);
  if (first < 0 || from >= to) return;
  let last = first;
  const made: Segment[] = [];
  for (let at = first; at < segments.length; at++) {
    const segment = segments[at];
    if (segment === undefined || segment.from >= to) break;
    last = at;
    const start = Math.max(from, segment.from);
    const end = Math.min(to, segment.to);
    if (segment.from < start) appendSegment(made, { ...segment, to: start });
    appendSegment(made, change({ ...segment, from: start, to: end }));
    if (end < segment.to) appendSegment(made, { ...segment, from: end });
  }
  const before = segments[first - 1];
  const head = made[0];
  if (before !== undefined && head !== undefined && alike(before, head)) {
    head.from = before.from;
    first -= 1;
  }
  const after = segments[last + 1];
  const tail = made.at(-1);
  if (after !== undefined && tail !== undefined && alike(tail, after)) {
    tail.to = after.to;
    last += 1;
  }
  segments.splice(first, last - first + 1, ...made);
}

/** The pieces of [from, to) that `keep` accepts, cut to the range. */
export function piecesOf(
  segments: readonly Segment[],
  from: number,
  to: number,
  keep: (segment: Segment) => boolean,
): Segment[] {
  const found: Segment[] = [];
  const first = segmentAt(segments, from);
  if (first < 0 || from >= to) return found;
  for (let at = first; at < segments.length; at++) {
    const segment = segments[at];
    if (segment === undefined || segment.from >= to) break;
    if (!keep(segment)) continue;
    found.push({ ...segment, from: Math.max(from, segment.from), to: Math.min(to, segment.to) });
  }
  return found;
}

/** What pieces in their order cover, those that follow on one another as one. */
export function spansOf(pieces: Iterable<Pick<Segment, "from" | "to">>): { from: number; to: number }[] {
  const spans: { from: number; to: number }[] = [];
  for (const { from, to } of pieces) {
    const last = spans.at(-1);
    if (last?.to === from) last.to = to;
    else spans.push({ from, to });
  }
  return spans;
}
