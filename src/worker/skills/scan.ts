// All skills of this machine, each in its nearest version: of two with one name the one counts whose folder comes first.

import { type Dirent, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { LIMITS } from "../../common/limits.ts";
import { SKILL_NAME, type Skill } from "../../common/skills.ts";
import { type Machine, missingFor } from "./eligible.ts";
import { cut, hashOf, parseSkill, type SkillFile } from "./file.ts";
import type { NoSkill } from "./front.ts";
import type { SkillSource } from "./openclaw.ts";

interface Read {
  mtime_ms: number;
  size: number;
  file: SkillFile | NoSkill;
}

export interface Scan {
  /** By name. */
  skills: Skill[];
  /** Files that are no skills, and what was too much. */
  problems: string[];
}

const FILE = "SKILL.md";
/** As deep as OpenClaw looks. */
const DEPTH = 6;

export class SkillScanner {
  /** What was read and has not changed since. */
  #known = new Map<string, Read>();

  scan(sources: readonly SkillSource[], machine: Machine): Scan {
    const known = new Map<string, Read>();
    const found = new Map<string, Skill>();
    const broken = new Map<string, Skill>();
    const problems: string[] = [];
    for (const { source, folder } of sources) {
      const paths = [...skillFiles(folder, DEPTH, { left: LIMITS.source_folders })].slice(0, LIMITS.source_skills + 1);
      if (paths.length > LIMITS.source_skills) problems.push(`${folder}: only ${LIMITS.source_skills} skills count`);
      for (const path of paths.slice(0, LIMITS.source_skills)) {
        const read = this.#read(path);
        if (read === undefined) continue;
        known.set(path, read);
        const { file } = read;
        if (!("problem" in file)) {
          if (!found.has(file.name)) found.set(file.name, skillOf(file, source, machine));
          continue;
        }
        problems.push(`${path}: ${file.problem}`);
        const name = folderOf(path);
        if (SKILL_NAME.test(name) && !broken.has(name)) broken.set(name, brokenSkill(name, source, file.problem));
      }
    }
    // One that is whole counts before one that is not, wherever it stands, as it does for OpenClaw.
    for (const [name, skill] of broken) if (!found.has(name)) found.set(name, skill);
    this.#known = known;
    const skills = [...found.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    if (skills.length > LIMITS.node_skills)
      problems.push(`of ${skills.length} skills only ${LIMITS.node_skills} count`);
    return { skills: this.#fitting(skills.slice(0, LIMITS.node_skills), problems), problems };
  }

  /** The cluster is told of all of them in one message. */
  #fitting(skills: Skill[], problems: string[]): Skill[] {
    let bytes = 1;
    const most = skills.findIndex((skill) => {
      bytes += Buffer.byteLength(JSON.stringify(skill)) + 1;
      return bytes > LIMITS.node_skills_bytes;
    });
    if (most < 0) return skills;
    problems.push(`of ${skills.length} skills only ${most} count: what is said of them has too many bytes`);
    return skills.slice(0, most);
  }

  #read(path: string): Read | undefined {
    try {
      const stat = statSync(path);
      // A pipe would be waited for, and a device may have no end.
      if (!stat.isFile()) return undefined;
      const { mtimeMs: mtime_ms, size } = stat;
      const known = this.#known.get(path);
      if (known !== undefined && known.mtime_ms === mtime_ms && known.size === size) return known;
      const file =
        size > LIMITS.skill_file_bytes
          ? { problem: `has ${size} bytes, at most ${LIMITS.skill_file_bytes}` }
          : parseSkill(folderOf(path), readFileSync(path, "utf8"));
      return { mtime_ms, size, file };
    } catch {
      return undefined; // gone meanwhile, or not for us to read
    }
  }
}

function folderOf(path: string): string {
  return basename(dirname(path));
}

/** A file that is no skill is told all the same, by the name of its folder: nobody reads a worker's log unasked. */
function brokenSkill(name: string, source: string, problem: string): Skill {
  return {
    name,
    description: "",
    source,
    hash: hashOf(problem),
    missing: [cut(`a valid SKILL.md: this one ${problem}`)],
  };
}

function skillOf(file: SkillFile, source: string, machine: Machine): Skill {
  const { name, description, hash, skills } = file;
  const missing = missingFor(file, source, machine).map(cut).slice(0, LIMITS.skill_requirements);
  return {
    name,
    description,
    source,
    hash,
    ...(missing.length === 0 ? {} : { missing }),
    ...(skills.length === 0 ? {} : { requires: skills }),
  };
}

/** Where one is found nothing is looked for below it. Links count as what they lead to, as deep as all else. */
function* skillFiles(folder: string, depth: number, folders: { left: number }): Iterable<string> {
  folders.left -= 1;
  // Links may lead round and round.
  if (folders.left < 0) return;
  let entries: Dirent[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return; // not there, or not for us to read
  }
  if (entries.some((entry) => entry.name === FILE)) {
    yield join(folder, FILE);
    return;
  }
  if (depth === 0) return;
  for (const { name } of entries.filter(isFolder).sort((one, other) => (one.name < other.name ? -1 : 1))) {
    yield* skillFiles(join(folder, name), depth - 1, folders);
  }
}

function isFolder(entry: Dirent): boolean {
  if (entry.name.startsWith(".") || entry.name === "node_modules") return false;
  return entry.isDirectory() || entry.isSymbolicLink();
}
