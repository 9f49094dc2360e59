// What the settings' own reader says of a text: written to a file and read as `claw config check` reads one.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/common/config.ts";
import { ConfigError, type Problem } from "../../src/common/config-problem.ts";
import type { ConfigRole } from "../../src/common/config-schema.ts";
import { resolvePaths } from "../../src/common/paths.ts";

/** Every problem of a file with this text, as of `c.yaml`. */
export function problemsOf(role: ConfigRole, text: string): Problem[] {
  const folder = mkdtempSync(join(tmpdir(), "claw-config-"));
  const file = join(folder, "c.yaml");
  try {
    writeFileSync(file, text);
    loadConfig(role, { paths: resolvePaths({ CLAW_HOME: folder }), file, env: {} });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((problem) => ({ ...problem, file: problem.file === file ? "c.yaml" : problem.file }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
