// Each rule of style finds what was planted, and leaves alone what only looks like it.

import { describe, expect, test } from "bun:test";
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
} from "./rules.ts";
import { scan } from "./scan.ts";

const one = (path: string, text: string) => [scan(path, text)];
const many = (files: Record<string, string>) => Object.entries(files).map(([path, text]) => scan(path, text));

describe("imports", () => {
  test("against the direction of the rooms, of types as well", () => {
    expect(checkImports(one("src/core/a.ts", 'import type { X } from "../storage/view.ts";\n'))).toEqual([
      "src/core/a.ts:1: core does not import from storage",
    ]);
    expect(checkImports(one("src/worker/executors/a.ts", '\nexport * from "../../coordinator/x.ts";\n'))).toEqual([
      "src/worker/executors/a.ts:2: worker does not import from coordinator",
    ]);
    expect(checkImports(one("src/client/a.ts", 'const x = await import("../worker/w.ts");\n'))).toHaveLength(1);
    expect(checkImports(one("src/storage/a.ts", 'import "../communication/c.ts";\n'))).toHaveLength(1);
  });

  test("of packages that one room keeps", () => {
    expect(checkImports(one("src/core/a.ts", 'import { Database } from "bun:sqlite";\n'))).toEqual([
      "src/core/a.ts:1: only storage imports bun:sqlite",
    ]);
    expect(checkImports(one("src/worker/a.ts", 'import { Hono } from "hono/tiny";\n'))).toHaveLength(1);
    expect(checkImports(one("src/client/a.ts", 'import { connect } from "nats";\n'))).toHaveLength(1);
    expect(checkImports(one("src/communication/a.ts", 'import { connect } from "nats";\n'))).toEqual([]);
  });

  test("of what is not source, and rooms that do not exist", () => {
    expect(checkImports(one("src/core/a.ts", 'import { x } from "../../test/x.ts";\n'))).toHaveLength(1);
    expect(checkImports(one("src/common/v.ts", 'import p from "../../package.json";\n'))).toEqual([]);
    expect(checkImports(one("src/things/a.ts", "export const a = 1;\n"))).toHaveLength(1);
  });
});

describe("the world", () => {
  test("is found however it is called", () => {
    const text = `const a = new Date();
const b = Math.random() + performance.now();
setTimeout(() => 1, 5);
const c = crypto.randomUUID();
const d = { later: setInterval };
import { randomBytes } from "node:crypto";
await Bun.sleep(1);
const e = Date.now();
`;
    const lines = checkWorld(one("src/core/a.ts", text)).map((problem) => Number(problem.split(":")[1]));
    expect([...new Set(lines)].sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("is not found where only the name is the same", () => {
    const text = `import { createHash } from "node:crypto";
interface Clock { setTimeout(): void; performance: Date }
export const f = (clock: Clock) => clock.setTimeout();
export const g = { setInterval: 1, hash: createHash("sha256") }; // setTimeout, Date
export const day: Date | undefined = undefined;
`;
    expect(checkWorld(one("src/core/a.ts", text))).toEqual([]);
    expect(checkWorld(one("src/common/runtime.ts", "Date.now();\n"))).toEqual([]);
    expect(checkWorld(one("test/a.test.ts", "Date.now();\n"))).toEqual([]);
  });

  test("ends in main only", () => {
    expect(checkExit(one("src/client/a.ts", "\nprocess.exit(1);\n"))).toHaveLength(1);
    expect(checkExit(one("src/main.ts", "process.exit(1);\n"))).toEqual([]);
  });
});

describe("length and names", () => {
  const body = (lines: number) => "  x();\n".repeat(lines - 2);

  test("a function of 71 lines, of any kind", () => {
    expect(checkFunctionLength(one("src/core/a.ts", `function f() {\n${body(70)}}\n`))).toEqual([]);
    expect(checkFunctionLength(one("src/core/a.ts", `function f() {\n${body(71)}}\n`))).toEqual([
      "src/core/a.ts:1: f has 71 lines, 70 is most",
    ]);
    expect(checkFunctionLength(one("src/a.ts", `const g = () => {\n${body(71)}};\n`))[0]).toContain(": g has");
    expect(checkFunctionLength(one("src/a.ts", `class C {\n  #h() {\n${body(71)}}\n}\n`))[0]).toContain(":2: #h has");
  });

  test("a file of 501 lines", () => {
    expect(checkFileLength(one("src/core/a.ts", "x;\n".repeat(500)))).toEqual([]);
    expect(checkFileLength(one("src/core/a.ts", "x;\n".repeat(501)))).toHaveLength(1);
  });

  test("names that say nothing", () => {
    expect(checkNames(["src/core/utils.ts", "src/helpers/a.ts", "src/core/string-util.ts"])).toHaveLength(3);
    expect(checkNames(["src/core/apply.ts", "src/core/utility_rate.ts"])).toEqual([]);
  });

  test("a file that does not say why it exists", () => {
    expect(checkOpening(one("src/core/a.ts", 'import "./b.ts";\n'))).toHaveLength(1);
    expect(checkOpening(one("src/core/a.ts", "// Because.\n"))).toEqual([]);
  });
});

describe("dead code", () => {
  const library = `export const used = 1;
export const tested = () => used;
export const dead = 2;
export interface Shape { a: number }
export function shape(): Shape { return { a: tested() }; }
export interface DeadShape { a: number }
export const Schema = 1;
export type Schema = typeof Schema;
export const inside = 3;
shape().a = inside;
`;

  test("exports that nobody imports", () => {
    const problems = checkDeadExports(
      many({
        "src/core/library.ts": library,
        "src/core/user.ts": 'import { used, shape } from "./library.ts";\nshape(used);\n',
        "test/core/library.test.ts": 'import { dead, tested } from "../../src/core/library.ts";\n',
      }),
    );
    expect(problems).toEqual([
      "src/core/library.ts:3: dead is used nowhere in src: delete it",
      "src/core/library.ts:6: DeadShape is used nowhere in src: delete it",
      "src/core/library.ts:9: inside needs no `export`",
    ]);
  });

  test("a namespace and a dynamic import use all", () => {
    const all = 'import * as library from "./library.ts";\n';
    expect(checkDeadExports(many({ "src/core/library.ts": library, "src/core/b.ts": all }))).toEqual([]);
    const later = 'await import("./library.ts");\n';
    expect(checkDeadExports(many({ "src/core/library.ts": library, "src/core/b.ts": later }))).toEqual([]);
  });

  test("files that main does not reach", () => {
    const files = {
      "src/main.ts": 'import "./core/a.ts";\n',
      "src/core/a.ts": 'export { x } from "./b.ts";\n',
      "src/core/b.ts": "export const x = 1;\n",
      "src/core/lost.ts": 'import "./a.ts";\n',
      "src/common/assets.d.ts": "declare module '*.x';\n",
    };
    expect(checkDeadFiles(many(files))).toEqual([
      "src/core/lost.ts:1: src/main.ts does not reach it: wire it or delete it",
    ]);
  });
});
