// A machine's skills: found in OpenClaw's folders without OpenClaw, by its precedence, and noticed when they change.

import { afterEach, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, watch, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { LIMITS } from "../../../src/common/limits.ts";
import { createLogger } from "../../../src/common/logging.ts";
import { systemRuntime } from "../../../src/common/runtime.ts";
import { UpMessage } from "../../../src/communication/messages.ts";
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

/** In memory, where there is such a place: thousands of folders take seconds on a disk. */
const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

function home(place = tmpdir()): string {
  const folder = mkdtempSync(join(place, "claw-skills-"));
  folders.push(folder);
  return folder;
}

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const skill = (name: string, description = "x", more = ""): string =>
  `---\nname: ${name}\ndescription: ${description}\n${more}---\nbody\n`;

const SOURCES = join(import.meta.dir, "../../../src/worker/skills");
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
    [join(state, "agents", "main", "agent", "workshop-skills"), "openclaw-workshop"],
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
  const entries = { only: { workspace: "~/own", agentDir: "~/agent" } };
  put(join(state, "openclaw.json"), JSON.stringify({ agents: { defaults: { workspace: "~/work" }, entries } }));
  const folders = findOpenClaw({ env, home: root }).sources.map(({ folder }) => folder);
  expect(folders).toContain(join(root, "own", "skills"));
  expect(folders).toContain(join(root, "agent", "workshop-skills"));
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
  put(join(root, "twice", "SKILL.md"), "---\ndescription: x\n---\n");
  symlinkSync(join(root, "twice"), join(root, "alias"));
  const { skills, problems } = new SkillScanner().scan([{ source: "config", folder: root }], machine);
  expect(skills.filter(({ missing }) => missing === undefined).map(({ name }) => name)).toEqual([
    ...["alias", "deep", "twice"],
  ]);
  expect(problems.some((text) => text.includes("bad/SKILL.md: has no front matter"))).toBe(true);
  expect(problems.some((text) => text.includes("huge/SKILL.md: has"))).toBe(true);
  expect(problems.length).toBe(2);
});

test("a tree that is deep and large keeps nothing beside it from being found, and is told", () => {
  const root = home(MEMORY);
  for (let at = 0; at < 100; at++) {
    for (let below = 0; below < LIMITS.source_folders / 100; below++) {
      mkdirSync(join(root, "a-repository", `${at}`, `${below}`), { recursive: true });
    }
  }
  put(join(root, "z", "group", "SKILL.md"), skill("z"));
  put(join(root, "a-repository", "99", "49", "lost", "SKILL.md"), skill("lost"));
  const { skills, problems } = new SkillScanner().scan([{ source: "config", folder: root }], machine);
  expect(skills.map(({ name }) => name)).toEqual(["z"]);
  expect(problems).toEqual([`${root}: only ${LIMITS.source_folders} folders are looked into, there are more`]);
});

test("a folder that cannot be looked into is told, one that is not there is none", () => {
  const root = home();
  symlinkSync("gone", join(root, "dangling"));
  symlinkSync("circle", join(root, "circle"));
  put(join(root, "file"), "");
  const long = join(root, "x".repeat(300));
  const sources = [root, join(root, "gone"), join(root, "file"), long].map((folder) => ({ source: "config", folder }));
  expect(new SkillScanner().scan(sources, machine)).toMatchObject({
    problems: [`${long}: cannot be looked into`],
    visited: [{ folder: root, depth: 0, skill: false }],
  });
});

test("a file that is no skill is one that cannot be used, by its folder's name, unless another folder has a whole one", () => {
  const root = home();
  const [first, second] = [join(root, "first"), join(root, "second")];
  put(join(first, "bad", "SKILL.md"), "---\nname: [\n---\n");
  put(join(first, "mute", "SKILL.md"), "---\nname: mute\n---\n");
  put(join(first, "No Name", "SKILL.md"), "nothing");
  put(join(first, "empty", "SKILL.md"), "");
  put(join(second, "mute", "SKILL.md"), skill("mute"));
  // What is no file, or cannot be read.
  mkdirSync(join(first, "folder", "SKILL.md"), { recursive: true });
  for (const [name, to] of [
    ["dangling", "gone"],
    ["circle", "SKILL.md"],
    ["device", "/dev/zero"],
  ] as const) {
    mkdirSync(join(first, name));
    symlinkSync(to, join(first, name, "SKILL.md"));
  }
  mkdirSync(join(first, "pipe"));
  expect(Bun.spawnSync(["mkfifo", join(first, "pipe", "SKILL.md")]).exitCode).toBe(0);
  const sources = [first, second].map((folder) => ({ source: "config", folder }));
  const { skills, problems } = new SkillScanner().scan(sources, machine);
  expect(skills.map(({ name }) => name)).toEqual([
    ...["bad", "circle", "dangling", "device", "empty", "folder", "mute", "pipe"],
  ]);
  const missing = Object.fromEntries(skills.map((one) => [one.name, one.missing?.[0]]));
  expect(missing).toMatchObject({
    circle: "a valid SKILL.md: this one cannot be read (ELOOP)",
    dangling: "a valid SKILL.md: this one cannot be read (ENOENT)",
    device: "a valid SKILL.md: this one is no file",
    empty: "a valid SKILL.md: this one is empty",
    folder: "a valid SKILL.md: this one is a folder",
    pipe: "a valid SKILL.md: this one is no file",
  });
  expect(skills[0]!.missing).toEqual([
    expect.stringMatching(/^a valid SKILL.md: this one has a front matter that is no YAML: /),
  ]);
  expect(missing["mute"]).toBeUndefined();
  expect(problems.length).toBe(9);
  const message = { type: "skill.update", incarnation: "0".repeat(16), hash: "0".repeat(16), skills };
  expect(UpMessage.safeParse(message).success).toBe(true);
});

test("more than a source may have are said, and the rest counts", () => {
  const root = home(MEMORY);
  for (let at = 0; at <= LIMITS.source_skills; at++) put(join(root, `s${at}`, "SKILL.md"), skill(`s${at}`));
  const { skills, problems } = new SkillScanner().scan([{ source: "config", folder: root }], machine);
  expect(skills.length).toBe(LIMITS.source_skills);
  expect(problems).toEqual([expect.stringContaining(`only ${LIMITS.source_skills} skills count`)]);
});

test("a pipe, a device or a file without an end that is called as a skill or as the settings is not read", () => {
  const root = home();
  put(join(root, "good", "SKILL.md"), skill("good"));
  for (const folder of ["pipe", ".openclaw"]) mkdirSync(join(root, folder));
  for (const pipe of ["pipe/SKILL.md", ".openclaw/openclaw.json"]) {
    expect(Bun.spawnSync(["mkfifo", join(root, pipe)]).exitCode).toBe(0);
  }
  for (const [name, to] of [
    ["device", "/dev/zero"],
    ["endless", "/proc/self/pagemap"],
  ] as const) {
    mkdirSync(join(root, name));
    symlinkSync(to, join(root, name, "SKILL.md"));
  }
  // Whoever opened one of them would wait for ever: in a process of its own, which can be ended.
  const program = `
    import { findOpenClaw } from "${join(SOURCES, "openclaw.ts")}";
    import { SkillScanner } from "${join(SOURCES, "scan.ts")}";
    const { settings } = findOpenClaw({ env: {}, home: process.argv[1] });
    const machine = { platform: "linux", env: {}, settings, has: () => false };
    const { skills } = new SkillScanner().scan([{ source: "config", folder: process.argv[1] }], machine);
    console.log(JSON.stringify([settings, skills.map(({ name }) => name)]));`;
  const { stdout } = Bun.spawnSync([process.execPath, "-e", program, root], { timeout: 20_000 });
  expect(stdout.toString().trim()).toBe(`[{},["device","endless","good","pipe"]]`);
}, 30_000);

test("what is said of all skills fits one message", () => {
  const root = home();
  const bins = Array.from({ length: LIMITS.skill_requirements }, (_, at) => `${"€".repeat(150)}${at}`).join(", ");
  const more = `metadata:\n  openclaw:\n    requires:\n      bins: [${bins}]\n`;
  for (let at = 100; at < 250; at++) put(join(root, `s${at}`, "SKILL.md"), skill(`s${at}`, "x", more));
  const { skills, problems } = new SkillScanner().scan([{ source: "config", folder: root }], machine);
  const message = { type: "skill.update", incarnation: "0".repeat(16), hash: "0".repeat(16), skills };
  expect(UpMessage.safeParse(message).success).toBe(true);
  expect(skills.length).toBeGreaterThan(50);
  expect(problems).toEqual([`of 150 skills only ${skills.length} count: what is said of them has too many bytes`]);
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

test("odd values in openclaw.json, at each place that is read, are as if they were not there", () => {
  const root = home();
  put(
    join(root, ".openclaw", "skills", "s", "SKILL.md"),
    skill(
      "s",
      "x",
      "metadata:\n  openclaw:\n    primaryEnv: A\n    requires: {env: [A, B.C], config: [browser.enabled, a.b]}\n",
    ),
  );
  const places = [
    ...["", "skills", "skills.entries", "skills.entries.s", "skills.entries.s.enabled", "skills.entries.s.env"],
    ...["skills.entries.s.env.A", "skills.entries.s.apiKey", "skills.allowBundled", "skills.load"],
    ...["skills.load.extraDirs", "agents", "agents.defaults", "agents.defaults.skills", "agents.defaults.workspace"],
    ...["agents.entries", "agents.entries.main", "agents.entries.main.default", "agents.entries.main.skills"],
    ...["agents.entries.main.workspace", "agents.entries.main.agentDir", "browser", "browser.enabled", "a", "a.b"],
  ];
  const odd = [
    ...["null", "0", "NaN", "true", "false", "''", "' '", "'x'", "'a\\u0000b'", `'${"x".repeat(10_000)}'`],
    ...[
      "[]",
      "[null]",
      "[[]]",
      "[{}]",
      "['', 5]",
      "{}",
      "{s: null}",
      "{main: 5, other: null}",
      "{toString: 1, length: 'x'}",
    ],
  ];
  for (const place of places) {
    for (const value of odd) {
      const parts = place.split(".").filter((part) => part !== "");
      const text = parts.reduceRight((inner, part) => `{${JSON.stringify(part)}: ${inner}}`, value);
      put(join(root, ".openclaw", "openclaw.json"), text);
      const { settings, sources } = findOpenClaw({ env: {}, home: root });
      const all = sources.map(({ folder }) => ({ source: "openclaw-bundled", folder }));
      const { skills } = new SkillScanner().scan(all, { ...machine, settings });
      expect([place, value, skills.map(({ name }) => name)]).toEqual([place, value, ["s"]]);
    }
  }
});

test("a look that throws is told once, changes nothing, and the next one is as ever", () => {
  const root = home();
  put(join(root, "one", "SKILL.md"), skill("one"));
  const { options, told, log, minute } = byHand(root, "error");
  let broken = false;
  Object.defineProperty(options, "folders", {
    get: () => {
      if (broken) throw new Error("a bug");
      return [root];
    },
  });
  watches.push(new SkillWatch(options));
  broken = true;
  put(join(root, "two", "SKILL.md"), skill("two"));
  for (let at = 0; at < 3; at++) minute();
  expect(log.filter((line) => line.includes("a bug")).length).toBe(1);
  expect(told.length).toBe(1);
  broken = false;
  minute();
  expect(told.at(-1)!.list.map(({ name }) => name)).toEqual(["one", "two"]);
});

/** Timers that wait to be fired, and a watch that only notes what it is asked for. */
function byHand(root: string, level: "info" | "error" = "info") {
  const timers: { delay_ms: number; action: () => void }[] = [];
  const asked: string[] = [];
  const log: string[] = [];
  const told: NodeSkills[] = [];
  let fail: (folder: string) => string | undefined = () => undefined;
  const logger = createLogger({
    ...{ role: "test", level, format: "json", runtime: systemRuntime },
    write: (line) => void log.push(line),
  });
  const options = {
    runtime: {
      ...systemRuntime,
      after: (delay_ms: number, action: () => void) => {
        timers.push({ delay_ms, action });
        return { cancel: () => undefined };
      },
    },
    ...{ logger, folders: [root], openclaw: join(root, ".none") },
    changed: (skills: NodeSkills) => void told.push(skills),
    watch: ((folder: string) => {
      asked.push(folder);
      const code = fail(folder);
      if (code !== undefined) throw Object.assign(new Error(code), { code });
      return Object.assign(new EventEmitter(), { close: () => undefined });
    }) as unknown as typeof watch,
  };
  const minute = (): void => timers.findLast(({ delay_ms }) => delay_ms === 60_000)!.action();
  return {
    ...{ options, asked, log, told, minute },
    failing: (by: typeof fail) => {
      fail = by;
    },
    start: () => watches.push(new SkillWatch(options)),
  };
}

const wanted = (root: string, asked: string[]): string[] => asked.filter((folder) => folder.startsWith(root));

test("only folders that were looked into are watched, not what lies below a skill", async () => {
  const root = home();
  put(join(root, "group", "one", "SKILL.md"), skill("one"));
  for (let at = 0; at < 50; at++) mkdirSync(join(root, "group", "one", "venv", `${at}`, "lib"), { recursive: true });
  const { options, asked, log, start } = byHand(root);
  options.folders.push(root);
  start();
  const folders = [root, join(root, "group"), join(root, "group", "one")];
  expect(wanted(root, asked)).toEqual(folders);
  expect(log).toEqual([]);
  // With real watches: nothing that is written there makes it look again, and what comes after that is noticed.
  let looks = 0;
  const told: NodeSkills[] = [];
  const runtime = {
    ...systemRuntime,
    after: (delay_ms: number, action: () => void) => {
      if (delay_ms < 60_000) looks += 1;
      return systemRuntime.after(delay_ms, action);
    },
  };
  const changed = (skills: NodeSkills): void => void told.push(skills);
  watches.push(new SkillWatch({ ...options, runtime, changed, watch }));
  const before = looks;
  for (let at = 0; at < 50; at++) {
    put(join(root, "group", "one", "venv", `${at}`, "lib", "file"), "x");
    put(join(root, "group", "one", `file-${at}`), "x");
    put(join(root, "group", `.file-${at}`), "x");
  }
  put(join(root, "group", "one", "SKILL.md"), skill("one", "changed"));
  await until(() => told.at(-1)?.list[0]?.description === "changed", "the change");
  expect(looks - before).toBeLessThan(10);
});

test("what is new is noticed and then watched, and so is what comes back in its place", async () => {
  const root = home();
  const told: NodeSkills[] = [];
  const { options } = byHand(root);
  const changed = (skills: NodeSkills): void => void told.push(skills);
  watches.push(new SkillWatch({ ...options, runtime: systemRuntime, changed, watch }));
  const path = join(root, "new", "group", "late", "SKILL.md");
  const description = (): string | undefined => told.at(-1)?.list[0]?.description;
  for (let round = 0; round < 3; round++) {
    put(path, skill("late", `first of ${round}`));
    await until(() => description() === `first of ${round}`, "the new one");
    put(path, skill("late", `second of ${round}`));
    await until(() => description() === `second of ${round}`, "its change");
    rmSync(join(root, "new"), { recursive: true });
    // Sometimes nobody sees that it was gone.
    if (round === 0) await until(() => told.at(-1)?.list.length === 0, "its end");
  }
});

test("more folders than may be watched: the nearest are, which is told once", () => {
  const root = home(MEMORY);
  put(join(root, "z", "SKILL.md"), skill("z"));
  for (let at = 0; at <= LIMITS.watched_folders; at++) mkdirSync(join(root, "a", `${at}`), { recursive: true });
  const { asked, log, minute, start } = byHand(root);
  start();
  minute();
  expect(asked.length).toBe(LIMITS.watched_folders);
  expect(wanted(root, asked).slice(0, 3)).toEqual([root, join(root, "a"), join(root, "z")]);
  expect(log.filter((line) => line.includes("not all folders of skills are watched")).length).toBe(1);
});

test("a machine that has no watches left is looked at each minute, and tried again then", () => {
  const root = home();
  for (let at = 0; at < 9; at++) put(join(root, `s${at}`, "SKILL.md"), skill(`s${at}`));
  const { asked, log, told, minute, failing, start } = byHand(root);
  failing((folder) => (folder === root ? undefined : "ENOSPC"));
  start();
  // The first that fails is the last that is tried.
  expect(wanted(root, asked)).toEqual([root, join(root, "s0")]);
  expect(told.at(-1)!.list.length).toBe(9);
  put(join(root, "s9", "SKILL.md"), skill("s9"));
  minute();
  expect(told.at(-1)!.list.length).toBe(10);
  failing(() => undefined);
  minute();
  expect(new Set(wanted(root, asked)).size).toBe(11);
  expect(log).toEqual([expect.stringContaining("not all folders of skills are watched")]);
});
