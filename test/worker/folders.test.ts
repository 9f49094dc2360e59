import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { TaskFolderPool } from "../../src/worker/folders.ts";
import { specification } from "./attempt.ts";

let root: string;
let tasks: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "claw-folders-"));
  tasks = join(root, "tasks");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const plain = specification("command", ["true"]);
const from = (machine: string, folder: string) => ({ ...plain, origin: { machine, folder } });

describe("where a task runs", () => {
  test("in the caller's folder on the caller's machine, in a fresh one elsewhere or when it is gone", () => {
    const pool = new TaskFolderPool(tasks, "here");
    expect(pool.acquire(from("here", root)).folder).toBe(root);
    expect(pool.acquire(from("there", root)).folder).toStartWith(tasks);
    expect(pool.acquire(from("here", join(root, "gone"))).folder).toStartWith(tasks);
    expect(pool.acquire(plain).folder).toStartWith(tasks);
  });

  test("a demanded folder or none; a script always in a fresh one; TMPDIR always its own", () => {
    const pool = new TaskFolderPool(tasks, "here");
    const demands = (folder: string) => ({ ...from("here", "/"), needs: { ...plain.needs, folder } });
    const first = pool.acquire(demands(root));
    const second = pool.acquire(demands(root));
    expect(first.folder).toBe(root);
    expect(first.tmp).not.toBe(second.tmp);
    expect(() => pool.acquire(demands(join(root, "gone")))).toThrow(ClawError);
    expect(() => pool.acquire(demands("relative"))).toThrow(/absolute/);
    const script = { ...from("here", root), needs: { ...plain.needs, executor: "script" as const, folder: root } };
    expect(pool.acquire(script).folder).toStartWith(tasks);
  });
});

describe("what becomes of them", () => {
  test("empty ones are used again, never two at a time; touched ones are removed", () => {
    const pool = new TaskFolderPool(tasks, "here");
    const first = pool.acquire(plain);
    expect(pool.acquire(plain).folder).not.toBe(first.folder);
    first.release();
    const again = pool.acquire(plain);
    expect(again.folder).toBe(first.folder);
    writeFileSync(join(again.folder, "x"), "");
    again.release();
    expect(existsSync(again.folder)).toBe(false);
    const other = pool.acquire(plain);
    chmodSync(other.tmp, 0o777);
    other.release();
    expect(existsSync(other.tmp)).toBe(false);
    const gone = pool.acquire(plain);
    rmSync(gone.folder, { recursive: true });
    gone.release();
    expect(existsSync(gone.tmp)).toBe(false);
  });

  test("links are removed and not followed", () => {
    const outside = join(root, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "precious"), "");
    const pool = new TaskFolderPool(tasks, "here");
    const folders = pool.acquire(plain);
    symlinkSync(outside, join(folders.folder, "link"));
    mkdirSync(join(folders.tmp, "locked"));
    writeFileSync(join(folders.tmp, "locked", "x"), "");
    chmodSync(join(folders.tmp, "locked"), 0o500);
    folders.release();
    expect(existsSync(folders.folder)).toBe(false);
    expect(readdirSync(outside)).toEqual(["precious"]);
  });

  test("leftovers of earlier lives go at start, and nothing else", () => {
    new TaskFolderPool(tasks, "here").acquire(plain);
    writeFileSync(join(tasks, "not-ours"), "");
    expect(readdirSync(tasks)).toHaveLength(2);
    new TaskFolderPool(tasks, "here");
    expect(readdirSync(tasks)).toEqual(["not-ours"]);
  });

  test("when none can be made it says so", () => {
    const pool = new TaskFolderPool(tasks, "here");
    rmSync(tasks, { recursive: true });
    expect(() => pool.acquire(plain)).toThrow(/cannot make a folder/);
  });
});
