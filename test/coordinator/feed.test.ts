// The feed of events over a log that the test writes: its places, its filters, and its bounds.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import { type Runtime, systemRuntime } from "../../src/common/runtime.ts";
import { newestEvents } from "../../src/communication/newest.ts";
import type { QueryRequest } from "../../src/communication/queries.ts";
import { EventFeed, type ReadableLog } from "../../src/coordinator/feed.ts";
import type { Event } from "../../src/core/event.ts";
import { AT, WrittenLog } from "./written-log.ts";

const offline: Event = { t: "node", node: "n1", status: "offline", reason: "gone", at: AT };
const assigned: Event = { t: "assigned", node: "n2", runs: [[7, 3, 9, 1]], at: AT };

function feed(log: ReadableLog, runtime: Pick<Runtime, "soon" | "monotonic_ms"> = systemRuntime): EventFeed {
  return new EventFeed(
    log,
    {
      idsOf: (number) => (number === 7 ? { ids: [0xabc], array: true } : undefined),
      nodeName: (id) => (id === "n1" ? "one" : undefined),
    },
    runtime,
  );
}

const list = (log: ReadableLog, query: Partial<QueryRequest<"event.list">>) =>
  feed(log).list({ limit: 100, wait_ms: 0, ...query });

test("an event has its place, its time, and the names of what it is about", async () => {
  const { events, cursor, more } = await list(new WrittenLog([[offline, assigned]]), { after: "0" });
  expect(events).toEqual([
    { id: "1.0", at: "2025-11-24T16:00:00.000Z", type: "node.offline", node: "n1", node_name: "one", reason: "gone" },
    expect.objectContaining({ id: "1.1", type: "task.scheduled", task: "task_00000abc", first: 3, last: 8, count: 6 }),
  ]);
  expect([cursor, more]).toEqual(["1", false]);
});

test("a filter that nothing fits reads a bounded part of the log at a time, and goes on behind it", async () => {
  const log = new WrittenLog(Array.from({ length: 600 }, () => [offline]));
  const wanted = { types: ["task"], after: "0" };
  const first = await list(log, wanted);
  expect([first.events, first.more]).toEqual([[], true]);
  expect(log.read_batches).toBe(LIMITS.feed_batches + 1);
  const second = await list(log, { ...wanted, after: first.cursor });
  const third = await list(log, { ...wanted, after: second.cursor });
  expect([second.more, third.more, third.cursor]).toEqual([true, false, "600"]);
  expect(log.read_batches).toBe(600);
});

test("the newest that a filter leaves are looked for as far back as it takes, some way in one answer", async () => {
  const many = (LIMITS.feed_parts + 3) * LIMITS.feed_batches;
  const log = new WrittenLog(Array.from({ length: many }, (_, at) => [at === 700 || at === 5 ? assigned : offline]));
  const wanted = { types: ["task"], tail: 2 };
  const first = await list(log, wanted);
  expect(first.events).toEqual([]);
  expect(log.read_batches).toBeLessThan((LIMITS.feed_parts + 1) * LIMITS.feed_batches);
  const asked: Partial<QueryRequest<"event.list">>[] = [];
  const { events, cursor, before } = await newestEvents(
    (query) => {
      asked.push(query);
      return list(log, query);
    },
    { limit: 100, wait_ms: 0, ...wanted },
  );
  expect(events.map(({ id }) => id)).toEqual(["6.0", "701.0"]);
  expect([cursor, before, asked.length]).toEqual([String(many), "6.0", 2]);
  const one = await newestEvents((query) => list(log, query), { limit: 100, wait_ms: 0, types: ["cluster"], tail: 2 });
  expect([one.events, one.before]).toEqual([[], undefined]);
});

describe("a log that is read slowly", () => {
  /** Each look at it with how long it took, when a batch takes so long. */
  async function looks(batch_ms: number, query: { types?: string[]; tail: number }) {
    let now_ms = 0;
    const log = new WrittenLog(Array.from({ length: 300 }, (_, at) => [at === 5 ? assigned : offline]));
    log.before = () => {
      now_ms += batch_ms;
    };
    const slow = feed(log, { soon: (action) => systemRuntime.soon(action), monotonic_ms: () => now_ms });
    const took: number[] = [];
    const { events } = await newestEvents(
      async (one) => {
        const since_ms = now_ms;
        const page = await slow.list(one);
        took.push(now_ms - since_ms);
        return page;
      },
      { limit: 100, wait_ms: 0, ...query },
    );
    return { ids: events.map(({ id }) => id), took };
  }

  test("one look ends after its time with a place from which the next goes on", async () => {
    for (const tail of [1, 4]) {
      const { ids, took } = await looks(30, { types: ["task"], tail });
      expect(ids).toEqual(["6.0"]);
      expect(took.length).toBeGreaterThan(5);
      expect(Math.max(...took)).toBeLessThan(1.5 * LIMITS.feed_look_ms);
    }
  });

  test("each gets on by a batch at least, however long that takes", async () => {
    const { ids, took } = await looks(3 * LIMITS.feed_look_ms, { types: ["task"], tail: 1 });
    expect([ids, took.length <= 300]).toEqual([["6.0"], true]);
  });
});

test("older ones are had page by page, in the middle of a batch, too", async () => {
  const log = new WrittenLog([[offline, offline, offline], [assigned], [], [offline, assigned, offline]]);
  const whole = (await list(log, { after: "0" })).events.map(({ id }) => id);
  for (const tail of [1, 2, 3, 7]) {
    const pages: string[] = [];
    for (let before: string | undefined = "4.9"; before !== undefined; ) {
      const page: Awaited<ReturnType<typeof list>> = await list(log, { tail, before });
      pages.unshift(...page.events.map(({ id }) => id));
      ({ before } = page);
    }
    expect(pages).toEqual(whole);
  }
  expect(await list(log, { tail: 1, before: "x" }).catch((error: unknown) => error)).toMatchObject({ field: "before" });
});

test("members are found in ranges, nodes by their ids, kinds by their beginning", async () => {
  const log = new WrittenLog([[offline, assigned]]);
  const ids = async (query: Partial<QueryRequest<"event.list">>): Promise<string[]> =>
    (await list(log, { after: "0", ...query })).events.map(({ id }) => id);
  expect(await ids({ number: 7 })).toEqual(["1.1"]);
  expect(await ids({ number: 7, index: 8 })).toEqual(["1.1"]);
  expect(await ids({ number: 7, index: 9 })).toEqual([]);
  expect(await ids({ number: 8 })).toEqual([]);
  expect(await ids({ node: "n1" })).toEqual(["1.0"]);
  expect(await ids({ types: ["node", "task.scheduled"] })).toEqual(["1.0", "1.1"]);
  expect(await ids({ types: ["task.sched"] })).toEqual([]);
});

test("what was cut off the log is said to be missed; a place that is not there yet is refused", async () => {
  const log = new WrittenLog([[offline], [assigned]], 50);
  expect(await list(log, { after: "12.3" })).toMatchObject({ missed: true, events: [{ id: "50.0" }, { id: "51.0" }] });
  expect((await list(log, { after: "49" })).missed).toBeUndefined();
  expect(await list(log, { after: "51" })).toEqual({ events: [], cursor: "51", more: false });
  expect(await list(log, { after: "52" }).catch((error) => error)).toMatchObject({ code: "bad_request" });
  expect(await list(log, {})).toEqual({ events: [], cursor: "51", more: false });
  expect((await list(log, { tail: 1 })).events).toMatchObject([{ id: "51.0" }]);
});

describe("a log that is shortened while it is read", () => {
  const batches = Array.from({ length: 10 }, () => [offline]);

  test("before the first batch: what is gone is missed", async () => {
    const log = new WrittenLog(batches);
    log.before = () => log.cut(5);
    expect(await list(log, { after: "2", limit: 2 })).toMatchObject({
      missed: true,
      events: [{ id: "5.0" }, { id: "6.0" }],
    });
    const newest = new WrittenLog(batches);
    newest.before = () => newest.cut(9);
    expect((await list(newest, { tail: 5 })).events.map(({ id }) => id)).toEqual(["9.0", "10.0"]);
  });

  test("in between: what was read is told, and then that some was missed", async () => {
    for (const types of [undefined, ["task"]]) {
      const log = new WrittenLog(batches);
      log.before = (sequence) => sequence === 4 && log.cut(7);
      const read = await list(log, { after: "1", types });
      expect([read.cursor, read.more, read.missed]).toEqual(["3", true, undefined]);
      expect(read.events.map(({ id }) => id)).toEqual(types === undefined ? ["2.0", "3.0"] : []);
      const next = await list(log, { after: read.cursor });
      expect([next.missed, next.events[0]?.id]).toEqual([true, "7.0"]);
    }
  });

  test("again and again is an error at last", async () => {
    const log = new WrittenLog(batches);
    log.before = (sequence) => log.cut(sequence + 1);
    expect(await list(log, { after: "0" }).catch((error) => error)).toMatchObject({ code: "behind" });
    expect(log.reads).toBeLessThan(10);
  });
});

test("an answer is bounded in bytes, and the next one goes on behind it", async () => {
  const long: Event = { ...offline, reason: "x".repeat(LIMITS.answer_bytes / 4) } as Event;
  const log = new WrittenLog([[long, long, long, long, long, long]]);
  const seen: string[] = [];
  let after = "0";
  for (let more = true; more; ) {
    const page = await list(log, { after });
    expect(page.events.length).toBeLessThan(5);
    seen.push(...page.events.map(({ id }) => id));
    ({ cursor: after, more } = page);
  }
  expect(seen).toEqual(["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]);
  expect((await list(log, { tail: 6 })).events.length).toBeLessThan(5);
});

test("one batch may tell of any number of tasks", async () => {
  const ids = Array.from({ length: 1_000 }, (_, at) => at + 1);
  const submitted = Array.from({ length: 1_500 }, (_, number): Event => {
    const outcome = { status: "cancelled" as const, reason: "cancelled" as const, started_at: AT, ended_at: AT };
    return { t: "dropped", number, from: 0, to: ids.length, outcome };
  });
  const names = { idsOf: () => ({ ids, array: false }), nodeName: () => undefined };
  const many = new EventFeed(new WrittenLog([submitted]), names, systemRuntime);
  const { events, cursor } = await many.list({ limit: 100, wait_ms: 0, tail: 3 });
  expect([events.map(({ id }) => id), cursor]).toEqual([["1.1499997", "1.1499998", "1.1499999"], "1"]);
}, 20_000);
