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
import { dirname, join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { FolderLooks, TaskFolderPool } from "../../src/worker/folders.ts";
import { until } from "../until.ts";
import { specification } from "./attempt.ts";

let root: string;
let tasks: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "claw-folders-"));
  tasks = join(root, "tasks");
});
// What the pool still removes by itself may come between.
afterEach(async () => {
  await until(() => {
    rmSync(root, { recursive: true, force: true, maxRetries: 3 });
    return !existsSync(root) || undefined;
  }, "the test's folder to go");
});

let left: string[] = [];
function poolOf(): TaskFolderPool {
  left = [];
  return new TaskFolderPool(tasks, "here", (path, why) => left.push(`${path}: ${why}`));
}

/** Whether a test may make a file here that cannot be removed, as a container's that belongs to root. */
function canPin(): boolean {
  const path = join(mkdtempSync(join(tmpdir(), "claw-pin-")), "x");
  writeFileSync(path, "");
  const pinned = pin(path, true);
  if (pinned) pin(path, false);
  rmSync(dirname(path), { recursive: true });
  return pinned;
}

function pin(path: string, on: boolean): boolean {
  return Bun.which("chattr") !== null && Bun.spawnSync(["chattr", on ? "+i" : "-i", path]).exitCode === 0;
}

/** Where a test may do so to everybody: as root, and in a container's own namespace. */
const can_mount = process.platform === "linux" && mayMount();

function mayMount(): boolean {
  const place = mkdtempSync(join(tmpdir(), "claw-mount-"));
  const mounted = Bun.spawnSync(["mount", "--bind", place, place], { stderr: "ignore" }).exitCode === 0;
  if (mounted) Bun.spawnSync(["umount", place]);
  rmSync(place, { recursive: true });
  return mounted;
}

/** Removing takes its time, and nobody waits for it. */
const gone = (path: string): Promise<unknown> => until(() => !existsSync(path), `${path} to go`);

const plain = specification("command", ["true"]);
const from = (machine: string, folder: string) => ({ ...plain, origin: { machine, folder } });

describe("where a task runs", () => {
  test("in the caller's folder on the caller's machine, in a fresh one elsewhere or when it is gone", () => {
    const pool = poolOf();
    expect(pool.acquire(from("here", root)).folder).toBe(root);
    expect(pool.acquire(from("there", root)).folder).toStartWith(tasks);
    expect(pool.acquire(from("here", join(root, "gone"))).folder).toStartWith(tasks);
    expect(pool.acquire(plain).folder).toStartWith(tasks);
  });

  test("a demanded folder or none; a script always in a fresh one; TMPDIR always its own", () => {
    const pool = poolOf();
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

describe("looking whether folders can be used", () => {
  test("says of each what a task would find", async () => {
    const found = new Map<string, boolean>();
    const looks = new FolderLooks(systemRuntime, (folders) => {
      for (const [path, usable] of folders) found.set(path, usable);
    });
    const [file, link, circle] = [join(root, "file"), join(root, "link"), join(root, "circle")];
    writeFileSync(file, "");
    symlinkSync(root, link);
    symlinkSync(circle, circle);
    const bad = [file, circle, join(root, "gone"), "relative", "/tmp\0x", `/${"x".repeat(300)}`];
    looks.look([root, link, ...bad]);
    await until(() => found.size === bad.length + 2, "all that was asked for");
    expect(
      [...found]
        .filter(([, usable]) => usable)
        .map(([path]) => path)
        .sort(),
    ).toEqual([root, link].sort());
  });

  test.skipIf(process.getuid?.() === 0)("may not be entered", async () => {
    const locked = join(root, "locked");
    mkdirSync(locked, { mode: 0o600 });
    const { promise, resolve } = Promise.withResolvers<[string, boolean][]>();
    new FolderLooks(systemRuntime, resolve).look([locked]);
    expect(await promise).toEqual([[locked, false]]);
    const needs = { ...plain.needs, folder: locked };
    expect(() => poolOf().acquire({ ...plain, needs })).toThrow(/cannot be used on this node/);
  });

  /** Looks of which those below /net never answer, unless they are told to, and time that passes when it is told to. */
  function looksOf(mounts = "") {
    const found: (readonly [string, boolean])[] = [];
    const parts: number[] = [];
    const begun: string[] = [];
    const away = new Map<string, (usable: boolean) => void>();
    const timers = new Set<() => void>();
    const runtime = {
      ...systemRuntime,
      after: (_: number, action: () => void) => {
        timers.add(action);
        return { cancel: () => void timers.delete(action) };
      },
    };
    const told = (folders: [string, boolean][]): void => {
      found.push(...folders);
      parts.push(folders.length);
    };
    const usable = (path: string): Promise<boolean> => {
      begun.push(path);
      if (!path.startsWith("/net/")) return Promise.resolve(true);
      return new Promise((resolve) => away.set(path, resolve));
    };
    const looks = new FolderLooks(runtime, told, usable, () => mounts);
    const pass = (): void => {
      for (const action of [...timers]) if (timers.delete(action)) action();
    };
    return { looks, found, parts, begun, away, timers, pass };
  }
  const some = (where: string, count: number): string[] => Array.from({ length: count }, (_, at) => `/${where}/${at}`);

  test("what never answers holds nothing up, is looked at once, and is said to be none in the end", async () => {
    const { looks, found, parts, begun, away, pass, timers } = looksOf();
    const here = some("here", LIMITS.look_folders + 1);
    looks.look(["/net/away", "/net/away", ...here]);
    await until(() => found.length === here.length, "the others");
    expect(begun.filter((path) => path === "/net/away")).toHaveLength(1);
    pass();
    looks.look(["/net/away"]);
    await until(() => found.length === here.length + 2, "word of the one that is away");
    expect(found.slice(-2)).toEqual(Array(2).fill(["/net/away", false]));
    expect(begun.filter((path) => path === "/net/away")).toHaveLength(1);
    expect(Math.max(...parts)).toBeLessThanOrEqual(LIMITS.look_folders);
    // It is back.
    away.get("/net/away")!(true);
    await until(() => {
      looks.look(["/net/away"]);
      return begun.filter((path) => path === "/net/away").length === 2;
    }, "another look");
    away.get("/net/away")!(true);
    await until(() => found.at(-1)![1], "that it can be used");
    expect(timers.size).toBe(0);
  });

  test("a few are looked at at a time, and of what never answers there is an end", async () => {
    const { looks, found, begun, away, pass } = looksOf();
    looks.look(some("net", LIMITS.looks_waiting + 5));
    expect(begun).toHaveLength(LIMITS.looks_at_once);
    for (let turn = 0; turn < LIMITS.looks_stuck; turn++) pass();
    expect(begun).toHaveLength(LIMITS.looks_stuck);
    await until(() => found.length === LIMITS.looks_stuck, "word of them");
    looks.look(["/here/0"]);
    expect(begun).not.toContain("/here/0");
    await until(() => {
      for (const answer of away.values()) answer(false);
      return begun.includes("/here/0");
    }, "the turn of the one that came last");
    expect(begun).toHaveLength(LIMITS.looks_waiting + 1);
  });

  test("where something is mounted that is away, a few look in vain for all: the others are looked at", async () => {
    const mounts = "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /net rw - nfs4 y rw\n";
    const { looks, found, begun, pass } = looksOf(mounts);
    const dead = some("net", LIMITS.looks_stuck * 2);
    looks.look([...dead, "/here/0"]);
    pass();
    await until(() => found.length === dead.length + 1, "word of all");
    expect(found.filter(([, there]) => there)).toEqual([["/here/0", true]]);
    expect(begun).toHaveLength(LIMITS.looks_at_once + 1);
  });

  test("one message takes so many, and the next ones the rest", async () => {
    const { looks, found, parts, away, pass } = looksOf();
    const stuck = some("net", LIMITS.looks_at_once);
    looks.look(stuck);
    pass();
    const times = Math.ceil((LIMITS.look_folders + 1) / stuck.length);
    await until(() => found.length === stuck.length, "word of them");
    for (let turn = 0; turn < times; turn++) looks.look(stuck);
    await until(() => found.length === stuck.length * (times + 1), "word of all");
    expect(parts.slice(1)).toEqual([LIMITS.look_folders, stuck.length * times - LIMITS.look_folders]);
    expect(away.size).toBe(stuck.length);
  });
});

describe("what becomes of them", () => {
  test("empty ones are used again, never two at a time; touched ones are removed", async () => {
    const pool = poolOf();
    const first = pool.acquire(plain);
    expect(pool.acquire(plain).folder).not.toBe(first.folder);
    first.release();
    const again = pool.acquire(plain);
    expect(again.folder).toBe(first.folder);
    writeFileSync(join(again.folder, "x"), "");
    again.release();
    await gone(again.folder);
    const other = pool.acquire(plain);
    chmodSync(other.tmp, 0o777);
    other.release();
    await gone(other.tmp);
    const lost = pool.acquire(plain);
    rmSync(lost.folder, { recursive: true });
    lost.release();
    await gone(lost.tmp);
  });

  test("links are removed and not followed", async () => {
    const outside = join(root, "outside");
    mkdirSync(outside);
    writeFileSync(join(outside, "precious"), "");
    const pool = poolOf();
    const folders = pool.acquire(plain);
    symlinkSync(outside, join(folders.folder, "link"));
    mkdirSync(join(folders.tmp, "locked"));
    writeFileSync(join(folders.tmp, "locked", "x"), "");
    chmodSync(join(folders.tmp, "locked"), 0o500);
    folders.release();
    await gone(folders.folder);
    expect(readdirSync(outside)).toEqual(["precious"]);
  });

  test("what is mounted in one is not emptied, at the next start neither: the folder stays and is told", async () => {
    let mounted = "";
    const told: string[] = [];
    const open = (): TaskFolderPool =>
      new TaskFolderPool(
        tasks,
        "here",
        (_, why) => told.push(why),
        () => `29 23 0:25 / /proc rw - proc proc rw\n${mounted}`,
      );
    const pool = open();
    const folders = pool.acquire(plain);
    const precious = join(folders.folder, "a b", "precious");
    mkdirSync(precious, { recursive: true });
    mounted = `30 23 8:1 /data ${precious.replace(" ", "\\040")} rw shared:1 - ext4 /dev/sda1 rw\n`;
    folders.release();
    await until(() => told.length === 1, "word of it");
    expect(open().acquire(plain).tmp).not.toBe(folders.tmp);
    expect(told).toEqual(Array(2).fill(`something is mounted at ${precious}: unmount it`));
    expect(existsSync(precious)).toBe(true);
    const beside = pool.acquire(plain);
    writeFileSync(join(beside.folder, "x"), "");
    beside.release();
    await gone(beside.tmp);
    mounted = "";
    open();
    expect(readdirSync(tasks)).toEqual([]);
  });

  test.skipIf(!can_mount)("a mount that a task left is left alone", async () => {
    const { folder, release } = poolOf().acquire(plain);
    const outside = join(root, "outside");
    const inside = join(folder, "inside");
    for (const path of [outside, inside]) mkdirSync(path);
    writeFileSync(join(outside, "precious"), "");
    expect(Bun.spawnSync(["mount", "--bind", outside, inside]).exitCode).toBe(0);
    try {
      release();
      await until(() => left.length === 1, "word of it");
      expect(readdirSync(outside)).toEqual(["precious"]);
    } finally {
      expect(Bun.spawnSync(["umount", inside]).exitCode).toBe(0);
    }
  });

  test("leftovers of earlier lives go at start, and nothing else", () => {
    poolOf().acquire(plain);
    writeFileSync(join(tasks, "not-ours"), "");
    expect(readdirSync(tasks)).toHaveLength(2);
    poolOf();
    expect(readdirSync(tasks)).toEqual(["not-ours"]);
  });

  test("a folder that cannot even be looked at is refused in words, and nobody's own is used instead", () => {
    const pool = poolOf();
    const circle = join(root, "circle");
    symlinkSync(circle, circle);
    for (const path of [`/${"x".repeat(300)}`, "/tmp\0x", circle]) {
      const needs = { ...plain.needs, folder: path };
      expect(() => pool.acquire({ ...plain, needs })).toThrow(/cannot be used on this node/);
      const origin = { machine: "here", folder: path };
      expect(pool.acquire({ ...plain, origin }).folder.startsWith(tasks)).toBe(true);
    }
  });

  test("when none can be made it says so", () => {
    const pool = poolOf();
    rmSync(tasks, { recursive: true });
    expect(() => pool.acquire(plain)).toThrow(/cannot make a folder/);
  });

  test("when there is no telling what is there it says so as well, and nothing that a pool does is anybody's end", () => {
    const pool = poolOf();
    const first = pool.acquire(plain);
    rmSync(tasks, { recursive: true });
    symlinkSync(tasks, tasks); // links in a circle
    const problem = (() => {
      try {
        return pool.acquire(plain);
      } catch (error) {
        return error;
      }
    })();
    expect(problem).toBeInstanceOf(ClawError);
    expect((problem as ClawError).code).toBe("io");
    first.release();
    const later = poolOf();
    expect(left).toHaveLength(1);
    expect(left[0]).toStartWith(`${tasks}: `);
    rmSync(tasks);
    mkdirSync(tasks);
    expect(existsSync(later.acquire(plain).folder)).toBe(true);
  });

  test.skipIf(process.getuid?.() === 0)("a task that locks us out of the folder of all is undone", async () => {
    const pool = poolOf();
    const [first, second] = [pool.acquire(plain), pool.acquire(plain)];
    const third = pool.acquire(plain);
    second.release(); // empty: the next one's
    writeFileSync(join(third.folder, "x"), "");
    for (const mode of [0o000, 0o300, 0o500]) {
      chmodSync(tasks, mode);
      const folders = pool.acquire(plain);
      expect(readdirSync(folders.folder)).toEqual([]);
      folders.release();
    }
    chmodSync(tasks, 0o000);
    third.release();
    await gone(third.folder);
    first.release();
    expect(left).toEqual([]);
    chmodSync(tasks, 0o000);
    const again = poolOf();
    expect([readdirSync(tasks), left]).toEqual([[], []]);
    expect(existsSync(again.acquire(plain).folder)).toBe(true);
  });

  test.skipIf(!canPin())(
    "what cannot be removed stays, is told, and is in nobody's way, at the next start neither",
    async () => {
      const pool = poolOf();
      const first = pool.acquire(plain);
      const file = join(first.tmp, "x");
      writeFileSync(file, "");
      pin(file, true);
      try {
        first.release();
        await until(() => left.length === 1, "word of it");
        expect(left[0]).toStartWith(`${dirname(first.tmp)}: `);
        const second = poolOf();
        expect(left).toHaveLength(1);
        const folders = [pool.acquire(plain), second.acquire(plain)];
        for (const { folder } of folders) expect(readdirSync(folder)).toEqual([]);
        expect(new Set([first, ...folders].map(({ tmp }) => tmp)).size).toBe(3);
      } finally {
        pin(file, false);
      }
    },
  );
});
