// Structured logs: a JSON object a line, or readable lines on a terminal. pino does the work, synchronously, so that the
// last line before an end is there; secrets never get in.

import pino from "pino";
import type { Runtime } from "./runtime.ts";
import { isoTime } from "./runtime.ts";

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

const SECRETS = ["seed", "jwt", "creds", "token", "password", "authorization", "nonce"];
const COLOURS: Record<string, string> = { debug: "\x1b[2m", info: "", warn: "\x1b[33m", error: "\x1b[31m" };

export function createLogger(options: LoggerOptions): Logger {
  const terminal = options.isTerminal ?? process.stderr.isTTY === true;
  const pretty = options.format === "pretty" || (options.format === "auto" && terminal);
  const write = options.write ?? writeToStderr;
  const colour = terminal && process.env["NO_COLOR"] === undefined;
  const base = pino(
    {
      level: options.level,
      base: { role: options.role },
      timestamp: () => `,"time":"${isoTime(options.runtime.wall_ms())}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: "message",
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`]), censor: "(secret)" },
    },
    { write: (line: string) => write(pretty ? `${prettyLine(hideUrls(line), colour)}\n` : hideUrls(line)) },
  );
  return wrap(base);
}

function wrap(base: pino.Logger): Logger {
  return {
    debug: (message, fields = {}) => base.debug(fields, message),
    info: (message, fields = {}) => base.info(fields, message),
    warn: (message, fields = {}) => base.warn(fields, message),
    error: (message, fields = {}) => base.error(fields, message),
    child: (fields) => wrap(base.child(fields)),
  };
}

/** A terminal that went away must not end the process. */
function writeToStderr(line: string): void {
  try {
    process.stderr.write(line);
  } catch {
    // nobody reads it
  }
}

/** user:password@ in a URL. */
function hideUrls(line: string): string {
  return line.replace(/(\w+:\/\/)[^\s/@"]+@/g, "$1(secret)@");
}

function prettyLine(line: string, colour: boolean): string {
  const { level, time, role, message, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
  const clock = String(time).slice(11, 19);
  const text = `${clock} ${String(role)}: ${String(message)}${fields === "" ? "" : `  ${fields}`}`;
  const start = colour ? (COLOURS[String(level)] ?? "") : "";
  const mark = level === "warn" || level === "error" ? `${String(level)}: ` : "";
  return start === "" ? `${mark}${text}` : `${start}${mark}${text}\x1b[0m`;
}
