// Bytes of an input as lines, as they come: nothing is waited for that is not needed, a line is never changed, and what
// cannot be sent as it is (it is no UTF-8, or too long) is refused by its number.

import { ClawError, messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";

/**
 * The lines of each chunk that arrives; with `null_separated` (`-0`) they end with a NUL byte. A last line without an end
 * counts; a carriage return stays part of its line, as GNU parallel has it. Lines before a bad one are given first.
 * `stop` ends the reading, however long nothing comes.
 */
export async function* readLines(
  input: ReadableStream<Uint8Array>,
  null_separated: boolean,
  stop?: AbortSignal,
): AsyncGenerator<string[], void, void> {
  const splitter = new LineSplitter(null_separated);
  const reader = readerOf(input);
  const stopped = Promise.withResolvers<{ done: true; value: undefined }>();
  stop?.addEventListener("abort", () => stopped.resolve({ done: true, value: undefined }));
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read().catch(unreadable), stopped.promise]);
      if (stop?.aborted === true) return;
      const lines = done ? splitter.end() : splitter.take(value);
      if (lines.length > 0) yield lines;
      if (splitter.problem !== undefined) throw splitter.problem;
      if (done) return;
    }
  } finally {
    // Not awaited: a source that says nothing may never answer.
    void reader.cancel().catch(() => undefined);
  }
}

function readerOf(input: ReadableStream<Uint8Array>) {
  try {
    return input.getReader();
  } catch (error) {
    return unreadable(error);
  }
}

/** A folder, a disk that fails, a file that is not there. */
function unreadable(error: unknown): never {
  throw new ClawError("io", `cannot read the input: ${messageOf(error)}`, { field: "input", cause: error });
}

class LineSplitter {
  /** Why reading has to stop; lines before the bad one were given. */
  problem: ClawError | undefined;
  readonly #separator: number;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #parts: Uint8Array[] = [];
  #part_bytes = 0;
  #count = 0;

  constructor(null_separated: boolean) {
    this.#separator = null_separated ? 0 : 10;
  }

  take(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let from = 0;
    while (this.problem === undefined) {
      const end = chunk.indexOf(this.#separator, from);
      this.#keep(chunk.subarray(from, end < 0 ? chunk.length : end), end < 0);
      if (end < 0 || this.problem !== undefined) break;
      this.#finish(lines);
      from = end + 1;
    }
    return lines;
  }

  end(): string[] {
    const lines: string[] = [];
    if (this.#part_bytes > 0 && this.problem === undefined) this.#finish(lines);
    return lines;
  }

  #keep(bytes: Uint8Array, unfinished: boolean): void {
    this.#part_bytes += bytes.length;
    if (this.#part_bytes > LIMITS.input_bytes) {
      const message = `line ${this.#count + 1} is longer than ${LIMITS.input_bytes} bytes`;
      const hint = "pass the names of files instead of their content";
      this.problem = new ClawError("too_large", message, { hint, field: `line ${this.#count + 1}` });
      return;
    }
    // The chunk's memory is the stream's: what outlives this call is copied.
    if (bytes.length > 0) this.#parts.push(unfinished ? new Uint8Array(bytes) : bytes);
  }

  #finish(lines: string[]): void {
    const [only] = this.#parts;
    const bytes = this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#part_bytes = 0;
    this.#count += 1;
    try {
      lines.push(this.#decoder.decode(bytes));
    } catch {
      const message = `line ${this.#count} is no UTF-8, and claw never changes a line silently`;
      const hint = "convert the input, or pass names that are UTF-8";
      this.problem = new ClawError("bad_request", message, { hint, field: `line ${this.#count}` });
    }
  }
}
