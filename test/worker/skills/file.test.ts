// SKILL.md as OpenClaw reads it: what counts, what is ignored, and what is no skill.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../../src/common/limits.ts";
import { type Machine, missingFor } from "../../../src/worker/skills/eligible.ts";
import { parseSkill, type SkillFile } from "../../../src/worker/skills/file.ts";

function read(front: string, folder = "folder"): SkillFile {
  const found = parseSkill(folder, `---\n${front}\n---\n# Body\n`);
  if ("problem" in found) throw new Error(found.problem);
  return found;
}

const problem = (text: string): unknown => parseSkill("folder", text);

describe("the front matter", () => {
  test("gives name and description; the folder's name where there is none", () => {
    expect(read("name: weather\ndescription: Tells\n  the weather.")).toMatchObject({
      name: "weather",
      description: "Tells the weather.",
    });
    expect(read("description: x", "by-folder").name).toBe("by-folder");
    expect(read(`description: ${"x".repeat(500)}`).description.length).toBe(LIMITS.skill_text_chars);
  });

  test("says what is needed, as YAML below `metadata:`, as JSON5 on its line, or as a text of JSON5", () => {
    const wanted = {
      bins: ["ffmpeg"],
      any_bins: ["a", "b"],
      env: ["KEY"],
      config: ["browser.enabled"],
      os: ["darwin"],
    };
    const json = `{ "openclaw": { "os": ["darwin"], "requires": { "bins": ["ffmpeg"], "anyBins": ["a", "b"], "env": ["KEY"], "config": ["browser.enabled"] } } }`;
    for (const metadata of [
      "metadata:\n  openclaw:\n    os: [darwin]\n    requires:\n      bins: [ffmpeg]\n      anyBins: [a, b]\n      env: [KEY]\n      config: [browser.enabled]",
      `metadata: ${json}`,
      `metadata: '${json}'`,
      `metadata: ${json.replace('"openclaw"', "openclaw")}`,
      `metadata:\n  ${json}`,
      `metadata:\n  ${json.replaceAll(", ", ",\n  ")}`,
      `metadata: ${json.replace('{ "os"', '{ "emoji": "}", "os"')}`,
      "metadata:\n  openclaw:\n    os: darwin\n    requires: {bins: ' ffmpeg,', anyBins: 'a, b', env: [' KEY '], config: browser.enabled}",
    ]) {
      expect([metadata, read(`description: x\n${metadata}`)]).toEqual([metadata, expect.objectContaining(wanted)]);
    }
    const old = "metadata:\n  clawdbot:\n    always: true\n    skillKey: other\n    primaryEnv: TOKEN";
    expect(read(`description: x\n${old}`)).toMatchObject({ always: true, key: "other", primary_env: "TOKEN" });
  });

  test("of what is no JSON5 on the line of `metadata:` nothing counts, as OpenClaw drops it", () => {
    for (const metadata of [
      "{ openclaw: { requires: { bins: [ffmpeg] } } }",
      '{ "openclaw":\n  { "requires": { "bins": ["ffmpeg"] } } }',
      '{ "openclaw": { "requires": { "bins": ["ffmpeg"] } } } # a comment',
    ]) {
      expect([metadata, read(`description: x\nmetadata: ${metadata}`).bins]).toEqual([metadata, []]);
    }
  });

  test("holds texts, whatever YAML makes of them, and a description need not be YAML", () => {
    for (const [front, description, name] of [
      ["description: Use when: the user asks", "Use when: the user asks", "folder"],
      ["summary: a: b\ndescription: *all* of it\nname: 7", "*all* of it", "7"],
      ["description: 'Use when': x # y\nname: ' a '", "'Use when': x # y", "a"],
      ["name: 0x10\ndescription: [x", "[x", "16"],
      ["description:such as: this\nname: null", "such as: this", "null"],
      ["description: true", "true", "folder"],
      ["description: [x]", '["x"]', "folder"],
      ["description: {a: b}", "{a: b}", "folder"],
      ["description: | x", "| x", "folder"],
    ] as const) {
      expect([front, read(front)]).toEqual([front, expect.objectContaining({ description, name })]);
    }
  });

  test("may name other skills under claw's own key, and nowhere else", () => {
    const front = "description: x\nrequires: [nothing]\nmetadata:\n  claw:\n    requires:\n      skills: [web, 2fa]";
    expect(read(front).skills).toEqual(["web", "2fa"]);
    const by = (skills: string): unknown =>
      problem(`---\ndescription: x\nmetadata:\n  claw:\n    requires:\n      skills: ${skills}\n---\n`);
    expect(by("web, 2fa")).toMatchObject({ skills: ["web", "2fa"] });
    expect(by("[Weather, good]")).toEqual({ problem: "needs a skill 'Weather', which is no skill's name" });
    expect(by("{web: 1}")).toEqual({ problem: "has something else than a list as the skills that it needs" });
  });

  test("may not name more than is kept: a smaller requirement would be met too early", () => {
    const list = (length: number): string => Array.from({ length }, (_, at) => `n${at}`).join(", ");
    const by = (kind: string, names: string): unknown =>
      problem(
        kind === "skills"
          ? `---\ndescription: x\nmetadata:\n  claw: {requires: {skills: [${names}]}}\n---\n`
          : `---\ndescription: x\nmetadata:\n  openclaw: {os: [${kind === "os" ? names : ""}], requires: {${kind}: [${names}]}}\n---\n`,
      );
    for (const kind of ["os", "bins", "anyBins", "env", "config", "skills"]) {
      expect(by(kind, list(LIMITS.skill_requirements))).not.toHaveProperty("problem");
      expect(by(kind, list(LIMITS.skill_requirements + 1))).toEqual({
        problem: expect.stringMatching(/^names 17 .* that it needs, at most 16$/),
      });
      expect(by(kind, "n".repeat(LIMITS.skill_text_chars + 1))).toHaveProperty("problem");
    }
  });

  test("that is none, has no description, or is no YAML, makes no skill, and says why", () => {
    for (const [text, why] of [
      ["# only a body", "no front matter"],
      ["---\nname: x\n---\n", "no description"],
      ["---\ndescription: ''\n---\n", "no description"],
      ["---\ndescription:\n---\n", "no description"],
      ["---\n---\n", "no description"],
      ["---\ndescription: x\n", "without an end"],
      ["---\ndescription: x\nname: 1.50\n---\n", "which is none"],
      ["---\ndescription: *gone\nb: [\n---\n", "no YAML"],
      ["---\ndescription: x\nname: '../x'\n---\n", "which is none"],
      ["---\na: b: c\n---\n", "no YAML"],
      ["---\n- list\n---\n", "no YAML: it is no mapping"],
      ["", "no front matter"],
    ] as const) {
      expect([text, problem(text)]).toEqual([text, { problem: expect.stringContaining(why) }]);
    }
    const bomb = `---\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ndescription: x\n---\n`;
    expect(problem(bomb)).toEqual({ problem: expect.stringContaining("no YAML") });
  });
});

test("what would take long to read, or could not be told, is none, or is cut", () => {
  const many = Array.from({ length: 20_000 }, (_, at) => `k${at}: 1`).join("\n");
  expect(problem(`---\ndescription: x\n${many}\n---\n`)).toEqual({
    problem: expect.stringContaining("has a front matter of"),
  });
  const deep = `---\ndescription: x\na: ${"[".repeat(15_000)}${"]".repeat(15_000)}\n---\n`;
  expect(problem(deep)).toBeDefined();
  const { description } = read(`description: ${"x".repeat(LIMITS.skill_text_chars - 1)}😀`);
  expect(description.isWellFormed()).toBe(true);
});

describe("eligible", () => {
  const base = read("description: x", "s");
  const machine = (given: Partial<Machine> = {}): Machine => ({
    ...{ platform: "linux", env: {}, settings: {}, has: (bin) => bin === "there" },
    ...given,
  });
  const lacks = (skill: Partial<SkillFile>, given?: Partial<Machine>, source = "openclaw-managed"): string[] =>
    missingFor({ ...base, ...skill }, source, machine(given));

  test("where every program is there, and one of those of which one will do", () => {
    expect(lacks({ bins: ["there"], any_bins: ["gone", "there"] })).toEqual([]);
    expect(lacks({ bins: ["there", "gone"] })).toEqual(["bin gone"]);
    expect(lacks({ any_bins: ["gone", "away"] })).toEqual(["one of the bins gone, away"]);
  });

  test("where variables are set, by the environment, for the skill, or as its key", () => {
    const own = { skills: { entries: { s: { env: { A: "1" }, apiKey: "k" } } } };
    expect(lacks({ env: ["A"] })).toEqual(["env A"]);
    expect(lacks({ env: ["A"] }, { env: { A: "1" } })).toEqual([]);
    expect(lacks({ env: ["A"] }, { settings: own })).toEqual([]);
    expect(lacks({ env: ["B"], primary_env: "B" }, { settings: own })).toEqual([]);
    expect(lacks({ env: ["C"], primary_env: "B" }, { settings: own })).toEqual(["env C"]);
    const blank = { skills: { entries: { s: { env: { A: " " }, apiKey: "\t" } } } };
    expect(lacks({ env: ["A"], primary_env: "A" }, { env: { A: " " }, settings: blank })).toEqual(["env A"]);
    const elsewhere = { skills: { entries: { s: { apiKey: { source: "env", provider: "default", id: "X" } } } } };
    expect(lacks({ env: ["A"], primary_env: "A" }, { settings: elsewhere })).toEqual([]);
  });

  test("where settings are true, or would be unless somebody said otherwise", () => {
    expect(lacks({ config: ["browser.enabled", "browser.evaluateEnabled"] })).toEqual([]);
    expect(lacks({ config: ["browser.enabled"] }, { settings: { browser: { enabled: null } } }).length).toBe(1);
    expect(lacks({ config: ["constructor"] })).toEqual(["config constructor"]);
    expect(lacks({ config: ["browser.enabled"] }, { settings: { browser: { enabled: false } } })).toEqual([
      "config browser.enabled",
    ]);
    expect(lacks({ config: ["x.y"] }, { settings: { x: { y: 1 } } })).toEqual([]);
  });

  test("never on another system, though it is always; else `always` is enough", () => {
    expect(lacks({ os: ["darwin", "win32"], always: true })).toEqual(["os darwin or win32"]);
    expect(lacks({ always: true, bins: ["gone"] })).toEqual([]);
  });

  test("never where it is switched off, or bundled and not allowed", () => {
    expect(lacks({}, { settings: { skills: { entries: { s: { enabled: false } } } } })).toEqual([
      "enabled in openclaw.json",
    ]);
    const settings = { skills: { allowBundled: ["other"] } };
    expect(lacks({}, { settings }, "openclaw-bundled")).toEqual(["a place in skills.allowBundled"]);
    expect(lacks({}, { settings })).toEqual([]);
    const list = (...allowBundled: unknown[]): Partial<Machine> => ({ settings: { skills: { allowBundled } } });
    expect(lacks({}, list(), "openclaw-bundled")).toEqual([]);
    expect(lacks({}, list("", " "), "openclaw-bundled")).toEqual([]);
    expect(lacks({ key: "other-key" }, list(" s "), "openclaw-bundled")).toEqual([]);
    expect(lacks({ key: "other-key" }, list("other-key"), "openclaw-bundled")).toEqual([]);
  });

  test("never where the agent that runs turns there may not use it", () => {
    const agents = (value: object): Partial<Machine> => ({ settings: { agents: value } });
    expect(lacks({}, agents({ defaults: { skills: ["s"] } }))).toEqual([]);
    expect(lacks({}, agents({ defaults: { skills: [] } }))).toEqual(["a place in agents.defaults.skills"]);
    const entries = { main: { skills: ["other"] }, second: { skills: ["s"] } };
    expect(lacks({}, agents({ defaults: { skills: ["s"] }, entries }))).toEqual([
      "a place in agents.entries.main.skills",
    ]);
    const marked = { ...entries, second: { skills: ["s"], default: true } };
    expect(lacks({}, agents({ defaults: { skills: [] }, entries: marked }))).toEqual([]);
    expect(lacks({}, agents({ defaults: { skills: [] }, entries: { second: {} } }))).toEqual([
      "a place in agents.defaults.skills",
    ]);
  });
});
