// Snapshots of the view: a consistent copy of it while it is in use, packed, with a manifest by which it can be checked
// anywhere; and the check itself, which unpacks, compares row by row in canonical form, and makes a state of it. All of it
// is synchronous and takes a while for a large view: thread.ts runs it beside the coordinator's loop.

import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../common/errors.ts";
import type { Ancestor, Manifest } from "../common/snapshot.ts";
import { VERSION } from "../common/version.ts";
import type { MetaRow } from "../core/changes.ts";
import { guardedFile, requireSound } from "./database.ts";
import { pack, unpack } from "./packed.ts";
import { restoreState, strangeness } from "./restore.ts";
import { View, type Witness } from "./view.ts";

const REMEDY = "it cannot be used: take another snapshot";

/** What a manifest says of the tables' content. */
export type Content = Omit<Manifest, "v" | "id" | "version" | "created_at" | "view_bytes" | "bytes" | "sha256">;

export interface Taking {
  /** The view's file: open elsewhere, and written to meanwhile. */
  view: string;
  /** A folder for what is made on the way. */
  folder: string;
  /** 16 hex digits, wall milliseconds. */
  nonce: string;
  now: number;
}

export interface Taken {
  manifest: Manifest;
  /** The packed body, in the folder. */
  path: string;
}

/** Copies the view as some transaction left it, and packs the copy. */
export function takeSnapshot({ view, folder, nonce, now }: Taking): Taken {
  const copy = join(folder, `${nonce}.sqlite`);
  const path = join(folder, `${nonce}.zst`);
  try {
    copyView(view, copy);
    const content = readContent(copy);
    const packed = pack(copy, path);
    const id = `${content.sequence}-${nonce}`;
    return { manifest: { v: 1, id, ...content, version: VERSION, created_at: now, ...packed }, path };
  } finally {
    removeDatabase(copy);
  }
}

function copyView(from: string, to: string): void {
  reading(from, (database) => {
    database.run("PRAGMA busy_timeout = 2000");
    database.query("VACUUM INTO ?").run(to);
  });
}

function reading<T>(path: string, action: (database: Database) => T): T {
  return guardedFile(path, REMEDY, () => {
    const database = new Database(path, { readonly: true });
    try {
      return action(database);
    } finally {
      database.close(true);
    }
  });
}

export interface Checking {
  manifest: Manifest;
  /** The packed body, or a saved file, which has the manifest before it. */
  path: string;
  headed: boolean;
  /** Where the view is unpacked to. Not there before; a view of this claw's format when it returns. */
  to: string;
}

/**
 * Unpacks a snapshot and checks it: every byte, every row, that its manifest tells the truth, and that this claw can make
 * a state of it, whose hash it gives. Throws `io` for one that is damaged, and whatever opening a view may throw; `to` is
 * not there then.
 */
export function checkSnapshot({ manifest, path, headed, to }: Checking): string {
  try {
    unpack(path, to, manifest, headed);
    const content = readContent(to);
    for (const [name, value] of Object.entries(content)) {
      if (!Bun.deepEquals(value, manifest[name as keyof Content])) {
        throw new ClawError("io", `the snapshot ${manifest.id} is not what its manifest says (${name})`, {
          hint: REMEDY,
        });
      }
    }
    const view = new View(to);
    try {
      const state = restoreState(view);
      const strange = strangeness(view, state);
      if (strange === undefined) return state.rows.hash(state);
      throw new ClawError("io", `the snapshot ${manifest.id} is no state of its cluster: ${strange}`, { hint: REMEDY });
    } finally {
      view.close();
    }
  } catch (error) {
    removeDatabase(to);
    throw error;
  }
}

/** Removes a database that nobody has open, with what belongs to it. */
export function removeDatabase(path: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(`${path}${suffix}`, { force: true });
}

/** What a view knows that an earlier state of the same cluster does not: tasks that were submitted, and that ended, since. */
export function newerThan(path: string, earlier: string): { submitted: number; ended: number } {
  return reading(path, (database) => {
    database.query("ATTACH ? AS earlier").run(earlier);
    return database
      .query<{ submitted: number; ended: number }, []>(
        `SELECT
           (SELECT coalesce(sum(count), 0) FROM submissions
            WHERE number > (SELECT coalesce(max(number), 0) FROM earlier.submissions)) AS submitted,
           (SELECT coalesce(sum(
              now.completed + now.failed + now.cancelled + now.timeout
              - old.completed - old.failed - old.cancelled - old.timeout), 0)
            FROM main.submissions AS now JOIN earlier.submissions AS old USING (number)) AS ended`,
      )
      .get() as { submitted: number; ended: number };
  });
}

/** What a closed view has. Throws `io` for one that is damaged. */
export function readContent(path: string): Content {
  return reading(path, contentOf);
}

function contentOf(database: Database): Content {
  requireSound(database, REMEDY);
  const format = database.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
  const state = metaOf<MetaRow>(database, "state");
  const witness = metaOf<Witness>(database, "witness");
  if (state === undefined || witness === undefined) {
    throw new ClawError("io", `${database.filename} has no state in it`, { hint: REMEDY });
  }
  const { name: cluster, cluster_id, epoch } = state;
  const { sequence, hash, stream_created } = witness;
  const ancestors = metaOf<Ancestor[]>(database, "ancestors") ?? [];
  return {
    ...{ cluster, cluster_id, epoch, sequence, hash, stream_created, ancestors, format },
    ...rowsOf(database),
  };
}

function metaOf<T>(database: Database, key: string): T | undefined {
  const query = "SELECT value FROM meta WHERE key = ?";
  const row = database.query<{ value: string }, [string]>(query).get(key);
  return row === null ? undefined : (JSON.parse(row.value) as T);
}

/** Every row of every table as text, in the order of the keys, whatever transactions wrote them. */
function rowsOf(database: Database): { rows: number; rows_sha256: string } {
  const hash = new Bun.CryptoHasher("sha256");
  let rows = 0;
  const tables = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' ORDER BY name";
  for (const { name } of database.query<{ name: string }, []>(tables).all()) {
    const columns = database
      .query<{ name: string; pk: number }, [string]>("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid")
      .all(name);
    const values = columns.map((column) => `quote("${column.name}")`).join(" || ',' || ");
    const keys = columns.filter(({ pk }) => pk > 0).sort((a, b) => a.pk - b.pk);
    const order = keys.map((column) => `"${column.name}"`).join(", ");
    hash.update(`${name}\n`);
    const query = `SELECT ${values} AS line FROM "${name}" ORDER BY ${order === "" ? "rowid" : order}`;
    for (const { line } of database.query<{ line: string }, []>(query).iterate()) {
      hash.update(`${line}\n`);
      rows += 1;
    }
  }
  return { rows, rows_sha256: hash.digest("hex") };
}
