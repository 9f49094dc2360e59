import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countLines, coverageOf, describeCoverage, readReports, totalOf } from "../../scripts/coverage.ts";
import { countOf, failuresOf } from "../../scripts/test.ts";

const LOADED = "export function one(): number {\n  return 1;\n}\n";
const NEVER_LOADED = "// why\nimport { one } from './one.ts';\nexport function two(): number {\n  return one();\n}\n";
const ONLY_TYPES = "export interface Thing {\n  name: string;\n}\n";

describe("coverage", () => {
  test("reports of several runs add up: a line hit in any of them is covered", () => {
    const first = "SF:src/one.ts\nDA:1,1\nDA:2,0\nDA:3,0\nend_of_record\n";
    const second = "SF:src/one.ts\nDA:1,1\nDA:2,4\nDA:3,0\nend_of_record\n";
    expect([...readReports([first, second]).get("src/one.ts")!]).toEqual([
      [1, 2],
      [2, 4],
      [3, 0],
    ]);
  });

  test("a file without code has no lines", () => {
    expect(countLines(ONLY_TYPES)).toBe(0);
    expect(countLines(NEVER_LOADED)).toBe(3);
  });

  test("a file that no test loaded counts as uncovered", () => {
    const root = mkdtempSync(join(tmpdir(), "coverage-"));
    try {
      mkdirSync(join(root, "src/deep"), { recursive: true });
      writeFileSync(join(root, "src/one.ts"), LOADED);
      writeFileSync(join(root, "src/deep/two.ts"), NEVER_LOADED);
      writeFileSync(join(root, "src/types.ts"), ONLY_TYPES);
      writeFileSync(join(root, "lcov.info"), "SF:src/one.ts\nDA:1,1\nDA:2,1\nDA:3,1\nend_of_record\n");
      const total = coverageOf(root, [join(root, "lcov.info"), join(root, "absent.info")]);
      expect(total).toMatchObject({ lines: 6, covered: 3, percent: 50 });
      expect(total.worst).toEqual([{ path: "src/deep/two.ts", lines: 3, covered: 0 }]);
      expect(describeCoverage(total, 85)).toContain("50.00 % of 6 lines of src (needed: 85 %)");
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test("the worst files are those with the most uncovered lines, ten of them", () => {
    const files = Array.from({ length: 12 }, (_, i) => ({ path: `src/${i}.ts`, lines: 100, covered: 99 - i }));
    const { worst } = totalOf([...files, { path: "src/whole.ts", lines: 10, covered: 10 }]);
    expect(worst).toHaveLength(10);
    expect(worst[0]).toEqual({ path: "src/11.ts", lines: 100, covered: 88 });
  });
});

describe("the count of a test run", () => {
  test("is bun's own summary", () => {
    const output = "(pass) a\n\n 12 pass\n 1 skip\n 2 todo\n 3 fail\n 1 error\n 40 expect() calls\nRan 18 tests\n";
    expect(countOf(output, 1)).toEqual({ passed: 12, failed: 3, skipped: 3 });
  });

  test("a run that died without a summary has failed", () => {
    expect(countOf("segmentation fault", 139)).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(countOf(" 5 pass\n 0 fail\n", 1)).toEqual({ passed: 5, failed: 1, skipped: 0 });
    expect(countOf(" 5 pass\n 0 fail\n", 0)).toEqual({ passed: 5, failed: 0, skipped: 0 });
  });
});

test("what failed is said again with its file and its error, once", () => {
  const output = [
    "bun test v1.4.4",
    "",
    "test/a.test.ts:",
    "(pass) fine [1.00ms]",
    "1 | expect(1).toBe(2);",
    "error: expect(received).toBe(expected)",
    "",
    "Expected: 2",
    "(fail) bad [0.64ms]",
    "",
    "test/b.test.ts:",
    "(fail) slow [100.03ms]",
    "  ^ this test timed out after 100ms.",
    "(pass) fine too [0.21ms]",
    "",
    "1 tests failed:",
    "(fail) bad [0.64ms]",
    " 2 fail",
  ];
  expect(failuresOf(output.join("\n"))).toEqual([
    [output[2], ...output.slice(4, 9)].join("\n"),
    output.slice(10, 13).join("\n"),
  ]);
});
