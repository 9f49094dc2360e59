// What can be wrong with settings, said so that it can be mended: where it stands, what was expected, what was meant.

import type { z } from "zod";
import { ClawError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import { nearest } from "./nearest.ts";
import { type Kinds, meant, wordsOf } from "./problem-words.ts";

export interface Problem {
  /** The file, the variable or the flag. */
  file: string;
  /** 0 where there are no lines: a variable, a flag, a file as a whole. */
  line: number;
  column: number;
  message: string;
  hint?: string;
}

/** All problems at once. */
export class ConfigError extends ClawError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const shown = problems.slice(0, LIMITS.config_problems).map(problemText);
    const more = problems.length - shown.length;
    // What was typed just now is no file that somebody has to look for.
    const typed = problems.every(({ file }) => file.startsWith("--"));
    super(typed ? "usage" : "bad_config", [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join("\n"));
    this.problems = problems;
  }
}

export function problemText({ file, line, column, message, hint }: Problem): string {
  const place = line > 0 ? `${file}:${line}:${column}` : file;
  return `${place}: ${message}${hint === undefined ? "" : ` (${hint})`}`;
}

/** Finds the place of a path: a file knows lines, a variable only its own name. */
export type Locate = (path: readonly PropertyKey[]) => { file: string; line: number; column: number };

/** What zod found, in claw's words. */
export function problemsOf(error: Pick<z.ZodError, "issues">, valid: readonly string[], locate: Locate): Problem[] {
  // What is beyond all integers is beyond the setting's own bound, too: that is the one to name, and it comes last.
  const last = new Map(error.issues.map((issue) => [`${issue.code} ${nameOf(issue.path)}`, issue]));
  return [...last.values()].flatMap((issue): Problem[] => {
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => {
        const path = [...issue.path, key];
        const hint = meant(nearest(nameOf(path), valid));
        return { ...locate(path), message: `there is no setting ${nameOf(path)}`, ...hint };
      });
    }
    return [{ ...locate(issue.path), ...wordsOf(issue, nameOf(issue.path), KINDS) }];
  });
}

/** As they are written in YAML. */
const KINDS: Kinds = {
  string: "a text (put it in quotes)",
  int: "a whole number",
  number: "a number",
  boolean: "true or false",
  array: "a list such as [a, b]",
  object: "settings by name, a line each",
  record: "values by name such as {name: value}",
};

function nameOf(path: readonly PropertyKey[]): string {
  return path.map(String).join(".");
}
