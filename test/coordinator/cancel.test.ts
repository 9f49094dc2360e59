// Cancelling: what waits is over at once, what runs is stopped and then over, what is over stays as it was.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";
import { Notes } from "./notes.ts";
import { rejection } from "./rejection.ts";

let cluster: Cluster;
let notes: Notes;

beforeAll(async () => {
  cluster = await openCluster({ worker: { "resources.cpus": 2 } });
  notes = new Notes(cluster, "notes");
});

afterAll(() => cluster.close());

const CPU = { needs: { cpu_millis: 1000 } };

function cancel(number: number, from = 0, to?: number, waiting_only?: boolean) {
  const target = { number, from, ...(to === undefined ? {} : { to }) };
  const more = waiting_only === true ? { only: ["pending" as const] } : {};
  return cluster.client.command("task.cancel", { v: 1, targets: [target], ...more });
}

const sleeping = () => cluster.processes().filter(({ command }) => command.startsWith("sleep 600"));

describe("a cancel", () => {
  test("of a task that waits ends it at once, and it never runs", async () => {
    const { number } = await cluster.submit(notes.task("note never", { needs: { tags: ["nowhere"] } }));
    expect(await cancel(number)).toMatchObject({ cancelled: 1, stopping: 0, finished: 0 });
    const task = await cluster.finished(number);
    expect([task.status, task.outcome?.reason, task.node]).toEqual(["cancelled", "cancelled", undefined]);
    expect(notes.lines).toEqual([]);
    expect(await cancel(number)).toMatchObject({ cancelled: 0, stopping: 0, finished: 1 });
  });

  test("of a task that runs stops its whole tree, and then it is over", async () => {
    const { number } = await cluster.submit(notes.task("sleep 600 & sleep 600; note survived", CPU));
    await cluster.started(number);
    await until(() => sleeping().length === 2, "both sleeps");
    expect(await cancel(number)).toMatchObject({ cancelled: 0, stopping: 1, finished: 0 });
    const task = await cluster.finished(number);
    expect([task.status, task.attempt]).toEqual(["cancelled", 1]);
    expect(sleeping()).toEqual([]);
    expect(notes.lines).toEqual([]);
    expect(await cluster.show(number)).toMatchObject({ status: "cancelled" });
  });

  test("of a task that ignores SIGTERM comes through after its grace", async () => {
    const line = "trap '' TERM; note deaf; while :; do sleep 0.05; done";
    const { number } = await cluster.submit({ ...notes.task(line, CPU), grace_ms: 100 });
    await notes.written(1);
    await cancel(number);
    const task = await cluster.finished(number);
    expect([task.status, task.outcome?.signal]).toEqual(["cancelled", "SIGKILL"]);
  });

  test("of an array: what is over stays, what runs is stopped, what waits never runs", async () => {
    const own = new Notes(cluster, "array");
    const line = `note $CLAW_TASK_INDEX; if [ $CLAW_TASK_INDEX -lt 2 ]; then exit 0; fi; exec sleep 600`;
    const { number } = await cluster.submit(own.task(line, CPU), { count: 50 });
    await own.written(4);
    await until(async () => (await cluster.show(number)).counts?.completed === 2, "two that are over");
    const answer = await cancel(number);
    expect(answer.finished).toBe(2);
    expect(answer.cancelled + answer.stopping).toBe(48);
    const { counts, status } = await cluster.finished(number);
    expect([status, counts?.completed, counts?.cancelled, counts?.pending]).toEqual(["cancelled", 2, 48, 0]);
    expect(own.lines).toHaveLength(4);
    expect((await cluster.show(number, 0)).status).toBe("completed");
  });

  test("of some members leaves the others alone", async () => {
    const wanted = notes.task("true", { needs: { tags: ["nowhere"] } });
    const { number } = await cluster.submit(wanted, { count: 10 });
    expect(await cancel(number, 2, 5)).toMatchObject({ cancelled: 3 });
    expect((await cluster.show(number)).counts).toMatchObject({ pending: 7, cancelled: 3 });
    expect((await cluster.show(number, 4)).status).toBe("cancelled");
    expect((await cluster.show(number, 5)).status).toBe("pending");
    expect(await cancel(number)).toMatchObject({ cancelled: 7, finished: 3 });
  });

  test("of what waits only leaves alone what runs", async () => {
    const own = new Notes(cluster, "some");
    const [one, two] = [await cluster.submit(own.held("one", CPU)), await cluster.submit(own.held("two", CPU))];
    await own.written(2);
    const { number: waits } = await cluster.submit(own.task("note waits", CPU));
    for (const { number } of [one, two]) {
      expect(await cancel(number, 0, undefined, true)).toMatchObject({ cancelled: 0, stopping: 0, finished: 0 });
    }
    expect(await cancel(waits, 0, undefined, true)).toMatchObject({ cancelled: 1 });
    await own.release("one");
    await own.release("two");
    expect((await cluster.finished(one.number)).status).toBe("completed");
    expect((await cluster.finished(two.number)).status).toBe("completed");
    expect(own.lines.sort()).toEqual(["one", "two"]);
  });

  test("of an open array closes it", async () => {
    const { number } = await cluster.submit({ argv: ["true {}"], needs: { executor: "shell" } }, { open: true });
    await cancel(number);
    expect(await cluster.finished(number)).toMatchObject({ open: false });
  });

  test("of a submission that never was is refused", async () => {
    expect(await rejection(cancel(999_999))).toMatchObject({ code: "not_found", field: "targets" });
  });
});

test("a task that runs over its time is ended, and the others are not", async () => {
  const late = await cluster.submit({ argv: ["sleep", "600"], timeout_ms: 150 });
  const good = await cluster.submit({ argv: ["sleep", "0.05"], timeout_ms: 10_000 });
  const task = await cluster.finished(late.number);
  expect([task.status, task.outcome?.reason]).toEqual(["timeout", "timeout"]);
  expect((task.finished_at ?? 0) - (task.started_at ?? 0)).toBeGreaterThanOrEqual(150);
  expect((await cluster.finished(good.number)).status).toBe("completed");
  expect(sleeping()).toEqual([]);
});
