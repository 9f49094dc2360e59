// Files that cannot be used: each says which, why, and what to do; none is overwritten.

import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { Outbox } from "../../src/storage/outbox.ts";
import { Queries } from "../../src/storage/queries.ts";
import { restoreState } from "../../src/storage/restore.ts";
import { View } from "../../src/storage/view.ts";
import { Fold, temporaryFolders } from "./fold.ts";

const folders = temporaryFolders();
afterEach(() => folders.remove());

const KINDS = [
  ["a view", (path: string) => new View(path), "rebuilt from the newest snapshot"],
  ["an outbox", (path: string) => new Outbox(path), "run again"],
] as const;

function refusal(action: () => unknown): ClawError {
  try {
    action();
  } catch (error) {
    if (error instanceof ClawError) return error;
    throw error;
  }
  throw new Error("it was taken");
}

describe.each(KINDS)("%s", (_, open, remedy) => {
  test("can be read by its owner only, also one that an earlier claw made", () => {
    const path = join(folders.make(), "x.sqlite");
    const modes = (): number[] => ["", "-wal", "-shm"].map((end) => statSync(path + end).mode & 0o777);
    const made = open(path);
    expect(modes()).toEqual([0o600, 0o600, 0o600]);
    made.close();
    chmodSync(path, 0o644);
    const again = open(path);
    expect(modes()).toEqual([0o600, 0o600, 0o600]);
    again.close();
  });

  test("that a newer claw wrote is left as it is", () => {
    const path = join(folders.make(), "x.sqlite");
    open(path).close();
    const database = new Database(path);
    database.run("PRAGMA user_version = 99");
    database.close();
    const error = refusal(() => open(path));
    expect([error.code, error.message.includes("format 99"), error.hint]).toEqual([
      "io",
      true,
      `start the newer claw, or ${error.hint?.split("or ")[1]}`,
    ]);
    expect(error.hint).toContain(remedy);
  });

  test("that is no database is left as it is", () => {
    const path = join(folders.make(), "x.sqlite");
    const text = "this is a letter\n".repeat(100);
    writeFileSync(path, text);
    const error = refusal(() => open(path));
    expect([error.code, error.message]).toEqual(["io", `${path} is damaged`]);
    expect(error.hint).toContain(remedy);
    expect(readFileSync(path, "utf8")).toBe(text);
  });

  test("in a folder that is not there, or in the place of a folder", () => {
    const folder = folders.make();
    for (const path of [join(folder, "no", "x.sqlite"), folder]) {
      const error = refusal(() => open(path));
      expect([error.code, error.message.includes(path)]).toEqual(["io", true]);
    }
  });

  test("opened twice keeps its content: the format is made once", () => {
    const path = join(folders.make(), "x.sqlite");
    open(path).close();
    const { size } = statSync(path);
    open(path).close();
    expect(statSync(path).size).toBe(size);
  });
});

/** Overwrites every page but the first, as a bad disk does. */
function damage(path: string): void {
  const { size } = statSync(path);
  const fd = openSync(path, "r+");
  for (let at = 4096; at < size; at += 4096) writeSync(fd, Buffer.alloc(4096, 0xa5), 0, 4096, at);
  closeSync(fd);
  for (const suffix of ["-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
}

describe("damage inside", () => {
  test("of a view is said by whatever reads it", () => {
    const path = join(folders.make(), "view.sqlite");
    const fold = new Fold();
    const first = new View(path);
    fold.found(first);
    fold.commit([first], fold.array({ ids: [7], inputs: ["a", "b", "c"] }));
    first.flush();
    first.close();
    damage(path);
    const message = `${path} is damaged`;
    expect(refusal(() => new View(path))).toMatchObject({ code: "io", message });
    const database = new Database(path);
    const queries = new Queries({ database });
    const reads = [
      () => queries.findIds([7]),
      () => queries.idsBetween(0, 9, 1),
      () => queries.submission(1),
      () => queries.submissions(9, {}, 9),
      () => queries.resultOf(1, 0),
      () => queries.results(1, 0, 9),
      () => queries.attempts(1, 0),
      () => restoreState({ database, meta: () => '{"totals":{}}' } as unknown as View),
    ];
    for (const read of reads) expect(refusal(read)).toMatchObject({ code: "io", message });
    database.close();
  });

  test("of an outbox, too", () => {
    const path = join(folders.make(), "outbox.sqlite");
    const first = new Outbox(path);
    first.add("task.complete", "x");
    first.close();
    damage(path);
    const second = new Outbox(path);
    const uses = [
      () => second.all(),
      () => second.get("x"),
      () => second.set("x", "y"),
      () => second.add("task.fail", "x"),
      () => second.remove([1]),
    ];
    for (const use of uses) expect(refusal(use)).toMatchObject({ code: "io", message: `${path} is damaged` });
    second.close();
  });
});

const NAMESPACE = ["unshare", "--mount", "--map-root-user", "sh", "-c"];
const canMount =
  process.platform === "linux" &&
  Bun.which("unshare") !== null &&
  Bun.spawnSync([...NAMESPACE, 'mount -t tmpfs -o size=1m none "$0"', tmpdir()], { stderr: "ignore" }).exitCode === 0;

describe("a disk", () => {
  test.skipIf(!canMount)("that is full, or may not be written, is said with its path", async () => {
    const folder = folders.make();
    mkdirSync(join(folder, "disk"));
    const argv = [
      ...NAMESPACE,
      'exec "$0" "$1" "$2"',
      process.execPath,
      join(import.meta.dir, "disks.ts"),
      join(folder, "disk"),
    ];
    const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    const said = (await child.stdout.json()) as Record<string, [code: string, message: string]>;
    expect(await child.exited).toBe(0);
    const [view, outbox] = [join(folder, "disk", "view.sqlite"), join(folder, "disk", "outbox.sqlite")];
    expect(said).toEqual({
      full_open: ["disk_full", expect.stringContaining(view)],
      full_add: ["disk_full", expect.stringContaining(outbox)],
      full_pack: ["disk_full", expect.stringContaining(join(folder, "disk", "large.zst"))],
      full_unpack: ["disk_full", expect.stringContaining(join(folder, "disk", "large"))],
      kept: ["3 reports", ""],
      readonly_add: ["io", expect.stringContaining(outbox)],
      readonly_open: ["io", expect.stringContaining(view)],
    });
  });
});
