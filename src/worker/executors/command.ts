// Runs argv as it is: no shell between the caller's words and the program.

import type { Executor } from "./executor.ts";
import { startProcess } from "./process.ts";

export const commandExecutor: Executor = {
  start: (attempt, events) => startProcess(attempt, events, () => ({ argv: attempt.specification.argv })),
};
