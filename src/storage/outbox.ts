// The worker's reports until the leader says that they are in the log, one row a message, and the processes that it
// started, so that a next life can end them. A result outlives every restart of the worker here.

import type { Database, Statement } from "bun:sqlite";
import { openDatabase, storageError } from "./database.ts";

const SCHEMA = `
CREATE TABLE reports (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`;

export interface ReportRow {
  seq: number;
  kind: "task.complete" | "task.fail";
  /** JSON of the message without type and seq. */
  body: string;
}

export class Outbox {
  readonly path: string;
  readonly #database: Database;
  readonly #insert: Statement<{ seq: number }, [string, string]>;
  readonly #remove: Statement;

  constructor(path: string) {
    this.path = path;
    this.#database = openDatabase(path, SCHEMA, 1);
    this.#insert = this.#database.prepare("INSERT INTO reports (kind, body) VALUES (?, ?) RETURNING seq");
    this.#remove = this.#database.prepare("DELETE FROM reports WHERE seq = ?");
  }

  add(kind: ReportRow["kind"], body: string): ReportRow {
    try {
      const row = this.#insert.get(kind, body);
      if (row === null) throw new Error("the outbox gave no sequence");
      return { seq: row.seq, kind, body };
    } catch (error) {
      throw storageError(error, this.path);
    }
  }

  remove(seqs: readonly number[]): void {
    try {
      this.#database.transaction(() => {
        for (const seq of seqs) this.#remove.run(seq);
      })();
    } catch (error) {
      throw storageError(error, this.path);
    }
  }

  all(): ReportRow[] {
    return this.#database.query<ReportRow, []>("SELECT seq, kind, body FROM reports ORDER BY seq").all();
  }

  get(key: string): string | undefined {
    return this.#database.query<{ value: string }, [string]>("SELECT value FROM meta WHERE key = ?").get(key)?.value;
  }

  set(key: string, value: string): void {
    this.#database.run("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", [
      key,
      value,
    ]);
  }

  close(): void {
    this.#database.close();
  }
}
