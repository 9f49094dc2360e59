// The hash that a batch's writer and its readers compare: the same whatever way led to a state, another for anything that
// is otherwise in it.

import { expect, test } from "bun:test";
import { apply } from "../../src/core/apply.ts";
import { Touched } from "../../src/core/changes.ts";
import { Event } from "../../src/core/event.ts";
import { differenceOf, foldOf, type Fold as Hash } from "../../src/core/fold.ts";
import { type Node, type State, type Submission, termsOf } from "../../src/core/state.ts";
import { Fold, fittingEvent } from "../storage/fold.ts";
import { AT, outcomeOf, specificationOf } from "./cluster.ts";
import { forSeeds } from "./seeds.ts";

const RUN: Event = { t: "assigned", node: "n1", runs: [[1, 0, 2, 1]], at: AT };

/** A segment with all that one may say. */
const EVERYTHING = { since: AT, stopping: "cancel", not_before: AT, failures: 1, lost: 1 } as const;
const MORE = specificationOf({ needs: { executor: "command", cpu_millis: 9, memory_mib: 0, gpus: 0 } });

/** A state with something of everything in it; `change` is what a fold that is wrong does to it in its last batch. */
function example(change: (state: State, touched: Touched) => void = () => undefined): Hash {
  const fold = new Fold();
  const { state } = fold;
  fold.found();
  fold.commit([], fold.array({ count: 9, spec: specificationOf({ deadline_ms: 1_000 }) }));
  fold.commit([], RUN, { t: "stopping", node: "n1", runs: [[1, 1, 2, 1]], reason: "cancel", at: AT });
  fold.commit(
    [],
    { t: "cordoned", node: "n1", reason: "test", by: "client", at: AT },
    { t: "skills", node: "n1", hash: "00112233445566ff", skills: [], at: AT },
    { t: "node", node: "n1", status: "offline", reason: "silent", at: AT },
    { t: "configured", node: "n1", settings: { gpus: 1 }, by: "client", at: AT },
    { t: "placement", placement: { strategy: "pack" }, by: "client", at: AT },
  );
  const touched = new Touched();
  apply(state, { t: "started", node: "n1", runs: [[1, 0, 1, 1, AT]], at: AT }, touched);
  change(state, touched);
  return foldOf(state, touched.seal(state));
}

test("two folds of the same events, of every kind, agree at every batch", () => {
  const kinds = new Set<string>(["cluster", "term"]);
  forSeeds(20, (chance) => {
    const [one, other] = [new Fold(), new Fold()];
    one.found();
    other.found();
    const seen = new Set<string>();
    for (let batch = 0; batch < 60; batch++) {
      const events = one.batch([], chance.between(1, 4), () => fittingEvent(chance, one));
      for (const { t } of events) kinds.add(t);
      other.commit([], ...events);
      expect(other.fold).toEqual(one.fold);
      seen.add(one.fold.state);
    }
    expect(seen.size).toBe(60);
  });
  expect([...kinds].sort()).toEqual(Event.options.map(({ shape }) => shape.t.value).sort());
});

const submission = (state: State): Submission => state.submissions.get(1)!;
const node = (state: State): Node => state.nodes.get("n1")!;

test("other needs and other totals are seen", () => {
  const right = example();
  const needs = example(
    (state) => ((submission(state) as { group: string }).group = termsOf(state, MORE, [1], AT).group),
  );
  expect(differenceOf(right, needs)).toBe("state");
  expect(
    differenceOf(
      right,
      example((state) => (state.totals.pending -= 1)),
    ),
  ).toBe("state");
});

test("what a node is, and what it holds, is seen when it is touched", () => {
  const told = (change: (state: State) => void): Hash => {
    const fold = new Fold();
    fold.found();
    fold.commit([], fold.array({ count: 9 }), RUN);
    change(fold.state);
    fold.commit([], { t: "node", node: "n1", status: "offline", reason: "silent", at: AT });
    return fold.fold;
  };
  const right = told(() => undefined);
  expect(
    differenceOf(
      right,
      told((state) => (node(state).completed += 1)),
    ),
  ).toBe("state");
  expect(
    differenceOf(
      right,
      told((state) => node(state).held.add(7, 0, 1, 1)),
    ),
  ).toBe("changes");
  expect(
    differenceOf(
      right,
      told((state) => (node(state).used.cpu_millis += 1)),
    ),
  ).toBe("changes");
});

/** Something else of the same kind. */
function another(value: unknown): unknown {
  if (typeof value === "string") return `${value}x`;
  if (typeof value === "number") return value + 1;
  if (typeof value === "boolean") return !value;
  if (value === undefined) return 7;
  const [[first, was] = ["more", 0]] = Object.entries(value as object);
  return { ...(value as object), [first]: another(was) };
}

/** What is said by the event alone (the chain of batches compares it), or follows from the rest. */
const LEFT_OUT = {
  submission: ["cut_short", "nonce", "by", "ids", "group", "segments", "ready", "row_hash"],
  node: ["used", "held", "info"], // what counts follows from what is declared and what is set
  segment: ["from"],
  state: ["totals", "submissions", "nodes", "active", "ready", "groups", "policies", "rows"],
};

test("how an array was closed is no part of it: an earlier version, which does not keep that, agrees", () => {
  const closed = (abandoned?: boolean): Hash => {
    const fold = new Fold();
    fold.found();
    fold.commit([], fold.array({ open: true }));
    fold.commit([], { t: "closed", number: 1, at: AT, ...(abandoned === undefined ? {} : { abandoned }) });
    return fold.fold;
  };
  expect(closed(true)).toEqual(closed());
  expect(closed(false)).toEqual(closed());
});

/** Every field that is there now, and whoever adds one is asked for it here. */
const FIELDS: [keyof typeof LEFT_OUT, (state: State) => object][] = [
  ["submission", submission],
  ["node", node],
  ["segment", (state) => Object.assign(submission(state).segments[0]!, EVERYTHING)],
  ["state", (state) => state],
];

test.each(FIELDS)("each field of a %s is in the hash", (name, find) => {
  const told = (change: (of: Record<string, unknown>) => void): Hash =>
    example((state, touched) => {
      touched.nodes.add("n1");
      change(find(state) as Record<string, unknown>);
    });
  const right = told(() => undefined);
  const fields: string[] = [];
  example((state) => void fields.push(...Object.keys(find(state))));
  expect(fields.length).toBeGreaterThan(5);
  for (const field of fields.filter((one) => !LEFT_OUT[name].includes(one))) {
    const wrong = told((of) => (of[field] = another(of[field])));
    expect([field, differenceOf(right, wrong)]).toEqual([field, "state"]);
  }
});

/** After two members have ended so. */
function ended(outcome: "failed" | "timeout"): Hash {
  const fold = new Fold();
  fold.found();
  fold.commit([], fold.array({ count: 2 }), { ...RUN, runs: [[1, 0, 2, 1]] } as Event);
  const results = [0, 1].map((index) => ({
    task: [1, index, 1] as [number, number, number],
    outcome: outcomeOf(outcome),
  }));
  fold.commit([], { t: "ended", node: "n1", results });
  return fold.fold;
}

test("how something ended is seen, though it is in no state any more", () => {
  expect(ended("failed")).toEqual(ended("failed"));
  expect(ended("failed").changes).not.toBe(ended("timeout").changes);
});

test("a hash of another version, or none, is no difference", () => {
  const ours = example();
  expect(differenceOf(undefined, ours)).toBeUndefined();
  expect(differenceOf({ v: ours.v + 1, state: "something", changes: "else" }, ours)).toBeUndefined();
  expect(differenceOf({ ...ours }, ours)).toBeUndefined();
  expect(differenceOf({ ...ours, changes: "else" }, ours)).toBe("changes");
});

test("is the same for ever in this version", () => {
  const fold = new Fold();
  const at = 1_764_000_000_000;
  const needs = { executor: "noop", cpu_millis: 1, memory_mib: 2, gpus: 0 } as const;
  const spec = { type: "batch", priority: "low", needs } as const;
  const outcome = { status: "cancelled", reason: "cancelled", started_at: at, ended_at: at, inline: true } as const;
  fold.commit(
    [],
    { t: "cluster", cluster_id: "c0ffee", name: "default", at },
    { t: "term", epoch: 1, leader: "build-7", at },
    {
      t: "submitted",
      number: 1,
      nonce: "00",
      by: "client",
      at,
      spec: { ...spec, argv: [] },
      array: true,
      ids: [7],
      count: 9,
    },
    { t: "dropped", number: 1, from: 3, to: 5, outcome },
  );
  expect(fold.fold).toEqual({ v: 2, state: "1746570f457814", changes: "0dce560c5dc9c3" });
});
