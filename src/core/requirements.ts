// What a task asks for, one by one: as people say it, who has it, and how a node comes to have it.

import type { Condition, Needs } from "../common/models.ts";
import { nearest } from "../common/nearest.ts";
import { SAY } from "../common/units.ts";
import { attributeOf, conditionText, holds, isInherent } from "./conditions.ts";
import { isUnsaid, limitsMissing, type NodeLoad, stateOf, suitsOtherwise } from "./fit.ts";
import { skillFault, usableSkills } from "./skills.ts";
import { quoteForShell } from "./template.ts";

interface Amount {
  of: (node: NodeLoad) => number;
  say: (amount: number) => string;
  /** How a task asks for so much. */
  ask: (amount: number) => string;
  /** How a node comes to have more of it; absent: only by being another one. */
  more?: (node: string, amount: number) => string;
}

/** One thing that a task asks for, as people say it, and which nodes have it. */
export interface Requirement {
  text: string;
  has: (node: NodeLoad) => boolean;
  /** For an amount: how much a node has of it at all. */
  amount?: Amount;
  /** Where no node has it: what they have instead. "which no node has", unless there is more to say. */
  missed?: (nodes: readonly NodeLoad[]) => string | undefined;
  /** How the node of this name comes to have it. */
  remedy: (node: string) => string;
  /** What was meant, perhaps: something that a node has. */
  alike?: (nodes: readonly NodeLoad[]) => string | undefined;
}

/** What is said of a node by hand, from now on. */
function set(node: string, option: string, value: string): string {
  return `claw nodes set ${quoteForShell(node)} --${option} ${value}`;
}

const NO_SUCH_NODE = (): string => "and there is none";

export function requirementsOf(needs: Needs): Requirement[] {
  const { node, executor, tags = [], where = [], folder, spread } = needs;
  const found: Requirement[] = [];
  if (node !== undefined) {
    const has = ({ id, info }: NodeLoad): boolean => id === node || info.name === node;
    const remedy = (): string => `a worker of that name: claw --role worker --name ${quoteForShell(node)}`;
    const alike = meant("--node", node, ({ info }) => [info.name]);
    found.push({ text: `the node ${node}`, has, missed: () => "which has not joined", remedy, alike });
  }
  for (const tag of tags) {
    const has = ({ info }: NodeLoad): boolean => info.tags.includes(tag);
    const remedy = (name: string): string =>
      `${set(name, "tag", quoteForShell(tag))}, or tags: [${tag}] in its worker.yaml`;
    found.push({ text: `the tag ${tag}`, has, remedy, alike: meant("--tag", tag, ({ info }) => info.tags) });
  }
  for (const skill of needs.skills ?? []) {
    const has = ({ skills }: NodeLoad): boolean => usableSkills(skills).has(skill);
    const missed = (nodes: readonly NodeLoad[]): string | undefined => unusable(skill, nodes);
    const remedy = (): string => `a node on which the skill ${skill} can be used: claw skills`;
    const alike = meant("--skill", skill, ({ skills }) => [...usableSkills(skills)]);
    found.push({ text: `the skill ${skill}`, has, missed, remedy, alike });
  }
  for (const condition of where) {
    const remedy = (name: string): string =>
      `a node of which ${conditionText(condition)} is true${settingOf(name, condition)}`;
    const alike = meant("--where", condition.attribute, ({ info }) => Object.keys(info.attributes));
    found.push({ text: conditionText(condition), has: ({ info }) => holds(info, condition), remedy, alike });
  }
  if (folder !== undefined) found.push(folderOf(needs, folder));
  if (spread !== undefined && spread.by !== "node") {
    const has = ({ info }: NodeLoad): boolean => attributeOf(info, spread.by) !== undefined;
    const remedy = (name: string): string =>
      `${set(name, "attribute", `${quoteForShell(spread.by)}=…`)}, or attributes: {${spread.by}: …} in its worker.yaml`;
    const alike = meant("--spread", spread.by, ({ info }) => Object.keys(info.attributes));
    found.push({ text: `an attribute ${spread.by} to spread by`, has, remedy, alike });
  }
  if (needs.enforce === true) {
    found.push({
      text: "a node that holds it to its limits",
      has: ({ info }) => limitsMissing(needs, info).length === 0,
      missed: NO_SUCH_NODE,
      remedy: () => "a worker that may divide its cgroup (systemd: Delegate=yes), or to go without --enforce",
    });
  }
  found.push({
    text: `a node that runs ${executor} tasks`,
    has: ({ info }) => info.executors.includes(executor),
    missed: NO_SUCH_NODE,
    remedy: () => `a worker with ${executor} among its executors`,
  });
  return [...found, ...amountsOf(needs)];
}

function amountsOf(needs: Needs): Requirement[] {
  const found: Requirement[] = [];
  const amount = (need: number, of: Amount): void => {
    const remedy = (name: string): string => of.more?.(name, need) ?? `a node with ${of.say(need)}`;
    if (need > 0) found.push({ text: of.say(need), has: (one) => of.of(one) >= need, amount: of, remedy });
  };
  amount(needs.cpu_millis, {
    of: ({ info }) => info.capacity.cpu_millis,
    say: SAY.cpu,
    ask: (millis) => `--cpu ${millis / 1000}`,
  });
  amount(needs.memory_mib, {
    of: ({ info }) => info.capacity.memory_mib,
    say: SAY.memory,
    ask: (mib) => `--memory ${mib}M`,
  });
  amount(needs.gpus, {
    of: ({ info }) => info.capacity.gpus,
    say: SAY.gpus,
    ask: (gpus) => `--gpu ${gpus}`,
  });
  for (const [name, need] of Object.entries(needs.resources ?? {})) {
    amount(need, {
      of: ({ info }) => info.capacity.resources[name] ?? 0,
      say: (some) => `${some} ${name}`,
      ask: (some) => `--resource ${quoteForShell(name)}=${some}`,
      more: (node, some) => set(node, "resource", `${quoteForShell(name)}=${some}`),
    });
  }
  return found;
}

/** How a condition becomes true of a node; what it is by itself nobody sets. */
function settingOf(node: string, { attribute, op, values }: Condition): string {
  if (isInherent(attribute)) return "";
  const name = quoteForShell(attribute);
  const value = op === "exists" ? "…" : quoteForShell(values[0] ?? "");
  const setting = op === "!=" ? set(node, "without-attribute", name) : set(node, "attribute", `${name}=${value}`);
  return `: ${setting}, or attributes in its worker.yaml`;
}

/** The nearest of what nodes have. */
function meant(
  option: string,
  asked: string,
  of: (node: NodeLoad) => readonly string[],
): NonNullable<Requirement["alike"]> {
  return (nodes) => {
    const there = new Set(nodes.flatMap(of));
    const near = there.has(asked) ? undefined : nearest(asked, [...there].sort());
    return near === undefined ? undefined : `did you mean ${option} ${quoteForShell(near)}?`;
  };
}

function folderOf(needs: Needs, folder: string): Requirement {
  return {
    text: `the folder ${folder}`,
    // Who lacks something else was not asked, and may have it.
    has: (node) => node.folders?.get(folder) ?? !suitsOtherwise(needs, node),
    missed: (nodes) => {
      const rows = nodes
        .filter((node) => isUnsaid(needs, node))
        .map((node) => ({ node: node.info.name, reason: node.open ? "has not said yet" : stateOf(node) }));
      return rows.length === 0 ? undefined : `which no node is known to have: ${several(rows)}`;
    },
    // Nodes say whether they can use it, and not what is in its place where they cannot.
    remedy: () =>
      `that folder on a node that suits otherwise: mkdir -p ${quoteForShell(folder)}, unless something else has that name there`,
  };
}

/** A skill that nodes have, and cannot use. */
function unusable(skill: string, nodes: readonly NodeLoad[]): string | undefined {
  const faults = nodes.flatMap(({ info, skills }) => {
    const fault = skillFault(skills, skill);
    return fault === undefined ? [] : [{ node: `on ${info.name}`, reason: `it ${fault}` }];
  });
  return faults.length === 0 ? undefined : `which no node can use: ${several(faults)}`;
}

/** What a task asks for, in one line. */
export function needsText(needs: Needs): string {
  const asked = requirementsOf(needs).filter(({ text }) => !text.startsWith("a node that runs"));
  const more = [
    ...(needs.exclusive === true ? ["a node for itself"] : []),
    ...(needs.spread?.by === "node" ? ["a node without its like"] : []),
  ];
  return [...asked.map(({ text }) => text), ...more].join(", ") || "nothing";
}

/** What is named of many. */
export const SHOWN = 3;

function more(count: number): string {
  return count > SHOWN ? `; and ${count - SHOWN} more` : "";
}

export function several(told: readonly { node: string; reason: string }[]): string {
  return `${told
    .slice(0, SHOWN)
    .map(({ node, reason }) => `${node} ${reason}`)
    .join("; ")}${more(told.length)}`;
}
