// Why a task waits: what is in the way on each node, the same in one line, and what would change it. Pure, as placing is.

import type { Condition, Needs } from "../common/models.ts";
import { attributeOf, conditionText, holds } from "./conditions.ts";
import { distance, inTheWay, isUnsaid, limitsMissing, type NodeLoad, SAY, stateOf, suitsOtherwise } from "./fit.ts";
import { skillFault, usableSkills } from "./skills.ts";
import { quoteForShell } from "./template.ts";

export interface Why {
  summary: string;
  nodes: { node: string; reason: string }[];
  /** What would change it, a sentence each. */
  change: string[];
}

interface Amount {
  of: (node: NodeLoad) => number;
  say: (amount: number) => string;
  /** How a task asks for so much. */
  ask: (amount: number) => string;
  /** How a node comes to have more of it; absent: only by being another one. */
  more?: (amount: number) => string;
}

/** One thing that a task asks for, as people say it, and which nodes have it. */
interface Requirement {
  text: string;
  has: (node: NodeLoad) => boolean;
  /** For an amount: how much a node has of it at all. */
  amount?: Amount;
  /** Where no node has it: what they have instead. "which no node has", unless there is more to say. */
  missed?: (nodes: readonly NodeLoad[]) => string | undefined;
  /** How a node comes to have it. */
  remedy: string;
}

/** What is said of a node by hand, from now on. */
const SET = "claw nodes set NODE";
const NO_SUCH_NODE = (): string => "and there is none";

function requirementsOf(needs: Needs): Requirement[] {
  const { node, executor, tags = [], where = [], folder, spread, resources = {} } = needs;
  const found: Requirement[] = [];
  const amount = (need: number, of: Amount): void => {
    const remedy = of.more?.(need) ?? `a node with ${of.say(need)}`;
    if (need > 0) found.push({ text: of.say(need), has: (one) => of.of(one) >= need, amount: of, remedy });
  };
  if (node !== undefined) {
    const has = ({ id, info }: NodeLoad): boolean => id === node || info.name === node;
    const remedy = `a worker of that name: claw --role worker --name ${quoteForShell(node)}`;
    found.push({ text: `the node ${node}`, has, missed: () => "which has not joined", remedy });
  }
  for (const tag of tags) {
    const remedy = `${SET} --tag ${quoteForShell(tag)}, or tags: [${tag}] in a worker.yaml`;
    found.push({ text: `the tag ${tag}`, has: ({ info }) => info.tags.includes(tag), remedy });
  }
  for (const skill of needs.skills ?? []) {
    const remedy = `a node on which the skill ${skill} can be used: claw skills show ${skill}`;
    const has = ({ skills }: NodeLoad): boolean => usableSkills(skills).has(skill);
    found.push({ text: `the skill ${skill}`, has, missed: (nodes) => unusable(skill, nodes), remedy });
  }
  for (const condition of where) {
    const remedy = `a node of which ${conditionText(condition)} is true: ${settingOf(condition)}, or attributes in a worker.yaml`;
    found.push({ text: conditionText(condition), has: ({ info }) => holds(info, condition), remedy });
  }
  if (folder !== undefined) found.push(folderOf(needs, folder));
  if (spread !== undefined && spread.by !== "node") {
    const has = ({ info }: NodeLoad): boolean => attributeOf(info, spread.by) !== undefined;
    const remedy = `${SET} --attribute ${spread.by}=…, or attributes: {${spread.by}: …} in a worker.yaml`;
    found.push({ text: `an attribute ${spread.by} to spread by`, has, remedy });
  }
  if (needs.enforce === true) {
    found.push({
      text: "a node that holds it to its limits",
      has: ({ info }) => limitsMissing(needs, info).length === 0,
      missed: NO_SUCH_NODE,
      remedy: "a worker that may divide its cgroup (systemd: Delegate=yes), or to go without --enforce",
    });
  }
  found.push({
    text: `a node that runs ${executor} tasks`,
    has: ({ info }) => info.executors.includes(executor),
    missed: NO_SUCH_NODE,
    remedy: `a worker with ${executor} among its executors`,
  });
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
  for (const [name, need] of Object.entries(resources)) {
    amount(need, {
      of: ({ info }) => info.capacity.resources[name] ?? 0,
      say: (some) => `${some} ${name}`,
      ask: (some) => `--resource ${quoteForShell(name)}=${some}`,
      more: (some) => `${SET} --resource ${quoteForShell(name)}=${some}`,
    });
  }
  return found;
}

/** How a condition becomes true of a node. */
function settingOf({ attribute, op, values }: Condition): string {
  if (op === "!=") return `${SET} --without-attribute ${quoteForShell(attribute)}`;
  return `${SET} --attribute ${quoteForShell(attribute)}=${op === "exists" ? "…" : quoteForShell(values[0] ?? "")}`;
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
    remedy: `that folder on a node that suits otherwise: mkdir -p ${quoteForShell(folder)}`,
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

/** `emptied`: the node that is kept, and whether it is for this task. */
export function explain(needs: Needs, nodes: readonly NodeLoad[], emptied?: { node: string; own: boolean }): Why {
  if (nodes.length === 0) {
    const change = ["a worker: claw --role worker"];
    return { summary: "no worker has joined yet", nodes: [], change };
  }
  const rows = nodes.map((load) => {
    const { lasting, now } = inTheWay(needs, load, nodes);
    const kept = lasting.length === 0 && emptied?.node === load.id ? emptiedText(emptied.own, load) : undefined;
    return { load, lasting, now: [...now, ...(kept === undefined ? [] : [kept])] };
  });
  const told = rows.map(({ load, lasting, now }) => {
    const reasons = [...lasting, ...now];
    return { node: load.info.name, reason: reasons.join("; ") || "has room: it is about to be placed" };
  });
  const suited = rows.filter(({ lasting }) => lasting.length === 0);
  const open = suited.filter(({ load }) => load.open);
  const short =
    suited.length === 0
      ? unsuited(needs, nodes, told)
      : open.length === 0
        ? closed(
            needs,
            suited.map(({ load }) => load),
            nodes,
          )
        : crowded(needs, open, told);
  return { ...short, nodes: told };
}

function emptiedText(own: boolean, { held }: NodeLoad): string {
  if (!own) return "is being emptied for a task that has waited longer";
  return `is being emptied for it, ${held} ${held === 1 ? "task" : "tasks"} to go`;
}

type Short = Omit<Why, "nodes">;

/** No node will ever do, as they are. */
function unsuited(needs: Needs, nodes: readonly NodeLoad[], told: Why["nodes"]): Short {
  const missing = requirementsOf(needs).filter(({ has }) => !nodes.some(has));
  if (missing.length === 0) {
    return {
      summary: `no node has all of it: ${several(told)}`,
      change: ["a worker that has all of it, or to ask for less"],
    };
  }
  const texts: string[] = [];
  const change: string[] = [];
  for (const { text, amount, missed, remedy } of missing) {
    if (amount === undefined) {
      texts.push(`needs ${text}, ${missed?.(nodes) ?? "which no node has"}`);
      change.push(remedy);
      continue;
    }
    const most = nodes.reduce((best, node) => (amount.of(node) > amount.of(best) ? node : best));
    const there = amount.of(most);
    const best = `the most that a node has is ${amount.say(there)} (${most.info.name})`;
    texts.push(`needs ${text}, ${there > 0 ? best : "which no node has"}`);
    const larger = amount.more === undefined ? "a larger node" : remedy;
    change.push(there > 0 ? `${larger}, or at most ${amount.ask(there)}` : remedy);
  }
  return { summary: texts.join("; "), change };
}

/** Those that would do take nothing: what sets them apart from the others is named. */
function closed(needs: Needs, suited: readonly NodeLoad[], nodes: readonly NodeLoad[]): Short {
  const change = suited.slice(0, SHOWN).map(({ cordoned, info: { name } }) => {
    return cordoned === true ? `claw nodes resume ${name}` : `the worker on ${name} has to be there again`;
  });
  const rows = suited.map((load) => ({ node: load.info.name, reason: stateOf(load) }));
  const apart = needs.node === undefined ? requirementsOf(needs).filter(({ has }) => !nodes.every(has)) : [];
  const [only] = suited;
  if (apart.length === 0) {
    return { summary: suited.length === 1 ? several(rows) : `no node takes new work: ${several(rows)}`, change };
  }
  const what = apart.map(({ text }) => text).join(" and ");
  const summary =
    suited.length === 1 && only !== undefined
      ? `needs ${what}, which ${only.info.name} has, but it ${stateOf(only)}`
      : `needs ${what}, and of those that have it none takes new work: ${several(rows)}`;
  return { summary, change };
}

/** What is named of many. */
const SHOWN = 3;

function more(count: number): string {
  return count > SHOWN ? `; and ${count - SHOWN} more` : "";
}

function several(told: Why["nodes"]): string {
  return `${told
    .slice(0, SHOWN)
    .map(({ node, reason }) => `${node} ${reason}`)
    .join("; ")}${more(told.length)}`;
}

/** It could run, and others are there: the node that is nearest to having room is named. */
function crowded(needs: Needs, open: readonly { load: NodeLoad; now: string[] }[], told: Why["nodes"]): Short {
  const free = open.find(({ now }) => now.length === 0);
  if (free !== undefined) return { summary: "it is about to be placed", change: [] };
  const [nearest] = [...open].sort((a, b) => distance(needs, a.load) - distance(needs, b.load));
  if (nearest === undefined) throw new Error("no node is open");
  const { name } = nearest.load.info;
  const text = `${name} ${nearest.now.join("; ")}`;
  const others = open.length - 1;
  const rest =
    others === 0
      ? ""
      : `, and ${others === 1 ? "the other node that suits is" : `the ${others} others that suit are`} no nearer to it`;
  return {
    summary: told.length === 1 ? text : `waits for room: ${text}${rest}`,
    change: [`something that runs on ${name} ends`],
  };
}
