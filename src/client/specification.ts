// From what was typed to a specification: a command (no shell), a shell line, a TypeScript or JavaScript file, or noop.

import { existsSync } from "node:fs";
import { basename, extname, resolve } from "node:path";
import { ClawError } from "../common/errors.ts";
import { machineHash } from "../common/machine.ts";
import {
  type Needs,
  PRIORITIES,
  type Priority,
  type Specification,
  TASK_TYPES,
  type TaskType,
  TYPE_PRESETS,
} from "../common/models.ts";
import { parseDuration, parseSize } from "../common/units.ts";
import { isReserved } from "../common/variables.ts";
import type { FileStore } from "../communication/files.ts";

export interface TaskOptions {
  name?: string;
  type?: string;
  priority?: string;
  cpu?: string;
  memory?: string;
  gpu?: string;
  resource?: string[];
  tag?: string[];
  node?: string;
  cwd?: string;
  env?: string[];
  label?: string[];
  timeout?: string;
  grace?: string;
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
  files: () => FileStore,
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
    ...optional("tags", options.tag),
    ...optional("node", options.node),
    ...optional("folder", options.cwd === undefined ? undefined : resolve(typed.cwd, options.cwd)),
  };
  const base = {
    type,
    priority:
      options.priority === undefined ? preset.priority : oneOf<Priority>("--priority", options.priority, PRIORITIES),
    needs,
    origin: { machine: machineHash(), folder: typed.cwd },
    ...optional("name", options.name),
    ...optional("env", environment(options.env)),
    ...optional("labels", pairs("--label", options.label)),
    ...optional("timeout_ms", options.timeout === undefined ? undefined : duration("--timeout", options.timeout)),
    ...optional("grace_ms", options.grace === undefined ? undefined : duration("--grace", options.grace)),
  };
  if (kind === "script") return { ...base, ...(await script(typed, files)) };
  const argv = kind === "shell" ? [typed.words.join(" ")] : [...typed.words];
  return { ...base, argv, ...(typed.each ? { each: true } : {}) };
}

/** `--each` and a single word with shell characters are shell lines; a file with a script's ending is a script. */
function kindOf(options: TaskOptions, { words, each, cwd }: Typed): Needs["executor"] {
  if (options.noop === true) return "noop";
  const [first] = words;
  if (first === undefined) throw new ClawError("usage", "what shall be run?", { hint: "claw run -- uname -a" });
  if (each || options.shell === true) return "shell";
  if (SCRIPTS.has(extname(first)) && existsSync(resolve(cwd, first))) return "script";
  if (options.verbatim === true) return "command";
  return words.length === 1 && /[\s;&|<>$`"'(){}*?!~]/.test(first) ? "shell" : "command";
}

/** Bundled here, so that the node needs no toolchain and no packages. */
async function script({ words, cwd }: Typed, files: () => FileStore): Promise<Pick<Specification, "argv" | "script">> {
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

export function oneOf<T extends string>(option: string, given: string, valid: readonly T[]): T {
  if ((valid as readonly string[]).includes(given)) return given as T;
  throw new ClawError("usage", `${option} is one of ${valid.join(", ")}, not '${given}'`, { field: option });
}

export function number(option: string, text: string, most: number, whole = false): number {
  const value = Number(text);
  if (
    text.trim() === "" ||
    !Number.isFinite(value) ||
    value < 0 ||
    value > most ||
    (whole && !Number.isInteger(value))
  ) {
    throw new ClawError("usage", `${option} is a ${whole ? "whole " : ""}number from 0 to ${most}, not '${text}'`, {
      field: option,
    });
  }
  return value;
}

export function duration(option: string, text: string): number {
  return quantity(option, text, parseDuration);
}

/** What is wrong with it is said with the option's name. */
function quantity(option: string, text: string, parse: (text: string) => number): number {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof ClawError)) throw error;
    const { code, message, hint } = error;
    throw new ClawError(code, `${option}: ${message}`, { ...(hint === undefined ? {} : { hint }), field: option });
  }
}

export function pairs(option: string, given: readonly string[] | undefined): Record<string, string> | undefined {
  if (given === undefined) return undefined;
  return Object.fromEntries(
    given.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1) throw new ClawError("usage", `${option} is NAME=VALUE, not '${pair}'`, { field: option });
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
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
  const found = pairs("--resource", given);
  if (found === undefined) return undefined;
  return Object.fromEntries(
    Object.entries(found).map(([name, text]) => [name, number("--resource", text, 2 ** 31, true)]),
  );
}
