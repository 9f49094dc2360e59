// --help: every command's opens with examples, and whatever it or an example names is really there.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCli } from "../cli.ts";

const home = mkdtempSync(join(tmpdir(), "claw-help-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const EMPTY = { env: { CLAW_HOME: home }, startRole: () => Promise.resolve(0) };

/** Every command there is, found the way a person would: from help to help. */
async function helps(path: readonly string[] = [], found = new Map<string, string>()): Promise<Map<string, string>> {
  const { code, stdout, stderr } = await runCli([...path, "--help"], EMPTY);
  expect([path, code, stderr]).toEqual([[...path], 0, ""]);
  found.set(path.join(" "), stdout);
  const commands = /\nCommands:\n([\s\S]*?)(?:\n\n|$)/.exec(stdout)?.[1] ?? "";
  for (const [, name = ""] of commands.matchAll(/^ {2}([a-z]+)/gm)) {
    if (name !== "help") await helps([...path, name], found);
  }
  return found;
}

const HELPS = await helps();

/** Options with a value get one of its kind. */
function sampleOf(kind: string | undefined): string[] {
  if (kind === undefined) return [];
  const values: Record<string, string> = {
    "name=value": "A=b",
    "name=count": "a=1",
    duration: "1s",
    size: "1M",
    when: "never",
    role: "worker",
    count: "1",
    cores: "1",
  };
  return [values[kind] ?? "x"];
}

test("there are the commands that the design names for this slice", () => {
  const names = [...HELPS.keys()];
  for (const name of ["up", "run", "submit", "ls", "show", "logs", "wait", "cancel", "nodes ls", "status", "version"]) {
    expect(names).toContain(name);
  }
  for (const name of ["credentials export", "config init", "config check", "config show"])
    expect(names).toContain(name);
});

describe.each([...HELPS])("claw %s --help", (path, text) => {
  const words = path === "" ? [] : path.split(" ");

  test("opens with examples of itself", () => {
    expect(text).toStartWith("Examples:\n  ");
    const examples = text.slice(0, text.indexOf("\nUsage:"));
    expect(examples).toContain(path === "" ? "claw run" : `claw ${words[0]}`);
    expect(text).toContain(`Usage: claw${path === "" ? "" : ` ${path}`}`);
  });

  test("every claw command of an example is known", () => {
    const examples = text.slice(0, text.indexOf("\nUsage:"));
    const commands = [...examples.matchAll(/claw (--role|[a-z]+)/g)].map(([, name = ""]) => name);
    expect(commands.length).toBeGreaterThan(0);
    for (const name of commands) expect(name === "--role" || HELPS.has(name)).toBe(true);
  });

  test("every option in it is taken", async () => {
    const options = [...text.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)(?: <([a-z=-]+)>)?/gm)].filter(
      ([, name]) => name !== "--help" && name !== "--version",
    );
    for (const [, name = "", kind] of options) {
      const { stderr } = await runCli([...words, name, ...sampleOf(kind)], EMPTY);
      expect([name, stderr]).not.toEqual([name, expect.stringMatching(/unknown option|argument missing|is invalid/)]);
    }
    expect(options.length > 0 || /\nCommands:\n/.test(text)).toBe(true);
  });

  test("claw help says the same, and -h", async () => {
    expect((await runCli([...words, "-h"], EMPTY)).stdout).toBe(text);
    const { code, stdout } = await runCli(["help", ...words], EMPTY);
    expect([code, stdout]).toEqual([0, text]);
  });
});

test("run --help says what becomes of Ctrl-C, of a closed reader, and what the exit codes are", () => {
  const text = HELPS.get("run") ?? "";
  for (const says of ["Ctrl-C cancels", "128+n for a signal", "124", "125", "the work goes on"]) {
    expect(text).toContain(says);
  }
});

test("claw alone is claw --help; a group alone shows its commands", async () => {
  expect((await runCli([], EMPTY)).stdout).toBe(HELPS.get("") ?? "");
  for (const group of ["config", "credentials"]) {
    const { code, stdout, stderr } = await runCli([group], EMPTY);
    expect([code, stdout, stderr]).toEqual([0, HELPS.get(group) ?? "", ""]);
  }
});

test("help for what is no command is refused as the command is, in a group too", async () => {
  for (const words of [["nodes", "maintenance"], ["config", "foo"], ["frobnicate"]]) {
    for (const asked of [
      [...words, "--help"],
      ["help", ...words],
    ]) {
      const { code, stdout, stderr } = await runCli(asked, EMPTY);
      expect([asked, code, stdout]).toEqual([asked, 64, ""]);
      expect(stderr).toStartWith(`claw: there is no command '${words.join(" ")}'\n  the commands are `);
    }
  }
  expect((await runCli(["nodes", "dran", "-h"], EMPTY)).stderr).toEndWith("\n  did you mean `claw nodes drain`?\n");
});

test("a refusal names the help of the command that was typed", async () => {
  for (const words of [
    ["ls", "--bogus"],
    ["nodes", "ls", "--bogus"],
    ["config", "show", "--bogus"],
    ["config", "show", "all"],
  ]) {
    const { code, stderr } = await runCli(words, EMPTY);
    expect(code).toBe(64);
    expect(stderr).toEndWith(`  see \`claw ${words.slice(0, -1).join(" ")} --help\`\n`);
  }
});

test("the version, three ways", async () => {
  const { stdout } = await runCli(["version"]);
  expect(stdout).toMatch(/^claw cluster \d+\.\d+\.\d+/);
  expect((await runCli(["--version"])).stdout).toBe(stdout);
  expect((await runCli(["-V"])).stdout).toBe(stdout);
  const json = JSON.parse((await runCli(["version", "--json"])).stdout) as object;
  expect(json).toMatchObject({ name: "claw cluster", json_schema: 1, version: expect.any(String) });
});
