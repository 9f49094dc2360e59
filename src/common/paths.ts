// Where a process keeps things (design, section 9): CLAW_HOME puts everything under one folder, systemd names its own,
// and otherwise it is the XDG folders of the user.

import { mkdirSync } from "node:fs";
import { basename, isAbsolute, join, resolve } from "node:path";
import { ClawError, writeProblem } from "./errors.ts";

export interface Paths {
  config_dir: string;
  data_dir: string;
  coordinator_dir: string;
  worker_dir: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const PROFILE = /^[a-z0-9][a-z0-9-]{0,31}$/;

export function resolvePaths(env: Environment, options: { profile?: string } = {}): Paths {
  const { profile } = options;
  if (profile !== undefined && !PROFILE.test(profile)) {
    throw new ClawError("usage", `'${profile}' is no profile name`, {
      hint: "lower-case letters, digits and hyphens",
      field: "--profile",
    });
  }
  const { config_dir, data_dir } = folders(env, profile);
  return {
    config_dir,
    data_dir,
    coordinator_dir: join(data_dir, "coordinator"),
    worker_dir: join(data_dir, "worker"),
  };
}

function folders(env: Environment, profile: string | undefined): { config_dir: string; data_dir: string } {
  const home = nonEmpty(env["CLAW_HOME"]);
  if (home !== undefined) {
    // Absolute, because children that are started in other folders are given these paths.
    const base = join(resolve(home), profile ?? "");
    return { config_dir: join(base, "config"), data_dir: join(base, "data") };
  }
  const name = profile === undefined ? "claw" : `claw-${profile}`;
  const state = ownFolder(env["STATE_DIRECTORY"]);
  if (state !== undefined) {
    const config = ownFolder(env["CONFIGURATION_DIRECTORY"]) ?? "/etc/claw";
    return { config_dir: join(config, profile ?? ""), data_dir: join(state, profile ?? "") };
  }
  return {
    config_dir: join(absolute(env["XDG_CONFIG_HOME"]) ?? join(userHome(env), ".config"), name),
    data_dir: join(absolute(env["XDG_DATA_HOME"]) ?? join(userHome(env), ".local", "share"), name),
  };
}

function userHome(env: Environment): string {
  const home = absolute(env["HOME"]);
  if (home !== undefined) return home;
  throw new ClawError(
    "bad_config",
    "neither CLAW_HOME nor HOME names a folder, so there is no place to keep anything",
    {
      hint: "set CLAW_HOME to a folder",
      field: "HOME",
    },
  );
}

/** systemd lists folders with colons between them. Another service's (one that calls `claw run`) are not ours to fill. */
function ownFolder(list: string | undefined): string | undefined {
  return list?.split(":").find((folder) => /^claw(-|$)/.test(basename(folder)));
}

/** A relative XDG folder is to be ignored, says its specification. */
function absolute(path: string | undefined): string | undefined {
  return path !== undefined && isAbsolute(path) ? path : undefined;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text;
}

/** Makes a folder that only its owner can enter. */
export function ensureFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw writeProblem(error, `make the folder ${path}`);
  }
}
