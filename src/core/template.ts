// How `--each` turns a line of input into a command: GNU parallel's replacement strings and GNU parallel's quoting, so
// that sh sees exactly the bytes of the line, whatever is in it.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";

const REPLACEMENT = /\{(?:\.|\/\.|\/\/|\/|#)?\}/g;

/** Never special to sh, wherever they stand: GNU parallel's own list. Everything else is quoted. */
const PLAIN = /^[-_.+a-zA-Z0-9/]+$/;

/**
 * `text` as one word of sh; left as it is when that is safe, so that commands stay readable in `claw show`. To the
 * letter what GNU parallel writes: inside quotes of the template's own every other way to quote shows.
 */
export function quoteForShell(text: string): string {
  if (PLAIN.test(text)) return text;
  if (text === "") return "''";
  return `'${text.replaceAll("'", `'"'"'`)}'`.replace(/^''/, "").replace(/''$/, "");
}

function withoutExtension(path: string): string {
  return path.replace(/\.[^/.]*$/, "");
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** As Perl's File::Basename, which GNU parallel uses: `a/b/` is in `a`, `b` is in `.`, `/b` in `/`. */
function folderName(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  if (trimmed === "") return path === "" ? "." : "/";
  const slash = trimmed.lastIndexOf("/");
  if (slash < 0) return ".";
  const folder = trimmed.slice(0, slash).replace(/\/+$/, "");
  return folder === "" ? "/" : folder;
}

function replacementOf(token: string, input: string, index: number): string {
  switch (token) {
    case "{#}":
      return String(index + 1);
    case "{.}":
      return quoteForShell(withoutExtension(input));
    case "{/}":
      return quoteForShell(baseName(input));
    case "{//}":
      return quoteForShell(folderName(input));
    case "{/.}":
      return quoteForShell(withoutExtension(baseName(input)));
    default:
      return quoteForShell(input);
  }
}

/**
 * The command for one member. `input` is absent for the members of a counted array (`--array N`): their `{}` is their
 * number, from 1, and nothing is appended to a command that does not ask for it. A template without a replacement
 * string gets its input as the last word. One pass: what a line brings in is never looked at for replacement strings.
 */
export function renderTemplate(template: string, input: string | undefined, index: number): string {
  if (template.includes("\0")) throw nulRefused("the command", "argv");
  if (input?.includes("\0")) throw nulRefused(`input ${index + 1}`, "input");
  const value = input ?? String(index + 1);
  let replaced = false;
  const text = template.replaceAll(REPLACEMENT, (token) => {
    replaced = true;
    return replacementOf(token, value, index);
  });
  return replaced || input === undefined ? text : `${text} ${quoteForShell(value)}`;
}

function nulRefused(what: string, field: string): ClawError {
  return new ClawError("bad_request", `${what} has a NUL byte in it, which no command can be given`, {
    hint: "separate the lines by newlines, or put such data into a file",
    field,
  });
}

/** Refuses a command text that no Linux kernel would take as one argument of sh. */
export function checkCommandLength(text: string): void {
  const bytes = Buffer.byteLength(text);
  if (bytes <= LIMITS.argument_bytes) return;
  throw new ClawError(
    "too_large",
    `the command is ${bytes} bytes long with its input; one argument takes ${LIMITS.argument_bytes}`,
    { hint: "pass the name of a file instead of its content", field: "input" },
  );
}
