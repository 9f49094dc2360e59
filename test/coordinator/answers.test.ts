// What may be asked about tasks: ids as people type them, lists in pages and with filters, waits that end in time.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { TaskStatus } from "../../src/common/vocabulary.ts";
import { formatTaskId } from "../../src/core/ids.ts";
import { type Cluster, openCluster, specificationOf, submission } from "../cluster.ts";
import { rejection } from "./rejection.ts";

const NOWHERE = { needs: { tags: ["nowhere"] } };
let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ workers: 0 });
});

afterAll(() => cluster.close());

const resolve = (...refs: string[]) => cluster.client.query("task.resolve", { refs });

/** A lone task with this very id. */
async function submitAs(id: number): Promise<number> {
  const { request } = submission();
  const tasks: [number, number][] = [[id, 0]];
  const command = { ...request, specifications: [specificationOf(NOWHERE)], tasks };
  return (await cluster.client.command("task.submit", command)).number;
}

describe("an id", () => {
  test("is found by any prefix that only it has, with or without its word", async () => {
    const number = await submitAs(0xab12_cd34);
    for (const ref of ["task_ab12cd34", "ab12cd34", "ab12", "task_ab"]) {
      const { refs } = await resolve(ref);
      expect(refs).toEqual([{ ref, id: "task_ab12cd34", number, index: 0, array: false }]);
    }
  });

  test("that several have names them", async () => {
    await submitAs(0xee00_0001);
    await submitAs(0xee00_0002);
    const refused = await rejection(resolve("ee0"));
    expect(refused).toMatchObject({ code: "ambiguous", field: "ee0" });
    expect(refused.message).toContain("task_ee000001, task_ee000002");
  });

  test("that nobody has, or that is none, is refused by name; one of several is enough", async () => {
    const { id } = await cluster.submit(NOWHERE);
    const good = formatTaskId(id);
    expect(await rejection(resolve(good, "00000000"))).toMatchObject({ code: "not_found", field: "00000000" });
    expect(await rejection(resolve("task_zz"))).toMatchObject({ code: "usage", field: "task_zz" });
  });

  test("of a member is within its array, and only arrays have members", async () => {
    const array = await cluster.submit(NOWHERE, { count: 3 });
    const name = formatTaskId(array.id);
    expect((await resolve(`${name}.2`)).refs[0]).toMatchObject({ number: array.number, index: 2, array: true });
    expect((await resolve(name)).refs[0]).not.toHaveProperty("index");
    expect((await rejection(resolve(`${name}.3`))).message).toContain("has 3 members");
    const lone = await cluster.submit(NOWHERE);
    expect((await rejection(resolve(`${formatTaskId(lone.id)}.0`))).message).toContain("is not an array");
    expect((await rejection(cluster.show(array.number, 3))).code).toBe("not_found");
    expect((await rejection(cluster.show(999_999))).code).toBe("not_found");
  });
});

test("an array's members are listed by how they ended, in pages, however its members are cut", async () => {
  const mixed = await openCluster({ workers: 1 });
  try {
    // Every third fails, the rest succeed.
    const argv = ["sh", "-c", "test $((CLAW_TASK_INDEX % 3)) != 1"];
    const { number } = await mixed.submit({ argv }, { count: 30 });
    await mixed.finished(number);
    const list = (statuses: TaskStatus[], limit = 1000, cursor?: string) =>
      mixed.client.query("task.list", { number, statuses, limit, ...(cursor === undefined ? {} : { cursor }) });
    const indexes = async (statuses: TaskStatus[], limit?: number, cursor?: string) =>
      (await list(statuses, limit, cursor)).tasks.map(({ index }) => index);
    const failed = Array.from({ length: 10 }, (_, at) => at * 3 + 1);
    expect(await indexes(["failed"])).toEqual(failed);
    expect((await indexes(["completed", "failed"])).length).toBe(30);
    expect(await indexes(["pending", "running", "timeout"])).toEqual([]);
    const { cursor } = await list(["failed"], 4);
    expect(await indexes(["failed"], 4, cursor)).toEqual(failed.slice(4, 8));
    expect(
      (await list(["failed"])).tasks.every(({ status, outcome }) => status === "failed" && outcome?.exit_code === 1),
    ).toBe(true);
  } finally {
    await mixed.close();
  }
});

describe("a list", () => {
  test("is in pages, newest first, each task once", async () => {
    const submitted: string[] = [];
    for (let at = 0; at < 5; at++) submitted.unshift(formatTaskId((await cluster.submit(NOWHERE)).id));
    const seen: string[] = [];
    let cursor: string | undefined;
    while (seen.length < 5) {
      const more = cursor === undefined ? {} : { cursor };
      const page = await cluster.client.query("task.list", { limit: 2, ...more });
      seen.push(...page.tasks.map(({ id }) => id));
      cursor = page.cursor;
    }
    expect(seen.slice(0, 5)).toEqual(submitted);
    expect((await rejection(cluster.client.query("task.list", { limit: 2, cursor: "x" }))).field).toBe("cursor");
  });

  test("has only what was asked for", async () => {
    const labels = { team: "blue" };
    const { number } = await cluster.submit({ ...NOWHERE, name: "wanted", labels, priority: "high" }, { count: 3 });
    await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0, to: 1 }] });
    const list = async (filter: object) => (await cluster.client.query("task.list", { limit: 10, ...filter })).tasks;
    for (const filter of [{ name: "wanted" }, { labels }, { priority: "high" }]) {
      expect((await list(filter)).map((task) => task.number)).toEqual([number]);
    }
    expect(await list({ name: "wanted", labels: { team: "red" } })).toEqual([]);
    expect(await list({ statuses: ["completed"] })).toEqual([]);
    expect((await list({ number, statuses: ["pending"] })).map(({ index }) => index)).toEqual([1, 2]);
  });
});

describe("a wait", () => {
  test("that is over before its task tells how it stands", async () => {
    const { number } = await cluster.submit(NOWHERE);
    const query = { number, until: "finished", wait_ms: 30 } as const;
    expect((await cluster.client.query("task.wait", query)).task.status).toBe("pending");
    const answer = await cluster.client.query("task.results", { number, cursor: 0, limit: 5, wait_ms: 30 });
    expect(answer).toMatchObject({ results: [], finished: false });
    expect(cluster.runtime.waiting.some((origin) => origin.includes("waiters.ts"))).toBe(false);
  });

  test("is answered when its coordinator stops", async () => {
    const { number } = await cluster.submit(NOWHERE);
    const other = await cluster.connect();
    const asked = other.query("task.wait", { number, until: "finished", wait_ms: 20_000 });
    await cluster.client.query("cluster.status", {});
    await cluster.stopCoordinator();
    await cluster.startCoordinator();
    await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
    // Asked of the first, or again of the second: it ends either way, and never with a lie.
    expect(["pending", "cancelled"]).toContain((await asked).task.status);
    await other.close();
  });
});
