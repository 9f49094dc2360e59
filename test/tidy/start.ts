// What a program loads before it does anything: files and packages that its static imports of values reach.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const transpiler = new Bun.Transpiler({ loader: "ts" });

/** The packages, with the file that imports each first. Imports of types and `import()` load nothing. */
export function packagesAtStart(entry: string): Map<string, string> {
  const packages = new Map<string, string>();
  const seen = new Set<string>();
  const next = [entry];
  for (let path = next.pop(); path !== undefined; path = next.pop()) {
    if (seen.has(path) || !path.endsWith(".ts")) continue;
    seen.add(path);
    for (const { kind, path: from } of transpiler.scanImports(readFileSync(path, "utf8"))) {
      if (kind !== "import-statement") continue;
      if (from.startsWith(".")) next.push(join(dirname(path), from));
      else if (!/^(node|bun):/.test(from) && !packages.has(from)) packages.set(from, path);
    }
  }
  return packages;
}
