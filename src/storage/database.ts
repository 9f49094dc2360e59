// Opening SQLite files: one set of pragmas, and errors that say what to do. The log (view) or the leader's acknowledgement
// (outbox) is the truth, so a lost tail costs a replay or a second run, never a result: fsync is left to checkpoints.

import { Database } from "bun:sqlite";
import { chmodSync, closeSync, existsSync, openSync, statSync } from "node:fs";
import { ClawError, messageOf } from "../common/errors.ts";
import { type Format, migrate, versionOf } from "./migrations.ts";

/** Opens a file, makes it where there is none, and brings one of an earlier format up to this one. */
export function openDatabase(path: string, format: Format): Database {
  const { remedy } = format;
  const version = versionOf(format);
  let database: Database | undefined;
  try {
    makePrivate(path);
    database = new Database(path, { create: true, readwrite: true, strict: true });
    database.run("PRAGMA busy_timeout = 2000");
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = NORMAL");
    const found = database.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
    if (found > version) {
      throw new ClawError("io", `${path} was written by a newer claw (format ${found}, this one knows ${version})`, {
        hint: `start the newer claw, or ${remedy}`,
      });
    }
    migrate(database, path, format, found);
    return database;
  } catch (error) {
    database?.close();
    throw storageError(error, path, remedy);
  }
}

/** Tasks' environments and output are in it. SQLite gives the files that it makes beside it the same mode. */
function makePrivate(path: string): void {
  if (path === ":memory:") return;
  try {
    if (!existsSync(path)) closeSync(openSync(path, "a", 0o600));
    else if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
  } catch {
    // What is wrong with it is said when it is opened.
  }
}

/** The file is not what somebody wrote: torn, overwritten, or no database at all. */
export class Damaged extends ClawError {
  constructor(path: string, hint: string, cause?: unknown) {
    super("io", `${path} is damaged`, { hint, cause });
  }
}

/** Runs what reads or writes the file: what the world did to it becomes a typed rejection. */
export function guarded<T>(database: Database, remedy: string, action: () => T): T {
  return guardedFile(database.filename, remedy, action);
}

/** The same for what opens the file by itself. */
export function guardedFile<T>(path: string, remedy: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw storageError(error, path, remedy);
  }
}

/** Looks at every page: a torn file may open well and fail only when a lost part is read. */
export function requireSound(database: Database, remedy: string): void {
  guarded(database, remedy, () => {
    const found = database.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").get()?.quick_check;
    if (found !== "ok") throw new Damaged(database.filename, remedy, found);
  });
}

/** A typed rejection of what the world may do to a file; anything else is a bug and passes through. */
function storageError(error: unknown, path: string, remedy: string): unknown {
  if (error instanceof ClawError) return error;
  const code = (error as { code?: string }).code ?? "";
  if (code === "SQLITE_FULL") {
    return new ClawError("disk_full", `no room left to write ${path}`, { cause: error });
  }
  if (code.startsWith("SQLITE_BUSY")) {
    return new ClawError("io", `another process uses ${path}`, {
      hint: "end it: the file is one claw's",
      cause: error,
    });
  }
  if (code.startsWith("SQLITE_IOERR") || code.startsWith("SQLITE_CANTOPEN") || code.startsWith("SQLITE_READONLY")) {
    return new ClawError("io", `cannot use ${path}: ${messageOf(error)}`, {
      hint: "does it belong to the user that runs claw, and is its disk well?",
      cause: error,
    });
  }
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB") {
    return new Damaged(path, remedy, error);
  }
  return error;
}
