// What a worker tells of its tasks can be read by the leader, whatever they did: one that cannot is never acknowledged, and
// holds up all that comes after it.

import { expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Outcome } from "../../src/common/models.ts";
import { UpMessage } from "../../src/communication/messages.ts";
import { spawnProblem } from "../../src/worker/executors/program.ts";
import { Reporter, type ReportStore } from "../../src/worker/reporter.ts";

const INCARNATION = "0123456789abcdef";
const ENDED: Outcome = { status: "failed", reason: "spawn", started_at: 1, ended_at: 2 };

class Bench {
  readonly sent: UpMessage[] = [];
  readonly reporter: Reporter;
  readonly rows: ReturnType<ReportStore["all"]>;

  constructor(rows: ReturnType<ReportStore["all"]> = []) {
    this.rows = rows;
    const store: ReportStore = {
      add: (kind, body) => {
        const seq = rows.length + 1;
        rows.push({ seq, kind, body });
        return { seq };
      },
      remove: () => undefined,
      all: () => rows,
    };
    this.reporter = new Reporter(store, INCARNATION, (message) => this.sent.push(message));
  }

  /** What was sent, as the leader reads it. */
  read() {
    const problems = this.sent.flatMap((message) => UpMessage.safeParse(message).error?.issues ?? []);
    expect(problems).toEqual([]);
    return this.sent;
  }
}

test("a message that is too long is cut, and what is told with it is told", () => {
  const bench = new Bench();
  bench.reporter.result(1, 0, 1, { ...ENDED, message: "x".repeat(5_000) });
  bench.reporter.result(1, 1, 1, { ...ENDED, message: `${"x".repeat(LIMITS.outcome_message_chars - 1)}🎈` });
  bench.reporter.result(1, 2, 1, { ...ENDED, message: "short" });
  bench.reporter.flush(0);
  const [message] = bench.read();
  const told = message?.type === "task.fail" ? message.results.map(({ outcome }) => outcome.message) : [];
  expect(told).toEqual([
    "x".repeat(LIMITS.outcome_message_chars),
    `${"x".repeat(LIMITS.outcome_message_chars - 1)}\ufffd`,
    "short",
  ]);
});

test("the longest name of a program leaves room for what is wrong with it", () => {
  const where = { folder: "/", path: "/bin", node_name: "one" };
  const { message } = spawnProblem({ code: "EACCES" }, "p".repeat(5_000), where);
  expect(message).toEndWith("may not be executed");
  expect(message.length).toBeLessThan(300);
});

test("an end that cannot be read is told as one that says so, and its times as far as they can be", () => {
  const bench = new Bench();
  bench.reporter.result(1, 0, 1, { ...ENDED, exit_code: 300, ended_at: 2.5 });
  bench.reporter.result(1, 1, 1, { ...ENDED, status: "completed", signal: "S".repeat(17), started_at: -1 });
  bench.reporter.plain([1, 2, 3, 1, -5, 10 ** 15]);
  bench.reporter.flush(0);
  const messages = bench.read();
  const ends = messages.flatMap((message) => ("results" in message ? message.results : []));
  expect(ends).toMatchObject([
    { task: [1, 1, 1], outcome: { status: "completed", started_at: 0, ended_at: 2 } },
    { task: [1, 0, 1], outcome: { status: "failed", reason: "spawn", started_at: 1, ended_at: 2 } },
  ]);
  for (const { outcome } of ends) expect(outcome.message).toStartWith("the rest of its report cannot be read: ");
  expect(messages.flatMap((message) => (message.type === "task.complete" ? message.runs : []))).toEqual([
    [1, 2, 3, 1, 0, 0],
  ]);
});

test("what an earlier life left that cannot be read holds up nothing", () => {
  const results = [
    { task: [1, 0, 1], outcome: { ...ENDED, message: "x".repeat(5_000) } },
    { task: [1, 1, 1], outcome: ENDED },
    { task: [1, 2, 1], outcome: { ...ENDED, status: "unheard_of" } },
    { task: "?", outcome: ENDED },
    null,
  ];
  const bench = new Bench([
    {
      seq: 1,
      kind: "task.fail",
      body: JSON.stringify({
        results,
        released: [
          [1, 5, 3, 1],
          [1, 5, 6, 1],
        ],
      }),
    },
    { seq: 2, kind: "task.complete", body: "{ a disk that" },
    { seq: 3, kind: "task.complete", body: JSON.stringify({ runs: "?", results: [] }) },
  ]);
  bench.reporter.resendAll(0);
  const [first, ...others] = bench.read();
  expect(first).toMatchObject({
    results: [{ task: [1, 0, 1] }, { task: [1, 1, 1], outcome: ENDED }],
    released: [[1, 5, 6, 1]],
  });
  expect(others).toMatchObject([
    { seq: 2, runs: [], results: [] },
    { seq: 3, runs: [], results: [] },
  ]);
  bench.reporter.acknowledged([1, 2, 3]);
  bench.reporter.result(1, 9, 1, ENDED);
  bench.reporter.flush(0);
  expect([bench.reporter.unacknowledged, bench.sent.length]).toEqual([1, 4]);
});
