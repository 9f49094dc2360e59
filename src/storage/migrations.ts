// Files of earlier formats. A migration takes one format to the next; an old file goes through all that it lacks in one
// transaction, at whose end its schema has to be the very one that a new file gets. A copy of the old file stands beside
// it (`view.sqlite.format-1`) until the new one was read through and found sound.
//
// To change a table: change the schema in view.ts or outbox.ts, and add a migration to the end of the list here. Columns
// are compared by name, type, default, NULL and key, in their order, because rows are inserted by position: a column that
// ALTER TABLE adds stands last. Where that does not do, make the new table, copy the rows, and rename it.

import { Database } from "bun:sqlite";
import { existsSync, rmSync } from "node:fs";
import { ClawError } from "../common/errors.ts";

/** From one format to the next: SQL (several statements, if need be), or what wants to look at rows. */
export type Migration = string | ((database: Database) => void);

export interface Format {
  /** What a new file gets. */
  schema: string;
  /** The first takes format 1 to 2. */
  migrations: readonly Migration[];
  /** What to do with a file that cannot be used. */
  remedy: string;
}

export const VIEW_MIGRATIONS: readonly Migration[] = [
  // 2: what failed attempts told is kept; an order to stop has a reason.
  `ALTER TABLE attempts ADD COLUMN outcome TEXT;
   UPDATE submissions SET segments = replace(segments, '"stopping":true', '"stopping":"cancel"') WHERE live = 1;`,
  // 3: a retry says which members it stands for.
  "ALTER TABLE submissions ADD COLUMN source TEXT",
  // 4: a submission may have an idempotency key.
  "CREATE UNIQUE INDEX submissions_key ON submissions (specification ->> '$.key') WHERE specification ->> '$.key' IS NOT NULL",
  // 5: what was pruned. When the others were over was not kept: as if at their last extension.
  `ALTER TABLE submissions ADD COLUMN over_at INTEGER;
   UPDATE submissions SET over_at = extended_at WHERE live = 0;
   CREATE INDEX submissions_source ON submissions (source ->> '$.number') WHERE source IS NOT NULL;
   CREATE INDEX submissions_over ON submissions (over_at) WHERE over_at IS NOT NULL;
   CREATE TABLE pruned (
     id INTEGER PRIMARY KEY, number INTEGER NOT NULL, nonce TEXT NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL
   );
   CREATE INDEX pruned_at ON pruned (at);
   CREATE TABLE garbage (number INTEGER PRIMARY KEY);`,
  // 6: scripts that nobody needs any more are found.
  `CREATE INDEX submissions_script ON submissions (specification ->> '$.script.sha256')
     WHERE specification ->> '$.script.sha256' IS NOT NULL`,
  // 7: attempts that were lost or drained say when they began.
  "ALTER TABLE attempts ADD COLUMN started_at INTEGER",
  // 8: an array says if it was not closed by its client. Of those that were closed before only the log knows, and that only
  // of the abandoned ones: a view that is made from it again tells of them.
  "ALTER TABLE submissions ADD COLUMN cut_short TEXT",
];

export const OUTBOX_MIGRATIONS: readonly Migration[] = [];

/** The format that this claw writes. */
export function versionOf(format: Format): number {
  return format.migrations.length + 1;
}

/** Brings a file of format `found` (0: a new one) up to this claw's. */
export function migrate(database: Database, path: string, format: Format, found: number): void {
  const version = versionOf(format);
  const copy = (old: number): string => `${path}.format-${old}`;
  if (found > 0 && found < version) {
    rmSync(copy(found), { force: true }); // of a migration that was broken off
    database.query("VACUUM INTO ?").run(copy(found));
  }
  if (found < version) {
    database.transaction(() => {
      if (found === 0) {
        database.run(format.schema);
      } else {
        for (const step of format.migrations.slice(found - 1)) take(database, step);
        requireSchema(database, format.schema);
      }
      database.run(`PRAGMA user_version = ${version}`);
    })();
  }
  for (let old = 1; old < version; old++) {
    if (!existsSync(copy(old))) continue;
    requireWhole(database, path, copy(old));
    rmSync(copy(old));
  }
}

function take(database: Database, step: Migration): void {
  if (typeof step === "string") database.run(step);
  else step(database);
}

/** A migration that leaves another schema than a new file has is a bug, and nothing of it stays. */
function requireSchema(database: Database, schema: string): void {
  const fresh = new Database(":memory:");
  try {
    fresh.run(schema);
    const [wanted, got] = [shapeOf(fresh), shapeOf(database)];
    const at = wanted.findIndex((line, index) => line !== got[index]);
    if (at < 0 && wanted.length === got.length) return;
    const place = at < 0 ? wanted.length : at;
    throw new Error(
      `the schema became '${got[place] ?? "nothing"}' where it should be '${wanted[place] ?? "nothing"}'`,
    );
  } finally {
    fresh.close(true);
  }
}

/** Columns, a line each, whatever SQL their tables were made by, and the SQL of the indexes. */
function shapeOf(database: Database): string[] {
  const columns = database.query<{ line: string }, []>(
    `SELECT t.name || '.' || c.cid || ' ' || c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || c.pk || ' '
       || coalesce(c.dflt_value, '-') || ' ' || t.wr AS line
     FROM pragma_table_list AS t JOIN pragma_table_xinfo(t.name) AS c
     WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid`,
  );
  const indexes = database.query<{ line: string }, []>(
    "SELECT sql AS line FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY tbl_name, name",
  );
  return [...columns.all(), ...indexes.all()].map(({ line }) => line.replace(/\s+/g, " "));
}

function requireWhole(database: Database, path: string, copy: string): void {
  const found = database.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get()?.quick_check;
  if (found === "ok") return;
  throw new ClawError("io", `${path} is damaged since it was brought to a new format: ${found}`, {
    hint: `is its disk well? What it was before is ${copy}: put that in its place and start claw again`,
  });
}
