// The rules of style that a machine can hold (style.md, convention 5). Each takes scanned sources and gives what is wrong,
// a line each: `path:line: what, and what to do`.

import { dirname, join } from "node:path/posix";
import type { Source } from "./scan.ts";

const FUNCTION_LINES = 70;
const FILE_LINES = 500;

/** Imports go one way: what each room of src may import from, beside itself. */
const ROOMS: Record<string, readonly string[]> = {
  common: [],
  core: ["common"],
  storage: ["core", "common"],
  communication: ["core", "common"],
  web: ["common"],
  coordinator: ["storage", "communication", "core", "common", "web"],
  worker: ["storage", "communication", "core", "common"],
  client: ["communication", "core", "common"],
  operations: ["coordinator", "worker", "client", "storage", "communication", "core", "common", "web"],
  main: ["operations", "coordinator", "worker", "client", "storage", "communication", "core", "common", "web"],
};

/** Packages that one room alone may touch. */
const KEEPERS: Record<string, string> = {
  "bun:sqlite": "storage",
  nats: "communication",
  "nkeys.js": "communication",
  hono: "coordinator",
};

/** Time, chance and timers come from common/runtime.ts, so that a simulation can hand out its own. */
const WORLD = new Set([
  "Date",
  "performance",
  "Math.random",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "crypto.randomUUID",
  "crypto.getRandomValues",
  "process.hrtime",
  "process.uptime",
  "Bun.sleep",
  "Bun.sleepSync",
  "Bun.nanoseconds",
  "Bun.randomUUIDv7",
]);
const WORLD_IMPORTS: Record<string, readonly string[] | "all"> = {
  "node:timers": "all",
  "node:timers/promises": "all",
  "node:perf_hooks": "all",
  "node:crypto": ["randomBytes", "randomInt", "randomUUID", "randomFillSync", "webcrypto", "default", "*"],
};
const RUNTIME = "src/common/runtime.ts";

export function roomOf(path: string): string | undefined {
  const [top, room] = path.split("/");
  if (top !== "src" || room === undefined) return undefined;
  return room === "main.ts" ? "main" : room;
}

/** The path that a relative import means; undefined for a package. */
export function resolveImport(path: string, from: string): string | undefined {
  return from.startsWith(".") ? join(dirname(path), from) : undefined;
}

function importProblems(source: Source): string[] {
  const room = roomOf(source.path);
  if (room === undefined) return [];
  const allowed = ROOMS[room];
  if (allowed === undefined) return [`${source.path}:1: '${room}' is no room of src: put it where it belongs`];
  return source.imports.flatMap(({ from, line }) => {
    const at = `${source.path}:${line}:`;
    const target = resolveImport(source.path, from);
    if (target === undefined) {
      const name = from.startsWith("@") ? from : (from.split("/")[0] ?? from);
      const keeper = KEEPERS[name];
      return keeper === undefined || keeper === room ? [] : [`${at} only ${keeper} imports ${name}`];
    }
    const other = roomOf(target);
    if (other === undefined) {
      const fine = target === "package.json" || target.startsWith("config/");
      return fine ? [] : [`${at} src imports nothing of ${dirname(target)}`];
    }
    return other === room || allowed.includes(other) ? [] : [`${at} ${room} does not import from ${other}`];
  });
}

export function checkImports(sources: readonly Source[]): string[] {
  return sources.flatMap(importProblems);
}

export function checkWorld(sources: readonly Source[]): string[] {
  return sources
    .filter((source) => source.path.startsWith("src/") && source.path !== RUNTIME)
    .flatMap((source) => {
      const uses = source.globals.filter(({ name }) => WORLD.has(name));
      const imports = source.imports.flatMap(({ from, line, names }) => {
        const forbidden = WORLD_IMPORTS[from] ?? [];
        const found = forbidden === "all" ? names : names.filter((name) => forbidden.includes(name));
        return found.map((name) => ({ name: `${name} of ${from}`, line }));
      });
      return [...uses, ...imports].map(({ name, line }) => `${source.path}:${line}: ${name}: ask the Runtime for it`);
    });
}

export function checkExit(sources: readonly Source[]): string[] {
  return sources
    .filter((source) => source.path.startsWith("src/") && source.path !== "src/main.ts")
    .flatMap((source) =>
      source.globals
        .filter(({ name }) => name === "process.exit")
        .map(({ line }) => `${source.path}:${line}: only src/main.ts ends the process: throw, or return a code`),
    );
}

/** Tests are spared: a `describe` is a function around many. */
export function checkFunctionLength(sources: readonly Source[]): string[] {
  return sources
    .filter((source) => !source.path.startsWith("test/"))
    .flatMap((source) =>
      source.functions
        .filter(({ lines }) => lines > FUNCTION_LINES)
        .map(
          ({ name, line, lines }) => `${source.path}:${line}: ${name} has ${lines} lines, ${FUNCTION_LINES} is most`,
        ),
    );
}

export function checkFileLength(sources: readonly Source[]): string[] {
  return sources
    .filter(({ lines }) => lines > FILE_LINES)
    .map(({ path, lines }) => `${path}:1: ${lines} lines, ${FILE_LINES} is most: what are its two purposes?`);
}

export function checkNames(paths: readonly string[]): string[] {
  return paths
    .filter((path) => /(^|[/_-])(utils?|helpers?|misc)([/._-]|$)/i.test(path))
    .map((path) => `${path}:1: name it after what it does`);
}

export function checkOpening(sources: readonly Source[]): string[] {
  return sources
    .filter(({ first_line }) => !/^(\/\/|\/\*\*|#!)/.test(first_line))
    .map(({ path }) => `${path}:1: the first lines say why the file exists`);
}

/**
 * An export lives when another file of src imports it. One that its own file uses may be exported for a test, and a type
 * (a schema with the type of its name is one) may be exported for whoever calls its file. Everything else is dead.
 */
export function checkDeadExports(sources: readonly Source[]): string[] {
  const wanted_by_src = new Set<string>();
  const wanted_elsewhere = new Set<string>();
  for (const source of sources) {
    for (const { from, names } of source.imports) {
      const target = resolveImport(source.path, from);
      if (target === undefined) continue;
      const wanted = source.path.startsWith("src/") ? wanted_by_src : wanted_elsewhere;
      for (const name of names) wanted.add(`${target}#${name}`);
    }
  }
  const has = (set: Set<string>, path: string, name: string) => set.has(`${path}#${name}`) || set.has(`${path}#*`);
  return sources
    .filter(({ path }) => path.startsWith("src/") && !path.endsWith(".d.ts"))
    .flatMap((source) =>
      source.exports
        .filter(({ name, is_type, used_here }) => {
          if (has(wanted_by_src, source.path, name)) return false;
          return !(used_here && (is_type || has(wanted_elsewhere, source.path, name)));
        })
        .map(({ name, line, used_here }) => {
          const advice = used_here ? "needs no `export`" : "is used nowhere in src: delete it";
          return `${source.path}:${line}: ${name} ${advice}`;
        }),
    );
}

/** Where programs begin: main, and the thread that scripts/build puts beside it. */
const ENTRIES = ["src/main.ts", "src/storage/thread-entry.ts"];

/** Files of src that no entry point reaches. */
export function checkDeadFiles(sources: readonly Source[]): string[] {
  const by_path = new Map(sources.map((source) => [source.path, source]));
  const reached = new Set<string>();
  const next = [...ENTRIES];
  for (let path = next.pop(); path !== undefined; path = next.pop()) {
    const source = by_path.get(path);
    if (source === undefined || reached.has(path)) continue;
    reached.add(path);
    for (const { from } of source.imports) next.push(resolveImport(path, from) ?? "");
  }
  return sources
    .filter(({ path }) => path.startsWith("src/") && !path.endsWith(".d.ts") && !reached.has(path))
    .map(({ path }) => `${path}:1: src/main.ts does not reach it: wire it or delete it`);
}
