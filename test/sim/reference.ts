// What every view has to have: the log folded as it grows, batch by batch, by a replica that no fault befalls. Its rows are
// compared with its state after each batch, and every other view with its rows at the same sequence.

import type { LogEntry } from "../../src/communication/log.ts";
import { Replica } from "../../src/coordinator/replica.ts";
import type { Changes } from "../../src/core/changes.ts";
import type { State, Submission } from "../../src/core/state.ts";
import { Queries, type SubmissionRecord } from "../../src/storage/queries.ts";
import { restoreState } from "../../src/storage/restore.ts";
import { View } from "../../src/storage/view.ts";
import { projection } from "../storage/fold.ts";
import { hasId } from "./audit.ts";
import type { SimLog } from "./log.ts";
import { watchRows } from "./rows.ts";

/** Batches between two looks at everything. */
const WHOLE_EVERY = 50;

export class Reference {
  readonly view: View;
  readonly #replica: Replica;
  readonly #queries: Queries;
  /** By sequence. */
  readonly #sums: bigint[] = [];

  static async open(log: SimLog): Promise<Reference> {
    const view = new View(":memory:");
    const reference = new Reference(
      view,
      await Replica.open(view, log.whole(), (difference) => {
        throw difference;
      }),
    );
    log.stored = (entry) => reference.#take(entry);
    return reference;
  }

  private constructor(view: View, replica: Replica) {
    this.view = view;
    this.#replica = replica;
    this.#queries = new Queries(view);
    watchRows(view, (sequence, sum) => {
      this.#sums[sequence] = sum;
    });
  }

  #take(entry: LogEntry): void {
    const { changes } = this.#replica.take(entry);
    this.view.flush();
    this.#compare(changes);
    requireApart(this.#replica.state);
    this.#replica.flush();
    if (entry.sequence % WHOLE_EVERY === 0) this.compareWhole();
  }

  /** Throws where a view is not what the log says at that sequence. */
  check(whose: string, sequence: number, sum: bigint): void {
    const wanted = this.#sums[sequence];
    if (wanted === undefined) throw new Error(`the view of ${whose} is at ${sequence}, which is not in the log`);
    if (sum !== wanted) throw new Error(`the view of ${whose} differs from the fold of the log at ${sequence}`);
  }

  /** Whether the log has the submission by this id. */
  knows(id: number, number: number): boolean {
    return hasId(this.view, id, number);
  }

  /** The rows that a batch changed, against the state behind it. */
  #compare(changes: Changes): void {
    const { state } = this.#replica;
    for (const number of changes.submissions.keys()) {
      const submission = state.submissions.get(number);
      if (submission !== undefined) same(`submission ${number}`, rowOf(this.#queries.submission(number)), submission);
    }
    for (const id of changes.nodes.keys()) {
      const row = this.view.database
        .query<{ node: string }, [string]>("SELECT node FROM nodes WHERE id = ?")
        .get(id)?.node;
      const node = state.nodes.get(id);
      if ((row === undefined) !== (node === undefined)) throw new Error(`node ${id}: ${row} in the view`);
      if (row !== undefined && node !== undefined) {
        // A row has what its worker says; what people set over it stands beside it.
        same(`node ${id}`, JSON.parse(row) as object, { ...node, info: node.declared });
      }
    }
    same("the state", JSON.parse(this.view.meta("state") ?? "{}") as object, state);
  }

  /** What a coordinator would start from, against what it would have had it gone on. */
  compareWhole(): void {
    if (projection(restoreState(this.view)) !== projection(this.#replica.state)) {
      throw new Error(`the state made from the view differs from the fold at ${this.#replica.tail.sequence}`);
    }
  }

  close(): void {
    this.view.close();
  }
}

function rowOf(record: SubmissionRecord | undefined): object {
  if (record === undefined) throw new Error("a submission of the state is not in the view");
  const { specification: _, live: _live, source: _source, ...row } = record;
  return row;
}

/** Everything that the row says is what the state says. */
function same(what: string, row: object, state: Submission | State | object): void {
  for (const [name, value] of Object.entries(row)) {
    const theirs: unknown = Reflect.get(state, name);
    if (JSON.stringify(value) !== JSON.stringify(theirs)) {
      throw new Error(
        `${what}: ${name} is ${JSON.stringify(value)} in the view, ${JSON.stringify(theirs)} in the fold`,
      );
    }
  }
}

/** Who wants a node for itself has it, and who keeps apart is apart. */
function requireApart(state: State): void {
  for (const { id, used, held } of state.nodes.values()) {
    if (used.exclusive > 0 && held.count > 1) throw new Error(`${id} is not alone with what wants it for itself`);
    const [crowd] = Object.entries(used.spread).filter(([, count]) => count > 1);
    if (crowd !== undefined) throw new Error(`${id} has ${crowd[1]} tasks that keep apart (${crowd[0]})`);
  }
}
