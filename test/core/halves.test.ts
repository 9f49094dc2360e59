// An event that is cut gives what it would have given whole, down to a single member.

import { describe, expect, test } from "bun:test";
import type { Event } from "../../src/core/event.ts";
import { halvesOf } from "../../src/core/halves.ts";
import { AT, Cluster, outcomeOf } from "./cluster.ts";

function smallest(event: Event): Event[] {
  const halves = halvesOf(event);
  return halves === undefined ? [event] : halves.flatMap(smallest);
}

const INDEXES = [0, 1, 2, 3, 4];
const runs = INDEXES.map((index): [number, number, number, number] => [1, index, index + 1, 1]);
const results = INDEXES.map((index) => ({ task: [1, index, 1] as [number, number, number], outcome: outcomeOf() }));
const retried: Event = {
  ...{ t: "retried", node: "n1", at: AT },
  results: results.map((one, index) => ({ ...one, not_before: AT + index + 1, failures: 1 })),
};
const ASSIGNED: Event = { t: "assigned", node: "n1", runs, at: AT };

const events: [Event, ...before: Event[]][] = [
  [ASSIGNED],
  [{ t: "started", node: "n1", runs: runs.map((run, index) => [...run, AT + index]), at: AT }, ASSIGNED],
  [{ t: "succeeded", node: "n1", runs: runs.map((run, index) => [...run, AT, AT + index]) }, ASSIGNED],
  [{ t: "ended", node: "n1", results }, ASSIGNED],
  [retried, ASSIGNED],
  [{ t: "due", runs: INDEXES.map((index) => [1, index, index + 1]), at: AT + 9 }, ASSIGNED, retried],
  [{ t: "stopping", node: "n1", runs, reason: "drain", at: AT }, ASSIGNED],
  [{ t: "requeued", node: "n1", runs, reason: "lost", at: AT }, ASSIGNED],
  [{ t: "requeued", node: "n1", runs, started: [0, AT + 1, 0, AT + 3, 0], reason: "lost", at: AT }, ASSIGNED],
];

describe("what tells of many members", () => {
  test.each(events)("%j is cut, and gives the same", (event, ...before) => {
    const parts = smallest(event);
    expect(parts).toHaveLength(INDEXES.length);
    const [whole, cut] = [new Cluster(), new Cluster()];
    for (const cluster of [whole, cut]) {
      cluster.register("n1");
      cluster.submit(INDEXES.length + 1);
      cluster.add(...before);
    }
    whole.add(event);
    cut.add(...parts);
    cut.check();
    expect(cut.touched.seal(cut.state)).toEqual(whole.touched.seal(whole.state));
  });

  test("is left whole where it is bounded otherwise", () => {
    expect(halvesOf({ t: "closed", number: 1, at: AT })).toBeUndefined();
    expect(halvesOf({ t: "extended", number: 1, offset: 0, inputs: ["a", "b"], at: AT })).toBeUndefined();
  });
});
