// The outbox: what was reported stays until somebody says that it is in the log, over every restart.

import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Outbox } from "../../src/storage/outbox.ts";
import { temporaryFolders } from "./fold.ts";

const folders = temporaryFolders();
const open_ones: Outbox[] = [];

function open(path: string): Outbox {
  const outbox = new Outbox(path);
  open_ones.push(outbox);
  return outbox;
}

afterEach(() => {
  for (const outbox of open_ones.splice(0)) outbox.close();
  folders.remove();
});

describe("reports", () => {
  test("stay over a restart, in their order, until they are removed", () => {
    const path = join(folders.make(), "outbox.sqlite");
    const first = open(path);
    const rows = [first.add("task.complete", "1"), first.add("task.fail", "2"), first.add("task.complete", "3")];
    expect(rows.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    open_ones.pop()!.close();
    const second = open(path);
    expect(second.all()).toEqual(rows);
    second.remove([2, 99]);
    second.remove([]);
    open_ones.pop()!.close();
    expect(open(path).all()).toEqual([rows[0]!, rows[2]!]);
  });

  test("never get the number of an earlier one: an acknowledgement that comes late would remove a stranger", () => {
    const path = join(folders.make(), "outbox.sqlite");
    const first = open(path);
    const { seq } = first.add("task.complete", "a");
    first.remove([seq]);
    open_ones.pop()!.close();
    const second = open(path);
    expect(second.all()).toEqual([]);
    expect(second.add("task.complete", "b").seq).toBeGreaterThan(seq);
  });

  test("keep whatever bytes they have", () => {
    const path = join(folders.make(), "outbox.sqlite");
    const body = JSON.stringify({ text: `ü\u0000'"\n${"x".repeat(300_000)}` });
    open(path).add("task.fail", body);
    open_ones.pop()!.close();
    expect(open(path).all()).toEqual([{ seq: 1, kind: "task.fail", body }]);
  });
});

test("what it remembers beside them can be changed", () => {
  const path = join(folders.make(), "outbox.sqlite");
  const first = open(path);
  expect(first.get("cluster_id")).toBeUndefined();
  first.set("cluster_id", "one");
  first.set("cluster_id", "two");
  open_ones.pop()!.close();
  expect(open(path).get("cluster_id")).toBe("two");
});
