// What a command sees of the world around it, so that a test can hand it another one.

import { ClawError, messageOf } from "../common/errors.ts";
import type { Environment } from "../common/paths.ts";
import type { Runtime } from "../common/runtime.ts";
import { drawn, printableText } from "./output.ts";

export type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

export interface Io {
  runtime: Runtime;
  env: Environment;
  cwd: string;
  /** Results. Resolves when there is room for more; rejects with OutputClosed when nobody reads any more. */
  out(bytes: Uint8Array | string): Promise<void>;
  /** A task's error output, bytes as they came. Resolves when there is room for more; a closed one takes everything. */
  passError(bytes: Uint8Array | string): Promise<void>;
  /** Hints and errors of our own, with what others wrote in them; never fails. */
  err(text: string): void;
  /** Progress: a line in the place of the one before; empty, it makes room. */
  draw(line: string): void;
  input(): ReadableStream<Uint8Array>;
  /** Of output, error output and input. */
  terminal: { out: boolean; err: boolean; in: boolean };
  columns: number;
  /** Calls back for each Ctrl-C, SIGTERM and closed terminal until the returned function is called. */
  onSignal(action: (signal: StopSignal) => void): () => void;
}

/** Nobody reads our output any more: as good as an end. */
export class OutputClosed extends Error {}

const SIGNALS: readonly StopSignal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** EPIPE, and EIO of a terminal that went away, are a reader that is gone; anything else is output that is lost. */
function problemOf(error: Error): Error {
  const { code } = error as { code?: string };
  if (code === "EPIPE" || code === "EIO" || code === "ERR_STREAM_DESTROYED") return new OutputClosed();
  return new ClawError("io", `cannot write the output: ${messageOf(error)}`, { cause: error });
}

function writer(stream: NodeJS.WriteStream): (bytes: Uint8Array | string) => Promise<void> {
  let problem: Error | undefined;
  stream.on("error", (error: Error) => {
    problem ??= problemOf(error);
  });
  return (bytes) =>
    new Promise((resolve, reject) => {
      if (problem !== undefined) {
        reject(problem);
        return;
      }
      stream.write(bytes, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(problemOf(error));
      });
    });
}

export function processIo(runtime: Runtime): Io {
  const pass = writer(process.stderr);
  return {
    runtime,
    env: process.env,
    cwd: process.cwd(),
    out: writer(process.stdout),
    passError: (bytes) => pass(bytes).catch(() => undefined),
    err: (text) => {
      process.stderr.write(printableText(text));
    },
    draw: (line) => {
      process.stderr.write(drawn(line));
    },
    input: () => Bun.stdin.stream(),
    terminal: {
      out: process.stdout.isTTY === true,
      err: process.stderr.isTTY === true,
      in: process.stdin.isTTY === true,
    },
    columns: process.stdout.columns ?? 100,
    onSignal: (action) => {
      const listeners = SIGNALS.map((signal) => ({ signal, listener: (): void => action(signal) }));
      for (const { signal, listener } of listeners) process.on(signal, listener);
      return () => {
        for (const { signal, listener } of listeners) process.off(signal, listener);
      };
    },
  };
}
