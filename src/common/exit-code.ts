// How an attempt's end reads as a process's exit code: what `claw run` ends with, and what `--retry-on` compares.

import { constants } from "node:os";
import type { Outcome } from "./models.ts";

type End = Pick<Outcome, "status" | "exit_code" | "signal">;

/** The task's own; 128 + n for a signal, 124 when its timeout ended it, 125 when it could not be run. */
export function exitCodeOf({ status, exit_code, signal }: End): number {
  if (status === "timeout") return 124;
  if (exit_code !== undefined) return exit_code;
  if (signal !== undefined) return 128 + (constants.signals[signal as NodeJS.Signals] ?? 0);
  return status === "cancelled" ? 130 : 125;
}
