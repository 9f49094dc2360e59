// Why a task waits: what is in the way on each node, the same in one line, and what would change it. Pure, as placing is.

import type { Needs } from "../common/models.ts";
import { distance, fitsBeside, inTheWay, type NodeLoad, stateOf } from "./fit.ts";
import { Neighbours, placeOf } from "./neighbours.ts";
import { type Requirement, requirementsOf, SHOWN, several } from "./requirements.ts";

export interface Why {
  summary: string;
  nodes: { node: string; reason: string }[];
  /** What would change it, a sentence each. */
  change: string[];
}

/** `emptied`: the node that is kept, and whether it is for this task. */
export function explain(needs: Needs, nodes: readonly NodeLoad[], emptied?: { node: string; own: boolean }): Why {
  if (nodes.length === 0) {
    const change = ["a worker: claw --role worker"];
    return { summary: "no worker has joined yet", nodes: [], change };
  }
  const neighbours = new Neighbours(nodes);
  const rows = nodes.map((load) => {
    const { lasting, now } = inTheWay(needs, load, neighbours);
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
        : crowded(needs, open, nodes, emptied?.own === true ? emptied.node : undefined);
  return { ...short, nodes: told };
}

function emptiedText(own: boolean, { held }: NodeLoad): string {
  if (!own) return "is being emptied for a task that has waited longer";
  return `is being emptied for it, ${held} ${held === 1 ? "task" : "tasks"} to go`;
}

type Short = Omit<Why, "nodes">;

/** No node will ever do, as they are. */
function unsuited(needs: Needs, nodes: readonly NodeLoad[], told: Why["nodes"]): Short {
  const all = requirementsOf(needs);
  const missing = all.filter(({ has }) => !nodes.some(has));
  if (missing.length === 0) return { summary: `no node has all of it: ${several(told)}`, change: [nearly(all, nodes)] };
  const [only, other] = nodes;
  const name = only !== undefined && other === undefined ? only.info.name : "NODE";
  const texts: string[] = [];
  const change: string[] = [];
  for (const { text, amount, missed, remedy, alike } of missing) {
    const near = alike?.(nodes);
    if (near !== undefined) change.push(near);
    if (amount === undefined) {
      texts.push(`needs ${text}, ${missed?.(nodes) ?? "which no node has"}`);
      change.push(remedy(name));
      continue;
    }
    const most = nodes.reduce((best, node) => (amount.of(node) > amount.of(best) ? node : best));
    const there = amount.of(most);
    const best = `the most that a node has is ${amount.say(there)} (${most.info.name})`;
    texts.push(`needs ${text}, ${there > 0 ? best : "which no node has"}`);
    const larger = amount.more === undefined ? "a larger node" : remedy(most.info.name);
    change.push(there > 0 ? `${larger}, or at most ${amount.ask(there)}` : remedy(name));
  }
  return { summary: texts.join("; "), change };
}

/** What the node lacks that lacks least. */
function nearly(all: readonly Requirement[], nodes: readonly NodeLoad[]): string {
  const lacking = nodes.map((node) => ({ node, lacks: all.filter(({ has }) => !has(node)) }));
  const [first] = lacking.sort((one, other) => one.lacks.length - other.lacks.length);
  if (first === undefined || first.lacks.length === 0) return "a worker that has all of it, or to ask for less";
  const { name } = first.node.info;
  const changes = first.lacks.map(({ amount, remedy }) => {
    return amount === undefined ? remedy(name) : `at most ${amount.ask(amount.of(first.node))}`;
  });
  return `on ${name}: ${changes.join("; ")}`;
}

/** How a node comes to take work again. */
function backText({ absent, cordoned, info: { name } }: NodeLoad): string {
  const back = {
    offline: `the worker on ${name} has to be there again`,
    error: `what is wrong on ${name} has to be put right (claw nodes show ${name})`,
  };
  const resume = `claw nodes resume ${name}`;
  if (absent === undefined) return cordoned === true ? resume : back.offline;
  return cordoned === true ? `${back[absent]}, and then ${resume}` : back[absent];
}

/** Those that would do take nothing: what sets them apart from the others is named. */
function closed(needs: Needs, suited: readonly NodeLoad[], nodes: readonly NodeLoad[]): Short {
  const change = suited.slice(0, SHOWN).map(backText);
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

interface Row {
  load: NodeLoad;
  now: string[];
}

/** It could run, and others are there: the node that is nearest to having room is named, or the one that is emptied for it. */
function crowded(needs: Needs, open: readonly Row[], nodes: readonly NodeLoad[], own: string | undefined): Short {
  const free = open.find(({ now }) => now.length === 0);
  if (free !== undefined) return { summary: "it is about to be placed", change: [] };
  const neighbours = new Neighbours(nodes);
  const ranked = open.map((row) => ({ ...row, rank: rankOf(needs, row.load, neighbours, own) }));
  const [nearest] = ranked.sort((a, b) => before(a.rank, b.rank));
  if (nearest === undefined) throw new Error("no node is open");
  const { load, now } = nearest;
  const text = `${load.info.name} ${now.join("; ")}`;
  const others = open.length - 1;
  const rest =
    others === 0
      ? ""
      : `, and ${others === 1 ? "the other node that suits is" : `the ${others} others that suit are`} no nearer to it`;
  return {
    summary: nodes.length === 1 ? text : `no room yet: ${text}${rest}`,
    change: [makesRoom(needs, load, neighbours)],
  };
}

/** The lower the nearer to having room. */
function rankOf(needs: Needs, load: NodeLoad, neighbours: Neighbours, own: string | undefined): number[] {
  return [
    load.id === own ? 0 : 1,
    fitsBeside(needs, load, load.lasting) ? 0 : 1,
    neighbours.of(needs, load),
    distance(needs, load),
  ];
}

function before(one: readonly number[], other: readonly number[]): number {
  for (const [at, value] of one.entries()) {
    const more = value - (other[at] ?? 0);
    if (more !== 0) return more;
  }
  return 0;
}

function makesRoom(needs: Needs, load: NodeLoad, neighbours: Neighbours): string {
  const { name } = load.info;
  if (!fitsBeside(needs, load, load.lasting)) return `a daemon on ${name} ends (daemons do not end by themselves)`;
  if (neighbours.of(needs, load) === 0) return `something that runs on ${name} ends`;
  const { by = "node" } = needs.spread ?? {};
  return by === "node" ? `its like on ${name} ends, or on another node` : `its like in ${by}=${placeOf(load, by)} ends`;
}
