// Finds a task's program before it is spawned, so that "not found" can say where it was looked for, and tells it from
// "found, but may not be run", as shells do (127 and 126).

import { accessSync, constants, statSync } from "node:fs";
import { resolve } from "node:path";

export interface StartProblem {
  reason: "not_found" | "spawn";
  exit_code?: number;
  message: string;
}

export type Found = { path: string } | { problem: StartProblem };

interface Where {
  folder: string;
  path: string;
  node_name: string;
}

function kindOf(path: string): "program" | "folder" | "refused" | "nothing" {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return "nothing";
  if (found.isDirectory()) return "folder";
  try {
    accessSync(path, constants.X_OK);
    return "program";
  } catch {
    return "refused";
  }
}

/** As execvp looks: a name with a slash is a path from the task's folder, any other is searched for in PATH. */
export function findProgram(name: string, where: Where): Found {
  const paths = name.includes("/")
    ? [resolve(where.folder, name)]
    : where.path.split(":").map((folder) => resolve(where.folder, folder, name));
  let refused: string | undefined;
  for (const path of name === "" ? [] : paths) {
    const kind = safeKind(path);
    if (kind === "program") return { path };
    if (kind === "refused" || (kind === "folder" && name.includes("/"))) refused ??= path;
  }
  if (refused !== undefined) {
    const message = `${refused} on ${where.node_name} is not executable (try chmod +x, or name its interpreter)`;
    return { problem: { reason: "not_found", exit_code: 126, message } };
  }
  const searched = name.includes("/") ? `from the folder ${where.folder}` : `in PATH ${where.path}`;
  const message = `'${shortened(name)}' was not found on ${where.node_name} ${searched}`;
  return { problem: { reason: "not_found", exit_code: 127, message } };
}

/** A name may be longer than all that a message takes. */
function shortened(name: string): string {
  return name.slice(0, 200);
}

/** A path that cannot even be looked at (no right, a file for a folder, too long) holds nothing for us. */
function safeKind(path: string): ReturnType<typeof kindOf> {
  try {
    return kindOf(path);
  } catch {
    return "nothing";
  }
}

/** What a refused spawn says, after findProgram had found the program. */
export function spawnProblem(error: unknown, program: string, where: Where): StartProblem {
  const code = (error as NodeJS.ErrnoException).code ?? "unknown";
  const at = `on ${where.node_name}`;
  const name = shortened(program);
  switch (code) {
    case "ENOENT":
      return {
        reason: "not_found",
        exit_code: 127,
        message: `${name} ${at} names an interpreter that is not there, or the folder ${where.folder} went away`,
      };
    case "EACCES":
      return { reason: "not_found", exit_code: 126, message: `${name} ${at} may not be executed` };
    case "ENOEXEC":
      return { reason: "spawn", exit_code: 126, message: `${name} ${at} is not a program for this machine` };
    case "E2BIG":
      return {
        reason: "spawn",
        exit_code: 126,
        message: `the arguments and environment are too large for the system ${at}: pass a file's name instead`,
      };
    default:
      return { reason: "spawn", message: `could not start ${name} ${at}: ${code}` };
  }
}
