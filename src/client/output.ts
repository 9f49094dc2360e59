// One result, three ways to say it: a table for people, one JSON document for scripts, ids alone for pipes.

import type { Io } from "./io.ts";

export type OutputMode = "table" | "json" | "quiet";

export interface Column<T> {
  title: string;
  value: (row: T) => string;
  right?: boolean;
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
  more: { id: (row: T) => string; json: (row: T) => unknown; empty: string },
): Promise<void> {
  if (mode === "json") {
    await io.out(`${JSON.stringify(rows.map(more.json))}\n`);
  } else if (mode === "quiet") {
    if (rows.length > 0) await io.out(`${rows.map(more.id).join("\n")}\n`);
  } else if (rows.length === 0) {
    io.err(`${more.empty}\n`);
  } else {
    await io.out(table(rows, columns));
  }
}

function table<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  const cells = rows.map((row) => columns.map((column) => printable(column.value(row))));
  const widths = columns.map((column, at) =>
    Math.max(Bun.stringWidth(column.title), ...cells.map((line) => Bun.stringWidth(line[at] ?? ""))),
  );
  const line = (values: readonly string[]): string =>
    values
      .map((value, at) => {
        const pad = " ".repeat(Math.max(0, (widths[at] ?? 0) - Bun.stringWidth(value)));
        return columns[at]?.right === true ? pad + value : value + pad;
      })
      .join("  ")
      .trimEnd();
  return `${[line(columns.map((column) => column.title)), ...cells.map(line)].join("\n")}\n`;
}

const CONTROL = /\p{Cc}/gu;

/** Control characters of a task's name must not reach the terminal. */
export function printable(text: string): string {
  return text.replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** `1 task`, `3 tasks`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
