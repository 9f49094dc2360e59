// Logs of an array as large as one may be: what has nothing to show is passed over, and nothing else is.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { Recorded } from "../../src/client/recorded.ts";
import type { Outcome } from "../../src/common/models.ts";
import type { ResultRow } from "../../src/communication/queries.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { type Cluster, openCluster } from "../cluster.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

/** Far more than could be listed one by one before the deadline. */
const MANY = 1_000_000;
const DEADLINE_MS = 15_000;

test("a million no-ops, and a million that were called off, have none, at once", async () => {
  const noop = (await cluster.runCli(["submit", "--noop", "--array", String(MANY)])).stdout.trim();
  const never = await cluster.runCli(["submit", "--node", "nowhere", "--array", String(MANY), "--", "echo"]);
  const off = never.stdout.trim();
  await cluster.runCli(["cancel", off]);
  await cluster.runCli(["wait", noop]);
  const begun_ms = performance.now();
  for (const id of [noop, off])
    expect(await cluster.runCli(["logs", id])).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expect(performance.now() - begun_ms).toBeLessThan(DEADLINE_MS);
}, 120_000);

test("one among many that wrote something is shown", async () => {
  const line = "[ $CLAW_TASK_INDEX != 150 ] || echo here";
  const id = (await cluster.runCli(["submit", "--array", "300", "--", "sh", "-c", line])).stdout.trim();
  await cluster.runCli(["wait", id]);
  expect(await cluster.runCli(["logs", id])).toMatchObject({ code: 0, stdout: "150: here\n", stderr: "" });
});

test("what is passed over wrote nothing, had one attempt, and is worth it", async () => {
  const outcome: Outcome = {
    status: "completed",
    reason: "exit",
    exit_code: 0,
    started_at: 1,
    ended_at: 2,
    inline: true,
  };
  const off: Outcome = { status: "cancelled", reason: "cancelled", started_at: 3, ended_at: 3 };
  const row = (from: number, to: number, more: Partial<ResultRow> = {}): ResultRow => ({
    ...{ from, to, attempt: 1, node: "n", outcome },
    ...more,
  });
  const results = [
    row(2_000, 3_000),
    row(1_000, 2_000),
    row(3_000, 3_001, { outcome: { ...outcome, stdout_tail: "here" } }),
    row(3_001, 3_100),
    row(3_100, 3_200, { attempt: 2 }),
    row(3_200, 3_400, { outcome: { ...outcome, stdout: { bytes: 3, hash: "", cut_bytes: 3 } } }),
    row(4_000, 6_000, { attempt: 0, outcome: off, tried: [{ from: 4_500, to: 4_501 }] }),
  ];
  const query = () => Promise.resolve({ results, cursor: 9, more: false });
  const recorded = new Recorded({ query } as unknown as RequestClient, 1);
  await recorded.read();
  const seen = [0, 1_000, 2_999, 3_050, 4_000, 4_501].map((index) => recorded.next(index));
  const end = Number.POSITIVE_INFINITY;
  expect(seen.map(({ from, to }) => [from, to])).toEqual([
    [0, 1_000],
    [3_000, 4_000],
    [3_000, 4_000],
    [3_050, 4_000],
    [4_500, 4_501],
    [6_000, end],
  ]);
  expect([4_499, 4_500, 4_501].map((index) => recorded.tried(index))).toEqual([false, true, false]);
});
