// What a wait costs while it waits: it is asked anew with every batch, by everybody who waits.

import { afterEach, beforeEach, expect, test } from "bun:test";
import type { QueryRequest } from "../../src/communication/queries.ts";
import { Answers } from "../../src/coordinator/answers.ts";
import type { Event } from "../../src/core/event.ts";
import { Queries, type SubmissionRecord } from "../../src/storage/queries.ts";
import { View } from "../../src/storage/view.ts";
import { AT, outcomeOf } from "../core/cluster.ts";
import { Fold } from "../storage/fold.ts";

/** Whoever reads a whole submission reads what is known of each of its members. */
class Counted extends Queries {
  whole = 0;

  override submission(number: number): SubmissionRecord | undefined {
    this.whole += 1;
    return super.submission(number);
  }
}

let view: View;
let fold: Fold;
let queries: Counted;
let answers: Answers;
let explained: number;

beforeEach(() => {
  view = new View(":memory:");
  fold = new Fold();
  queries = new Counted(view);
  explained = 0;
  // Why something waits only who leads can say: nobody does.
  answers = new Answers(
    queries,
    () => {
      explained += 1;
      return undefined;
    },
    () => 0,
  );
  fold.found(view);
});

afterEach(() => view.close());

function commit(...events: Event[]): void {
  fold.commit([view], ...events);
  view.flush();
}

const assigned = (number: number, from: number, to: number, attempt = 1): Event => {
  return { t: "assigned", node: "n1", runs: [[number, from, to, attempt]], at: AT };
};
const started = (number: number, from: number, to: number): Event => {
  return { t: "started", node: "n1", runs: [[number, from, to, 1, AT]], at: AT };
};
const succeeded = (number: number, from: number, to: number): Event => {
  return { t: "succeeded", node: "n1", runs: [[number, from, to, 1, AT, AT]] };
};

/** The status that is answered, if anything is. */
function status(number: number, more: Partial<QueryRequest<"task.wait">> = {}): string | undefined {
  return answers.wait({ number, until: "finished", wait_ms: 1_000, ...more })?.task.status;
}

test("nothing is explained and no member is looked at while there is something to wait for", () => {
  commit(fold.array({ count: 10 }));
  commit(fold.tasks([5]));
  commit(assigned(1, 0, 3), started(1, 1, 2), succeeded(1, 0, 1));
  expect([status(1), status(1, { index: 1 }), status(1, { index: 7 }), status(2)]).toEqual(Array(4).fill(undefined));
  expect(status(2, { until: "started" })).toBeUndefined();
  expect([queries.whole, explained]).toEqual([0, 0]);
  expect(status(1, { index: 0 })).toBe("completed");
  expect(status(1, { until: "started" })).toBe("running");
  expect([queries.whole > 0, explained > 0]).toEqual([true, true]);
});

test("an array is over with its last member, if nothing more comes", () => {
  commit(fold.array({ count: 2, open: true }));
  commit(assigned(1, 0, 2), succeeded(1, 0, 2));
  expect(status(1)).toBeUndefined();
  expect(status(1, { index: 1 })).toBe("completed");
  commit({ t: "closed", number: 1, at: AT });
  expect(status(1)).toBe("completed");
});

test("a member has begun when it runs itself; what never was is refused", () => {
  commit(fold.array({ count: 3 }));
  commit(assigned(1, 0, 2), started(1, 0, 1));
  expect([0, 1, 2].map((index) => status(1, { index, until: "started" }))).toEqual(["running", undefined, undefined]);
  expect(() => status(1, { index: 3 })).toThrow("has no member 3");
  expect(() => status(9)).toThrow("there is no submission 9");
});

test("an attempt that another one follows is told, one that was known is not", () => {
  commit(fold.tasks([5]), assigned(1, 0, 1));
  expect(status(1, { after: 0 })).toBeUndefined();
  const result = { task: [1, 0, 1] as [number, number, number], outcome: outcomeOf(), not_before: AT, failures: 1 };
  commit({ t: "retried", node: "n1", at: AT, results: [result] });
  expect([status(1, { after: 0 }), status(1, { after: 1 }), status(1)]).toEqual(["pending", undefined, undefined]);
});
