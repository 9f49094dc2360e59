// Which retry a task is said to be retried as: the newest of so many.

import { expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import { retriedAs } from "../../src/coordinator/retried.ts";

/** As many retries of member 1 as are asked for, and behind them, older, one of member 0. */
function view(newer: number) {
  const rows = Array.from({ length: newer }, (_, at) => ({ ids: [at + 1], array: false, members: "1" }));
  rows.push({ ids: [0xabc], array: false, members: "0" });
  return { newestRetries: (_root: number, _after: number, limit: number) => rows.slice(0, limit) };
}

test("is looked for among the newest, as many as are worth it", () => {
  const of = { number: 1 };
  expect(retriedAs(view(3), of, 1)).toBe("task_00000001");
  expect(retriedAs(view(LIMITS.retries_looked - 1), of, 0)).toBe("task_00000abc");
  expect(retriedAs(view(LIMITS.retries_looked), of, 0)).toBeUndefined();
  expect(retriedAs(view(0), of, undefined)).toBe("task_00000abc");
});
