// One SKILL.md, read as OpenClaw reads it (its docs/tools/skills.md and src/skills/loading/frontmatter.ts, tried against
// 2026.9.6): of its front matter `metadata.openclaw` says what the machine has to have. Besides, what claw adds:
// `metadata.claw.requires.skills` names other skills that this one needs.

import { LIMITS } from "../../common/limits.ts";
import { SKILL_NAME } from "../../common/skills.ts";
import { type NoSkill, readFront } from "./front.ts";
import { record } from "./openclaw.ts";

export interface SkillFile {
  name: string;
  description: string;
  /** What openclaw.json calls it. */
  key: string;
  /** Eligible wherever its operating system is. */
  always: boolean;
  /** Node's names of platforms; empty: all. */
  os: string[];
  bins: string[];
  any_bins: string[];
  env: string[];
  /** Paths in openclaw.json that have to be true. */
  config: string[];
  /** The variable that `apiKey` in openclaw.json stands for. */
  primary_env: string | undefined;
  /** Other skills. */
  skills: string[];
  /** Of the file. */
  hash: string;
}

/** `folder` is the name of the folder that the file stands in. */
export function parseSkill(folder: string, text: string): SkillFile | NoSkill {
  const front = readFront(text);
  if ("problem" in front) return front;
  const description = front.get("description") ?? "";
  if (description === "") return { problem: "has no description" };
  const given = front.get("name") ?? "";
  const name = given === "" ? folder : given;
  if (!SKILL_NAME.test(name))
    return { problem: `has the name '${name}', which is none: lower-case letters, digits and hyphens` };
  const metadata = metadataOf(front.get("metadata"));
  // A list is taken as well, and holds nothing.
  const own = record(
    [metadata["openclaw"], metadata["clawdbot"]].find((one) => typeof one === "object" && one !== null),
  );
  const requires = record(own["requires"]);
  const lists = {
    os: texts(own["os"]),
    bins: texts(requires["bins"]),
    any_bins: texts(requires["anyBins"]),
    env: texts(requires["env"]),
    config: texts(requires["config"]),
  };
  const others = record(record(metadata["claw"])["requires"])["skills"];
  const skills = texts(others);
  const problem = tooMuch({ ...lists, skills }) ?? wrongSkills(others, skills);
  if (problem !== undefined) return { problem };
  return {
    name,
    description: cut(description.replace(/\s+/g, " ")),
    key: typeof own["skillKey"] === "string" && own["skillKey"] !== "" ? own["skillKey"] : name,
    always: own["always"] === true,
    ...lists,
    primary_env: typeof own["primaryEnv"] === "string" ? own["primaryEnv"] : undefined,
    skills,
    hash: hashOf(text),
  };
}

/**
 * OpenClaw reads it as JSON5, whether it is a text or made of YAML. What stands on the line of `metadata:` itself is such a
 * text: flow YAML with bare words there, or what goes on below, is dropped without a word, and the skill is then eligible
 * everywhere.
 */
function metadataOf(text: string | undefined): Record<string, unknown> {
  try {
    return record(Bun.JSON5.parse(text ?? ""));
  } catch {
    return {};
  }
}

/** A list, or one text with commas. */
function texts(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : typeof value === "string" ? value.split(",") : [];
  return list
    .map((one) => (typeof one === "object" && one !== null ? JSON.stringify(one) : String(one)).trim())
    .filter((one) => one !== "");
}

/** A smaller requirement would be met where the whole one is not. */
function tooMuch(lists: Record<string, string[]>): string | undefined {
  for (const [kind, list] of Object.entries(lists)) {
    const { skill_requirements: most, skill_text_chars: chars } = LIMITS;
    if (list.length > most) return `names ${list.length} ${kind.replace("_", " ")} that it needs, at most ${most}`;
    if (list.some((one) => one.length > chars)) return `needs something with a name of more than ${chars} characters`;
  }
  return undefined;
}

function wrongSkills(given: unknown, skills: readonly string[]): string | undefined {
  if (given !== undefined && given !== null && typeof given !== "string" && !Array.isArray(given)) {
    return "has something else than a list as the skills that it needs";
  }
  const wrong = skills.find((one) => !SKILL_NAME.test(one));
  return wrong === undefined ? undefined : `needs a skill '${wrong}', which is no skill's name`;
}

/** The first 16 hex digits of its SHA-256. */
export function hashOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 16);
}

/** Never through the middle of a character. */
export function cut(text: string): string {
  return text.slice(0, LIMITS.skill_text_chars).toWellFormed();
}
