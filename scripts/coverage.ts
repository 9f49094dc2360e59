// Line coverage of all of src: Bun's own threshold holds each file on its own and knows nothing of files that no test
// loaded. Here the reports of all runs are added up, a file that nothing loaded counts as uncovered, and the total decides.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface FileCoverage {
  path: string;
  lines: number;
  covered: number;
}

export interface CoverageTotal {
  lines: number;
  covered: number;
  percent: number;
  worst: FileCoverage[];
}

/** Hits by line by file of several lcov reports; paths are relative to `root`. A line hit in any run is covered. */
export function readReports(reports: readonly string[]): Map<string, Map<number, number>> {
  const files = new Map<string, Map<number, number>>();
  for (const report of reports) {
    let hits: Map<number, number> | undefined;
    for (const line of report.split("\n")) {
      if (line.startsWith("SF:")) {
        const path = line.slice(3);
        hits = files.get(path) ?? new Map<number, number>();
        files.set(path, hits);
      } else if (line.startsWith("DA:") && hits !== undefined) {
        const [number = 0, count = 0] = line.slice(3).split(",").map(Number);
        hits.set(number, (hits.get(number) ?? 0) + count);
      }
    }
  }
  return files;
}

/** Lines of code that a file would have if it were loaded: what is left when the types and comments are taken out. */
export function countLines(source: string): number {
  const code = new Bun.Transpiler({ loader: "ts" }).transformSync(source);
  return code.split("\n").filter((line) => {
    const text = line.trim();
    return text !== "" && !text.startsWith("import ") && !text.startsWith("export {};");
  }).length;
}

export function totalOf(files: readonly FileCoverage[]): CoverageTotal {
  const lines = files.reduce((sum, file) => sum + file.lines, 0);
  const covered = files.reduce((sum, file) => sum + file.covered, 0);
  const worst = files
    .filter((file) => file.covered < file.lines)
    .sort((a, b) => b.lines - b.covered - (a.lines - a.covered) || a.path.localeCompare(b.path))
    .slice(0, 10);
  return { lines, covered, percent: lines === 0 ? 100 : (100 * covered) / lines, worst };
}

/** The coverage of every TypeScript file under `root`/src, by the lcov reports that exist at `report_paths`. */
export function coverageOf(root: string, report_paths: readonly string[]): CoverageTotal {
  const reports = report_paths.filter((path) => existsSync(path)).map((path) => readFileSync(path, "utf8"));
  const hits = readReports(reports);
  const files: FileCoverage[] = [];
  for (const path of new Bun.Glob("src/**/*.{ts,tsx}").scanSync(root)) {
    if (path.endsWith(".d.ts")) continue;
    const lines = hits.get(path);
    if (lines === undefined) {
      files.push({ path, lines: countLines(readFileSync(join(root, path), "utf8")), covered: 0 });
    } else {
      const covered = [...lines.values()].filter((count) => count > 0).length;
      files.push({ path, lines: lines.size, covered });
    }
  }
  return totalOf(files);
}

/** The report for people: the files with the most uncovered lines, then the total. */
export function describeCoverage(total: CoverageTotal, needed_percent: number): string {
  const rows = total.worst.map((file) => {
    const percent = ((100 * file.covered) / file.lines).toFixed(1).padStart(5);
    return `  ${percent} %  ${String(file.lines - file.covered).padStart(4)} lines uncovered  ${file.path}`;
  });
  const sum = `${total.percent.toFixed(2)} % of ${total.lines} lines of src (needed: ${needed_percent} %)`;
  return [...(rows.length === 0 ? [] : ["coverage, the ten worst files:", ...rows]), `coverage: ${sum}`].join("\n");
}
