// What a task writes its output into. Bun's "pipe" is a pair of sockets, and Linux opens no socket by its name in /proc:
// `> /dev/stderr`, which works in a shell, in cron and over ssh, would fail. So there it is a pipe indeed. Elsewhere who
// opens /dev/stderr gets the descriptor that he has, whatever it is.

import { FFIType, ptr } from "bun:ffi";
import { closeSync } from "node:fs";
import { openLibc } from "../../common/libc.ts";

/** So that no other child inherits it. */
const O_CLOEXEC = 0o2_000_000;
const PIPE2 = { pipe2: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 } } as const;

let pipe2: ((ends: ReturnType<typeof ptr>, flags: number) => number) | undefined;

function makePipe(): { read: number; write: number } | undefined {
  if (process.platform !== "linux") return undefined;
  if (pipe2 === undefined) {
    const libc = openLibc(PIPE2);
    if ("error" in libc) return undefined;
    pipe2 = libc.calls.pipe2;
  }
  const ends = new Int32Array(2);
  const [read, write] = pipe2(ptr(ends), O_CLOEXEC) === 0 ? ends : [];
  return read === undefined || write === undefined ? undefined : { read, write };
}

/** One stream of a child's. Where no pipe can be made it is Bun's, which says why when that cannot be had either. */
export class OutputPipe {
  #read: number | undefined;
  #write: number | undefined;

  constructor() {
    const ends = makePipe();
    this.#read = ends?.read;
    this.#write = ends?.write;
  }

  /** What the child is started with. */
  get end(): number | "pipe" {
    return this.#write ?? "pipe";
  }

  /** After that the output ends with the child and with whom it gave it to. */
  started(): void {
    if (this.#write !== undefined) closeSync(this.#write);
    this.#write = undefined;
  }

  /**
   * What is written; `own` is what Bun has of it. Bun reads through a copy of the descriptor, which it makes when reading
   * begins: from then on, or when there is no child, `close`.
   */
  output(own: ReadableStream<Uint8Array> | undefined): ReadableStream<Uint8Array> | undefined {
    return this.#read === undefined ? own : Bun.file(this.#read).stream();
  }

  close(): void {
    this.started();
    if (this.#read !== undefined) closeSync(this.#read);
    this.#read = undefined;
  }
}
