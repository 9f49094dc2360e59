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
const DEFAULTS: Readonly<Record<string, unknown>> = { "browser.enabled": true };

/** What keeps it from being used, each in a few words; empty when nothing does. */
export function missingFor(skill: SkillFile, source: string, machine: Machine): string[] {
  const { platform, env, settings } = machine;
  const own = record(ownValue(record(valueAt(settings, "skills.entries")), skill.key));
  if (own["enabled"] === false) return ["enabled in openclaw.json"];
  const allowed = valueAt(settings, "skills.allowBundled");
  if (source === "openclaw-bundled" && Array.isArray(allowed) && !allowed.includes(skill.key)) {
    return ["a place in skills.allowBundled"];
  }
  const { id, entry: agent } = defaultAgent(settings);
  const [place, listed] = Object.hasOwn(agent, "skills")
    ? [`agents.entries.${id}.skills`, agent["skills"]]
    : ["agents.defaults.skills", valueAt(settings, "agents.defaults.skills")];
  if (Array.isArray(listed) && !listed.includes(skill.name)) return [`a place in ${place}`];
  if (skill.os.length > 0 && !skill.os.includes(platform)) return [`os ${skill.os.join(" or ")}`];
  if (skill.always) return [];
  const set = (name: string): boolean =>
    truthy(env[name]) ||
    truthy(ownValue(record(own["env"]), name)) ||
    (name === skill.primary_env && truthy(own["apiKey"]));
  const missing = skill.bins.filter((bin) => !machine.has(bin)).map((bin) => `bin ${bin}`);
  if (skill.any_bins.length > 0 && !skill.any_bins.some((bin) => machine.has(bin))) {
    missing.push(`one of the bins ${skill.any_bins.join(", ")}`);
  }
  missing.push(...skill.env.filter((name) => !set(name)).map((name) => `env ${name}`));
  const config = (path: string): unknown => valueAt(settings, path) ?? DEFAULTS[path];
  missing.push(...skill.config.filter((path) => !truthy(config(path))).map((path) => `config ${path}`));
  return missing;
}

/** Keys may hold dots. */
function ownValue(values: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

function truthy(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false && value !== "" && value !== 0;
}
