// One SKILL.md, read as OpenClaw reads it (its docs/tools/skills.md and src/skills/loading/frontmatter.ts, tried against
// 2026.9.6): YAML front matter, of which `metadata.openclaw` says what the machine has to have. Besides, what claw adds:
// `metadata.claw.requires.skills` names other skills that this one needs.

import { parse as parseYaml, YAMLError } from "yaml";
import { LIMITS } from "../../common/limits.ts";
import { SKILL_NAME } from "../../common/skills.ts";
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

/** A file that is no skill, and why, as what is said of it: `has no description`. */
export interface NoSkill {
  problem: string;
}

const FRONT_MATTER = /^\uFEFF?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)/s;

/** `folder` is the name of the folder that the file stands in. */
export function parseSkill(folder: string, text: string): SkillFile | NoSkill {
  const source = FRONT_MATTER.exec(text)?.[1];
  if (source === undefined) return { problem: "has no front matter" };
  if (source.length > LIMITS.skill_front_chars) {
    return { problem: `has a front matter of ${source.length} characters, at most ${LIMITS.skill_front_chars}` };
  }
  let front: unknown;
  try {
    front = parseYaml(source, { maxAliasCount: 16, logLevel: "error" });
  } catch (error) {
    // A RangeError: it is nested deeper than anybody reads.
    if (!(error instanceof YAMLError || error instanceof ReferenceError || error instanceof RangeError)) throw error;
    return { problem: `has a front matter that is no YAML: ${error.message.split("\n")[0]}` };
  }
  const { name: given, description, metadata: written } = record(front);
  if (typeof description !== "string" || description.trim() === "") return { problem: "has no description" };
  const name = typeof given === "string" && given !== "" ? given : folder;
  if (!SKILL_NAME.test(name))
    return { problem: `has the name '${name}', which is none: lower-case letters, digits and hyphens` };
  const metadata = metadataOf(source, written);
  const own = record(metadata["openclaw"] ?? metadata["clawdbot"]);
  const requires = record(own["requires"]);
  const claw = record(record(metadata["claw"])["requires"]);
  return {
    name,
    description: cut(description.trim().replace(/\s+/g, " ")),
    key: typeof own["skillKey"] === "string" ? own["skillKey"] : name,
    always: own["always"] === true,
    os: texts(own["os"]),
    bins: texts(requires["bins"]),
    any_bins: texts(requires["anyBins"]),
    env: texts(requires["env"]),
    config: texts(requires["config"]),
    primary_env: typeof own["primaryEnv"] === "string" ? own["primaryEnv"] : undefined,
    skills: texts(claw["skills"]).filter((one) => SKILL_NAME.test(one)),
    hash: hashOf(text),
  };
}

/**
 * What stands on the line of `metadata:` itself is JSON5 to OpenClaw: flow YAML with bare words there is dropped without a
 * word, and the skill is then eligible everywhere. Below that line it is YAML as anything else.
 */
function metadataOf(source: string, written: unknown): Record<string, unknown> {
  const line = /^metadata:[ \t]*(\{.*)$/m.exec(source)?.[1];
  const text = line === undefined ? written : whole(source, line);
  if (typeof text !== "string") return record(written);
  try {
    return record(Bun.JSON5.parse(text));
  } catch {
    return {};
  }
}

/** The flow value that begins on a line, to where its braces end. */
function whole(source: string, line: string): string {
  const from = source.indexOf(line, source.search(/^metadata:/m));
  let depth = 0;
  for (let at = from; at < source.length; at++) {
    if (source[at] === "{") depth += 1;
    else if (source[at] === "}") {
      depth -= 1;
      if (depth === 0) return source.slice(from, at + 1);
    }
  }
  return line;
}

/** A list of words, or one; whatever else there is does not count. */
function texts(value: unknown): string[] {
  const list = Array.isArray(value) ? value : [value];
  return list
    .filter((one): one is string => typeof one === "string" && one !== "")
    .map(cut)
    .slice(0, LIMITS.skill_requirements);
}

/** The first 16 hex digits of its SHA-256. */
export function hashOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 16);
}

/** Never through the middle of a character. */
export function cut(text: string): string {
  return text.slice(0, LIMITS.skill_text_chars).toWellFormed();
}
