import { describe, expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { checkCommandLength, quoteForShell, renderTemplate } from "../../src/core/template.ts";

const NASTY = [
  "",
  " ",
  "plain",
  "two words",
  "  lead and trail  ",
  "it's",
  "''",
  "'''a'''",
  'say "hi"',
  "$(touch /tmp/never)",
  "`id`",
  "$HOME $$",
  "a\\b",
  "end\\",
  "a\\nb",
  "tab\there",
  "*",
  "?[a]",
  "~",
  "~root/x",
  "-n",
  "--help",
  "a;b&c|d<e>f",
  "#comment",
  "!history",
  "{a,b}",
  "{}",
  "{.}{#}",
  "a=b",
  "grüße 日本語 🎈",
  "%s%n",
  "(x)",
  "x.tar.gz",
  "dir/x.tar.gz",
  "/abs/x.y",
  "/top",
  "dir.d/file",
  "dir/.hidden",
  "trailing/",
  ".",
  "..",
  "./a",
  "a//b//c.d",
  "x.",
  "\u00a0",
  "\u2028",
];

/** A seeded generator: the same lines each time, so that a failure can be seen again. */
function randomLines(count: number): string[] {
  const alphabet = [...NASTY.join(""), "é", "\u0001", "\u007f", "\u001b", "\r"];
  let state = 0x2545f491;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  return Array.from({ length: count }, () =>
    Array.from({ length: next(24) }, () => alphabet[next(alphabet.length)]).join(""),
  );
}

function sh(text: string): string {
  const result = Bun.spawnSync(["/bin/sh"], { stdin: Buffer.from(text), stdout: "pipe", stderr: "pipe" });
  expect(result.stderr.toString()).toBe("");
  return result.stdout.toString();
}

describe("renderTemplate", () => {
  test("sh sees exactly the line's bytes, for thousands of lines", () => {
    const lines = [...NASTY, ...randomLines(5000), "x".repeat(100_000), `'"$(`.repeat(20_000)];
    const commands = lines.map((line, index) => renderTemplate("printf '%s\\0' {}", line, index)).join("\n");
    expect(sh(commands).split("\0").slice(0, -1)).toEqual(lines);
  });

  test("every replacement string", () => {
    const all = "{} {.} {/} {//} {/.} {#}";
    expect(renderTemplate(all, "dir/x.tar.gz", 4)).toBe("dir/x.tar.gz dir/x.tar x.tar.gz dir x.tar 5");
    expect(renderTemplate("gzip -t", "a b", 0)).toBe("gzip -t 'a b'");
    expect(renderTemplate("echo {#}", "a", 9)).toBe("echo 10");
    expect(renderTemplate("echo {}", "{#}", 9)).toBe("echo '{#}'");
    expect(renderTemplate("echo {x} {1}", "a", 0)).toBe("echo {x} {1} a");
  });

  test("a member without input is its number, and nothing is appended", () => {
    expect(renderTemplate("echo {} {#}", undefined, 6)).toBe("echo 7 7");
    expect(renderTemplate("date", undefined, 6)).toBe("date");
  });

  test("NUL is refused, in the line and in the template", () => {
    expect(() => renderTemplate("echo", "a\0b", 2)).toThrow(/input 3 has a NUL/);
    expect(() => renderTemplate("echo\0", "a", 2)).toThrow(ClawError);
  });

  test("plain words stay readable", () => {
    expect(quoteForShell("a-b_c.d+e/f9")).toBe("a-b_c.d+e/f9");
    expect(quoteForShell("")).toBe("''");
  });
});

test("a command is refused when no kernel would take it, counted in bytes", () => {
  checkCommandLength("x".repeat(LIMITS.argument_bytes));
  expect(() => checkCommandLength("x".repeat(LIMITS.argument_bytes + 1))).toThrow(/one argument takes 131071/);
  expect(() => checkCommandLength("é".repeat(70_000))).toThrow(ClawError);
});

const parallel = Bun.which("parallel");
const isGnu = parallel !== null && Bun.spawnSync([parallel, "--version"]).stdout.toString().startsWith("GNU parallel");

// moreutils has a program of the same name: only GNU's is the reference.
describe.skipIf(!isGnu)("against GNU parallel", () => {
  const templates = ["printf '%s|'", "printf '%s|' {}", "printf '%s|' {.} {/} {//} {/.} {#}", "printf '%s|' {#}"];
  const home = { ...Bun.env, HOME: "/nonexistent", SHELL: "/bin/sh" };
  test.each(templates)("%s", (template) => {
    const result = Bun.spawnSync([parallel ?? "", "--will-cite", "-k", "-j1", template], {
      stdin: Buffer.from(`${NASTY.join("\n")}\n`),
      env: home,
      stdout: "pipe",
      stderr: "ignore",
    });
    const ours = sh(NASTY.map((line, index) => renderTemplate(template, line, index)).join("\n"));
    expect(ours).toBe(result.stdout.toString());
  });
});
