// Files of earlier formats: brought up to date whole or not at all, the old file kept until the new one is known to be
// sound.

import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readdirSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { openDatabase } from "../../src/storage/database.ts";
import type { Format, Migration } from "../../src/storage/migrations.ts";
import { temporaryFolders } from "./fold.ts";

const folders = temporaryFolders();
afterEach(() => folders.remove());

const REMEDY = "move it away";
const FIRST: Format = { schema: "CREATE TABLE t (a INTEGER NOT NULL)", migrations: [], remedy: REMEDY };
const ADD_B = "ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT ''";
const FILL_B: Migration = (database) => {
  database.run("UPDATE t SET b = 'number ' || a");
  database.run("CREATE INDEX t_b ON t (b)");
};
const THIRD: Format = {
  schema: "CREATE TABLE t (a INTEGER NOT NULL, b TEXT NOT NULL DEFAULT ''); CREATE INDEX t_b ON t (b);",
  migrations: [ADD_B, FILL_B],
  remedy: REMEDY,
};

/** A file of the first format with two rows. */
function first(): string {
  const path = join(folders.make(), "x.sqlite");
  const database = openDatabase(path, FIRST);
  database.run("INSERT INTO t VALUES (1), (2)");
  database.close(true);
  return path;
}

function content(path: string): { version: number; rows: unknown[] } {
  const database = new Database(path);
  const version = database.query<{ user_version: number }, []>("PRAGMA user_version").get()!.user_version;
  const rows = database.query("SELECT * FROM t ORDER BY a").all();
  database.close(true);
  return { version, rows };
}

const OLD = { version: 1, rows: [{ a: 1 }, { a: 2 }] };

function thrown(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it was taken");
}

describe("an old file", () => {
  test("goes through every step that it lacks, and no copy stays", () => {
    const path = first();
    openDatabase(path, THIRD).close(true);
    expect(content(path)).toEqual({
      version: 3,
      rows: [
        { a: 1, b: "number 1" },
        { a: 2, b: "number 2" },
      ],
    });
    expect(readdirSync(join(path, "..")).filter((name) => name.includes("format"))).toEqual([]);
  });

  test("a step that fails leaves it as it was, and a copy of it; the next one that does not takes it on", () => {
    const path = first();
    const broken: Format = { ...THIRD, migrations: [ADD_B, "UPDATE nothing SET b = 1"] };
    expect(thrown(() => openDatabase(path, broken)).message).toContain("nothing");
    expect(content(path)).toEqual(OLD);
    expect(content(`${path}.format-1`)).toEqual(OLD);
    openDatabase(path, THIRD).close(true);
    expect(content(path).version).toBe(3);
    expect(existsSync(`${path}.format-1`)).toBe(false);
  });

  test.each([
    ["a column that a new file does not have", ["ALTER TABLE t ADD COLUMN c TEXT"]],
    ["a column of another kind", ["ALTER TABLE t ADD COLUMN b TEXT", FILL_B]],
    ["an index too few", [ADD_B]],
    ["another default", ["ALTER TABLE t ADD COLUMN b TEXT NOT NULL DEFAULT 'x'", FILL_B]],
  ] as [string, Migration[]][])("steps that leave %s are a bug, and nothing of them stays", (_, migrations) => {
    const path = first();
    const error = thrown(() => openDatabase(path, { ...THIRD, migrations }));
    expect(error).not.toBeInstanceOf(ClawError);
    expect(error.message).toContain("the schema became");
    expect(content(path)).toEqual(OLD);
  });

  test("that was brought up to date and not looked through yet, as a crash leaves it, is looked through", () => {
    const path = first();
    openDatabase(path, THIRD).close(true);
    const database = new Database(path);
    database.run(
      "WITH RECURSIVE n (i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, i FROM n",
    );
    database.close(true);
    writeFileSync(`${path}.format-1`, "the old file");
    openDatabase(path, THIRD).close(true);
    expect(existsSync(`${path}.format-1`)).toBe(false);

    writeFileSync(`${path}.format-1`, "the old file");
    const fd = openSync(path, "r+");
    writeSync(fd, Buffer.alloc(4096, 0xa5), 0, 4096, statSync(path).size - 8192);
    closeSync(fd);
    const error = thrown(() => openDatabase(path, THIRD));
    expect(error).toBeInstanceOf(ClawError);
    expect((error as ClawError).code).toBe("io");
    expect((error as ClawError).hint).toMatch(/format-1|move it away/);
    expect(existsSync(`${path}.format-1`)).toBe(true);
  });
});
