// The cluster's skills: every node's, by name.

import { LIMITS } from "../common/limits.ts";
import type { SkillView } from "../common/skills.ts";
import type { QueryAnswers, QueryRequest } from "../communication/queries.ts";
import { skillObstacle, usableSkills } from "../core/skills.ts";
import { type State, statusShown } from "../core/state.ts";

/** By name; those behind `after`, as many as an answer carries. */
export function listSkills(state: State, request: QueryRequest<"skill.list">): QueryAnswers["skill.list"] {
  const { name: only, after = "", limit } = request;
  const names = new Set<string>();
  for (const { skills } of state.nodes.values()) {
    for (const { name } of skills?.list ?? []) if (only === undefined ? name > after : name === only) names.add(name);
  }
  const skills: SkillView[] = [];
  let bytes = 0;
  for (const name of [...names].sort()) {
    const view = viewOf(state, name);
    bytes += Buffer.byteLength(JSON.stringify(view));
    if (skills.length === limit || (skills.length > 0 && bytes > LIMITS.answer_bytes)) return { skills, more: true };
    skills.push(view);
  }
  return { skills, more: false };
}

function viewOf(state: State, name: string): SkillView {
  const nodes: SkillView["nodes"] = [];
  let description = "";
  for (const { id, info, status, cordon, skills } of state.nodes.values()) {
    const skill = skills?.list.find((one) => one.name === name);
    if (skill === undefined) continue;
    if (description === "") ({ description } = skill);
    const { missing, requires, source, hash } = skill;
    const usable = usableSkills(skills).has(name);
    const reason = usable ? undefined : skillObstacle(skills, name);
    nodes.push({
      node: id,
      node_name: info.name,
      node_status: statusShown({ status, cordon }),
      usable,
      ...(reason === undefined ? {} : { reason }),
      ...(missing === undefined ? {} : { missing }),
      ...(requires === undefined ? {} : { requires }),
      ...{ source, hash },
    });
  }
  return { name, description, nodes };
}
