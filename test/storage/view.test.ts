// The view: the same rows whatever batches its transactions are made of, the applied sequence in the same transaction,
// and a state that can be made from it at any moment.

import { afterEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { isOver } from "../../src/core/state.ts";
import { Queries } from "../../src/storage/queries.ts";
import { restoreState } from "../../src/storage/restore.ts";
import { View } from "../../src/storage/view.ts";
import { AT, specificationOf } from "../core/cluster.ts";
import { forSeeds } from "../core/seeds.ts";
import { canonical } from "../sim/canonical.ts";
import { Fold, fittingEvent, projection, temporaryFolders } from "./fold.ts";

const folders = temporaryFolders();
const views: View[] = [];

function open(path = ":memory:"): View {
  const view = new View(path);
  views.push(view);
  return view;
}

function thrown(action: () => unknown): unknown {
  try {
    return new Error(`it was taken: ${String(action())}`);
  } catch (error) {
    return error;
  }
}

afterEach(() => {
  for (const view of views.splice(0)) view.close();
  folders.remove();
});

describe("whatever is folded", () => {
  test("the rows are the same whatever was flushed together, and a state made from them goes on as the first would", () => {
    forSeeds(25, (chance) => {
      const first = new Fold();
      const [each, seldom] = [open(), open()];
      // The second one forgets everything now and then, and begins anew from its view.
      const second = new Fold();
      const restarting = open();
      first.found(each, seldom);
      second.found(restarting);
      let restarts = 0;
      for (let batch = 0; batch < 80; batch++) {
        const events = first.batch([each, seldom], chance.between(1, 4), () => fittingEvent(chance, first));
        second.commit([restarting], ...events);
        each.flush();
        if (chance.once(6)) seldom.flush();
        if (!chance.once(10)) continue;
        restarting.flush();
        second.state = restoreState(restarting);
        expect(projection(second.state)).toBe(projection(first.state));
        expect(second.state.rows.hash(second.state)).toBe(first.fold.state);
        for (const [number, submission] of first.state.submissions) if (isOver(submission)) first.state.retire(number);
        restarts += 1;
      }
      seldom.flush();
      restarting.flush();
      expect(restarts).toBeGreaterThan(0);
      expect(canonical(seldom)).toBe(canonical(each));
      expect(canonical(restarting)).toBe(canonical(each));
      for (const view of views.splice(0)) view.close();
    });
  });

  test("stands in the file with its sequence after a restart; what was not flushed is not there, and the witness says so", () => {
    const path = join(folders.make(), "view.sqlite");
    const fold = new Fold();
    const view = open(path);
    expect(view.witness()).toEqual({ stream_created: "", sequence: 0, hash: "" });
    fold.found(view);
    const flushed = fold.commit([view], fold.array());
    view.flush();
    const before = canonical(view);
    fold.commit([view], fold.array());
    expect([view.flushed, view.queued]).toEqual([2, 1]);
    views.pop()!.close();
    const again = open(path);
    expect([again.witness(), again.flushed, again.queued]).toEqual([flushed, 2, 0]);
    expect(canonical(again)).toBe(before);
  });

  test("is made again from nothing when the file was deleted", () => {
    const path = join(folders.make(), "view.sqlite");
    const fold = new Fold();
    const [view, other] = [open(path), open()];
    fold.found(view, other);
    fold.commit([view, other], fold.array({ inputs: ["a", "b", "c"] }));
    view.flush();
    other.flush();
    view.close();
    views.splice(views.indexOf(view), 1);
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
    const fresh = open(path);
    expect(projection(restoreState(fresh))).toBe(projection(new Fold().state));
    const replay = new Fold();
    replay.found(fresh);
    replay.commit([fresh], replay.array({ inputs: ["a", "b", "c"] }));
    fresh.flush();
    expect(canonical(fresh)).toBe(canonical(other));
  });
});

describe("one transaction", () => {
  test("has everything or nothing: no row and no sequence of a flush that failed", () => {
    const fold = new Fold();
    const view = open();
    fold.found(view);
    view.flush();
    const before = canonical(view);
    fold.commit([view], fold.array({ ids: [7] }));
    // No leader makes an id twice: such a log is a bug, and the file has nothing of it.
    fold.commit([view], fold.array({ ids: [7] }));
    expect((thrown(() => view.flush()) as Error).message).toContain("UNIQUE");
    expect(thrown(() => view.flush())).not.toBeInstanceOf(ClawError);
    expect(canonical(view)).toBe(before);
    expect(view.flushed).toBe(1);
  });

  test("that finds no room says so, and the next one writes what waited", () => {
    const path = join(folders.make(), "view.sqlite");
    const fold = new Fold();
    const view = open(path);
    fold.found(view);
    view.flush();
    const { pages } = view.database
      .query<{ pages: number }, []>("SELECT page_count AS pages FROM pragma_page_count")
      .get()!;
    view.database.run(`PRAGMA max_page_count = ${pages + 2}`);
    fold.commit([view], fold.array({ spec: specificationOf({ argv: ["x".repeat(100_000)] }) }));
    const full = thrown(() => view.flush());
    expect(full).toMatchObject({ code: "disk_full" });
    expect((full as ClawError).message).toContain(path);
    expect([view.flushed, view.queued, view.witness().sequence]).toEqual([1, 1, 1]);
    view.database.run("PRAGMA max_page_count = 100000");
    view.flush();
    expect([view.flushed, view.witness().sequence]).toEqual([2, 2]);
    expect(new Queries(view).submission(1)?.specification.argv[0]).toHaveLength(100_000);
  });

  test("that another process keeps away says so", () => {
    const path = join(folders.make(), "view.sqlite");
    const fold = new Fold();
    const [view, other] = [open(path), open(path)];
    fold.found(view);
    other.database.run("BEGIN IMMEDIATE");
    view.database.run("PRAGMA busy_timeout = 0");
    expect(thrown(() => view.flush())).toMatchObject({ code: "io", message: `another process uses ${path}` });
    other.database.run("ROLLBACK");
    view.flush();
    expect(view.flushed).toBe(1);
  });
});

describe("what an assignment needs", () => {
  test("is there before the flush and after it", () => {
    const fold = new Fold();
    const view = open();
    fold.found(view);
    const spec = specificationOf({ argv: ["first"] });
    fold.commit([view], fold.array({ spec, inputs: ["a", "b", "c"], open: true }));
    const look = (): void => {
      expect(view.specification(1)).toEqual(spec);
      expect(view.inputs(1, 0, 3)).toEqual(["a", "b", "c"]);
      expect(view.inputs(1, 1, 2)).toEqual(["b"]);
    };
    look();
    view.flush();
    look();
    expect(open().inputs(1, 0, 1)).toBeUndefined();
    expect(() => view.specification(2)).toThrow("not in the view");
  });

  test("comes out of many extensions, in the file and on their way to it", () => {
    const fold = new Fold();
    const view = open();
    fold.found(view);
    fold.commit([view], fold.array({ count: 0, open: true }));
    const all = Array.from({ length: 60 }, (_, at) => `line ${at}`);
    for (let at = 0; at < 60; at += 3) {
      fold.commit([view], { t: "extended", number: 1, offset: at, inputs: all.slice(at, at + 3), at: AT });
      if (at === 30) view.flush();
    }
    for (const [from, to] of [
      [0, 60],
      [0, 1],
      [2, 4],
      [29, 37],
      [33, 34],
      [59, 60],
      [5, 5 + 40],
    ] as const) {
      expect(view.inputs(1, from, to)).toEqual(all.slice(from, to));
    }
    view.flush();
    for (let from = 0; from < 60; from++) expect(view.inputs(1, from, from + 1)).toEqual([all[from]!]);
    expect(view.inputs(1, 7, 53)).toEqual(all.slice(7, 53));
    expect(() => view.inputs(1, 58, 61)).toThrow("2 of 3");
    fold.commit([view], fold.array({ count: 5 }));
    expect(view.inputs(2, 0, 5)).toBeUndefined();
  });

  test("is kept in memory for the newest only, and read from the file for the others", () => {
    const fold = new Fold();
    const view = open();
    fold.found(view);
    const events = LIMITS.recent_specifications + 10;
    for (let at = 0; at < events; at++) {
      fold.commit([view], fold.array({ ids: [at + 1], count: 1, spec: specificationOf({ argv: [`${at}`] }) }));
    }
    view.flush();
    view.database.run("UPDATE submissions SET specification = '{}'");
    expect(view.specification(1)).toEqual({} as never);
    expect(view.specification(10)).toEqual({} as never);
    expect(view.specification(11).argv).toEqual(["10"]);
    expect(view.specification(events).argv).toEqual([`${events - 1}`]);
  });
});

test("a state is not made from rows that contradict each other", () => {
  const fold = new Fold();
  const view = open();
  fold.found(view);
  fold.commit([view], fold.array());
  fold.commit([view], { t: "assigned", node: "n1", runs: [[1, 0, 2, 1]], at: AT });
  view.flush();
  expect(restoreState(view).nodes.get("n1")?.held.count).toBe(2);
  view.database.run("DELETE FROM nodes");
  expect(() => restoreState(view)).toThrow("unknown node n1");
});

test("what pruned submissions leave behind goes so many rows at a time, of one of them or of many", () => {
  const view = open();
  const fold = new Fold();
  fold.found(view);
  const numbers: number[] = [];
  for (let number = 1; number <= 41; number++) {
    numbers.push(number);
    const count = number === 1 ? 100 : 1;
    const inputs = Array.from({ length: count }, (_, at) => `${at}`);
    const submitted = fold.array({ count, inputs });
    fold.commit([view], submitted, { t: "assigned", node: "n1", runs: [[number, 0, count, 1]], at: AT });
    for (let at = 0; at < count; at++) {
      fold.commit([view], { t: "succeeded", node: "n1", runs: [[number, at, at + 1, 1, AT, AT]] });
    }
  }
  fold.commit([view], {
    ...{ t: "pruned", numbers: numbers.slice(1), at: AT },
    counts: { completed: 40, failed: 0, cancelled: 0, timeout: 0 },
  });
  view.flush();
  const rows = (): number[] =>
    ["results", "inputs", "garbage"].map(
      (table) => view.database.query<{ rows: number }, []>(`SELECT count(*) AS rows FROM ${table}`).get()?.rows ?? -1,
    );
  expect(rows()).toEqual([140, 41, 40]);
  expect(view.sweep(15)).toBe(true);
  expect(rows()).toEqual([125, 41, 40]);
  let calls = 1;
  while (view.sweep(15)) calls += 1;
  expect(rows()).toEqual([100, 1, 0]);
  // Eighty rows, and those of the last ones of fifteen at a time.
  expect(calls).toBeLessThan(12);
  fold.commit([view], {
    ...{ t: "pruned", numbers: [1], at: AT },
    counts: { completed: 100, failed: 0, cancelled: 0, timeout: 0 },
  });
  view.flush();
  expect([view.sweep(60), rows()]).toEqual([true, [40, 1, 1]]);
  expect([view.sweep(60), rows()]).toEqual([true, [0, 0, 0]]);
  expect(view.sweep(60)).toBe(false);
});
