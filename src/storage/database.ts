// Opening SQLite files: one set of pragmas, and errors that say what to do. The log (view) or the leader's acknowledgement
// (outbox) is the truth, so a lost tail costs a replay or a second run, never a result: fsync is left to checkpoints.

import { Database } from "bun:sqlite";
import { ClawError, messageOf } from "../common/errors.ts";

export function openDatabase(path: string, schema: string, version: number): Database {
  let database: Database | undefined;
  try {
    database = new Database(path, { create: true, readwrite: true, strict: true });
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = NORMAL");
    database.run("PRAGMA busy_timeout = 2000");
    const found = database.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
    if (found > version) {
      throw new ClawError("io", `${path} was written by a newer claw (format ${found}, this one knows ${version})`, {
        hint: "start the newer claw, or move the file away: a view is rebuilt from the log",
      });
    }
    if (found === 0) {
      database.transaction(() => {
        database?.run(schema);
        database?.run(`PRAGMA user_version = ${version}`);
      })();
    }
    return database;
  } catch (error) {
    database?.close();
    throw storageError(error, path);
  }
}

/** Makes a typed rejection of what the world may do to a file; anything else is a bug and passes through. */
export function storageError(error: unknown, path: string): unknown {
  if (error instanceof ClawError) return error;
  const code = (error as { code?: string }).code ?? "";
  if (code === "SQLITE_FULL" || code === "ENOSPC") {
    return new ClawError("disk_full", `no room left to write ${path}`, { cause: error });
  }
  if (code.startsWith("SQLITE_IOERR") || code === "SQLITE_CANTOPEN" || code === "SQLITE_READONLY") {
    return new ClawError("io", `cannot write ${path}: ${messageOf(error)}`, { cause: error });
  }
  if (code === "SQLITE_CORRUPT" || code === "SQLITE_NOTADB") {
    return new ClawError("io", `${path} is damaged`, {
      hint: "move it away: a view is rebuilt from the log",
      cause: error,
    });
  }
  return error;
}
