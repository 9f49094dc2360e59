// `logs --json`: each piece of output as an object. JSON knows no bytes: what is no UTF-8 comes as base64.

import { isUtf8 } from "node:buffer";
import type { Sink } from "../communication/follow.ts";

/** The longest part of a character that another piece may end. */
const CUT_BYTES = 3;

/** One document, an array, or with `lines` (`-f`) an object a line. */
export class JsonLogs {
  readonly #io: Sink;
  readonly #lines: boolean;
  #count = 0;

  constructor(io: Sink, lines: boolean) {
    this.#io = io;
    this.#lines = lines;
  }

  /** Takes one task's output; `end` gives what is left of it. */
  of(id: string): Sink & { end(): Promise<void> } {
    let ran: { attempt?: number; node?: string } = {};
    const out = new Pieces((piece) => this.#add({ id, ...ran, stream: "stdout", ...piece }));
    const error = new Pieces((piece) => this.#add({ id, ...ran, stream: "stderr", ...piece }));
    const end = async (): Promise<void> => {
      await out.end();
      await error.end();
    };
    return {
      runtime: this.#io.runtime,
      out: (bytes) => out.write(bytes),
      passError: (bytes) => error.write(bytes),
      err: (text) => this.#io.err(text),
      of: async (attempt, node) => {
        if (attempt === ran.attempt && node === ran.node) return;
        // What an attempt left half is its own.
        await end();
        ran = { attempt, ...(node === undefined ? {} : { node }) };
      },
      end,
    };
  }

  async #add(piece: object): Promise<void> {
    const before = this.#lines ? "" : this.#count === 0 ? "[" : ",";
    this.#count += 1;
    await this.#io.out(`${before}${JSON.stringify(piece)}${this.#lines ? "\n" : ""}`);
  }

  async end(): Promise<void> {
    if (!this.#lines) await this.#io.out(this.#count === 0 ? "[]\n" : "]\n");
  }
}

type Piece = { text: string } | { base64: string };

/** Bytes as text, however a character was cut between two writes. */
class Pieces {
  readonly #give: (piece: Piece) => Promise<void>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(give: (piece: Piece) => Promise<void>) {
    this.#give = give;
  }

  async write(given: Uint8Array | string): Promise<void> {
    const bytes = Buffer.concat([this.#rest, Buffer.from(given as Uint8Array)]);
    const whole = bytes.length - cutAt(bytes);
    this.#rest = bytes.subarray(whole);
    await this.#pass(bytes.subarray(0, whole));
  }

  async end(): Promise<void> {
    await this.#pass(this.#rest);
    this.#rest = new Uint8Array(0);
  }

  async #pass(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return;
    const buffer = Buffer.from(bytes);
    await this.#give(isUtf8(buffer) ? { text: buffer.toString() } : { base64: buffer.toString("base64") });
  }
}

/** How many of the last bytes begin a character that does not end. */
function cutAt(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(CUT_BYTES, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needs > back ? back : 0;
  }
  return 0;
}
