// All skills of this machine, each in its nearest version: of two with one name the one counts whose folder comes first.

import {
  closeSync,
  constants,
  type Dirent,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  realpathSync,
  type Stats,
  statSync,
} from "node:fs";
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

/** A folder that was looked into. */
export interface Visited {
  folder: string;
  /** Below its source. */
  depth: number;
  /** Whether it is a skill's: nothing else in it counts. */
  skill: boolean;
}

export interface Scan {
  /** By name. */
  skills: Skill[];
  /** Files that are no skills, and what was too much. */
  problems: string[];
  visited: Visited[];
}

export const FILE = "SKILL.md";
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
    const visited: Visited[] = [];
    for (const { source, folder } of sources) {
      const walked = walk(folder, problems);
      visited.push(...walked);
      const paths = walked.filter(({ skill }) => skill).map((one) => join(one.folder, FILE));
      for (const path of paths) {
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
    return { skills: this.#fitting(skills.slice(0, LIMITS.node_skills), problems), problems, visited };
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

  /** Undefined when it is gone meanwhile. */
  #read(path: string): Read | undefined {
    let stat: Stats;
    try {
      stat = statSync(path);
    } catch (error) {
      return isThere(path) ? { ...NEVER, file: { problem: `cannot be read (${codeOf(error)})` } } : undefined;
    }
    // A pipe would be waited for, and a device may have no end.
    if (!stat.isFile()) return { ...NEVER, file: { problem: stat.isDirectory() ? "is a folder" : "is no file" } };
    const { mtimeMs: mtime_ms, size } = stat;
    const known = this.#known.get(path);
    if (known !== undefined && known.mtime_ms === mtime_ms && known.size === size) return known;
    // What the kernel makes up has no size, and may have no end.
    if (size === 0) return { mtime_ms, size, file: { problem: "is empty" } };
    let bytes: Buffer;
    try {
      bytes = size > LIMITS.skill_file_bytes ? Buffer.alloc(0) : readAtMost(path, LIMITS.skill_file_bytes + 1);
    } catch (error) {
      return isThere(path) ? { ...NEVER, file: { problem: `cannot be read (${codeOf(error)})` } } : undefined;
    }
    const most = Math.max(size, bytes.length);
    if (most > LIMITS.skill_file_bytes) {
      return { mtime_ms, size, file: { problem: `has ${most} bytes, at most ${LIMITS.skill_file_bytes}` } };
    }
    return { mtime_ms, size, file: parseSkill(folderOf(path), bytes.toString("utf8")) };
  }
}

/** What could not be read is looked at again, though nothing of it changed. */
const NEVER = { mtime_ms: Number.NaN, size: 0 };

/** Whatever it has become since it was looked at: it may grow, or be a pipe by now. */
function readAtMost(path: string, most: number): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(most);
    let length = 0;
    for (let got = 1; got > 0 && length < most; length += got) got = readSync(fd, bytes, length, most - length, null);
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

/** A link that leads nowhere is. */
function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
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

/**
 * Nearest first, so that no deep tree keeps what lies beside it from being found. Below a skill nothing is looked for. Links
 * count as what they lead to, and what is reached in several ways is looked into once: links may lead round and round.
 */
function walk(source: string, problems: string[]): Visited[] {
  const visited: Visited[] = [];
  const known = new Set<string>();
  const unreadable: string[] = [];
  const queue = [{ folder: source, depth: 0 }];
  let skills = 0;
  let left = LIMITS.source_folders;
  for (const { folder, depth } of queue) {
    if (left-- === 0) {
      problems.push(`${source}: only ${LIMITS.source_folders} folders are looked into, there are more`);
      break;
    }
    let entries: Dirent[];
    let real: string;
    try {
      entries = readdirSync(folder, { withFileTypes: true });
      real = realpathSync(folder);
    } catch (error) {
      if (!NOTHING.has(codeOf(error))) unreadable.push(folder);
      continue;
    }
    const skill = entries.some((entry) => entry.name === FILE);
    if (skill && ++skills > LIMITS.source_skills) {
      problems.push(`${source}: only ${LIMITS.source_skills} skills count`);
      break;
    }
    // One skill may be there under two names.
    if (!skill && known.has(real)) continue;
    known.add(real);
    visited.push({ folder, depth, skill });
    if (skill || depth === DEPTH) continue;
    for (const { name } of entries.filter(isFolder).sort((one, other) => (one.name < other.name ? -1 : 1))) {
      queue.push({ folder: join(folder, name), depth: depth + 1 });
    }
  }
  const [first, ...others] = unreadable;
  const more = others.length === 0 ? "" : `, nor can ${others.length} others below ${source}`;
  if (first !== undefined) problems.push(`${first}: cannot be looked into${more}`);
  return visited;
}

/** `ENOENT` and the like. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "unknown";
}

/** There is no folder: not any more, or it is a link to something else. */
const NOTHING: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

function isFolder(entry: Dirent): boolean {
  return !isHidden(entry.name) && (entry.isDirectory() || entry.isSymbolicLink());
}

/** Folders in which nothing is looked for. */
export function isHidden(name: string): boolean {
  return name.startsWith(".") || name === "node_modules";
}
