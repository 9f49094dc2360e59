// Several tasks' output on one terminal: each line says whose it is. The bytes of a line stay as the task wrote them.

import type { Sink } from "../communication/follow.ts";

const LINE_END = 10;

/** `end` gives a last line that has no end its own, so that the next task's first line stands alone. */
export function labelled(sink: Sink, label: string): Sink & { end(): Promise<void> } {
  const out = new Lines(`${label}: `, (bytes) => sink.out(bytes));
  const error = new Lines(`${label}: `, (bytes) => sink.passError(bytes));
  return {
    runtime: sink.runtime,
    out: (bytes) => out.write(bytes),
    passError: (bytes) => error.write(bytes),
    err: (text) => sink.err(text),
    end: async () => {
      await out.end();
      await error.end();
    },
  };
}

class Lines {
  readonly #label: Uint8Array;
  readonly #pass: (bytes: Uint8Array) => Promise<void>;
  #at_start = true;

  constructor(label: string, pass: (bytes: Uint8Array) => Promise<void>) {
    this.#label = Buffer.from(label);
    this.#pass = pass;
  }

  async write(given: Uint8Array | string): Promise<void> {
    const bytes = typeof given === "string" ? Buffer.from(given) : given;
    const parts: Uint8Array[] = [];
    for (let from = 0; from < bytes.length; ) {
      const at = bytes.indexOf(LINE_END, from);
      const to = at < 0 ? bytes.length : at + 1;
      if (this.#at_start) parts.push(this.#label);
      parts.push(bytes.subarray(from, to));
      this.#at_start = at >= 0;
      from = to;
    }
    if (parts.length > 0) await this.#pass(Buffer.concat(parts));
  }

  async end(): Promise<void> {
    if (this.#at_start) return;
    this.#at_start = true;
    await this.#pass(Uint8Array.of(LINE_END));
  }
}
