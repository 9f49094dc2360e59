// Segments and runs against the simplest thing that could be right: a list with an entry for each member.

import { describe, expect, test } from "bun:test";
import type { EventRun } from "../../src/core/event.ts";
import { uncovered, without } from "../../src/core/runs.ts";
import { changeRange, piecesOf, type Segment, segmentAt } from "../../src/core/segments.ts";
import type { Chance } from "../sim/chance.ts";
import { forSeeds } from "./seeds.ts";

const STATUSES = ["pending", "scheduled", "running", "over"] as const;
type Member = Omit<Segment, "from" | "to">;

function randomMember(chance: Chance): Member {
  return {
    status: STATUSES[chance.below(STATUSES.length)]!,
    attempt: chance.below(2),
    ...(chance.once(3) ? { node: `n${chance.below(2)}` } : {}),
    ...(chance.once(6) ? { stopping: chance.once(2) ? "cancel" : "drain" } : {}),
    ...(chance.once(6) ? { not_before: chance.below(2) } : {}),
    ...(chance.once(6) ? { failures: chance.below(2) } : {}),
    ...(chance.once(6) ? { lost: chance.below(2) } : {}),
  };
}

const canonicalOf = ({ status, attempt, node, stopping, not_before, failures, lost }: Member): string =>
  JSON.stringify([status, attempt, node, stopping, not_before, failures ?? 0, lost ?? 0]);

function membersOf(segments: readonly Segment[]): string[] {
  return segments.flatMap((segment) => Array.from({ length: segment.to - segment.from }, () => canonicalOf(segment)));
}

function checkShape(segments: readonly Segment[], count: number): void {
  let at = 0;
  let before = "";
  for (const segment of segments) {
    expect(segment.from).toBe(at);
    expect(segment.to).toBeGreaterThan(segment.from);
    expect(canonicalOf(segment)).not.toBe(before);
    before = canonicalOf(segment);
    at = segment.to;
  }
  expect(at).toBe(count);
}

describe("segments", () => {
  test("say the same as a list of members, whatever is changed, and stay merged", () => {
    forSeeds(150, (chance) => {
      const count = chance.between(1, 40);
      const first = randomMember(chance);
      const segments: Segment[] = [{ from: 0, to: count, ...first }];
      const model = Array.from({ length: count }, () => canonicalOf(first));
      for (let step = 0; step < 30; step++) {
        const from = chance.below(count);
        const to = chance.between(from + 1, count);
        const member = randomMember(chance);
        const pieces: [number, number][] = [];
        changeRange(segments, from, to, (piece) => {
          pieces.push([piece.from, piece.to]);
          return { from: piece.from, to: piece.to, ...member };
        });
        expect(pieces[0]![0]).toBe(from);
        expect(pieces.at(-1)![1]).toBe(to);
        model.fill(canonicalOf(member), from, to);
        expect(membersOf(segments)).toEqual(model);
        checkShape(segments, count);
        const index = chance.below(count);
        expect(canonicalOf(segments[segmentAt(segments, index)]!)).toBe(model[index]!);
        const kept = piecesOf(segments, from, to, ({ status }) => status === "pending");
        const covered = kept.reduce((sum, piece) => sum + piece.to - piece.from, 0);
        expect(covered).toBe(model.slice(from, to).filter((text) => text.startsWith('["pending"')).length);
        expect(kept.every((piece) => piece.from >= from && piece.to <= to)).toBe(true);
      }
    });
  });

  test("what is not there is nowhere, and an empty range changes nothing", () => {
    const segments: Segment[] = [{ from: 0, to: 3, status: "pending", attempt: 0 }];
    expect([segmentAt([], 0), segmentAt(segments, -1), segmentAt(segments, 3)]).toEqual([-1, -1, -1]);
    const never = (): Segment => {
      throw new Error("called");
    };
    changeRange(segments, 2, 2, never);
    changeRange(segments, 2, 1, never);
    changeRange(segments, 3, 9, never);
    expect(piecesOf(segments, 2, 1, () => true)).toEqual([]);
    expect(piecesOf(segments, 3, 9, () => true)).toEqual([]);
    expect(piecesOf(segments, 1, 9, () => true)).toEqual([{ from: 1, to: 3, status: "pending", attempt: 0 }]);
    expect(segments).toEqual([{ from: 0, to: 3, status: "pending", attempt: 0 }]);
  });

  test("a change gets a copy: keeping the piece does not keep hold of the segment", () => {
    const segments: Segment[] = [{ from: 0, to: 2, status: "pending", attempt: 0 }];
    let kept: Segment | undefined;
    changeRange(segments, 0, 1, (piece) => {
      kept = piece;
      return { ...piece, status: "running" };
    });
    kept!.status = "over";
    expect(membersOf(segments)[0]).toContain("running");
  });
});

function randomRuns(chance: Chance): EventRun[] {
  return Array.from({ length: chance.below(6) }, () => {
    const from = chance.below(15);
    return [chance.between(1, 2), from, from + chance.between(1, 6), chance.between(1, 2)];
  });
}

const keysOf = (runs: readonly EventRun[]): string[] =>
  runs.flatMap(([number, from, to, attempt]) =>
    Array.from({ length: to - from }, (_, at) => `${number}.${from + at}.${attempt}`),
  );

describe("runs", () => {
  test("are taken away member by member", () => {
    forSeeds(300, (chance) => {
      const [runs, others] = [randomRuns(chance), randomRuns(chance)];
      const gone = new Set(keysOf(others));
      expect(keysOf(without(runs, others))).toEqual(keysOf(runs).filter((key) => !gone.has(key)));
      for (const run of runs) {
        expect(keysOf(uncovered(run, others))).toEqual(keysOf([run]).filter((key) => !gone.has(key)));
      }
    });
  });
});
