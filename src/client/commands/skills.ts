// `skills`: the skills that the cluster's nodes have, and why one cannot be used somewhere.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { nearest } from "../../common/nearest.ts";
import type { SkillView } from "../../common/skills.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { type Column, modeOf, printRows, sheet } from "../output.ts";

const COLUMNS: Column<SkillView>[] = [
  { title: "SKILL", value: ({ name }) => name },
  { title: "USABLE ON", value: (skill) => namesOf(skill, true) },
  { title: "NOT ON", value: (skill) => namesOf(skill, false) },
  { title: "DESCRIPTION", value: ({ description }) => shortened(description) },
];

const NAMES_SHOWN = 3;
const WIDTH = 60;

function namesOf({ nodes }: SkillView, usable: boolean): string {
  const names = nodes.filter((one) => one.usable === usable).map(({ node_name }) => node_name);
  const more = names.length > NAMES_SHOWN ? ` and ${names.length - NAMES_SHOWN} more` : "";
  return names.length === 0 ? "-" : `${names.slice(0, NAMES_SHOWN).join(", ")}${more}`;
}

function shortened(text: string): string {
  return text.length > WIDTH ? `${text.slice(0, WIDTH - 1)}…` : text;
}

async function allSkills(client: RequestClient): Promise<SkillView[]> {
  const all: SkillView[] = [];
  for (let more = true; more; ) {
    const last = all.at(-1)?.name;
    const behind = last === undefined ? {} : { after: last };
    const page = await client.query("skill.list", { limit: LIMITS.list_rows, ...behind });
    all.push(...page.skills);
    more = page.more && page.skills.length > 0;
  }
  return all;
}

export async function skillsCommand(
  io: Io,
  client: RequestClient,
  options: { json?: boolean; quiet?: boolean; color?: string },
): Promise<number> {
  const skills = await allSkills(client);
  await printRows(io, modeOf(options), skills, COLUMNS, {
    id: ({ name }) => name,
    json: (skill) => skill,
    empty: "no node has found a skill; workers look in OpenClaw's folders, and in skills.folders of worker.yaml",
    color: options.color,
  });
  return 0;
}

export async function showSkillsCommand(
  io: Io,
  client: RequestClient,
  names: readonly string[],
  options: { json?: boolean },
): Promise<number> {
  const found: SkillView[] = [];
  for (const name of names) {
    const [skill] = (await client.query("skill.list", { name, limit: 1 })).skills;
    if (skill === undefined) throw await unknown(client, name);
    found.push(skill);
  }
  if (options.json === true) await io.out(`${JSON.stringify(found.length === 1 ? found[0] : found)}\n`);
  else await io.out(found.map(skillText).join("\n"));
  return 0;
}

async function unknown(client: RequestClient, name: string): Promise<ClawError> {
  const near = nearest(
    name,
    (await allSkills(client)).map((skill) => skill.name),
  );
  return new ClawError("not_found", `no node has a skill ${name}`, {
    hint: near === undefined ? "`claw skills` lists them" : `did you mean ${near}?`,
    field: name,
  });
}

function skillText({ name, description, nodes }: SkillView): string {
  const lines: [string, string][] = [
    ["skill", name],
    ["about", description],
  ];
  for (const { node_name, node_status, usable, reason, requires, source, hash } of nodes) {
    const state = node_status === "online" ? "" : `, ${node_status}`;
    const how = usable ? "can be used" : (reason ?? "cannot be used");
    lines.push([`on ${node_name}`, `${how}${state} (${source}, ${hash.slice(0, 8)})`]);
    if (requires !== undefined) lines.push(["  needs", requires.join(", ")]);
  }
  return sheet(lines);
}
