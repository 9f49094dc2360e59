// A line of `--each` does what GNU parallel does with the same line, or is refused with a clear error. Against what the
// real one printed (parallel.golden.json), and against the real one itself where it is installed.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { closeMachines, type Machine, machine } from "./binary.ts";
import { askParallel, GOLDEN, Golden, inputOf, LINES, TEMPLATES } from "./lines.ts";

const golden = Golden.parse(JSON.parse(readFileSync(GOLDEN, "utf8")));

let here: Machine;
beforeAll(async () => {
  here = machine();
  await here.up();
});
afterAll(closeMachines);

const each = (template: string, stdin: string | Uint8Array, more: readonly string[] = []) =>
  here.claw(["run", "--keep-order", ...more, "--each", template], { stdin });

const KIB_100 = 100 * 1024;

describe("a line is what GNU parallel makes of it", () => {
  for (const template of TEMPLATES) {
    test(template, async () => {
      const { out } = await each(template, inputOf(LINES));
      expect(out.split("\n")).toEqual(golden.outputs[template]!.split("\n"));
    });
  }

  test.skipIf(Bun.which("parallel") === null)("the one that is installed here agrees", async () => {
    for (const template of TEMPLATES) {
      expect((await askParallel(template, inputOf(LINES)))?.split("\n")).toEqual(golden.outputs[template]!.split("\n"));
    }
  });

  test("100 KB", async () => {
    const lines = ["x".repeat(KIB_100), `${"'".repeat(100)}${" é$".repeat(KIB_100 / 4)}`];
    const { code, out } = await each("printf %s {} | sha256sum", inputOf(lines));
    expect(out).toBe(lines.map((line) => `${new Bun.CryptoHasher("sha256").update(line).digest("hex")}  -\n`).join(""));
    expect(code).toBe(0);
  });

  test("no line at all runs nothing, and the last one needs no end", async () => {
    expect(await each("echo ran", "")).toMatchObject({ code: 0, out: "" });
    expect(await each("echo {}", "a\nb")).toMatchObject({ code: 0, out: "a\nb\n" });
  });

  test("NUL-separated lines hold newlines", async () => {
    const { code, out } = await each("printf '<%s>' {}", "a\nb\0 c \0\n\0", ["--null"]);
    expect({ code, out }).toEqual({ code: 0, out: "<a\nb>< c ><\n>" });
  });

  test("a failure is counted and the others run on", async () => {
    const { code, out, err } = await each("echo {}; exit {}", "0\n3\n0\n");
    expect({ code, out }).toEqual({ code: 1, out: "0\n3\n0\n" });
    expect(err).toContain("2 succeeded, 1 failed");
  });
});

describe("what no command can be given is refused by its number", () => {
  const refused = async (bad: string | Uint8Array, says: RegExp) => {
    const stdin = Buffer.concat([Buffer.from("one\ntwo\n"), Buffer.from(bad), Buffer.from("\nfour\n")]);
    const { code, out, err } = await each("echo {}", stdin);
    expect(err).toMatch(says);
    expect(err).toContain("line 3");
    // Never something else: what came before ran as it is, and nothing of the bad line.
    expect(out.split("\n").filter((line) => !["one", "two", "four", ""].includes(line))).toEqual([]);
    expect(code).not.toBe(0);
  };

  test("a NUL byte", () => refused("a\0b", /NUL/));
  test("longer than an argument can be", () => refused("x".repeat(140_000), /too long|bytes long/));
  test("longer than anything", () => refused("x".repeat(1_000_000), /longer than/));
  test("no UTF-8", () => refused(new Uint8Array([0x61, 0xff, 0xfe]), /UTF-8/));
});
