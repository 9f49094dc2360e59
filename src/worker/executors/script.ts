// Runs a bundled TypeScript or JavaScript file with the Bun that is inside this binary (BUN_BE_BUN), or with the Bun
// that runs claw from source: the node needs no toolchain.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../../common/errors.ts";
import type { AttemptContext, Executor } from "./executor.ts";
import { type Plan, startProcess } from "./process.ts";

/** Gives the path of the bundle with this hash; the caller keeps what it fetched. */
export type FetchScript = (sha256: string) => Promise<string>;

/**
 * Without it a `claw` that the script starts would be Bun as well. Bun.spawn without `env` passes on the environment of
 * the process's start all the same: nothing in a script can change that. The file removes itself to leave TMPDIR empty.
 */
const PRELOAD = `delete process.env.BUN_BE_BUN;
require("node:fs").rmSync(__filename, { force: true });
`;

async function planOf({ specification, tmp }: AttemptContext, fetchScript: FetchScript): Promise<Plan> {
  if (specification.script === undefined) throw new ClawError("bad_request", "a script task came without its script");
  const path = await fetchScript(specification.script.sha256);
  const preload = join(tmp, "claw-preload.cjs");
  writeFileSync(preload, PRELOAD);
  // What the caller bundled is all there is: nothing is installed, no .env file of the folder is read.
  const options = ["--no-install", "--no-env-file", `--preload=${preload}`];
  return {
    // Bun takes the first -- behind a file for its own: the script's words are all the script's.
    argv: [process.execPath, "run", ...options, path, "--", ...specification.argv],
    env: { BUN_BE_BUN: "1" },
  };
}

export function scriptExecutor(fetchScript: FetchScript): Executor {
  return { start: (attempt, events) => startProcess(attempt, events, () => planOf(attempt, fetchScript)) };
}
