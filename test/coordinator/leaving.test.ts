// What is being forgotten while somebody wants to stand on it: for as long as the log has not taken that it is, the view
// still has all of it.

import { afterEach, expect, test } from "bun:test";
import { submission } from "../cluster.ts";
import { INFO } from "../core/cluster.ts";
import { until } from "../until.ts";
import { Coordinator } from "./lone-coordinator.ts";
import { ScriptedLog } from "./scripted-log.ts";

const NODE = "node_00000001";
const INCARNATION = "0123456789abcdef";
const NOOP = { needs: { executor: "noop" as const }, argv: [] };

let one: Coordinator | undefined;

afterEach(() => one?.terms.stop());

/** A coordinator whose one submission is over, and old: that it is forgotten is on its way to the log. */
async function leaving(spec: Parameters<typeof submission>[0], inputs?: string[]) {
  const log = new ScriptedLog();
  const coordinator = new Coordinator(log);
  one = coordinator;
  await coordinator.serve();
  coordinator.up(NODE, { type: "node.register", v: 1, incarnation: INCARNATION, info: INFO, held: [] });
  const { request } = submission(spec);
  const { tasks: _tasks, ...rest } = request;
  const payload = inputs === undefined ? request : { ...rest, array: { id: 77, inputs } };
  const { number } = (await coordinator.ask("task.submit", payload).answered()) as { number: number };
  await until(() => coordinator.sent.some(([, { type }]) => type === "task.assign"), "the assignment");
  const at = coordinator.runtime.wall_ms();
  const runs: [number, number, number, number, number, number][] = [[number, 0, inputs?.length ?? 1, 1, at, at]];
  coordinator.up(NODE, { type: "task.complete", incarnation: INCARNATION, seq: 1, runs, results: [] });
  await until(() => coordinator.sent.some(([, { type }]) => type === "report.ack"), "the acknowledgement");
  log.hold();
  coordinator.runtime.skip(8 * 86_400_000);
  await until(() => coordinator.terms.leader?.state.totals.total === 0, "that it is to be forgotten");
  return { coordinator, log, number };
}

test("no retry stands on it", async () => {
  const { coordinator, log, number } = await leaving(NOOP, ["a", "b", "c"]);
  const targets = [{ id: 88, number }];
  const asked = coordinator.ask("task.retry", { v: 1, nonce: "f".repeat(32), targets, statuses: ["completed"] });
  log.release();
  expect(await asked.answered()).toMatchObject({ code: "not_found" });
  expect(coordinator.failures).toEqual([]);
});

test("its key is free, and what takes it runs", async () => {
  const spec = { ...NOOP, key: "nightly" };
  const { coordinator, log, number } = await leaving(spec);
  const asked = coordinator.ask("task.submit", submission(spec).request);
  log.release();
  const answer = await asked.answered();
  expect(answer).toMatchObject({ number: number + 1 });
  expect(answer).not.toHaveProperty("existing");
  expect(coordinator.terms.leader?.state.submissions.get(number + 1)?.count).toBe(1);
  // And when the log has taken it, it is known by its key.
  const again = await coordinator.ask("task.submit", submission(spec).request).answered();
  expect(again).toMatchObject({ number: number + 1 });
});
