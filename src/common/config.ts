// Settings: defaults < file < environment < flags, each value with where it came from, each mistake with file, line,
// column and the nearest valid name; all of them at once.

import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isMap, LineCounter, type Node, parse, parseDocument, type Document } from "yaml";
import coordinatorExample from "../../config/coordinator.yaml.example" with { type: "text" };
import workerExample from "../../config/worker.yaml.example" with { type: "text" };
import {
  type ConfigRole,
  type CoordinatorConfig,
  coordinatorConfig,
  fieldPaths,
  SCHEMAS,
  type WorkerConfig,
  workerConfig,
} from "./config-schema.ts";
import { ClawError } from "./errors.ts";
import { nearest } from "./nearest.ts";
import { type Environment, ensureFolder, type Paths } from "./paths.ts";

export type { CoordinatorConfig, WorkerConfig } from "./config-schema.ts";

const EXAMPLES: Record<ConfigRole, string> = { coordinator: coordinatorExample, worker: workerExample };
/** Variables of claw's that are no settings. */
const NOT_SETTINGS = new Set(["CLAW_HOME", "CLAW_BIN", "CLAW_NODE", "CLAW_TASK_ID", "CLAW_TASK_INDEX", "CLAW_ATTEMPT"]);
const MOST_BYTES = 1024 * 1024;

export interface Source {
  source: "default" | "file" | "environment" | "flag";
  /** file:line, or the name of the variable or flag. */
  detail?: string;
}

export interface Problem {
  file: string;
  line: number;
  column: number;
  message: string;
  hint?: string;
}

export interface Loaded<C> {
  config: C;
  file: string;
  values: Map<string, unknown>;
  sources: Map<string, Source>;
}

export interface LoadOptions {
  paths: Paths;
  /** `--config`: must exist. */
  file?: string;
  env: Environment;
  /** By field path: `nats.url`. */
  flags?: Readonly<Record<string, unknown>>;
  /** Copies the example into place where there is no file yet. */
  init?: boolean;
}

export function loadConfig(role: "coordinator", options: LoadOptions): Loaded<CoordinatorConfig>;
export function loadConfig(role: "worker", options: LoadOptions): Loaded<WorkerConfig>;
export function loadConfig(role: ConfigRole, options: LoadOptions): Loaded<CoordinatorConfig | WorkerConfig> {
  const file = options.file ?? join(options.paths.config_dir, `${role}.yaml`);
  if (options.init === true && options.file === undefined) initConfig(role, options.paths.config_dir);
  const read = readFile(file, options.file !== undefined);
  const { value, document, lines } = readDocument(role, file, read);
  const tree = value ?? {};
  const sources = new Map<string, Source>(fieldPaths(role).map((path) => [path, { source: "default" }]));
  noteFile(tree, document, lines, file, sources);
  for (const [path, given, detail] of environmentValues(role, options.env)) {
    setPath(tree, path, given);
    sources.set(path, { source: "environment", detail });
  }
  for (const [path, given] of Object.entries(options.flags ?? {})) {
    if (given === undefined || !sources.has(path)) continue;
    setPath(tree, path, given);
    sources.set(path, { source: "flag", detail: `--${path.replaceAll(".", "-")}` });
  }
  const checked = SCHEMAS[role].safeParse(tree);
  if (!checked.success) {
    throw failure(checked.error.issues.map((issue) => problemOf(issue, role, file, document, lines, sources)));
  }
  const config =
    role === "coordinator"
      ? coordinatorConfig(SCHEMAS.coordinator.parse(tree))
      : workerConfig(SCHEMAS.worker.parse(tree));
  const values = new Map(fieldPaths(role).map((path) => [path, getPath(checked.data, path)]));
  return { config, file, values, sources };
}

/** Every problem of a file's text. */
export function checkConfig(role: ConfigRole, text: string, file: string): Problem[] {
  try {
    const { value, document, lines } = readDocument(role, file, text);
    const checked = SCHEMAS[role].safeParse(value ?? {});
    if (checked.success) return [];
    return checked.error.issues.map((issue) => problemOf(issue, role, file, document, lines, new Map()));
  } catch (error) {
    if (error instanceof ConfigError) return [...error.problems];
    throw error;
  }
}

/** Copies the example into place; a file that is there is left alone. */
export function initConfig(role: ConfigRole, config_dir: string): { file: string; created: boolean } {
  const file = join(config_dir, `${role}.yaml`);
  if (existsSync(file)) return { file, created: false };
  ensureFolder(config_dir);
  try {
    writeFileSync(file, EXAMPLES[role], { flag: "wx", mode: 0o600 });
    return { file, created: true };
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === "EEXIST") return { file, created: false };
    throw new ClawError(code === "ENOSPC" ? "disk_full" : "io", `cannot write ${file} (${code})`, { cause: error });
  }
}

class ConfigError extends ClawError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super("bad_config", problems.map(problemText).join("\n"));
    this.problems = problems;
  }
}

function failure(problems: readonly Problem[]): ConfigError {
  return new ConfigError(problems);
}

export function problemText(problem: Problem): string {
  const place = problem.line > 0 ? `${problem.file}:${problem.line}:${problem.column}` : problem.file;
  return `${place}: ${problem.message}${problem.hint === undefined ? "" : ` (${problem.hint})`}`;
}

function readFile(file: string, required: boolean): string {
  if (!existsSync(file)) {
    if (required) throw new ClawError("bad_config", `there is no file ${file}`, { field: "--config" });
    return "";
  }
  const { size } = statSync(file);
  if (size > MOST_BYTES) throw failure([{ file, line: 0, column: 0, message: `${size} bytes are too many for settings` }]);
  return readFileSync(file, "utf8");
}

interface ReadDocument {
  value: Record<string, unknown> | undefined;
  document: Document;
  lines: LineCounter;
}

function readDocument(role: ConfigRole, file: string, text: string): ReadDocument {
  const lines = new LineCounter();
  const document = parseDocument(text.replace(/^\uFEFF/, ""), { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const [...errors] = document.errors;
  if (errors.length > 0) {
    throw failure(
      errors.map((error) => {
        const { line, col } = lines.linePos(error.pos[0]);
        return { file, line, column: col, message: error.message };
      }),
    );
  }
  if (document.contents === null) return { value: undefined, document, lines };
  if (!isMap(document.contents)) {
    throw failure([{ file, line: 1, column: 1, message: `${role}.yaml is a list of settings by name, not a list or text` }]);
  }
  try {
    return { value: document.toJS({ maxAliasCount: 20 }) as Record<string, unknown>, document, lines };
  } catch (error) {
    throw failure([{ file, line: 1, column: 1, message: error instanceof Error ? error.message : String(error) }]);
  }
}

function noteFile(
  tree: Record<string, unknown>,
  document: Document,
  lines: LineCounter,
  file: string,
  sources: Map<string, Source>,
): void {
  for (const path of sources.keys()) {
    if (getPath(tree, path) === undefined) continue;
    const { line } = placeOf(document, lines, path.split("."));
    sources.set(path, { source: "file", detail: `${file}:${line}` });
  }
}

/** Line and column of the deepest part of a path that the file has. */
function placeOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): { line: number; column: number } {
  for (let length = path.length; length > 0; length--) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    if (!isMap(parent)) continue;
    const pair = parent.items.find(({ key }) => String((key as { value?: unknown }).value ?? key) === String(path[length - 1]));
    const start = (pair?.key as Node | undefined)?.range?.[0];
    if (start === undefined) continue;
    const { line, col } = lines.linePos(start);
    return { line, column: col };
  }
  return { line: 0, column: 0 };
}

interface Issue {
  code?: string | undefined;
  path: PropertyKey[];
  message: string;
  keys?: string[];
}

function problemOf(
  issue: Issue,
  role: ConfigRole,
  file: string,
  document: Document,
  lines: LineCounter,
  sources: ReadonlyMap<string, Source>,
): Problem {
  const unknown = issue.code === "unrecognized_keys" ? issue.keys?.[0] : undefined;
  const path = unknown === undefined ? issue.path : [...issue.path, unknown];
  const name = path.map(String).join(".");
  const origin = sources.get(name);
  const given = origin?.source === "environment" || origin?.source === "flag";
  const place = given ? { line: 0, column: 0 } : placeOf(document, lines, path);
  const where = given ? (origin.detail ?? file) : file;
  if (unknown === undefined) return { file: where, ...place, message: `${name}: ${issue.message}` };
  const near = nearest(name, fieldPaths(role));
  const hint = near === undefined ? undefined : `did you mean ${near}?`;
  return { file: where, ...place, message: `there is no setting ${name}`, ...(hint === undefined ? {} : { hint }) };
}

/** CLAW_NATS_URL is nats.url. A name that is near to one of ours and none of them is refused; others are not ours. */
function* environmentValues(role: ConfigRole, env: Environment): Iterable<[string, unknown, string]> {
  const names = new Map(fieldPaths(role).map((path) => [`CLAW_${path.replaceAll(".", "_").toUpperCase()}`, path]));
  const other = role === "coordinator" ? "worker" : "coordinator";
  const others = new Set(fieldPaths(other).map((path) => `CLAW_${path.replaceAll(".", "_").toUpperCase()}`));
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || !name.startsWith("CLAW_")) continue;
    const path = names.get(name);
    if (path !== undefined) {
      yield [path, parse(value) ?? value, name];
      continue;
    }
    const near = others.has(name) || NOT_SETTINGS.has(name) ? undefined : nearest(name, [...names.keys()]);
    if (near !== undefined) {
      throw failure([{ file: name, line: 0, column: 0, message: `there is no setting ${name}`, hint: `did you mean ${near}?` }]);
    }
  }
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
    const next = at[name];
    if (typeof next === "object" && next !== null) at = next as Record<string, unknown>;
    else {
      const made: Record<string, unknown> = {};
      at[name] = made;
      at = made;
    }
  }
  at[last] = value;
}
