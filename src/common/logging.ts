// Structured logs: a JSON object a line, or readable lines on a terminal. pino does the work, and every line is written
// before the call returns, so that the last one before an end is there; secrets never get in.
//
// Why pino 10 and not LogTape 2 (tried in a compiled binary, two cores): 1.2 µs a line against 5; both work without
// worker threads; LogTape is 47 KB against 65 and loads in 1 ms against 5-9. pino-pretty brings 15 packages for what
// `prettyLine` does in ten lines, and pino's own redaction knows paths of fixed depth, not names.

import { writeSync } from "node:fs";
import pino from "pino";
import { ClawError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import { isSecretName, redactText } from "./redact.ts";
import type { Runtime } from "./runtime.ts";
import { blockFor, isoTime } from "./runtime.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "auto" | "json" | "pretty";

export interface Logger {
  debug(message: string, fields?: object): void;
  info(message: string, fields?: object): void;
  warn(message: string, fields?: object): void;
  error(message: string, fields?: object): void;
  child(fields: object): Logger;
}

export interface LoggerOptions {
  role: string;
  level: LogLevel;
  format: LogFormat;
  runtime: Runtime;
  /** Where lines go: standard error unless told otherwise. */
  write?: (line: string) => void;
  isTerminal?: boolean;
}

const COLOURS: Record<string, string> = { debug: "\x1b[2m", info: "", warn: "\x1b[33m", error: "\x1b[31m" };
const CONTROL = /\p{Cc}/gu;
const STDERR = 2;
const WAIT_MS = 5;
const MOST_WAITS = 40;

export function createLogger(options: LoggerOptions): Logger {
  const is_terminal = options.isTerminal ?? process.stderr.isTTY === true;
  const is_pretty = options.format === "pretty" || (options.format === "auto" && is_terminal);
  const write = options.write ?? lineWriter((bytes) => writeSync(STDERR, bytes));
  const is_coloured = is_terminal && !process.env["NO_COLOR"];
  const base = pino(
    {
      level: options.level,
      base: { role: options.role },
      timestamp: () => `,"time":"${isoTime(options.runtime.wall_ms())}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: "message",
    },
    { write: (line: string) => write(is_pretty ? `${prettyLine(line, is_coloured)}\n` : line) },
  );
  return wrap(base);
}

function wrap(base: pino.Logger): Logger {
  const at = (level: LogLevel) => {
    return (message: string, fields: object = {}): void => {
      if (base.isLevelEnabled(level)) base[level](cleanFields(fields), redactText(message));
    };
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => wrap(base.child(cleanFields(fields))),
  };
}

/** Of these names a line has one each, whoever logs. */
const OWN_NAMES = new Set(["level", "time", "role", "message"]);

function cleanFields(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => {
      return [OWN_NAMES.has(name) ? `${name}_` : name, isSecretName(name) ? "(secret)" : clean(value, 0)];
    }),
  );
}

/** A copy that JSON can say: no secrets, no circles, no end of text. */
function clean(value: unknown, depth: number): unknown {
  if (typeof value === "string") return shorten(redactText(value));
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Error) return cleanError(value);
  if (ArrayBuffer.isView(value)) return `(${value.byteLength} bytes)`;
  if (depth >= LIMITS.log_depth) return "(deeper)";
  if (Array.isArray(value)) {
    const shown: unknown[] = value.slice(0, LIMITS.log_items).map((item) => clean(item, depth + 1));
    return value.length > shown.length ? [...shown, `and ${value.length - shown.length} more`] : shown;
  }
  const entries = Object.entries(value).slice(0, LIMITS.log_items);
  return Object.fromEntries(
    entries.map(([name, part]) => [name, isSecretName(name) ? "(secret)" : clean(part, depth + 1)]),
  );
}

/** What the world did needs its code; a bug needs its stack. */
function cleanError(error: Error): unknown {
  const message = shorten(redactText(error.message));
  if (error instanceof ClawError) return { code: error.code, message };
  return { message, stack: shorten(redactText(error.stack ?? "")) };
}

function shorten(text: string): string {
  const over = text.length - LIMITS.log_text_chars;
  return over > 0 ? `${text.slice(0, LIMITS.log_text_chars)}… (${over} more)` : text;
}

/**
 * Writes whole lines and never fails: a closed pipe, a full disk or a reader that sleeps costs lines, and the next one
 * that gets through says how many.
 */
function lineWriter(write: (bytes: Uint8Array) => number): (line: string) => void {
  let lost = 0;
  return (line) => {
    const note = lost === 0 ? "" : `${JSON.stringify({ level: "warn", message: `${lost} log lines were lost` })}\n`;
    if (writeAll(write, Buffer.from(note + line))) lost = 0;
    else lost++;
  };
}

function writeAll(write: (bytes: Uint8Array) => number, bytes: Uint8Array): boolean {
  let rest = bytes;
  for (let waits = 0; rest.length > 0; ) {
    try {
      rest = rest.subarray(write(rest));
    } catch (error) {
      // A pipe that another process made non-blocking is full: its reader gets a moment.
      if ((error as { code?: string }).code !== "EAGAIN" || waits++ >= MOST_WAITS) return false;
      blockFor(WAIT_MS);
    }
  }
  return true;
}

function prettyLine(line: string, is_coloured: boolean): string {
  const { level, time, role, message, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields: string[] = [];
  const blocks: string[] = [];
  for (const [name, value] of Object.entries(rest)) {
    if (typeof value === "string" && value.includes("\n"))
      blocks.push(`\n  ${value.split("\n").map(printable).join("\n  ")}`);
    else if (value !== null) fields.push(` ${name}=${fieldText(value)}`);
  }
  const mark = level === "warn" || level === "error" ? `${String(level)}: ` : "";
  const clock = String(time).slice(11, 19);
  const space = fields.length === 0 ? "" : " ";
  const text = `${mark}${clock} ${String(role)}: ${printable(String(message))}${space}${fields.join("")}${blocks.join("")}`;
  const start = is_coloured ? (COLOURS[String(level)] ?? "") : "";
  return start === "" ? text : `${start}${text}\x1b[0m`;
}

/** A word stands as it is; anything else in quotes, so that one sees where it ends. */
function fieldText(value: unknown): string {
  return typeof value === "string" && /^[\x21\x23-\x7e]+$/.test(value) ? value : printable(JSON.stringify(value));
}

/** What would speak to the terminal is spelt out. */
function printable(text: string): string {
  return text.replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
