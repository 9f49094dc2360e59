// A settings file, read with suspicion: YAML that says anything twice, refers to itself, carries types of its own or is
// out of all proportion is refused, with the place.

import { closeSync, openSync, readSync } from "node:fs";
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import { ConfigError, type Locate, type Problem } from "./config-problem.ts";
import { messageOf } from "./errors.ts";
import { LIMITS } from "./limits.ts";

export interface SettingsText {
  /** What the file says; nothing where there are problems. */
  tree: Record<string, unknown>;
  problems: Problem[];
  locate: Locate;
}

/** The text of a file; undefined where there is none. Also reads from a pipe, such as `--config <(…)`. */
export function readSettings(file: string): string | undefined {
  const bytes = Buffer.alloc(LIMITS.config_file_bytes + 1);
  let length = 0;
  try {
    const fd = openSync(file, "r");
    try {
      for (let got = -1; got !== 0 && length < bytes.length; length += got) {
        got = readSync(fd, bytes, length, bytes.length - length, null);
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw new ConfigError([whole(file, `cannot be read (${(error as { code?: string }).code ?? messageOf(error)})`)]);
  }
  if (length > LIMITS.config_file_bytes) {
    throw new ConfigError([whole(file, `is too large for settings: at most ${LIMITS.config_file_bytes} bytes`)]);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
  } catch {
    throw new ConfigError([whole(file, "is no UTF-8 text")]);
  }
}

/** Reads the text of a file, whose sections may be empty: `nats:` with nothing but comments under it. */
export function parseSettings(text: string, file: string, sections: readonly string[]): SettingsText {
  const lines = new LineCounter();
  const at: At = (offset) => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const refused = (problems: Problem[]): SettingsText => ({ tree: {}, problems, locate: () => at(0) });
  if (Buffer.byteLength(text) > LIMITS.config_file_bytes) {
    return refused([whole(file, `is too large for settings: at most ${LIMITS.config_file_bytes} bytes`)]);
  }
  let document: Document.Parsed;
  try {
    document = parseDocument(text.replace(/^\uFEFF/, ""), { lineCounter: lines, prettyErrors: false });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refused([whole(file, "is nested too deeply")]);
  }
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return refused(faults.map((fault) => ({ ...at(fault.pos[0]), message: yamlWords(fault.code, fault.message) })));
  }
  const { contents } = document;
  const locate: Locate = (path) => at(offsetOf(contents, path));
  if (contents === null || (isScalar(contents) && contents.value === null)) return { tree: {}, problems: [], locate };
  if (!isMap(contents)) {
    return refused([{ ...at(contents.range[0]), message: "settings stand by name, a line each: `listen: 127.0.0.1`" }]);
  }
  const problems = oddities(contents, at);
  if (problems.length > 0) return refused(problems);
  const tree = document.toJS() as Record<string, unknown>;
  for (const path of sections) if (tree[path] === null) delete tree[path];
  return { tree, problems: [], locate };
}

type At = (offset: number) => { file: string; line: number; column: number };

/** What YAML allows and settings do not need: it only ever surprises. */
function oddities(node: unknown, at: At, depth = 0): Problem[] {
  const refuse = (odd: Node | null, message: string): Problem => ({ ...at(odd?.range?.[0] ?? 0), message });
  if (isAlias(node)) return [refuse(node, `*${node.source} refers to another place: write the value itself`)];
  if (!isMap(node) && !isSeq(node)) return [];
  if (depth === LIMITS.config_depth) return [refuse(node, "this is nested too deeply for a setting")];
  if (isSeq(node)) return node.items.flatMap((item) => oddities(item, at, depth + 1));
  return node.items.flatMap(({ key, value }) => {
    const below = oddities(value, at, depth + 1);
    if (isScalar(key) && typeof key.value === "string") return below;
    const words = isScalar(key) ? `a name must be a text: put ${String(key.value)} in quotes` : "a name must be a word";
    return [refuse(key as Node | null, words), ...below];
  });
}

/** Where the deepest part of a path that the file has begins. */
function offsetOf(contents: unknown, path: readonly PropertyKey[]): number {
  let node = contents;
  let offset = 0;
  for (const name of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === name);
      if (pair === undefined) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(name)];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}

function yamlWords(code: string, message: string): string {
  if (code === "DUPLICATE_KEY") return "this setting stands twice";
  if (code === "TAB_AS_INDENT") return "a tab cannot indent: use spaces";
  if (code === "MULTIPLE_DOCS") return "a second document begins here: one is all there can be";
  return message;
}

function whole(file: string, message: string): Problem {
  return { file, line: 0, column: 0, message };
}
