// A machine's skills: found in OpenClaw's folders without OpenClaw, by its precedence, and noticed when they change.

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { LIMITS } from "../../../src/common/limits.ts";
import { createLogger } from "../../../src/common/logging.ts";
import { systemRuntime } from "../../../src/common/runtime.ts";
import type { NodeSkills } from "../../../src/core/skills.ts";
import type { Machine } from "../../../src/worker/skills/eligible.ts";
import { findOpenClaw } from "../../../src/worker/skills/openclaw.ts";
import { SkillScanner } from "../../../src/worker/skills/scan.ts";
import { SkillWatch } from "../../../src/worker/skills/watch.ts";
import { until } from "../../until.ts";

const folders: string[] = [];
const watches: SkillWatch[] = [];

afterEach(() => {
  for (const watch of watches.splice(0)) watch.stop();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function home(): string {
  const folder = mkdtempSync(join(tmpdir(), "claw-skills-"));
  folders.push(folder);
  return folder;
}

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const skill = (name: string, description = "x", more = ""): string =>
  `---\nname: ${name}\ndescription: ${description}\n${more}---\nbody\n`;

const machine: Machine = { platform: "linux", env: {}, settings: {}, has: () => false };

test("the nearest of two with one name counts, in OpenClaw's order of folders", () => {
  const root = home();
  put(join(root, "bin", "openclaw"), "#!/bin/sh\n");
  put(join(root, "package", "openclaw.mjs"), "#!/usr/bin/env node\n");
  put(join(root, "package", "package.json"), "{}");
  const state = join(root, ".openclaw");
  const program = join(root, "path", "openclaw");
  mkdirSync(dirname(program));
  symlinkSync(join(root, "package", "openclaw.mjs"), program);
  expect(Bun.spawnSync(["chmod", "+x", join(root, "package", "openclaw.mjs")]).exitCode).toBe(0);
  put(
    join(state, "openclaw.json"),
    `{ // JSON5\n agents: { defaults: { workspace: "~/work" } }, skills: { load: { extraDirs: ["extra"] } } }`,
  );
  const places = [
    [join(root, "work", "skills"), "openclaw-workspace"],
    [join(root, "work", ".agents", "skills"), "agents-skills-project"],
    [join(root, ".agents", "skills"), "agents-skills-personal"],
    [join(state, "skills"), "openclaw-managed"],
    [join(root, "package", "skills"), "openclaw-bundled"],
    [join(root, "extra"), "openclaw-extra"],
    [join(state, "plugin-skills"), "openclaw-extra"],
  ] as const;
  for (const [at, [folder]] of places.entries()) {
    for (let own = at; own < places.length; own++)
      put(join(folder, `s${own}`, "SKILL.md"), skill(`s${own}`, `from ${at}`));
  }
  const env = { PATH: dirname(program) };
  const { sources } = findOpenClaw({ env, home: root });
  expect(sources.map(({ folder, source }) => [folder, source])).toEqual(places.map((place) => [...place]));
  const { skills, problems } = new SkillScanner().scan(sources, machine);
  // What stands first is what was put there by the first of its folders.
  expect(skills.map(({ name, description }) => [name, description])).toEqual(
    places.map((_, at) => [`s${at}`, "from 0"]),
  );
  expect(problems).toEqual([]);
  const elsewhere = findOpenClaw({ env: { ...env, OPENCLAW_STATE_DIR: join(root, "other") }, home: root });
  expect(elsewhere.sources.map(({ source }) => source)).not.toContain("agents-skills-personal");
});

test("as deep as OpenClaw looks, not below a skill, not in hidden folders, not round in circles", () => {
  const root = home();
  const deep = join(root, "1", "2", "3", "4", "5", "6");
  put(join(deep, "SKILL.md"), skill("deep"));
  put(join(deep, "7", "SKILL.md"), skill("below"));
  put(join(root, "a", "2", "3", "4", "5", "6", "7", "SKILL.md"), skill("too-deep"));
  put(join(root, ".hidden", "SKILL.md"), skill("hidden"));
  put(join(root, "node_modules", "x", "SKILL.md"), skill("package"));
  put(join(root, "bad", "SKILL.md"), "nothing");
  put(join(root, "huge", "SKILL.md"), skill("huge", "x", `#${"x".repeat(LIMITS.skill_file_bytes)}\n`));
  for (let at = 0; at < 12; at++) symlinkSync(root, join(root, `round-${at}`));
  const { skills, problems } = new SkillScanner().scan([{ source: "config", folder: root }], machine);
  expect(skills.map(({ name }) => name)).toEqual(["deep"]);
  expect(problems.some((text) => text.includes("bad/SKILL.md: has no front matter"))).toBe(true);
  expect(problems.some((text) => text.includes("huge/SKILL.md: has"))).toBe(true);
});

test("more than a source may have are said, and the rest counts", () => {
  const root = home();
  for (let at = 0; at <= LIMITS.source_skills; at++) put(join(root, `s${at}`, "SKILL.md"), skill(`s${at}`));
  const { skills, problems } = new SkillScanner().scan([{ source: "config", folder: root }], machine);
  expect(skills.length).toBe(LIMITS.source_skills);
  expect(problems).toEqual([expect.stringContaining(`only ${LIMITS.source_skills} skills count`)]);
});

test("what changes is told, once it has settled, and nothing else is", async () => {
  const root = home();
  put(join(root, "one", "SKILL.md"), skill("one"));
  const told: NodeSkills[] = [];
  const log: string[] = [];
  const logger = createLogger({
    ...{ role: "test", level: "debug", format: "json", runtime: systemRuntime },
    write: (line) => void log.push(line),
  });
  const settings = { runtime: systemRuntime, logger, folders: [root], openclaw: join(root, "none") };
  watches.push(new SkillWatch({ ...settings, changed: (skills) => void told.push(skills) }));
  const names = (): string[] => told.at(-1)?.list.map(({ name }) => name) ?? [];
  expect(names()).toEqual(["one"]);
  put(join(root, "two", "SKILL.md"), skill("two"));
  await until(() => names().includes("two") || undefined, "the second skill");
  const before = told.at(-1)!.hash;
  put(join(root, "two", "SKILL.md"), skill("two", "another description"));
  await until(() => told.at(-1)!.hash !== before || undefined, "the change");
  rmSync(join(root, "one"), { recursive: true });
  await until(() => names().join() === "two" || undefined, "the first one's end");
  put(join(root, "notes.txt"), "nothing that counts");
  put(join(root, "bad", "SKILL.md"), "nothing");
  await until(() => log.some((line) => line.includes("bad/SKILL.md")) || undefined, "the warning");
  expect(new Set(told.map(({ hash }) => hash)).size).toBe(told.length);
});
