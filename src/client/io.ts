// What a command sees of the world around it, so that a test can hand it another one.

import type { Environment } from "../common/paths.ts";
import type { Runtime } from "../common/runtime.ts";

export interface Io {
  runtime: Runtime;
  env: Environment;
  cwd: string;
  /** Results. Resolves when there is room for more; rejects with EPIPE when nobody reads any more. */
  out(bytes: Uint8Array | string): Promise<void>;
  /** Progress, hints, errors; never fails. */
  err(text: string): void;
  input(): ReadableStream<Uint8Array>;
  /** Of output, error output and input. */
  terminal: { out: boolean; err: boolean; in: boolean };
  columns: number;
  /** Calls back for each Ctrl-C until the returned function is called. */
  onInterrupt(action: () => void): () => void;
}

/** Nobody reads our output any more: as good as an end. */
export class OutputClosed extends Error {}

export function processIo(runtime: Runtime): Io {
  let closed = false;
  process.stdout.on("error", () => {
    closed = true;
  });
  process.stderr.on("error", () => undefined);
  return {
    runtime,
    env: process.env,
    cwd: process.cwd(),
    out: (bytes) =>
      new Promise((resolve, reject) => {
        if (closed) {
          reject(new OutputClosed());
          return;
        }
        process.stdout.write(bytes, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(new OutputClosed());
        });
      }),
    err: (text) => {
      process.stderr.write(text);
    },
    input: () => Bun.stdin.stream(),
    terminal: {
      out: process.stdout.isTTY === true,
      err: process.stderr.isTTY === true,
      in: process.stdin.isTTY === true,
    },
    columns: process.stdout.columns ?? 100,
    onInterrupt: (action) => {
      process.on("SIGINT", action);
      return () => process.off("SIGINT", action);
    },
  };
}
