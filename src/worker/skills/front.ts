// The front matter of a SKILL.md as OpenClaw reads it (its packages/markdown-core, tried against 2026.9.6): YAML, but each
// key ends as a text, and what people write into a description need not be YAML.

import { type Document, isAlias, isMap, isNode, isScalar, parseDocument } from "yaml";
import { LIMITS } from "../../common/limits.ts";

/** Why a file is no skill, as what is said of it: `has no description`. */
export interface NoSkill {
  problem: string;
}

/** May hold `: `, `#`, quotes and so on without quotes around them; the others only `: `. */
const FREE = "description";
const FREE_COLONS: ReadonlySet<string> = new Set([FREE, "summary", "read_when"]);

const OPENING = /^---[^\S\n]*\n/;
const CLOSING = /(?:^|\n)---[^\S\n]*(?:\n|$)/;

/** The top level by key. Structured values are JSON. */
export function readFront(file: string): ReadonlyMap<string, string> | NoSkill {
  const text = file.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  const opening = OPENING.exec(text);
  if (opening === null) return { problem: "has no front matter" };
  const rest = text.slice(opening[0].length);
  const closing = CLOSING.exec(rest);
  if (closing === null) return { problem: "has a front matter without an end: a line of three hyphens" };
  const block = rest.slice(0, closing.index);
  if (block.length > LIMITS.skill_front_chars) {
    return { problem: `has a front matter of ${block.length} characters, at most ${LIMITS.skill_front_chars}` };
  }
  if (block === "") return new Map();
  try {
    return readBlock(block);
  } catch (error) {
    // It is nested deeper than anybody reads, or YAML's parser has a bug: of this file, and of no other.
    return noYaml(error instanceof Error ? error : new Error(String(error)));
  }
}

function noYaml(error: Error): NoSkill {
  return { problem: `has a front matter that is no YAML: ${error.message.split("\n")[0]}` };
}

function readBlock(given: string): ReadonlyMap<string, string> | NoSkill {
  let block = given;
  // Each round mends one key.
  for (let left = FREE_COLONS.size; ; left--) {
    const document = parseDocument(block, { schema: "core", prettyErrors: false, logLevel: "silent" });
    const found = textsOf(document, block);
    if (!(found instanceof Error)) return found;
    const mended = left > 0 ? mend(document, block) : block;
    if (mended === block) return noYaml(found);
    block = mended;
  }
}

function textsOf(document: Document.Parsed, block: string): ReadonlyMap<string, string> | Error {
  const [wrong] = document.errors;
  if (wrong !== undefined) return wrong;
  if (!isMap(document.contents)) return new Error("it is no mapping");
  let values: Record<string, unknown>;
  try {
    values = document.toJS() as Record<string, unknown>;
  } catch (error) {
    // A link to nothing, or one that makes it too large.
    if (error instanceof ReferenceError) return error;
    throw error;
  }
  const written = linesOf(block);
  const texts = new Map<string, string>();
  for (const [given, value] of Object.entries(values)) {
    const key = given.trim();
    const text = textOf(value, written.get(key));
    if (key !== "" && text !== undefined) texts.set(key, text);
  }
  // `description:such as this` is no key to YAML.
  for (const [key, text] of written) if (!texts.has(key)) texts.set(key, text);
  return texts;
}

/** What stands on the line of each key. */
function linesOf(block: string): ReadonlyMap<string, string> {
  const lines = new Map<string, string>();
  for (const [, key = "", value = ""] of block.matchAll(/^([\w-]+):[^\S\n]*(.*)$/gm)) {
    const text = unquoted(value.trim());
    if (text !== "") lines.set(key, text);
  }
  return lines;
}

/** The key's line counts as it is written where YAML finds nothing, and where it is no mere text and has a colon. */
function textOf(value: unknown, written: string | undefined): string | undefined {
  if (value === null || value === undefined) return written;
  if (typeof value !== "object") return String(value).trim();
  if (written?.includes(":") === true) return written;
  try {
    return JSON.stringify(value);
  } catch {
    return undefined; // it holds itself
  }
}

/** Only around the whole, and as they are: nothing in between is unescaped. */
function unquoted(text: string): string {
  return /^(["']).*\1$/s.test(text) && text.length > 1 ? text.slice(1, -1) : text;
}

/** With the text of the line that is no YAML in quotes, when it is one of those that need none; else as it was. */
function mend(document: Document.Parsed, block: string): string {
  const { contents, errors } = document;
  if (!isMap(contents)) return block;
  const wrong = errors.find(({ pos }) => pos !== undefined);
  // A description such as `*all* of it` is a link to nothing.
  const linked = contents.items.find(({ key, value }) => isScalar(key) && key.value === FREE && isAlias(value));
  const position = wrong?.pos[0] ?? (isNode(linked?.key) ? linked.key.range?.[0] : undefined);
  if (position === undefined) return block;
  const from = block.lastIndexOf("\n", position) + 1;
  const end = block.indexOf("\n", position);
  const to = end < 0 ? block.length : end;
  const [, , key = "", rest = ""] = /^(["']?)([\w-]+)\1:\s*(.*)$/.exec(block.slice(from, to)) ?? [];
  const value = rest.trim();
  const colons = wrong?.code === "BLOCK_AS_IMPLICIT_KEY" && value.includes(": ");
  if (value === "" || !(key === FREE || (FREE_COLONS.has(key) && colons))) return block;
  // Of a text in lines of its own only those can be wrong.
  if (/^[|>](?:[1-9][+-]?|[+-][1-9]?)?$/.test(value)) return block;
  const isKey = contents.items.some((one) => isScalar(one.key) && one.key.value === key && one.key.range?.[0] === from);
  return isKey ? `${block.slice(0, from)}${key}: ${JSON.stringify(unquoted(value))}${block.slice(to)}` : block;
}
