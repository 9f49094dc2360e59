// The worker's reports until the leader says that they are in the log, one row a message, and the processes that it
// started, so that a next life can end them. A result outlives every restart of the worker here.

import type { Database, Statement } from "bun:sqlite";
import { guarded, openDatabase } from "./database.ts";
import { type Format, OUTBOX_MIGRATIONS } from "./migrations.ts";

const REMEDY = "move it away: what it had not reported yet is run again";

const FORMAT: Format = {
  migrations: OUTBOX_MIGRATIONS,
  remedy: REMEDY,
  schema: `
CREATE TABLE reports (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`,
};

export interface ReportRow {
  seq: number;
  kind: "task.complete" | "task.fail";
  /** JSON of the message without type and seq. */
  body: string;
}

export class Outbox {
  readonly #database: Database;
  readonly #insert: Statement<{ seq: number }, [string, string]>;
  readonly #remove: Statement;

  constructor(path: string) {
    this.#database = openDatabase(path, FORMAT);
    this.#insert = this.#database.prepare("INSERT INTO reports (kind, body) VALUES (?, ?) RETURNING seq");
    this.#remove = this.#database.prepare("DELETE FROM reports WHERE seq = ?");
  }

  #guarded<T>(action: () => T): T {
    return guarded(this.#database, REMEDY, action);
  }

  add(kind: ReportRow["kind"], body: string): ReportRow {
    const row = this.#guarded(() => this.#insert.get(kind, body));
    if (row === null) throw new Error("the outbox gave no sequence");
    return { seq: row.seq, kind, body };
  }

  remove(seqs: readonly number[]): void {
    this.#guarded(() =>
      this.#database.transaction(() => {
        for (const seq of seqs) this.#remove.run(seq);
      })(),
    );
  }

  all(): ReportRow[] {
    const query = "SELECT seq, kind, body FROM reports ORDER BY seq";
    return this.#guarded(() => this.#database.query<ReportRow, []>(query).all());
  }

  get(key: string): string | undefined {
    const query = "SELECT value FROM meta WHERE key = ?";
    return this.#guarded(() => this.#database.query<{ value: string }, [string]>(query).get(key)?.value);
  }

  set(key: string, value: string): void {
    const insert = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    this.#guarded(() => this.#database.run(insert, [key, value]));
  }

  close(): void {
    this.#database.close(true);
  }
}
