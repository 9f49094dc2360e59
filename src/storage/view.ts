// The view: what the log says, as tables to ask. It takes acknowledged batches only, in order, the applied sequence in
// the same transaction, several batches in one; it can be deleted at any time and is rebuilt equal. It is also a
// witness: it keeps the log's identity, its last sequence and the hash of the last batch.

import type { Database, Statement } from "bun:sqlite";
import { LIMITS } from "../common/limits.ts";
import type { Specification, TaskCounts } from "../common/models.ts";
import type { Ancestor } from "../common/snapshot.ts";
import type {
  AttemptRecord,
  Changes,
  InputsRow,
  MetaRow,
  NewSubmission,
  NodeRow,
  Pruned,
  SubmissionRow,
} from "../core/changes.ts";
import type { Fold } from "../core/fold.ts";
import { Members } from "../core/members.ts";
import { guarded, openDatabase, requireSound } from "./database.ts";
import { type Format, VIEW_MIGRATIONS } from "./migrations.ts";

export const VIEW_REMEDY = "move it away: the view is rebuilt from the newest snapshot and the log";

/** To change it, add a migration for the files that are there: migrations.ts says how. */
const SCHEMA = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE submissions (
  number INTEGER PRIMARY KEY, nonce TEXT NOT NULL, by TEXT NOT NULL, at INTEGER NOT NULL, is_array INTEGER NOT NULL,
  ids TEXT NOT NULL, specification TEXT NOT NULL, name TEXT, priority TEXT NOT NULL,
  count INTEGER NOT NULL, open INTEGER NOT NULL, extended_at INTEGER NOT NULL, live INTEGER NOT NULL,
  segments TEXT NOT NULL,
  pending INTEGER NOT NULL, scheduled INTEGER NOT NULL, running INTEGER NOT NULL, completed INTEGER NOT NULL,
  failed INTEGER NOT NULL, cancelled INTEGER NOT NULL, timeout INTEGER NOT NULL, source TEXT,
  over_at INTEGER, cut_short TEXT
);
CREATE INDEX submissions_live ON submissions (number) WHERE live = 1;
CREATE INDEX submissions_name ON submissions (name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX submissions_key ON submissions (specification ->> '$.key') WHERE specification ->> '$.key' IS NOT NULL;
CREATE INDEX submissions_source ON submissions (source ->> '$.number') WHERE source IS NOT NULL;
CREATE INDEX submissions_script ON submissions (specification ->> '$.script.sha256')
  WHERE specification ->> '$.script.sha256' IS NOT NULL;
CREATE INDEX submissions_over ON submissions (over_at) WHERE over_at IS NOT NULL;
CREATE TABLE pruned (
  id INTEGER PRIMARY KEY, number INTEGER NOT NULL, nonce TEXT NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL
);
CREATE INDEX pruned_at ON pruned (at);
CREATE TABLE garbage (number INTEGER PRIMARY KEY);
CREATE TABLE ids (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, member INTEGER NOT NULL);
CREATE TABLE inputs (
  number INTEGER NOT NULL, "offset" INTEGER NOT NULL, count INTEGER NOT NULL, inputs TEXT NOT NULL,
  PRIMARY KEY (number, "offset")
) WITHOUT ROWID;
CREATE TABLE results (
  position INTEGER PRIMARY KEY, number INTEGER NOT NULL, first INTEGER NOT NULL, past INTEGER NOT NULL,
  attempt INTEGER NOT NULL, node TEXT NOT NULL, status TEXT NOT NULL, outcome TEXT NOT NULL
);
CREATE INDEX results_member ON results (number, first, past, status);
CREATE TABLE attempts (
  number INTEGER NOT NULL, first INTEGER NOT NULL, attempt INTEGER NOT NULL, past INTEGER NOT NULL,
  node TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL, outcome TEXT,
  started_at INTEGER, PRIMARY KEY (number, first, attempt)
) WITHOUT ROWID;
CREATE TABLE nodes (id TEXT PRIMARY KEY, node TEXT NOT NULL) WITHOUT ROWID;
`;

/** How long the ids of what was pruned stay taken. */
const PRUNED_KNOWN_MS = 24 * 3_600_000;
/** Removes some rows of pruned submissions, table by table, and then those of them that have none any more. */
const CHOSEN = "SELECT number FROM garbage ORDER BY number LIMIT $most";
const SWEEP = [
  ["results", "position"],
  ["attempts", "number, first, attempt"],
  ["inputs", 'number, "offset"'],
].map(([table, key]) => {
  const which = `SELECT ${key} FROM ${table} WHERE number IN (${CHOSEN}) LIMIT $left`;
  return `DELETE FROM ${table} WHERE (${key}) IN (${which})`;
});
const SWEPT = `DELETE FROM garbage WHERE number IN (${CHOSEN})`;

const NAMED = "number IN (SELECT value FROM json_each($numbers))";
const PRUNE = [
  `INSERT INTO pruned SELECT own.value, number, nonce, count, $at FROM submissions, json_each(submissions.ids) AS own
   WHERE ${NAMED}`,
  `DELETE FROM ids WHERE id IN (SELECT own.value FROM submissions, json_each(submissions.ids) AS own WHERE ${NAMED})`,
  `INSERT INTO garbage SELECT number FROM submissions WHERE ${NAMED}`,
  `DELETE FROM submissions WHERE ${NAMED}`,
];

const FORMAT: Format = { schema: SCHEMA, migrations: VIEW_MIGRATIONS, remedy: VIEW_REMEDY };

/** The chunks from the one that has the first member on: an array that was streamed in has as many as it has members. */
const INPUTS = `SELECT "offset", inputs FROM inputs WHERE number = ? AND "offset" >=
  coalesce((SELECT max("offset") FROM inputs WHERE number = ? AND "offset" <= ?), 0) AND "offset" < ? ORDER BY "offset"`;

/** Which log the view was folded from, and how far. */
export interface Witness {
  stream_created: string;
  sequence: number;
  hash: string;
  /** What the last batch was folded to. Views that an earlier claw made have none. */
  fold?: Fold;
}

/** The submission and members that a retry stands for. */
export interface Source {
  number: number;
  members: Members;
}

interface Statements {
  meta: Statement;
  submitted: Statement;
  submission: Statement;
  id: Statement;
  inputs: Statement;
  result: Statement;
  attempt: Statement;
  forget: Statement;
  node: Statement;
  removed: Statement;
  prune: readonly Statement[];
  expire: Statement;
}

interface Enqueued {
  changes: Changes;
  witness: Witness;
}

export class View {
  #database: Database;
  #put: Statements;
  #queue: Enqueued[] = [];
  /** Specifications that the file may not have yet, and the newest beside them: most are assigned soon. */
  readonly #recent = new Map<number, Specification>();
  /** What retries stand for: those on their way to the file, and the newest read. */
  readonly #sources = new Map<number, Source>();
  #flushed = 0;

  constructor(path: string) {
    this.#database = openDatabase(path, FORMAT);
    this.#put = prepare(this.#database);
    this.#flushed = this.witness().sequence;
  }

  get database(): Database {
    return this.#database;
  }

  /** Lets go of its file, and goes on with the one that is there when `swap` is done. What was not flushed is forgotten. */
  replace(swap: () => void): void {
    const path = this.#database.filename;
    this.close();
    swap();
    this.#queue = [];
    this.#recent.clear();
    this.#sources.clear();
    this.#database = openDatabase(path, FORMAT);
    this.#put = prepare(this.#database);
    this.#flushed = this.witness().sequence;
  }

  /** Looks through the whole file. Throws Damaged. */
  check(): void {
    requireSound(this.database, VIEW_REMEDY);
  }

  /** Takes an acknowledged batch's changes; they reach the file with the next flush. */
  enqueue(changes: Changes, witness: Witness): void {
    this.#queue.push({ changes, witness });
    for (const { number, specification, source } of changes.submitted) {
      this.#recent.set(number, specification);
      if (source !== undefined) {
        this.#keepSource(number, { number: source.number, members: new Members(source.members) });
      }
    }
  }

  /** The log sequence that the file has. */
  get flushed(): number {
    return this.#flushed;
  }

  /** Batches that wait for a flush. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Writes everything enqueued in one transaction; rows that several batches touched are written once. */
  flush(): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#guarded(() => this.database.transaction(() => this.#write(queue))());
    this.#flushed = queue.at(-1)?.witness.sequence ?? this.#flushed;
    this.#queue = [];
    for (const number of this.#recent.keys()) {
      if (this.#recent.size <= LIMITS.recent_specifications) break;
      this.#recent.delete(number);
    }
  }

  #guarded<T>(action: () => T): T {
    return guarded(this.database, VIEW_REMEDY, action);
  }

  /** What is pruned frees its key for what comes behind it: so a new part begins there. */
  #write(queue: readonly Enqueued[]): void {
    let part: Changes[] = [];
    for (const { changes } of queue) {
      if (changes.pruned.length > 0) {
        this.#writePart(part);
        part = [];
        for (const one of changes.pruned) this.#writePruned(one);
      }
      part.push(changes);
    }
    this.#writePart(part);
    const last = queue.at(-1);
    if (last === undefined) return;
    this.#put.meta.run("state", JSON.stringify(last.changes.meta));
    this.#put.meta.run("witness", JSON.stringify(last.witness));
  }

  #writePart(part: readonly Changes[]): void {
    const submissions = new Map<number, SubmissionRow>();
    const nodes = new Map<string, NodeRow | undefined>();
    for (const changes of part) {
      for (const [number, row] of changes.submissions) submissions.set(number, row);
      for (const [id, row] of changes.nodes) nodes.set(id, row);
    }
    for (const changes of part) {
      for (const made of changes.submitted) {
        const row = submissions.get(made.number);
        if (row === undefined) throw new Error(`submission ${made.number} was made without a row`);
        this.#writeSubmitted(made, row);
        submissions.delete(made.number);
      }
      this.#writeAdded(changes);
    }
    for (const row of submissions.values()) {
      this.#put.submission.run(...columnsOf(row), row.over_at ?? null, row.cut_short ?? null, row.number);
    }
    for (const [id, row] of nodes) {
      if (row === undefined) this.#put.removed.run(id);
      else this.#put.node.run(id, JSON.stringify(row));
    }
  }

  /** The rest of its rows goes with `sweep`: there may be millions. */
  #writePruned({ numbers, at }: Pruned): void {
    const list = JSON.stringify(numbers);
    for (const [step, statement] of this.#put.prune.entries()) {
      statement.run(step === 0 ? { $numbers: list, $at: at } : { $numbers: list });
    }
    this.#put.expire.run(at - PRUNED_KNOWN_MS);
    for (const number of numbers) {
      this.#recent.delete(number);
      this.#sources.delete(number);
    }
  }

  /** Removes some of what pruned submissions left behind, `most` rows of as many of them; true while there is more. */
  sweep(most: number): boolean {
    return this.#guarded(() => {
      if (this.database.query("SELECT number FROM garbage LIMIT 1").get() === null) return false;
      this.database.transaction(() => {
        let left = most;
        for (const table of SWEEP) {
          if (left > 0) left -= this.database.query(table).run({ most, left }).changes;
        }
        if (left > 0) this.database.query(SWEPT).run({ most });
      })();
      return true;
    });
  }

  #writeSubmitted(made: NewSubmission, row: SubmissionRow): void {
    const { number, nonce, by, at, array, ids, specification: spec } = made;
    this.#put.submitted.run(
      ...[number, nonce, by, at, array ? 1 : 0, JSON.stringify(ids)],
      ...[JSON.stringify(spec), spec.name ?? null, spec.priority],
      ...columnsOf(row),
      made.source === undefined ? null : JSON.stringify(made.source),
      row.over_at ?? null,
      row.cut_short ?? null,
    );
    for (const [member, id] of ids.entries()) this.#put.id.run(id, number, member);
  }

  /** What is only ever added. */
  #writeAdded(changes: Changes): void {
    for (const row of changes.inputs) {
      this.#put.inputs.run(row.number, row.offset, row.inputs.length, JSON.stringify(row.inputs));
    }
    for (const row of changes.results) {
      const { position, number, from, to, attempt, node, outcome } = row;
      this.#put.result.run(position, number, from, to, attempt, node, outcome.status, JSON.stringify(outcome));
    }
    for (const row of changes.attempts) {
      this.#writeAttempt(row);
    }
  }

  /** Of a member's history only so much is kept: a daemon's has no end. */
  #writeAttempt({ number, from, to, attempt, node, reason, at, started_at, outcome }: AttemptRecord): void {
    const told = outcome === undefined ? null : JSON.stringify(outcome);
    this.#put.attempt.run(number, from, attempt, to, node, reason, at, told, started_at ?? null);
    if (attempt > LIMITS.attempts_kept) this.#put.forget.run(number, from, attempt - LIMITS.attempts_kept);
  }

  witness(): Witness {
    const text = this.meta("witness");
    return text === undefined ? { stream_created: "", sequence: 0, hash: "" } : (JSON.parse(text) as Witness);
  }

  meta(key: string): string | undefined {
    const query = "SELECT value FROM meta WHERE key = ?";
    return this.#guarded(() => this.database.query<{ value: string }, [string]>(query).get(key)?.value);
  }

  /** The specification of a submission that was enqueued or flushed. */
  specification(number: number): Specification {
    const recent = this.#recent.get(number);
    if (recent !== undefined) return recent;
    const query = "SELECT specification FROM submissions WHERE number = ?";
    const row = this.#guarded(() => this.database.query<{ specification: string }, [number]>(query).get(number));
    if (row === null) throw new Error(`submission ${number} is not in the view`);
    return JSON.parse(row.specification) as Specification;
  }

  /** What a retry stands for; undefined for any other submission. */
  source(number: number): Source | undefined {
    const known = this.#sources.get(number);
    if (known !== undefined) return known;
    const query = "SELECT source FROM submissions WHERE number = ?";
    const row = this.#guarded(() => this.database.query<{ source: string | null }, [number]>(query).get(number));
    const text = row?.source ?? undefined;
    if (text === undefined) return undefined;
    const { number: root, members } = JSON.parse(text) as NonNullable<NewSubmission["source"]>;
    return this.#keepSource(number, { number: root, members: new Members(members) });
  }

  #keepSource(number: number, source: Source): Source {
    this.#sources.set(number, source);
    for (const oldest of this.#sources.keys()) {
      if (this.#sources.size <= LIMITS.recent_sources) break;
      // The file has it, unless it is still on its way there.
      if (!this.#queue.some(({ changes }) => changes.submitted.some((made) => made.number === oldest))) {
        this.#sources.delete(oldest);
      } else break;
    }
    return source;
  }

  /** Inputs of members [from, to); undefined for an array without inputs and for separate tasks. */
  inputs(number: number, from: number, to: number): string[] | undefined {
    const source = this.source(number);
    if (source === undefined) return this.#ownInputs(number, from, to);
    const found: string[] = [];
    for (const range of source.members.standFor(from, to)) {
      const part = this.#ownInputs(source.number, range.from, range.to);
      if (part === undefined) return undefined;
      found.push(...part);
    }
    return found;
  }

  #ownInputs(number: number, from: number, to: number): string[] | undefined {
    const rows = this.#guarded(() =>
      this.database
        .query<{ offset: number; inputs: string }, [number, number, number, number]>(INPUTS)
        .all(number, number, from, to),
    );
    const chunks = rows.map(
      (row): InputsRow => ({ number, offset: row.offset, inputs: JSON.parse(row.inputs) as string[] }),
    );
    for (const { changes } of this.#queue) {
      chunks.push(...changes.inputs.filter((row) => row.number === number));
    }
    const found: string[] = [];
    for (const chunk of chunks) {
      const start = Math.max(0, from - chunk.offset);
      const end = Math.min(chunk.inputs.length, to - chunk.offset);
      if (start < end) found.push(...chunk.inputs.slice(start, end));
    }
    if (found.length === 0) return undefined;
    if (found.length !== to - from) throw new Error(`inputs of ${number}: ${found.length} of ${to - from}`);
    return found;
  }

  /**
   * Makes it the view of another stream, which goes on where this one ends: for a cluster that is restored. Numbers of
   * submissions go on so far apart. Gives the tasks that it has.
   */
  adopt(stream_created: string, ancestors: readonly Ancestor[], numbers_apart: number): TaskCounts {
    const state = JSON.parse(this.meta("state") ?? "{}") as MetaRow;
    state.next_number += numbers_apart;
    this.#guarded(() =>
      this.database.transaction(() => {
        this.#put.meta.run("state", JSON.stringify(state));
        // Its state is no more what the last batch said.
        const { fold: _was, ...witness } = this.witness();
        this.#put.meta.run("witness", JSON.stringify({ ...witness, stream_created }));
        this.#put.meta.run("ancestors", JSON.stringify(ancestors));
      })(),
    );
    return state.totals;
  }

  close(): void {
    // With its statements: a forgotten one would keep the file open, and its log beside it, until some later time.
    this.database.close(true);
  }
}

/** The changing columns, in the table's order. */
function columnsOf({ count, open, extended_at, live, segments, counts }: SubmissionRow): (number | string)[] {
  const { pending, scheduled, running, completed, failed, cancelled, timeout } = counts;
  return [
    ...[count, open ? 1 : 0, extended_at, live ? 1 : 0, JSON.stringify(segments)],
    ...[pending, scheduled, running, completed, failed, cancelled, timeout],
  ];
}

function prepare(database: Database): Statements {
  return {
    meta: database.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"),
    submitted: database.prepare(`INSERT INTO submissions VALUES (${Array(24).fill("?").join(", ")})`),
    submission: database.prepare(
      `UPDATE submissions SET count = ?, open = ?, extended_at = ?, live = ?, segments = ?, pending = ?, scheduled = ?,
       running = ?, completed = ?, failed = ?, cancelled = ?, timeout = ?, over_at = ?, cut_short = ?
       WHERE number = ?`,
    ),
    id: database.prepare("INSERT INTO ids VALUES (?, ?, ?)"),
    inputs: database.prepare("INSERT INTO inputs VALUES (?, ?, ?, ?)"),
    result: database.prepare("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)"),
    attempt: database.prepare("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    forget: database.prepare("DELETE FROM attempts WHERE number = ? AND first = ? AND attempt <= ?"),
    node: database.prepare("INSERT INTO nodes VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET node = excluded.node"),
    removed: database.prepare("DELETE FROM nodes WHERE id = ?"),
    prune: PRUNE.map((sql) => database.prepare(sql)),
    expire: database.prepare("DELETE FROM pruned WHERE at < ?"),
  };
}
