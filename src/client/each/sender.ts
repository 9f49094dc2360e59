// The lines of `--each` on their way into an open array: sent as they come, so that a slow producer's first lines already
// run, and kept open while nothing comes.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { Timer } from "../../common/runtime.ts";
import { plural } from "../../common/units.ts";
import type { RequestClient } from "../../communication/request.ts";
import { checkCommandLength, renderTemplate } from "../../core/template.ts";
import type { Io } from "../io.ts";

/** An array that nobody extends for ten minutes counts as abandoned. */
const RENEW_MS = 60_000;

export interface OpenArray {
  id: number;
  number: number;
  nonce: string;
}

export interface SenderOptions {
  template: string;
  /** Lines that are empty or blank are passed over. */
  skip_blank: boolean;
  /** Told each line that becomes a member. */
  onLine?: (index: number, line: string) => void;
}

export class Sender {
  readonly #io: Io;
  readonly #client: RequestClient;
  readonly #array: OpenArray;
  readonly #options: SenderOptions;
  #batch: string[] = [];
  #batch_bytes = 0;
  /** Lines seen, and those of them that became members. */
  #read = 0;
  #taken = 0;
  #sent = 0;
  #over = false;
  /** Requests go one after the other: each names the offset behind the one before. */
  #last: Promise<unknown> = Promise.resolve();
  #renewal: Timer | undefined;

  constructor(io: Io, client: RequestClient, array: OpenArray, options: SenderOptions) {
    this.#io = io;
    this.#client = client;
    this.#array = array;
    this.#options = options;
  }

  /** Nothing more will be sent. */
  get over(): boolean {
    return this.#over;
  }

  get sent(): number {
    return this.#sent;
  }

  /** Sends all lines and closes the array. A line that cannot be taken ends the reading; what came before it still runs. */
  async run(lines: AsyncIterable<string[]>): Promise<void> {
    this.#renewLater();
    try {
      for await (const chunk of lines) {
        for (const line of chunk) await this.#add(line);
        await this.#flush();
      }
    } finally {
      await this.#flush();
      this.#renewal?.cancel();
      this.#over = true;
      await this.#extend([], true);
    }
  }

  async #add(line: string): Promise<void> {
    this.#read += 1;
    if (this.#options.skip_blank && line.trim() === "") return;
    this.#check(line);
    this.#options.onLine?.(this.#taken, line);
    this.#taken += 1;
    const bytes = Buffer.byteLength(JSON.stringify(line));
    const full = this.#batch.length === LIMITS.inputs_per_request;
    if (full || this.#batch_bytes + bytes > LIMITS.inputs_request_bytes) await this.#flush();
    this.#batch.push(line);
    this.#batch_bytes += bytes;
  }

  /** What would fail on the node for being too long, or cannot be an argument, is refused here, by its line. */
  #check(line: string): void {
    try {
      checkCommandLength(renderTemplate(this.#options.template, line, this.#taken));
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
      const field = `line ${this.#read}`;
      const before = plural(this.#taken, "line");
      const hint = { ...(error.hint === undefined ? {} : { hint: error.hint }), field };
      throw new ClawError(error.code, `${field}: ${error.message}; the ${before} before it were submitted`, hint);
    }
  }

  async #flush(): Promise<void> {
    if (this.#batch.length === 0) return;
    const inputs = this.#batch;
    this.#batch = [];
    this.#batch_bytes = 0;
    await this.#extend(inputs, false);
  }

  #extend(inputs: string[], close: boolean): Promise<void> {
    const { id, nonce } = this.#array;
    const request = this.#last.then(async () => {
      const offset = this.#sent;
      const total = close ? { close: { total: offset } } : {};
      await this.#client.command("task.extend", { v: 1, id, nonce, offset, inputs, ...total });
      this.#sent += inputs.length;
    });
    this.#last = request.catch(() => undefined);
    return request;
  }

  #renewLater(): void {
    this.#renewal = this.#io.runtime.after(RENEW_MS, () => {
      if (this.#over) return;
      // A renewal that fails is nothing yet: the next extension says what is wrong.
      this.#extend([], false).catch(() => undefined);
      this.#renewLater();
    });
  }
}
