// Style is a test (style.md, convention 5). The rules are in tidy/rules.ts, tests of the rules in tidy/rules.test.ts;
// promises that float are oxlint's to find, and fields without documentation the configuration's own test's.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  checkDeadExports,
  checkDeadFiles,
  checkExit,
  checkFileLength,
  checkFunctionLength,
  checkImports,
  checkNames,
  checkOpening,
  checkWorld,
} from "./tidy/rules.ts";
import { scan } from "./tidy/scan.ts";
import { packagesAtStart } from "./tidy/start.ts";

const ROOT = join(import.meta.dir, "..");
const paths = [...new Bun.Glob("{src,scripts,test}/**/*.{ts,tsx}").scanSync(ROOT)].sort();
const sources = paths.map((path) => scan(path, readFileSync(join(ROOT, path), "utf8")));

describe("tidy", () => {
  test("there is something to look at", () => expect(paths.length).toBeGreaterThan(20));
  test("imports go one way", () => expect(checkImports(sources)).toEqual([]));
  test("time, chance and timers come from the Runtime", () => expect(checkWorld(sources)).toEqual([]));
  test("only main ends the process", () => expect(checkExit(sources)).toEqual([]));
  test("functions are short", () => expect(checkFunctionLength(sources)).toEqual([]));
  test("files are short", () => expect(checkFileLength(sources)).toEqual([]));
  test("names say something", () => expect(checkNames(paths)).toEqual([]));
  test("files say why they exist", () => {
    expect(checkOpening(sources.filter(({ path }) => !path.startsWith("test/")))).toEqual([]);
  });
  test("exports are used", () => expect(checkDeadExports(sources)).toEqual([]));
  test("a line is understood without what its command needs", () => {
    // Schemas, the broker's client and the logger cost each command tens of milliseconds: who needs them loads them.
    expect([...packagesAtStart(join(ROOT, "src/main.ts")).keys()]).toEqual(["commander"]);
    expect(packagesAtStart(join(ROOT, "src/client/commands/run.ts")).has("nats")).toBe(true);
  });
  test("main reaches every file", () => expect(checkDeadFiles(sources)).toEqual([]));
});
