// Settings: defaults < file < environment < flags, each value with where it came from, each mistake with its place and
// what was meant; all of them at once. The parts: config-schema (what there is), config-file (YAML), config-text
// (environment and flags), config-problem (how a mistake is said).

import { existsSync, linkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import coordinatorExample from "../../config/coordinator.yaml.example" with { type: "text" };
import workerExample from "../../config/worker.yaml.example" with { type: "text" };
import { parseSettings, readSettings } from "./config-file.ts";
import { ConfigError, type Problem, problemsOf } from "./config-problem.ts";
import {
  type ConfigRole,
  type CoordinatorConfig,
  coordinatorConfig,
  fieldsOf,
  SCHEMAS,
  sectionsOf,
  type WorkerConfig,
  workerConfig,
} from "./config-schema.ts";
import { environmentSettings, flagOf, readText } from "./config-text.ts";
import { writeProblem } from "./errors.ts";
import { type Environment, ensureFolder, type Paths } from "./paths.ts";
import { redactAddresses } from "./redact.ts";

export type { ConfigRole, CoordinatorConfig, WorkerConfig } from "./config-schema.ts";

const EXAMPLES: Record<ConfigRole, string> = { coordinator: coordinatorExample, worker: workerExample };

interface Source {
  source: "default" | "file" | "environment" | "flag";
  /** file:line, or the name of the variable or flag. */
  detail?: string;
}

export interface Loaded<C> {
  config: C;
  file: string;
  /** By field path, as one would write it in the file. */
  values: Map<string, unknown>;
  sources: Map<string, Source>;
  /** Variables that begin like claw's and mean nothing to it. */
  ignored: string[];
}

export interface LoadOptions {
  paths: Paths;
  /** `--config`: must exist. */
  file?: string;
  env: Environment;
  /** By field path: `nats.url`. A text is read as in the environment. */
  flags?: Readonly<Record<string, unknown>>;
  /** Copies the example into place where there is no file yet. */
  init?: boolean;
}

export function loadConfig(role: "coordinator", options: LoadOptions): Loaded<CoordinatorConfig>;
export function loadConfig(role: "worker", options: LoadOptions): Loaded<WorkerConfig>;
export function loadConfig(role: ConfigRole, options: LoadOptions): Loaded<CoordinatorConfig | WorkerConfig>;
export function loadConfig(role: ConfigRole, options: LoadOptions): Loaded<CoordinatorConfig | WorkerConfig> {
  if (options.init === true && options.file === undefined) initWherePossible(role, options.paths.config_dir);
  const file = options.file ?? join(options.paths.config_dir, `${role}.yaml`);
  const text = readSettings(file);
  if (text === undefined && options.file !== undefined) {
    throw new ConfigError([{ file, line: 0, column: 0, message: "there is no such file" }]);
  }
  const { tree, problems, locate } = judge(role, text ?? "", file);
  const fields = fieldsOf(role);
  const sources = new Map<string, Source>();
  for (const { path } of fields) {
    if (getPath(tree, path) === undefined) sources.set(path, { source: "default" });
    else sources.set(path, { source: "file", detail: `${file}:${locate(path.split(".")).line}` });
  }
  const { ignored, ...above } = overlay(role, options);
  problems.push(...above.problems);
  if (problems.length > 0) throw new ConfigError(problems);
  for (const { path, value, source } of above.values) {
    setPath(tree, path, value);
    sources.set(path, source);
  }
  const config =
    role === "coordinator"
      ? coordinatorConfig(SCHEMAS.coordinator.parse(tree))
      : workerConfig(SCHEMAS.worker.parse(tree));
  const values = new Map(fields.map(({ path, initial }) => [path, getPath(tree, path) ?? initial]));
  return { config, file, values, sources, ignored };
}

/** No two fields depend on each other, so a file is judged by itself, and so is what comes on top of it. */
function judge(role: ConfigRole, text: string, file: string) {
  const settings = parseSettings(text, file, sectionsOf(role));
  if (settings.problems.length > 0) return settings;
  const judged = SCHEMAS[role].safeParse(settings.tree);
  const valid = [...fieldsOf(role).map(({ path }) => path), ...sectionsOf(role)];
  return { ...settings, problems: judged.success ? [] : problemsOf(judged.error, valid, settings.locate) };
}

interface Overlay {
  values: { path: string; value: unknown; source: Source }[];
  problems: Problem[];
  ignored: string[];
}

/** The environment and the flags, in the order in which they count. */
function overlay(role: ConfigRole, options: LoadOptions): Overlay {
  const fields = new Map(fieldsOf(role).map((field) => [field.path, field]));
  const { values: variables, problems, ignored } = environmentSettings(role, options.env);
  const values: Overlay["values"] = variables.map(({ path, name, value }) => ({
    path,
    value,
    source: { source: "environment", detail: name },
  }));
  for (const [path, given] of Object.entries(options.flags ?? {})) {
    if (given === undefined) continue;
    const field = fields.get(path);
    const flag = flagOf(path);
    if (field === undefined) {
      problems.push({ file: flag, line: 0, column: 0, message: `a ${role} has no such setting` });
      continue;
    }
    const value = typeof given === "string" ? readText(field, given) : given;
    values.push({ path, value, source: { source: "flag", detail: flag } });
  }
  for (const { path, value, source } of values) {
    const tree: Record<string, unknown> = {};
    setPath(tree, path, value);
    const judged = SCHEMAS[role].safeParse(tree);
    if (judged.success) continue;
    problems.push(...problemsOf(judged.error, [], () => ({ file: source.detail ?? path, line: 0, column: 0 })));
  }
  return { values, problems, ignored };
}

/** Copies the example into place, whole or not at all; a file that is there is left alone. */
export function initConfig(role: ConfigRole, config_dir: string): { file: string; created: boolean } {
  const file = join(config_dir, `${role}.yaml`);
  if (existsSync(file)) return { file, created: false };
  ensureFolder(config_dir);
  const fresh = `${file}.new.${process.pid}`;
  try {
    writeFileSync(fresh, EXAMPLES[role], { mode: 0o600 });
    linkSync(fresh, file); // unlike a rename it never replaces what somebody else put there meanwhile
    return { file, created: true };
  } catch (error) {
    if (codeOf(error) === "EEXIST") return { file, created: false };
    throw writeProblem(error, `write ${file}`);
  } finally {
    rmSync(fresh, { force: true });
  }
}

/** A folder that belongs to somebody else, such as root's /etc/claw, keeps nobody from starting with the defaults. */
function initWherePossible(role: ConfigRole, config_dir: string): void {
  try {
    initConfig(role, config_dir);
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes(codeOf((error as Error).cause) ?? "")) throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | undefined)?.code;
}

export interface SettingRow {
  field: string;
  /** As one would write it in the file, secrets hidden; null where nothing was set. */
  value: unknown;
  source: Source["source"];
  detail?: string;
}

/** What `claw config show` says. */
export function describeConfig(loaded: Loaded<unknown>): SettingRow[] {
  return [...loaded.values].map(([field, value]) => {
    const { source, detail } = loaded.sources.get(field) ?? { source: "default" as const };
    const shown = typeof value === "string" && field.endsWith("url") ? redactAddresses(value) : value;
    return { field, value: shown ?? null, source, ...(detail === undefined ? {} : { detail }) };
  });
}

function getPath(tree: unknown, path: string): unknown {
  let value = tree;
  for (const name of path.split(".")) value = (value as Record<string, unknown> | undefined)?.[name];
  return value;
}

function setPath(tree: Record<string, unknown>, path: string, value: unknown): void {
  const names = path.split(".");
  const last = names.pop() ?? "";
  let at = tree;
  for (const name of names) {
    const next = (at[name] ?? {}) as Record<string, unknown>;
    at[name] = next;
    at = next;
  }
  at[last] = value;
}
