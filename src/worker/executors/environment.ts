// What a task sees of its surroundings: a few harmless variables of the worker, the caller's own, and claw's four. The
// worker's other variables are never passed on: credentials live there.

import { isReserved } from "../../common/variables.ts";
import { deviceVariables } from "../devices.ts";
import { marker } from "../tree.ts";
import type { AttemptContext } from "./executor.ts";

const SANE_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const PASSED_ON = /^(?:HOME|USER|LOGNAME|SHELL|TZ|LANG|LC_[A-Z_]+)$/;

/** The worker's own PATH first, then the folders that every system has. */
function searchPath(worker_env: Record<string, string | undefined> = process.env): string {
  const own = (worker_env["PATH"] ?? "").split(":").filter((folder) => folder.startsWith("/"));
  return [...new Set([...own, ...SANE_PATH])].join(":");
}

/** The part that is the same for every task. */
export function baseEnvironment(
  worker_env: Record<string, string | undefined> = process.env,
): Readonly<Record<string, string>> {
  const base: Record<string, string> = { PATH: searchPath(worker_env), SHELL: "/bin/sh", TERM: "dumb" };
  for (const [name, value] of Object.entries(worker_env)) {
    if (value !== undefined && PASSED_ON.test(name)) base[name] = value;
  }
  return base;
}

export function attemptEnvironment(
  attempt: AttemptContext,
  base: Readonly<Record<string, string>>,
): Record<string, string> {
  const environment: Record<string, string> = { ...base, ...deviceVariables(attempt.devices ?? []) };
  for (const [name, value] of Object.entries(attempt.specification.env ?? {})) {
    // claw's own are set last, so that nobody can hide a process from its node.
    if (!isReserved(name)) environment[name] = value;
  }
  environment["TMPDIR"] = attempt.tmp;
  environment["CLAW_TASK_ID"] = attempt.task_id;
  environment["CLAW_TASK_INDEX"] = String(attempt.place);
  environment["CLAW_NODE"] = attempt.node_name;
  environment["CLAW_ATTEMPT"] = marker(attempt.node_id, attempt.incarnation, attempt.task);
  return environment;
}
