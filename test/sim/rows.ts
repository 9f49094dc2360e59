// What a view has, as one number: the sum of a hash of each row. Triggers note every row that changes, by whatever
// statement, so the sum is kept by adding and taking, and is cheap enough to be compared after every flush.

import type { View } from "../../src/storage/view.ts";

/** Rows of these are a submission's: when that is pruned they are removed bit by bit, and count no more. */
const PARTS = ["inputs", "results", "attempts"];
const TABLES = ["submissions", "ids", "pruned", "nodes", "meta", ...PARTS];

interface Moved {
  name: string;
  number: number | null;
  gone: string | null;
  made: string | null;
}

class RowSum {
  readonly #database: View["database"];
  #whole = 0n;
  /** What hangs on each submission that is there. */
  readonly #parts = new Map<number, bigint>();

  constructor(database: View["database"]) {
    this.#database = database;
    database.run("PRAGMA temp_store = MEMORY");
    database.run("CREATE TEMP TABLE moved (at INTEGER PRIMARY KEY, name TEXT, number INTEGER, gone TEXT, made TEXT)");
    for (const name of TABLES) {
      const columns = database.query<{ name: string }, []>(`PRAGMA table_info(${name})`).all();
      const row = (of: string): string => `json_array(${columns.map((one) => `${of}"${one.name}"`).join(", ")})`;
      const number = (of: string): string => (columns.some((one) => one.name === "number") ? `${of}number` : "NULL");
      const note = (event: string, values: string): void => {
        database.run(
          `CREATE TEMP TRIGGER ${name}_${event} AFTER ${event} ON main.${name} BEGIN
           INSERT INTO moved (name, number, gone, made) VALUES ('${name}', ${values}); END`,
        );
      };
      note("INSERT", `${number("NEW.")}, NULL, ${row("NEW.")}`);
      note("UPDATE", `${number("NEW.")}, ${row("OLD.")}, ${row("NEW.")}`);
      note("DELETE", `${number("OLD.")}, ${row("OLD.")}, NULL`);
      const all = `INSERT INTO moved (name, number, made) SELECT '${name}', ${number("")}, ${row("")} FROM main.${name}`;
      database.run(all);
    }
  }

  /** The sum with everything that was written until now. */
  settle(): bigint {
    for (const moved of this.#database.query<Moved, []>("SELECT name, number, gone, made FROM moved ORDER BY at").all())
      this.#take(moved);
    this.#database.run("DELETE FROM moved");
    return this.#whole;
  }

  #take({ name, number, gone, made }: Moved): void {
    let change = 0n;
    if (gone !== null) change -= Bun.hash(`${name} ${gone}`) as bigint;
    if (made !== null) change += Bun.hash(`${name} ${made}`) as bigint;
    if (name === "submissions" && number !== null) {
      if (gone === null) this.#parts.set(number, 0n);
      if (made === null) {
        change -= this.#parts.get(number) ?? 0n;
        this.#parts.delete(number);
      }
    } else if (PARTS.includes(name) && number !== null) {
      const before = this.#parts.get(number);
      if (before === undefined) return;
      this.#parts.set(number, before + change);
    }
    this.#whole = BigInt.asUintN(64, this.#whole + change);
  }
}

/** Tells what the view has, now and after each flush. */
export function watchRows(view: View, tell: (sequence: number, sum: bigint) => void): void {
  let of = view.database;
  let sum = new RowSum(of);
  const settle = (): void => {
    if (view.database !== of) {
      of = view.database; // it began anew with a snapshot
      sum = new RowSum(of);
    }
    tell(view.flushed, sum.settle());
  };
  const flush = view.flush.bind(view);
  view.flush = () => {
    if (view.queued === 0) return;
    flush();
    settle();
  };
  settle();
}
