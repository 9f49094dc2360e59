// What the members of `--each` wrote, each in one piece as it ends; with `--keep-order` in the order of the lines. Results
// that wait for their turn are kept up to a cap; beyond it only their place is, and they are asked for again.

import { outcomeDocument } from "../../common/documents.ts";
import { LIMITS } from "../../common/limits.ts";
import type { TaskView } from "../../common/models.ts";
import { endOf } from "../../common/vocabulary.ts";
import { type Ended, printFinished } from "../../communication/follow.ts";
import type { ResultRow } from "../../communication/queries.ts";
import type { RequestClient } from "../../communication/request.ts";
import { endedOf } from "../../communication/waiting.ts";
import { formatTaskId } from "../../core/ids.ts";
import type { Io } from "../io.ts";
import { wasTried } from "../recorded.ts";
import type { OpenArray } from "./sender.ts";

interface Waiting extends Pick<ResultRow, "to" | "node" | "attempt" | "tried"> {
  /** Absent when it has to be asked for again. */
  ended: Ended | undefined;
}

export interface PrinterOptions {
  keep_order: boolean;
  json: boolean;
}

export class Printer {
  readonly #io: Io;
  readonly #client: RequestClient;
  readonly #array: OpenArray;
  readonly #options: PrinterOptions;
  readonly #waiting = new Map<number, Waiting>();
  #kept = 0;
  #next = 0;

  constructor(io: Io, client: RequestClient, array: OpenArray, options: PrinterOptions) {
    this.#io = io;
    this.#client = client;
    this.#array = array;
    this.#options = options;
  }

  async print(row: ResultRow): Promise<void> {
    const ran = row.node === "" ? {} : { node: row.node };
    const ended: Ended = { outcome: row.outcome, attempt: row.attempt, ...ran };
    if (!this.#options.keep_order) {
      for (let index = row.from; index < row.to; index++) await this.#one(index, row, ended);
      return;
    }
    const room = this.#kept < LIMITS.keep_order_results;
    if (room) this.#kept += 1;
    const { to, node, attempt, tried = [] } = row;
    this.#waiting.set(row.from, { to, node, attempt, tried, ended: room ? ended : undefined });
    await this.#printTurn();
  }

  async #printTurn(): Promise<void> {
    for (;;) {
      const turn = this.#waiting.get(this.#next);
      if (turn === undefined) return;
      this.#waiting.delete(this.#next);
      if (turn.ended !== undefined) this.#kept -= 1;
      for (let index = this.#next; index < turn.to; index++) {
        await this.#one(index, turn, turn.ended ?? (await this.#again(index)));
      }
      this.#next = turn.to;
    }
  }

  async #show(index: number): Promise<TaskView> {
    return (await this.#client.query("task.show", { number: this.#array.number, index })).task;
  }

  async #again(index: number): Promise<Ended> {
    return endedOf(await this.#show(index));
  }

  async #one(index: number, row: Pick<ResultRow, "node" | "attempt" | "tried">, ended: Ended): Promise<void> {
    const id = formatTaskId(this.#array.id, index);
    const { outcome, attempt } = ended;
    if (this.#options.json) {
      await this.#io.out(`${JSON.stringify({ id, index, node: row.node, attempt, ...outcomeDocument(outcome) })}\n`);
      return;
    }
    const earlier = wasTried(row, index) ? (await this.#show(index)).attempts : undefined;
    await printFinished(this.#io, this.#client, { id, number: this.#array.number, index }, ended, earlier);
    if (outcome.status !== "completed" && outcome.status !== "cancelled") {
      this.#io.err(`claw: ${id}: ${endOf(outcome)}\n`);
    }
  }
}
