// Why something waits, as commands and the API tell it: what is in the way on each node, what has its turn before it, and
// what would change it. For one task, for a task that nobody submitted yet, and for everything that waits by what it needs.

import { LIMITS } from "../common/limits.ts";
import type { Needs, PlanView, Specification, WaitingGroup, WaitingView } from "../common/models.ts";
import { isoTime } from "../common/runtime.ts";
import { freeOf, type NodeLoad, obstacle, roomOf, suits } from "../core/fit.ts";
import { formatTaskId } from "../core/ids.ts";
import { Neighbours } from "../core/neighbours.ts";
import { turnOf } from "../core/place.ts";
import { readyAt } from "../core/ready.ts";
import { needsText } from "../core/requirements.ts";
import { requirePossible } from "../core/skills.ts";
import { apartFrom, memberId, type Node, type Submission } from "../core/state.ts";
import { explain } from "../core/why.ts";
import type { Leader } from "./leader.ts";

/** The nodes as placing sees them, with words for those that take nothing. */
function loadsOf({ state, scheduler }: Leader): NodeLoad[] {
  const lasting = scheduler.lasting();
  return scheduler
    .loads((node) => node.status === "online")
    .slice(0, LIMITS.list_rows)
    .map((load) => {
      const node = state.nodes.get(load.id);
      return { ...load, lasting: lasting(load.id), ...(load.open || node === undefined ? {} : closedBy(node)) };
    });
}

function closedBy({ status, reason, cordon, offline_at }: Node): Pick<NodeLoad, "closed" | "cordoned" | "absent"> {
  const why = reason === "" ? "" : `: ${reason}`;
  const out = cordon === undefined ? undefined : `out of service since ${isoTime(cordon.at)}: ${cordon.reason}`;
  // Who is started again after a shutdown is in service again.
  const cordoned = cordon !== undefined && (cordon.shutdown !== true || status !== "offline");
  if (status === "online") return { closed: out === undefined ? "is not heard" : `is ${out}`, cordoned };
  const gone = status === "offline" && offline_at !== undefined;
  const state = gone ? `is offline since ${isoTime(offline_at)}${why}` : `is in ${status}${why}`;
  return { closed: out === undefined ? state : `${state}, and ${out}`, cordoned, absent: gone ? "offline" : "error" };
}

/** A live submission's waiting members. */
export function waitingOf(leader: Leader, submission: Submission): WaitingView {
  return waitingFor(leader, leader.state.needsOf(submission), {
    group: submission.group,
    turn: leader.scheduler.turnOf(submission),
    number: submission.number,
  });
}

/** Needs that wait since `turn`, or would. */
function waitingFor(leader: Leader, needs: Needs, own: { group: string; turn: number; number: number }): WaitingView {
  const loads = loadsOf(leader);
  const { reserved } = leader.scheduler;
  const emptied = reserved === undefined ? undefined : { node: reserved.node, own: reserved.group === own.group };
  const { summary, nodes, change } = explain(needs, loads, emptied);
  const suited = loads.filter((load) => load.open && suits(needs, load));
  const ahead = suited.length === 0 ? undefined : aheadOf(leader, suited, own);
  const behind = ahead === undefined ? "" : `; behind ${aheadText(ahead)}`;
  return {
    summary: `${summary}${behind}`,
    nodes,
    ...(ahead === undefined ? {} : { ahead }),
    ...(change.length === 0 ? {} : { change }),
  };
}

function aheadText({ tasks, first }: NonNullable<WaitingView["ahead"]>): string {
  if (tasks === 1) return `${first}, whose turn comes first`;
  return `${tasks >= LIMITS.ahead_counted ? "at least " : ""}${tasks} waiting tasks, ${first} the first of them`;
}

/** Where a task would go now, or why it would wait. */
export function planFor(leader: Leader, { name, needs: asked, priority }: Specification): PlanView {
  const { state, scheduler } = leader;
  const needs = apartFrom(asked, name ?? "");
  // Refused as it would be when it is submitted.
  if (needs.skills !== undefined) requirePossible(state.nodes.values(), needs.skills);
  const group = JSON.stringify(needs);
  const chosen = scheduler.nodeFor({ group, priority }, needs);
  const turn = turnOf(state.time_ms, priority, scheduler.settings.aging_ms);
  const loads = loadsOf(leader);
  const neighbours = new Neighbours(loads);
  const nodes = loads.map((load) => {
    const { cpu_millis, memory_mib } = freeOf(load.info.capacity, load.used);
    const reason = obstacle(needs, load, neighbours);
    return {
      node: load.info.name,
      room: reason === undefined ? roomOf(needs, load, neighbours) : 0,
      free: { cpu_millis: Math.max(0, cpu_millis), memory_mib: Math.max(0, memory_mib) },
      held: load.held,
      ...(reason === undefined ? {} : { reason }),
    };
  });
  const strategy = needs.strategy ?? scheduler.settings.strategy;
  if (chosen === undefined) {
    return { strategy, nodes, waiting: waitingFor(leader, needs, { group, turn, number: state.next_number }) };
  }
  return { strategy, node: chosen, node_name: state.nodes.get(chosen)?.info.name ?? chosen, nodes };
}

/** Tasks that wait for one of the same nodes and have their turn before. */
function aheadOf(
  { state, scheduler }: Leader,
  suited: readonly NodeLoad[],
  own: { turn: number; number: number },
): WaitingView["ahead"] {
  let tasks = 0;
  let first: { turn: number; number: number; submission: Submission } | undefined;
  for (const lane of state.ready.lanes()) {
    const needs = state.groups.get(lane.group);
    if (needs === undefined || !suited.some((load) => suits(needs, load))) continue;
    for (const submission of lane) {
      if (tasks >= LIMITS.ahead_counted) break;
      const one = { turn: scheduler.turnOf(submission), number: submission.number, submission };
      if (one.number === own.number) continue;
      if (!before(one, own)) break;
      tasks += submission.ready;
      if (first === undefined || before(one, first)) first = one;
    }
  }
  if (first === undefined) return undefined;
  const { id } = memberId(first.submission, 0);
  return { tasks: Math.min(tasks, LIMITS.ahead_counted), first: formatTaskId(id) };
}

function before(one: { turn: number; number: number }, other: { turn: number; number: number }): boolean {
  return one.turn < other.turn || (one.turn === other.turn && one.number < other.number);
}

/** Everything that waits for a node, by what it needs, whose turn is next first. */
export function waitingGroups(leader: Leader): WaitingGroup[] {
  const { state, scheduler } = leader;
  const loads = loadsOf(leader);
  const { reserved } = scheduler;
  return state.ready
    .lanes()
    .slice(0, LIMITS.waiting_groups)
    .flatMap((lane) => {
      const needs = state.groups.get(lane.group);
      const { first } = lane;
      if (needs === undefined || first === undefined) return [];
      const emptied = reserved === undefined ? undefined : { node: reserved.node, own: reserved.group === lane.group };
      return [
        {
          needs: needsText(needs),
          priority: lane.priority,
          tasks: lane.waiting,
          oldest: formatTaskId(memberId(first, 0).id),
          since: readyAt(first),
          why: explain(needs, loads, emptied).summary,
        },
      ];
    });
}
