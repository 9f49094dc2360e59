// What the leader reads of the view. What is over is asked for from the file, so it is brought up to date first.

import type { Queries } from "../storage/queries.ts";
import type { View } from "../storage/view.ts";
import type { LeaderView } from "./leader-world.ts";

export function leaderView(view: View, queries: Queries): LeaderView {
  return {
    findIds: (ids) => queries.findIds(ids),
    prunable: (before, limit) => {
      view.flush();
      return queries.prunable(before, limit);
    },
    finishedResults: () => {
      view.flush();
      return queries.finishedResults();
    },
    resultsOf: (number) => queries.resultsOf(number),
    findKey: (key) => {
      view.flush();
      return queries.findKey(key);
    },
    specification: (number) => view.specification(number),
    inputs: (number, from, to) => view.inputs(number, from, to),
    source: (number) => view.source(number),
    retryable: (number) => {
      view.flush();
      const record = queries.submission(number);
      if (record === undefined) return undefined;
      const { array, specification, source } = record;
      return { array, specification, source };
    },
    retries: (root, after) => queries.retries(root, after),
    ended: (number, from, to, statuses) => queries.ended(number, from, to, statuses),
  };
}
