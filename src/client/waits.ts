// Why work that was submitted does not begin: said to whoever watches it, when it takes longer than a moment, and again
// when the reason changes.

import type { RequestClient } from "../communication/request.ts";
import type { Io } from "./io.ts";

/** What starts within this time is not worth a word. */
export const SOON_MS = 2_000;
/** Between two looks. */
export const LOOK_MS = 15_000;

export class Waits {
  readonly #io: Io;
  readonly #client: RequestClient;
  #said = "";
  #looked_ms: number | undefined;

  constructor(io: Io, client: RequestClient) {
    this.#io = io;
    this.#client = client;
  }

  async tell(target: { number: number; index?: number }): Promise<void> {
    const now_ms = this.#io.runtime.monotonic_ms();
    if (this.#looked_ms !== undefined && now_ms - this.#looked_ms < LOOK_MS) return;
    this.#looked_ms = now_ms;
    const { task } = await this.#client.query("task.show", target);
    if (task.waiting === undefined || task.waiting.summary === this.#said) return;
    this.#said = task.waiting.summary;
    this.#io.err(`claw: ${task.id} waits: ${this.#said}\n`);
  }
}
