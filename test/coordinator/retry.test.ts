// What a retry of many costs whoever leads: it reads what is asked for, and each submission once.

import { expect, test } from "bun:test";
import { leaderView } from "../../src/coordinator/leader-view.ts";
import { decideRetry, type PastView } from "../../src/core/decide-retry.ts";
import { Queries } from "../../src/storage/queries.ts";
import { View } from "../../src/storage/view.ts";
import { AT, outcomeOf } from "../core/cluster.ts";
import { Fold } from "../storage/fold.ts";

const FAILED = 2_000;

test("members of one array cost no more than there are of them, however many failed", () => {
  const view = new View(":memory:");
  const fold = new Fold();
  fold.found(view);
  fold.commit([view], fold.array({ count: FAILED }), { t: "assigned", node: "n1", runs: [[1, 0, FAILED, 1]], at: AT });
  const results = Array.from({ length: FAILED }, (_, at) => ({ task: [1, at, 1] as [number, number, number] }));
  const outcome = outcomeOf();
  fold.commit([view], { t: "ended", node: "n1", results: results.map((one) => ({ ...one, outcome })) });
  const read = { submissions: 0, ranges: 0, retries: 0 };
  const past = leaderView(view, new Queries(view));
  const counting: PastView = {
    findIds: past.findIds,
    retryable(number) {
      read.submissions += 1;
      return past.retryable(number);
    },
    retries(...asked) {
      read.retries += 1;
      return past.retries(...asked);
    },
    *ended(...asked) {
      for (const range of past.ended(...asked)) {
        read.ranges += 1;
        yield range;
      }
    },
  };
  const targets = [1_990, 7, 3, 1_200].map((index, at) => ({ id: at, number: 1, index }));
  const command = { nonce: "f".repeat(32), targets, statuses: ["failed"] as const, fresh: true };
  const { answer, events } = decideRetry(fold.state, counting, command, "client", AT);
  expect(answer.retried.map(({ count }) => count)).toEqual([1, 1, 1, 1]);
  const sources = events.map((event) => (event.t === "submitted" ? event.source?.members : undefined));
  expect(sources).toEqual(["1990", "7", "3", "1200"]);
  expect(read).toEqual({ submissions: 1, ranges: 4, retries: 1 });
  view.close();
});
