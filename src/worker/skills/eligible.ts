// Whether a skill can be used on this machine, by OpenClaw's rules (its docs/tools/skills.md and src/shared/config-eval.ts),
// and what it lacks otherwise.

import type { Environment } from "../../common/paths.ts";
import type { SkillFile } from "./file.ts";
import { defaultAgent, record, valueAt } from "./openclaw.ts";

export interface Machine {
  platform: string;
  env: Environment;
  /** openclaw.json. */
  settings: Record<string, unknown>;
  has(program: string): boolean;
}

/** Settings that count as true while nobody has set them. */
const DEFAULTS: ReadonlySet<string> = new Set(["browser.enabled", "browser.evaluateEnabled"]);

/** What keeps it from being used, each in a few words; empty when nothing does. */
export function missingFor(skill: SkillFile, source: string, machine: Machine): string[] {
  const { platform, env, settings } = machine;
  const own = record(ownValue(record(valueAt(settings, "skills.entries")), skill.key));
  if (own["enabled"] === false) return ["enabled in openclaw.json"];
  const allowed = names(valueAt(settings, "skills.allowBundled"));
  // An empty list is none.
  const forbidden = allowed.length > 0 && !allowed.includes(skill.key) && !allowed.includes(skill.name);
  if (source === "openclaw-bundled" && forbidden) return ["a place in skills.allowBundled"];
  const { id, entry: agent } = defaultAgent(settings);
  const [place, listed] = Object.hasOwn(agent, "skills")
    ? [`agents.entries.${id}.skills`, agent["skills"]]
    : ["agents.defaults.skills", valueAt(settings, "agents.defaults.skills")];
  if (Array.isArray(listed) && !names(listed).includes(skill.name)) return [`a place in ${place}`];
  if (skill.os.length > 0 && !skill.os.includes(platform)) return [`os ${skill.os.join(" or ")}`];
  if (skill.always) return [];
  const set = (name: string): boolean =>
    isFilled(env[name]) ||
    isFilled(ownValue(record(own["env"]), name)) ||
    (name === skill.primary_env && isSecret(own["apiKey"]));
  const missing = skill.bins.filter((bin) => !machine.has(bin)).map((bin) => `bin ${bin}`);
  if (skill.any_bins.length > 0 && !skill.any_bins.some((bin) => machine.has(bin))) {
    missing.push(`one of the bins ${skill.any_bins.join(", ")}`);
  }
  missing.push(...skill.env.filter((name) => !set(name)).map((name) => `env ${name}`));
  const isOn = (path: string): boolean => {
    const value = valueAt(settings, path);
    return value === undefined ? DEFAULTS.has(path) : truthy(value);
  };
  missing.push(...skill.config.filter((path) => !isOn(path)).map((path) => `config ${path}`));
  return missing;
}

/** Keys may hold dots. */
function ownValue(values: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

function names(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  return list.filter(isFilled).map((one) => one.trim());
}

function isFilled(value: unknown): value is string {
  return typeof value === "string" && value.trim() !== "";
}

/** As it is, or where OpenClaw finds it: an entry of an environment, a file, a program. */
function isSecret(value: unknown): boolean {
  const { source, id } = record(value);
  return isFilled(value) || (isFilled(source) && isFilled(id));
}

function truthy(value: unknown): boolean {
  if (typeof value === "string") return isFilled(value);
  return value !== undefined && value !== null && value !== false && value !== 0;
}
