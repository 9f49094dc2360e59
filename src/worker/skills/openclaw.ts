// OpenClaw's folders and settings on this machine, found without asking OpenClaw: its own command takes seconds, and answers
// for another machine where a remote Gateway is configured.

import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { Environment } from "../../common/paths.ts";

/** A folder with skills, by the name that OpenClaw prints for its kind. */
export interface SkillSource {
  source: string;
  folder: string;
}

export interface OpenClaw {
  /** openclaw.json; empty where there is none, or none that can be read. */
  settings: Record<string, unknown>;
  /** Highest precedence first. */
  sources: SkillSource[];
}

export interface Places {
  env: Environment;
  home: string;
  /** OpenClaw's state folder, where it is not found by itself. */
  state_dir?: string | undefined;
}

/** Folders need not exist. */
export function findOpenClaw({ env, home: own = homedir(), state_dir }: Places): OpenClaw {
  // Its own folders, settings and `~` are below another home, if one is set; ~/.agents is not.
  const home = pathAt(env["OPENCLAW_HOME"], own) ?? own;
  const usual = join(home, ".openclaw");
  const profile = env["OPENCLAW_PROFILE"]?.trim() ?? "";
  const named = profile === "" || profile.toLowerCase() === "default" ? usual : `${usual}-${profile}`;
  const state = pathAt(state_dir, home) ?? pathAt(env["OPENCLAW_STATE_DIR"], home) ?? named;
  const settings = readSettings(pathAt(env["OPENCLAW_CONFIG_PATH"], home) ?? join(state, "openclaw.json"));
  const { id, entry } = defaultAgent(settings);
  const shared = pathAt(valueAt(settings, "agents.defaults.workspace"), home) ?? join(state, "workspace");
  const workspace = pathAt(entry["workspace"], home) ?? shared;
  const agent = pathAt(entry["agentDir"], home) ?? join(state, "agents", id, "agent");
  const extra = valueAt(settings, "skills.load.extraDirs");
  const bundled = bundledFolder(env["PATH"]);
  const sources: SkillSource[] = [
    { source: "openclaw-workspace", folder: join(workspace, "skills") },
    { source: "agents-skills-project", folder: join(workspace, ".agents", "skills") },
    ...(realOf(state) === realOf(usual)
      ? [{ source: "agents-skills-personal", folder: join(own, ".agents", "skills") }]
      : []),
    { source: "openclaw-managed", folder: join(state, "skills") },
    { source: "openclaw-workshop", folder: join(agent, "workshop-skills") },
    ...(bundled === undefined ? [] : [{ source: "openclaw-bundled", folder: bundled }]),
    ...(Array.isArray(extra) ? extra : [])
      .map((one) => pathAt(one, home))
      .filter((folder) => folder !== undefined)
      .map((folder) => ({ source: "openclaw-extra", folder })),
    { source: "openclaw-extra", folder: join(state, "plugin-skills") },
  ];
  return { settings, sources };
}

/** The agent whose turns run where none is named: the one that is marked, or the only one, else `main`. */
export function defaultAgent(settings: Record<string, unknown>): { id: string; entry: Record<string, unknown> } {
  const entries = Object.entries(record(valueAt(settings, "agents.entries")));
  const marked = entries.filter(([, entry]) => valueAt(entry, "default") === true);
  const [sole] =
    marked.length === 1 ? marked : entries.length === 1 ? entries : entries.filter(([id]) => id === "main");
  return { id: sole?.[0].toLowerCase() ?? "main", entry: record(sole?.[1]) };
}

export function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function readSettings(path: string): Record<string, unknown> {
  try {
    // A pipe would be waited for, and what the kernel makes up has no size, and may have no end.
    const found = statSync(path);
    if (!found.isFile() || found.size === 0) return {};
    return record(Bun.JSON5.parse(readFileSync(path, "utf8")));
  } catch {
    return {};
  }
}

/** Where a setting leads: undefined for what is blank or no text. Nobody knows the folder that OpenClaw is started in. */
function pathAt(value: unknown, home: string): string | undefined {
  const path = typeof value === "string" ? value.trim() : "";
  if (path === "") return undefined;
  return resolve(home, path === "~" || path.startsWith("~/") ? join(home, path.slice(1)) : path);
}

/** As it is, where there is nothing yet. */
function realOf(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder;
  }
}

/** `skills` in the package that the program on the PATH belongs to. */
function bundledFolder(path: string | undefined): string | undefined {
  const program = Bun.which("openclaw", path === undefined ? {} : { PATH: path });
  if (program === null) return undefined;
  try {
    for (let folder = dirname(realpathSync(program)); folder !== dirname(folder); folder = dirname(folder)) {
      const skills = join(folder, "skills");
      if (existsSync(join(folder, "package.json")) && existsSync(skills)) return skills;
    }
  } catch {
    // A link that leads nowhere is no program.
  }
  return undefined;
}

/** `a.b.c` in nested settings. */
export function valueAt(settings: unknown, path: string): unknown {
  let value = settings;
  for (const part of path.split(".").filter((one) => one !== "")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value;
}
