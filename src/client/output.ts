// One result, three ways to say it: a table for people, one JSON document for scripts, ids alone for pipes.

import type { Io } from "./io.ts";

export type OutputMode = "table" | "json" | "quiet";

export interface Column<T> {
  title: string;
  value: (row: T) => string;
  right?: boolean;
  /** Only ever of one word, and never the only sign of something. */
  color?: (row: T) => Color | undefined;
}

export type Color = "red" | "green" | "cyan";

const COLORS: Record<Color, string> = { red: "\x1b[31m", green: "\x1b[32m", cyan: "\x1b[36m" };
const PLAIN = "\x1b[0m";

const STATUS_COLORS: Record<string, Color> = {
  completed: "green",
  failed: "red",
  timeout: "red",
  running: "cyan",
  online: "green",
  busy: "cyan",
  offline: "red",
  error: "red",
};

export function statusColor(status: string): Color | undefined {
  return STATUS_COLORS[status];
}

/** `--color`, else whether a person looks on who did not say that he wants none (no-color.org). */
function colored(io: Io, when: string | undefined): boolean {
  if (when === "always" || when === "never") return when === "always";
  return io.terminal.out && (io.env["NO_COLOR"] ?? "") === "" && io.env["TERM"] !== "dumb";
}

export function modeOf(options: { json?: boolean; quiet?: boolean }): OutputMode {
  if (options.json === true) return "json";
  return options.quiet === true ? "quiet" : "table";
}

/** Prints rows; `empty` goes to standard error where a table would have nothing to show. */
export async function printRows<T>(
  io: Io,
  mode: OutputMode,
  rows: readonly T[],
  columns: readonly Column<T>[],
  more: { id: (row: T) => string; json: (row: T) => unknown; empty: string; color?: string | undefined },
): Promise<void> {
  if (mode === "json") {
    await io.out(`${JSON.stringify(rows.map(more.json))}\n`);
  } else if (mode === "quiet") {
    if (rows.length > 0) await io.out(`${rows.map(more.id).join("\n")}\n`);
  } else if (rows.length === 0) {
    io.err(`${more.empty}\n`);
  } else {
    await io.out(table(rows, columns, colored(io, more.color)));
  }
}

function table<T>(rows: readonly T[], columns: readonly Column<T>[], colors: boolean): string {
  const cells = rows.map((row) => columns.map((column) => printable(column.value(row))));
  const widths = columns.map((column, at) =>
    Math.max(Bun.stringWidth(column.title), ...cells.map((line) => Bun.stringWidth(line[at] ?? ""))),
  );
  const line = (values: readonly string[], row?: T): string =>
    values
      .map((value, at) => {
        const column = columns[at];
        const color = colors && row !== undefined ? column?.color?.(row) : undefined;
        const shown = color === undefined ? value : COLORS[color] + value + PLAIN;
        const pad = " ".repeat(Math.max(0, (widths[at] ?? 0) - Bun.stringWidth(value)));
        return column?.right === true ? pad + shown : shown + pad;
      })
      .join("  ")
      .trimEnd();
  const head = line(columns.map((column) => column.title));
  return `${[head, ...rows.map((row, at) => line(cells[at] ?? [], row))].join("\n")}\n`;
}

/** What there is to say of one thing, a line each: what it is called, and what it is. */
export function sheet(lines: readonly (readonly [name: string, value: string])[]): string {
  const shown = lines.map(([name, value]) => [printable(name), printable(value)] as const);
  const width = Math.max(...shown.map(([name]) => Bun.stringWidth(name)));
  return shown.map(([name, value]) => `${name}${" ".repeat(width - Bun.stringWidth(name))}  ${value}\n`).join("");
}

/** What moves the cursor, changes colours, or turns the direction of what follows. */
const CONTROL = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

/** What others wrote (a task's name, a node's, a reason) must not steer the terminal of who reads it. */
export function printable(text: string): string {
  return text.replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The same for text of several lines. */
export function printableText(text: string): string {
  return text.replace(/[^\n\t]+/g, printable);
}

/** A line in the place of the one that the terminal shows. */
export function drawn(line: string): string {
  return `\r\x1b[2K${printable(line)}`;
}
