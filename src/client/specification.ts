// From what was typed to a specification: a command (no shell), a shell line, a TypeScript or JavaScript file, or noop.

import { existsSync } from "node:fs";
import { basename, extname, resolve } from "node:path";
import { problemsOf } from "../common/config-problem.ts";
import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { machineHash } from "../common/machine.ts";
import { type Needs, Specification } from "../common/models.ts";
import { parseSize } from "../common/units.ts";
import { isReserved } from "../common/variables.ts";
import {
  PRIORITIES,
  type Priority,
  STRATEGIES,
  TASK_TYPES,
  type TaskType,
  TYPE_PRESETS,
} from "../common/vocabulary.ts";
import type { FileStore } from "../communication/files.ts";
import { parseCondition } from "../core/conditions.ts";
import { type LifeOptions, lifeOf } from "./life.ts";
import { count, distinct, number, oneOf, pairs, quantity } from "./values.ts";

export interface TaskOptions extends LifeOptions {
  name?: string;
  type?: string;
  priority?: string;
  cpu?: string;
  memory?: string;
  gpu?: string;
  resource?: string[];
  tag?: string[];
  skill?: string[];
  where?: string[];
  prefer?: string[];
  spread?: string;
  exclusive?: boolean;
  strategy?: string;
  pids?: string;
  enforce?: boolean;
  node?: string;
  cwd?: string;
  env?: string[];
  label?: string[];
  key?: string;
  shell?: boolean;
  noop?: boolean;
  /** The words stood behind `--`. */
  verbatim?: boolean;
}

const SCRIPTS = new Set([".ts", ".tsx", ".mts", ".cts", ".js", ".mjs", ".cjs", ".jsx"]);
const MIB = 1024 * 1024;

export interface Typed {
  words: readonly string[];
  /** Members' inputs go into the words as into GNU parallel's. */
  each: boolean;
  cwd: string;
}

export async function specificationOf(
  options: TaskOptions,
  typed: Typed,
  files: () => Pick<FileStore, "put">,
): Promise<Specification> {
  const type = oneOf<TaskType>("--type", options.type ?? "batch", TASK_TYPES);
  const preset = TYPE_PRESETS[type];
  const kind = kindOf(options, typed);
  const needs: Needs = {
    executor: kind,
    cpu_millis: options.cpu === undefined ? preset.cpu_millis : Math.round(number("--cpu", options.cpu, 10_000) * 1000),
    memory_mib: options.memory === undefined ? 0 : Math.ceil(quantity("--memory", options.memory, parseSize) / MIB),
    gpus: options.gpu === undefined ? 0 : number("--gpu", options.gpu, 1024, true),
    ...optional("resources", amounts(options.resource)),
    ...whereOf(options),
    // An empty one, as of a variable that is not set, is not this folder.
    ...optional(
      "folder",
      options.cwd === undefined || options.cwd === "" ? options.cwd : resolve(typed.cwd, options.cwd),
    ),
  };
  const base = {
    type,
    priority:
      options.priority === undefined ? preset.priority : oneOf<Priority>("--priority", options.priority, PRIORITIES),
    needs,
    origin: { machine: machineHash(), folder: typed.cwd },
    ...optional("name", options.name),
    ...optional("env", environment(options.env)),
    ...optional("labels", distinct("--label", options.label)),
    ...optional("key", keyOf(options.key, typed.each)),
    ...lifeOf(options, type),
  };
  const argv = kind === "script" ? [] : kind === "shell" ? [typed.words.join(" ")] : [...typed.words];
  const whole = checked({ ...base, argv, ...(typed.each ? { each: true } : {}) });
  return kind === "script" ? { ...whole, ...(await script(typed, files)) } : whole;
}

const OPTIONS: Readonly<Record<string, string>> = {
  tags: "--tag",
  skills: "--skill",
  resources: "--resource",
  folder: "--cwd",
  node: "--node",
  labels: "--label",
  argv: "the command",
  cpu_millis: "--cpu",
  memory_mib: "--memory",
  gpus: "--gpu",
  timeout_ms: "--timeout",
  deadline_ms: "--deadline",
  start_after_ms: "--start-after",
  start_at: "--start-after",
  grace_ms: "--grace",
};

/** What the coordinator would refuse is refused here, by the option that people typed. */
function checked(given: Specification): Specification {
  const parsed = Specification.safeParse(given);
  if (parsed.success) return parsed.data;
  const optionOf = (path: readonly PropertyKey[]): string => {
    const field = String(path[path[0] === "needs" ? 1 : 0]);
    return OPTIONS[field] ?? `--${field.replaceAll("_", "-")}`;
  };
  const issues = parsed.error.issues.map((issue) => ({ ...issue, path: [optionOf(issue.path)] }));
  const [problem] = problemsOf({ issues }, [], ([field]) => ({ file: String(field), line: 0, column: 0 }));
  throw new ClawError("usage", problem?.message ?? "wrong", problem === undefined ? {} : { field: problem.file });
}

/** What it asks of the node beside room. */
function whereOf({
  tag,
  skill,
  where,
  prefer,
  spread,
  exclusive,
  strategy,
  pids,
  enforce,
  node,
}: TaskOptions): Partial<Needs> {
  const conditions = (option: string, given: string[] | undefined): Needs["where"] =>
    given?.map((text) => parseCondition(option, text));
  return {
    ...optional("tags", tag),
    ...optional("skills", skill),
    ...optional("where", conditions("--where", where)),
    ...optional("prefer", conditions("--prefer", prefer)),
    ...optional("spread", spread === undefined ? undefined : { by: spread }),
    ...(exclusive === true ? { exclusive } : {}),
    ...optional("strategy", strategy === undefined ? undefined : oneOf("--strategy", strategy, STRATEGIES)),
    ...optional("pids", pids === undefined ? undefined : count("--pids", pids, 4_194_304)),
    ...(enforce === true ? { enforce } : {}),
    ...optional("node", node),
  };
}

function keyOf(key: string | undefined, each: boolean): string | undefined {
  if (key === undefined) return undefined;
  if (each) {
    throw new ClawError("usage", "--key is for one task or a counted array, not for lines that are still being read", {
      field: "--key",
    });
  }
  if (key === "" || key.length > LIMITS.key_chars) {
    throw new ClawError("usage", `--key has ${key.length} characters: from 1 to ${LIMITS.key_chars}`, {
      field: "--key",
    });
  }
  return key;
}

export function isScriptName(word: string): boolean {
  return SCRIPTS.has(extname(word));
}

/** `--each` and a single word with shell characters are shell lines; a file with a script's ending is a script. */
function kindOf(options: TaskOptions, { words, each, cwd }: Typed): Needs["executor"] {
  if (options.noop === true) return "noop";
  const [first] = words;
  if (first === undefined || (first.trim() === "" && !each)) {
    throw new ClawError("usage", "what shall be run?", { hint: "claw run -- uname -a" });
  }
  if (each || options.shell === true) return "shell";
  if (isScriptName(first) && existsSync(resolve(cwd, first))) return "script";
  if (options.verbatim === true) return "command";
  return words.length === 1 && /[\s;&|<>$`"'(){}*?!~]/.test(first) ? "shell" : "command";
}

/** Bundled here, so that the node needs no toolchain and no packages. */
async function script(
  { words, cwd }: Typed,
  files: () => Pick<FileStore, "put">,
): Promise<Pick<Specification, "argv" | "script">> {
  const [file, ...argv] = words;
  if (file === undefined) throw new Error("a script without a file");
  const built = await Bun.build({
    entrypoints: [resolve(cwd, file)],
    target: "bun",
    sourcemap: "inline",
    throw: false,
  });
  const [output] = built.outputs;
  if (!built.success || output === undefined) {
    const problems = built.logs.map((log) => {
      const { position } = log;
      const place = position === null ? file : `${position.file}:${position.line}:${position.column}`;
      return `${place}: ${log.message}`;
    });
    throw new ClawError("bad_request", `${file} cannot be bundled:\n${problems.join("\n")}`, { field: file });
  }
  const bytes = new Uint8Array(await output.arrayBuffer());
  const sha256 = await files().put(bytes);
  return { argv, script: { name: basename(file), sha256, size_bytes: bytes.length } };
}

function optional<K extends string, V>(name: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [P in K]?: V });
}

function environment(given: readonly string[] | undefined): Record<string, string> | undefined {
  const found = pairs("--env", given);
  const reserved = Object.keys(found ?? {}).find(isReserved);
  if (reserved === undefined) return found;
  throw new ClawError("usage", `--env ${reserved} may not be set: it changes which code runs on the node`, {
    hint: "set it inside the command: sh -c 'NAME=VALUE command'",
    field: "--env",
  });
}

function amounts(given: readonly string[] | undefined): Record<string, number> | undefined {
  const found = distinct("--resource", given);
  if (found === undefined) return undefined;
  return Object.fromEntries(
    Object.entries(found).map(([name, text]) => [name, number("--resource", text, 2 ** 31, true)]),
  );
}
