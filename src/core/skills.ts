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

/** What keeps a skill from being used on a node, in words; undefined when nothing does. */
export function skillObstacle(
  skills: NodeSkills | undefined,
  name: string,
  seen: readonly string[] = [],
): string | undefined {
  if (usableSkills(skills).has(name)) return undefined;
  const skill = skills?.list.find((one) => one.name === name);
  if (skill === undefined) return `has no skill ${name}`;
  if (seen.includes(name)) return `has the skill ${name}, which needs itself`;
  if (skill.missing !== undefined) return `has the skill ${name}, which lacks ${skill.missing.join(", ")}`;
  for (const other of skill.requires ?? []) {
    const why = skillObstacle(skills, other, [...seen, name]);
    if (why !== undefined) return `has the skill ${name}, which needs ${other}: it ${why}`;
  }
  return `has the skill ${name}, which cannot be used`;
}

/**
 * Refuses a skill that can never be used, however long one waits: one that needs itself, or one that needs another of which
 * nobody has ever heard. A skill that no node has yet, or none that could use it, is waited for as any node is.
 */
export function requirePossible(nodes: Iterable<{ skills: NodeSkills | undefined }>, wanted: readonly string[]): void {
  const all = [...nodes];
  const definitions = new Map<string, Skill[]>();
  for (const { skills } of all) {
    for (const skill of skills?.list ?? [])
      definitions.set(skill.name, [...(definitions.get(skill.name) ?? []), skill]);
  }
  for (const name of wanted) {
    if (!all.some(({ skills }) => usableSkills(skills).has(name))) requireSound(name, definitions, []);
  }
}

function requireSound(
  name: string,
  definitions: ReadonlyMap<string, readonly Skill[]>,
  above: readonly string[],
): void {
  const path = [...above, name];
  if (above.includes(name)) {
    throw new ClawError("conflict", `the skill ${name} needs itself: ${path.join(" needs ")}`, {
      field: "needs.skills",
    });
  }
  const found = definitions.get(name);
  if (found === undefined) {
    if (above.length === 0) return;
    throw new ClawError("conflict", `${path.join(" needs ")}, and no node has a skill of that name`, {
      hint: "claw skills ls",
      field: "needs.skills",
    });
  }
  // One node's version that is sound can be used there one day.
  let refusal: ClawError | undefined;
  for (const skill of found) {
    try {
      for (const other of skill.requires ?? []) requireSound(other, definitions, path);
      return;
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
      refusal = error;
    }
  }
  if (refusal !== undefined) throw refusal;
}
