// Which earlier lives a worker may call over: those of its own folder, and nobody else's.

import { afterAll, expect, test } from "bun:test";
import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../../src/common/limits.ts";
import { noteLife, placeOf } from "../../src/worker/lives.ts";

const folder = mkdtempSync(join(tmpdir(), "claw-lives-"));
afterAll(() => rmSync(folder, { recursive: true }));

const notes = (): Map<string, string> => new Map();

test("the first life has none before it, and each one those before, the latest first and not without end", () => {
  const kept = notes();
  expect(noteLife(kept, "here", "a")).toEqual([]);
  expect(noteLife(kept, "here", "b")).toEqual(["a"]);
  expect(noteLife(kept, "here", "c")).toEqual(["b", "a"]);
  for (let life = 0; life < 20; life++) noteLife(kept, "here", `life ${life}`);
  const earlier = noteLife(kept, "here", "last");
  expect(earlier).toHaveLength(LIMITS.earlier_lives);
  expect(earlier[0]).toBe("life 19");
});

test("what was noted in another place says nothing here", () => {
  const kept = notes();
  noteLife(kept, "here", "a");
  expect(noteLife(kept, "there", "b")).toEqual([]);
  expect(noteLife(kept, "here", "c")).toEqual([]);
});

test("a place is a file on a machine since it was booted: a copy is another one, the same file by another name is not", () => {
  const [file, copy, moved] = ["outbox", "copy", "moved"].map((name) => join(folder, name)) as [string, string, string];
  writeFileSync(file, "");
  cpSync(file, copy);
  const place = placeOf(file);
  expect(placeOf(copy)).not.toBe(place);
  renameSync(file, moved);
  expect(placeOf(moved)).toBe(place);
  const texts = (boot: string) => (path: string) => (path.endsWith("boot_id") ? boot : "machine");
  expect(placeOf(moved, texts("one"))).not.toBe(placeOf(moved, texts("two")));
});
