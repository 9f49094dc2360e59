// The newest batches in memory: how many there may be, and that a list of events made of them is the one that the log gives.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Outcome } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import type { QueryRequest } from "../../src/communication/queries.ts";
import { EventFeed, type Names } from "../../src/coordinator/feed.ts";
import { RecentBatches } from "../../src/coordinator/recent.ts";
import type { Event } from "../../src/core/event.ts";
import { Chance } from "../sim/chance.ts";
import { AT, WrittenLog } from "./written-log.ts";

const SEEDS = 20;
const outcome: Outcome = { status: "failed", reason: "exit", exit_code: 3, started_at: AT, ended_at: AT };

/** Arrays have even numbers; of some nobody knows the ids any more. */
const names: Names = {
  idsOf(number) {
    if (number % 5 === 0) return undefined;
    return number % 2 === 0 ? { ids: [number], array: true } : { ids: [1, 2, 3, 4, 5, 6, 7, 8], array: false };
  },
  nodeName: (id) => (id === "n1" ? "one" : undefined),
};

function someEvent(chance: Chance): Event {
  const number = chance.below(8);
  const from = chance.below(4);
  const to = from + 1 + chance.below(4);
  const node = `n${chance.below(3)}`;
  const results = [{ task: [number, from, 1] as [number, number, number], outcome }];
  const reason = "x".repeat(chance.below(10) === 0 ? LIMITS.answer_bytes / 3 : 5);
  const made: Event[] = [
    { t: "node", node, status: "offline", reason, at: AT },
    { t: "assigned", node, runs: [[number, from, to, 1]], at: AT },
    { t: "ended", node, results },
    { t: "retried", node, results: [{ ...results[0]!, not_before: AT, failures: 1 }], at: AT },
    { t: "due", runs: [[number, from, to]], at: AT },
    { t: "dropped", number, from, to, outcome },
    { t: "closed", number, at: AT },
    {
      t: "pruned",
      numbers: [number, number + 1],
      counts: { completed: 1, failed: 2, cancelled: 0, timeout: 0 },
      at: AT,
    },
    { t: "term", epoch: 1, leader: "me", at: AT },
  ];
  return made[chance.below(made.length)]!;
}

function someLog(chance: Chance): WrittenLog {
  const batches = Array.from({ length: 2 + chance.below(60) }, () =>
    Array.from({ length: chance.below(5) }, () => someEvent(chance)),
  );
  return new WrittenLog(batches, 1 + chance.below(100));
}

/** Any place, filter and size, inside the log and beside it. */
function someQuery(chance: Chance, log: WrittenLog): QueryRequest<"event.list"> {
  const sequence = Math.max(0, log.last + 3 - chance.below(70));
  const places = [
    {},
    { tail: 1 + chance.below(30) },
    { after: `${sequence}` },
    { after: `${sequence}.${chance.below(4)}` },
  ];
  const filters = [
    {},
    { types: ["task"] },
    { types: ["node", "task.failed"] },
    { node: "n1" },
    { number: 2 },
    { number: 1, index: 2 },
  ];
  return {
    limit: 1 + chance.below(chance.below(2) === 0 ? 3 : 100),
    wait_ms: 0,
    ...places[chance.below(places.length)],
    ...filters[chance.below(filters.length)],
  };
}

/** A feed that was told of so many batches, the newest. */
function told(log: WrittenLog, count: number): EventFeed {
  const feed = new EventFeed(log, names, systemRuntime);
  for (let at = Math.max(log.begin, log.last - count + 1); at <= log.last; at++) feed.committed(log.entry(at));
  return feed;
}

const answered = (feed: EventFeed, query: QueryRequest<"event.list">) =>
  feed.list(query).catch((error: unknown) => ({ error: String(error) }));

describe("a list out of memory", () => {
  test("is the one that the log gives, for any place, filter and size", async () => {
    let out_of_memory = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const chance = new Chance(seed);
      const log = someLog(chance);
      const cold = new EventFeed(log, names, systemRuntime);
      const warm = told(log, 1 + chance.below(30));
      for (let left = 100; left > 0; left--) {
        const query = someQuery(chance, log);
        const before = log.extents;
        const from_memory = await answered(warm, query);
        out_of_memory += log.extents === before ? 1 : 0;
        expect([seed, query, from_memory]).toEqual([seed, query, await answered(cold, query)]);
      }
    }
    expect(out_of_memory).toBeGreaterThan(SEEDS * 20);
  });

  test("goes on page by page through log and memory, nothing twice and nothing left out", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const chance = new Chance(seed);
      const log = someLog(chance);
      const whole = await new EventFeed(log, names, systemRuntime).list({ limit: 10_000, wait_ms: 0, tail: 10_000 });
      const feed = told(log, 1 + chance.below(30));
      const ids: string[] = [];
      let after = String(log.begin - 1);
      for (let more = true; more; ) {
        const page = await feed.list({ limit: 1 + chance.below(5), wait_ms: 0, after });
        ids.push(...page.events.map(({ id }) => id));
        ({ cursor: after, more } = page);
      }
      expect([seed, ids.slice(-whole.events.length)]).toEqual([seed, whole.events.map(({ id }) => id)]);
      expect(new Set(ids).size).toBe(ids.length);
    }
  });

  test("asks nothing of the log, however many want it", async () => {
    const log = new WrittenLog(Array.from({ length: 40 }, () => [someEvent(new Chance(1))]));
    const feed = told(log, 30);
    for (const query of [{}, { tail: 5 }, { after: "10" }, { after: "39.0" }, { after: "40" }]) {
      await Promise.all(Array.from({ length: 50 }, () => feed.list({ limit: 10, wait_ms: 0, ...query })));
    }
    expect([log.extents, log.reads]).toEqual([0, 0]);
    await feed.list({ limit: 10, wait_ms: 0, after: "9" });
    expect([log.extents, log.reads]).toEqual([1, 1]);
  });

  test("leaves to the log what its leader has not heard of yet", async () => {
    const log = new WrittenLog([1, 2, 3].map(() => [{ t: "term", epoch: 1, leader: "me", at: AT } as const]));
    const feed = new EventFeed(log, names, systemRuntime);
    feed.committed(log.entry(1));
    for (const after of ["2", "2.0"]) {
      expect((await feed.list({ limit: 10, wait_ms: 0, after })).events.map(({ id }) => id)).toEqual(["3.0"]);
    }
  });
});

describe("the newest batches", () => {
  const entry = (sequence: number, bytes = 10) => ({ sequence, payload: new Uint8Array(bytes) });

  test("are so many", () => {
    const recent = new RecentBatches();
    expect([recent.extent, recent.from(1)]).toEqual([undefined, []]);
    for (let at = 1; at <= LIMITS.recent_batches + 7; at++) recent.add(entry(at));
    expect(recent.extent).toEqual({ first: 8, last: LIMITS.recent_batches + 7 });
    expect(recent.from(8)).toHaveLength(LIMITS.recent_batches);
    expect(recent.from(LIMITS.recent_batches + 8)).toEqual([]);
  });

  test("are so many bytes", () => {
    const recent = new RecentBatches();
    for (let at = 1; at <= 30; at++) recent.add(entry(at, LIMITS.recent_bytes / 10));
    expect(recent.extent).toEqual({ first: 21, last: 30 });
    recent.add(entry(31, LIMITS.batch_bytes));
    expect(recent.extent).toEqual({ first: 24, last: 31 });
  });

  test("begin anew where one does not follow the one before it", () => {
    const recent = new RecentBatches();
    for (const sequence of [1, 2, 3, 7, 8]) recent.add(entry(sequence));
    expect(recent.extent).toEqual({ first: 7, last: 8 });
  });
});
