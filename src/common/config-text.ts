// Settings that come as text from the environment and from flags. CLAW_NATS_URL is nats.url; a list may be written with
// commas (`gpu,fast`), values by name as `zone=a,rack=2`, anything else as in the file.

import { parse } from "yaml";
import type { Problem } from "./config-problem.ts";
import { type ConfigRole, type Field, fieldsOf } from "./config-schema.ts";
import { nearest } from "./nearest.ts";
import type { Environment } from "./paths.ts";
import { meant } from "./problem-words.ts";

const PREFIX = "CLAW_";
/** Variables of claw's own that are no settings. */
const NOT_SETTINGS = new Set(["HOME", "BIN", "NODE", "TASK_ID", "TASK_INDEX", "ATTEMPT"]);
/** One letter too many, too few or wrong, or two swapped. Beyond that a name is somebody else's. */
const NEAR = 2;

export interface EnvironmentSettings {
  values: { path: string; name: string; value: unknown }[];
  problems: Problem[];
  /** Variables that begin like ours and mean nothing to claw. */
  ignored: string[];
}

/** An empty variable counts as not set: that is how compose files and units pass on what they do not have. */
export function environmentSettings(role: ConfigRole, env: Environment): EnvironmentSettings {
  const fields = new Map(fieldsOf(role).map((field) => [variableOf(field.path), field]));
  const others = new Set(fieldsOf(role === "worker" ? "coordinator" : "worker").map(({ path }) => variableOf(path)));
  const found: EnvironmentSettings = { values: [], problems: [], ignored: [] };
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || text === "" || !name.startsWith(PREFIX)) continue;
    const rest = name.slice(PREFIX.length);
    const field = fields.get(rest);
    if (field !== undefined) found.values.push({ path: field.path, name, value: readText(field, text) });
    else if (!others.has(rest) && !NOT_SETTINGS.has(rest)) {
      const near = nearest(rest, [...fields.keys()], NEAR);
      if (near === undefined) found.ignored.push(name);
      else {
        const hint = meant(`${PREFIX}${near}`);
        found.problems.push({ file: name, line: 0, column: 0, message: "there is no such setting", ...hint });
      }
    }
  }
  return found;
}

function variableOf(path: string): string {
  return path.replaceAll(".", "_").toUpperCase();
}

const SHORT_FLAGS: Readonly<Record<string, string>> = {
  "nats.url": "--nats",
  "nats.creds": "--creds",
  "nats.port": "--port",
};

/** The name of a setting's flag. */
export function flagOf(path: string): string {
  return SHORT_FLAGS[path] ?? `--${path.replaceAll(/[._]/g, "-")}`;
}

/** What a text means as the value of a field; the schema judges whether it may be that. */
export function readText({ kind }: Field, text: string): unknown {
  if (kind === "text") return text;
  const read = readYaml(text);
  if (kind === "list" && !Array.isArray(read)) return text.split(",").map((item) => item.trim());
  if (kind === "map" && typeof read === "string") {
    const pairs = text.split(",").map((item) => /^\s*([^=]+)=(.*)$/s.exec(item));
    if (pairs.some((pair) => pair === null)) return text;
    return Object.fromEntries(pairs.map((pair) => [pair?.[1] ?? "", readYaml(pair?.[2] ?? "")]));
  }
  return read;
}

/** What is no YAML stays the text that it is. */
function readYaml(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0, logLevel: "error" }) ?? text;
  } catch {
    return text;
  }
}
