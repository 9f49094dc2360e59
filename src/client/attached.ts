// While a command watches work that it submitted: what Ctrl-C, SIGTERM and a closed terminal mean to it. The work is the
// cluster's: only Ctrl-C (and `claw cancel`) end it, everything else just stops watching.

import { ClawError, messageOf } from "../common/errors.ts";
import type { Io, StopSignal } from "./io.ts";

/** As a shell reports a process that the signal ended. */
const EXIT_CODES: Record<StopSignal, number> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };
export const INTERRUPTED_EXIT = EXIT_CODES.SIGINT;

/** Nobody reads our output: as a shell reports SIGPIPE. */
export const OUTPUT_CLOSED_EXIT = 141;

export interface Attached {
  /** Resolves with an exit code when this command is to leave the work to itself. */
  left: Promise<number>;
  /** Aborted by the first Ctrl-C and by leaving. */
  interrupted: AbortSignal;
  end(): void;
}

/** `cancel` is called for the first Ctrl-C; a second one leaves. */
export function attach(io: Io, id: string, cancel: () => Promise<unknown>): Attached {
  const { promise: left, resolve } = Promise.withResolvers<number>();
  const interrupted = new AbortController();
  const end = io.onSignal((signal) => {
    if (signal === "SIGINT" && !interrupted.signal.aborted) {
      io.err(`\nclaw: cancelling ${id}; Ctrl-C again leaves it alone\n`);
      interrupted.abort();
      cancel().catch((error: unknown) => io.err(`claw: cannot cancel ${id}: ${messageOf(error)}\n`));
      return;
    }
    interrupted.abort();
    io.err(`claw: ${leftAlone(id)}\n`);
    resolve(EXIT_CODES[signal]);
  });
  return { left, interrupted: interrupted.signal, end };
}

/** What was to be written is lost, as on a full disk: the work that it came from is not. */
export function isLost(error: unknown): boolean {
  return error instanceof ClawError && error.code === "io";
}

/** Whoever submitted something gets its id: where that cannot be written it is said. */
export async function printId(io: Io, id: string, json: object | undefined): Promise<void> {
  try {
    await io.out(json === undefined ? `${id}\n` : `${JSON.stringify(json)}\n`);
  } catch (error) {
    io.err(`claw: ${isLost(error) ? unprinted(id) : leftAlone(id)}\n`);
    throw error;
  }
}

/** The work may be over, or go on, when its output cannot be written. */
export function unprinted(id: string): string {
  return `${id} is not undone by that; claw show ${id}, claw logs ${id} or claw cancel ${id}`;
}

export function leftAlone(id: string): string {
  return `${id} goes on without this command; claw wait ${id}, claw logs -f ${id} or claw cancel ${id}`;
}
