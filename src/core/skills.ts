// Which skills can be used on a node: those that lack nothing there, and of which everything that they need can be used
// there, too. OpenClaw knows no dependencies between skills; these are claw's (`metadata.claw.requires.skills`).

import { ClawError } from "../common/errors.ts";
import type { Skill } from "../common/skills.ts";

/** What a node has found, as it told it last. Never changed, only replaced. */
export interface NodeSkills {
  /** Of the list. */
  hash: string;
  list: readonly Skill[];
}

const NONE: ReadonlySet<string> = new Set();
const known = new WeakMap<NodeSkills, ReadonlySet<string>>();

export function usableSkills(skills: NodeSkills | undefined): ReadonlySet<string> {
  if (skills === undefined) return NONE;
  let usable = known.get(skills);
  if (usable === undefined) {
    const by_name = new Map(skills.list.map((skill) => [skill.name, skill]));
    const found = new Map<string, boolean>();
    for (const { name } of skills.list) isUsable(name, by_name, found);
    usable = new Set([...found].filter(([, yes]) => yes).map(([name]) => name));
    known.set(skills, usable);
  }
  return usable;
}

/** One that is looked at already, further up, needs itself: nobody can use it. */
function isUsable(name: string, by_name: ReadonlyMap<string, Skill>, found: Map<string, boolean>): boolean {
  const before = found.get(name);
  if (before !== undefined) return before;
  found.set(name, false);
  const skill = by_name.get(name);
  const usable =
    skill !== undefined &&
    skill.missing === undefined &&
    (skill.requires ?? []).every((other) => isUsable(other, by_name, found));
  found.set(name, usable);
  return usable;
}

/** Of skills that need each other only the nearest are told. */
const TOLD = 5;

/** What keeps a skill from being used on a node, in words; undefined when nothing does. */
export function skillObstacle(
  skills: NodeSkills | undefined,
  name: string,
  seen: readonly string[] = [],
): string | undefined {
  if (usableSkills(skills).has(name)) return undefined;
  const fault = skillFault(skills, name, seen);
  return fault === undefined ? `has no skill ${name}` : `has the skill ${name}, which ${fault}`;
}

/** What is wrong with a skill that a node has and that cannot be used there; undefined when it has none of that name. */
export function skillFault(
  skills: NodeSkills | undefined,
  name: string,
  seen: readonly string[] = [],
): string | undefined {
  const skill = skills?.list.find((one) => one.name === name);
  if (skill === undefined) return undefined;
  if (seen.includes(name)) return "needs itself";
  if (skill.missing !== undefined) return `lacks ${skill.missing.join(", ")}`;
  const other = skill.requires?.find((one) => !usableSkills(skills).has(one));
  if (other === undefined || seen.length >= TOLD) return "cannot be used";
  return `needs ${other}: it ${skillObstacle(skills, other, [...seen, name])}`;
}

/**
 * Refuses a skill that can never be used, however long one waits: one that needs itself, or one that needs another of which
 * nobody has ever heard. A skill that no node has yet, or none that could use it, is waited for as any node is.
 */
export function requirePossible(nodes: Iterable<{ skills: NodeSkills | undefined }>, wanted: readonly string[]): void {
  const all = [...nodes];
  const unusable = wanted.filter((name) => !all.some(({ skills }) => usableSkills(skills).has(name)));
  if (unusable.length === 0) return;
  const definitions = new Map<string, Skill[]>();
  for (const skill of all.flatMap(({ skills }) => skills?.list ?? [])) {
    const versions = definitions.get(skill.name);
    if (versions === undefined) definitions.set(skill.name, [skill]);
    else versions.push(skill);
  }
  const sound = soundSkills(definitions);
  const refused = unusable.find((name) => definitions.has(name) && !sound.has(name));
  if (refused !== undefined) throw refusalOf(refused, definitions, sound);
}

type Definitions = ReadonlyMap<string, readonly Skill[]>;

/** Those that can be used one day: by the version of one node at least. From below, as the ways through them are countless. */
function soundSkills(definitions: Definitions): ReadonlySet<string> {
  const sound = new Set<string>();
  for (let before = -1; before < sound.size; ) {
    before = sound.size;
    for (const [name, versions] of definitions) {
      if (sound.has(name)) continue;
      if (versions.some(({ requires = [] }) => requires.every((other) => sound.has(other)))) sound.add(name);
    }
  }
  return sound;
}

/** Along what is not sound, to what nobody has or to what was passed before. */
function refusalOf(name: string, definitions: Definitions, sound: ReadonlySet<string>): ClawError {
  const path: string[] = [];
  for (let at = name; ; ) {
    const again = path.includes(at);
    path.push(at);
    const way = path.join(" needs ");
    if (again) return new ClawError("conflict", `the skill ${at} needs itself: ${way}`, { field: "needs.skills" });
    const versions = definitions.get(at);
    const other = versions?.at(-1)?.requires?.find((one) => !sound.has(one));
    if (other === undefined) {
      const hint = "claw skills ls";
      return new ClawError("conflict", `${way}, and no node has a skill of that name`, { hint, field: "needs.skills" });
    }
    at = other;
  }
}
