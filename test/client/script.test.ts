// TypeScript and JavaScript files: bundled where they are typed, run where there is no toolchain; mistakes in them are told
// with the user's own file and line.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Cluster, openCluster } from "../cluster.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

function file(name: string, text: string): string {
  const path = join(cluster.cwd, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

const run = (...words: string[]) => cluster.runCli(["run", ...words]);

describe("a script", () => {
  test("is given its words, its environment and the exit code it wants", async () => {
    file(
      "hello.ts",
      "const who: string = process.argv[3] ?? '';\nconsole.log('hello', who, process.env.MOOD);\nprocess.exit(5);\n",
    );
    const { code, stdout, stderr } = await run("--env", "MOOD=well", "hello.ts", "--name", "x");
    expect([code, stdout, stderr]).toEqual([5, "hello x well\n", ""]);
  });

  test("takes along what it imports: files beside it and packages of its folder", async () => {
    file("tool/parts/sum.ts", "export const sum = (a: number, b: number): number => a + b;\n");
    file("tool/node_modules/twice/package.json", '{"name":"twice","version":"1.0.0","main":"index.js"}');
    file("tool/node_modules/twice/index.js", "module.exports = (n) => n * 2;\n");
    file("tool/data.json", '{"three":3}');
    file(
      "tool/main.ts",
      'import twice from "twice";\nimport { three } from "./data.json";\nimport { sum } from "./parts/sum";\nconsole.log(twice(sum(three, 4)));\n',
    );
    const { code, stdout, stderr } = await run("tool/main.ts");
    expect([code, stdout, stderr]).toEqual([0, "14\n", ""]);
    const absolute = await run(join(cluster.cwd, "tool/main.ts"));
    expect(absolute.stdout).toBe("14\n");
  });

  test.each(["a.ts", "a.mts", "a.cts", "a.js", "a.mjs", "a.cjs", "a.tsx", "a.jsx"])(
    "may be called %s",
    async (name) => {
      file(name, 'console.log("ran");\n');
      const { code, stdout } = await run(name);
      expect([code, stdout]).toEqual([0, "ran\n"]);
    },
  );

  test("is a script by its name only where there is such a file, and behind -- as well", async () => {
    file("there.ts", 'console.log("there");\n');
    expect((await run("--", "there.ts")).stdout).toBe("there\n");
    const missing = await run("not-there.ts");
    expect(missing.code).toBe(127);
    expect(missing.stderr).toContain("'not-there.ts' was not found");
    expect((await run("echo", "there.ts")).stdout).toBe("there.ts\n");
  });

  test("runs as members of an array", async () => {
    file("member.ts", "console.log('I am', process.env.CLAW_TASK_INDEX);\n");
    const { stdout: id } = await cluster.runCli(["submit", "--array", "2", "member.ts"]);
    expect((await cluster.runCli(["wait", id.trim()])).code).toBe(0);
    expect((await cluster.runCli(["logs", `${id.trim()}.1`])).stdout).toBe("I am 1\n");
  });
});

describe("mistakes", () => {
  test("one that cannot be parsed is refused before it is sent, with file, line and column", async () => {
    file("broken.ts", "const fine = 1;\nconst = 2;\n");
    const { code, stderr } = await run("broken.ts");
    expect(code).toBe(125);
    expect(stderr).toContain("broken.ts cannot be bundled");
    expect(stderr).toMatch(/broken\.ts:2:7: /);
    const submitted = await cluster.runCli(["submit", "--json", "broken.ts"]);
    expect(submitted.code).toBe(65);
    expect(JSON.parse(submitted.stderr)).toMatchObject({ error: "bad_request", field: "broken.ts" });
    const { stdout } = await cluster.runCli(["ls", "--json"]);
    expect(stdout).not.toContain("broken.ts");
  });

  test("an import that is not there is told by its name and where it stands", async () => {
    file("lost.ts", 'import { x } from "./nowhere";\nconsole.log(x);\n');
    const { code, stderr } = await run("lost.ts");
    expect(code).toBe(125);
    expect(stderr).toMatch(/lost\.ts:1:\d+: /);
    expect(stderr).toContain("./nowhere");
  });

  test("what it throws is told with the user's file and line", async () => {
    file(
      "throws/inner.ts",
      "// first\n// second\nexport function fail(): never {\n  throw new Error('it broke');\n}\n",
    );
    file("throws/main.ts", 'import { fail } from "./inner";\n\ntype Unused = { a: number };\n\nfail();\n');
    const { code, stdout, stderr } = await run("throws/main.ts");
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("it broke");
    expect(stderr).toMatch(/inner\.ts:4:/);
    expect(stderr).toMatch(/main\.ts:5:/);
  });
});
