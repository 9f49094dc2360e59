// Taking nodes out of service and back: cordon, drain, shut down, resume, remove. Each may be said again without harm.

import { ClawError } from "../common/errors.ts";
import { type HeldPiece, heldByEach } from "./apply.ts";
import { decideLost } from "./decide.ts";
import type { Event, EventRun } from "./event.ts";
import type { Segment } from "./segments.ts";
import type { Node, State } from "./state.ts";

export interface Manage {
  action: "cordon" | "drain" | "shutdown" | "resume" | "remove";
  nodes: readonly string[];
  reason?: string | undefined;
  /** With `drain` and `shutdown`: what still runs after so long is stopped; absent: as said before, else it may take its time. */
  deadline_ms?: number | undefined;
}

export interface ManageDecision {
  events: Event[];
  /** What to tell which node to stop. */
  stop: Map<string, EventRun[]>;
}

/** All of it or nothing: a node that is unknown, or may not be removed, refuses the whole command. */
export function decideManage(state: State, command: Manage, by: string, now: number): ManageDecision {
  const events: Event[] = [];
  const stop = new Map<string, EventRun[]>();
  const ids = new Set(command.nodes);
  const held_by = heldByEach(state, ids);
  for (const id of ids) {
    const held = held_by.get(id) ?? [];
    const node = state.nodes.get(id);
    if (node === undefined) throw new ClawError("not_found", `there is no node ${id}`, { field: id });
    switch (command.action) {
      case "shutdown":
        // What is not there has nothing to end; started again it takes work.
        if (node.status !== "offline")
          events.push(...takeOut(node, held, { ...command, action: command.action }, by, now, stop));
        break;
      case "cordon":
      case "drain":
        events.push(...takeOut(node, held, { ...command, action: command.action }, by, now, stop));
        break;
      case "resume":
        if (node.cordon !== undefined) events.push({ t: "resumed", node: id, at: now });
        break;
      case "remove":
        events.push(...remove(state, node, held, now));
        break;
    }
  }
  return { events, stop };
}

const DONE = { cordon: "cordoned", drain: "drained", shutdown: "shut down" };
/** Reasons that nobody gave. */
const OWN: ReadonlySet<string> = new Set(Object.values(DONE));

function takeOut(
  node: Node,
  held: readonly HeldPiece[],
  { action, reason, deadline_ms }: Manage & { action: keyof typeof DONE },
  by: string,
  now: number,
  stop: Map<string, EventRun[]>,
): Event[] {
  // What is not said again stays: only a resume takes it back, and the end of what was shut down.
  const before = node.cordon?.shutdown === true && node.status === "offline" ? undefined : node.cordon;
  const drain_at = deadline_ms === undefined ? before?.drain_at : now + deadline_ms;
  const shutdown = action === "shutdown" || before?.shutdown === true;
  const said = before === undefined || OWN.has(before.reason) ? undefined : before.reason;
  const events: Event[] = [
    {
      t: "cordoned",
      node: node.id,
      reason: reason ?? said ?? DONE[shutdown ? "shutdown" : action],
      by,
      at: now,
      ...(drain_at === undefined ? {} : { drain_at }),
      ...(shutdown ? { shutdown: true } : {}),
    },
  ];
  if (action === "cordon") return events;
  // What it has not begun yet runs elsewhere at once.
  const whole = drain_at !== undefined && drain_at <= now;
  events.push(...stopThere(node, held, now, stop, ({ status }) => whole || status === "scheduled"));
  return events;
}

/** Nodes whose time to be emptied has come. `now` is log time. */
export function decideDrains(state: State, now: number): ManageDecision {
  const events: Event[] = [];
  const stop = new Map<string, EventRun[]>();
  const due = [...state.nodes.values()].filter(({ cordon, held }) => {
    const drain_at = cordon?.drain_at;
    return drain_at !== undefined && drain_at <= now && held.count > 0;
  });
  const held = heldByEach(state, new Set(due.map(({ id }) => id)));
  for (const node of due) events.push(...stopThere(node, held.get(node.id) ?? [], now, stop, () => true));
  return { events, stop };
}

/** Whether nothing keeps a node any more that somebody shut down. */
export function mayEnd({ status, cordon, held }: Node): boolean {
  return status !== "offline" && cordon?.shutdown === true && held.count === 0;
}

function stopThere(
  { id }: Node,
  held: readonly HeldPiece[],
  now: number,
  stop: Map<string, EventRun[]>,
  wanted: (piece: Segment) => boolean,
): Event[] {
  const runs = held
    .filter(({ piece }) => piece.stopping === undefined && wanted(piece))
    .map(({ number, piece }): EventRun => [number, piece.from, piece.to, piece.attempt]);
  if (runs.length === 0) return [];
  stop.set(id, runs);
  return [{ t: "stopping", node: id, runs, reason: "drain", at: now }];
}

/** Only what is offline is forgotten: one that is there would come back with its next heartbeat. */
function remove(state: State, { id, info, status }: Node, held: readonly HeldPiece[], now: number): Event[] {
  if (status !== "offline") {
    throw new ClawError("conflict", `${info.name} (${id}) is ${status}: only a node that is offline can be removed`, {
      hint: `claw nodes shutdown ${info.name}`,
      field: id,
    });
  }
  return [...decideLost(state, id, held, now), { t: "removed", node: id, at: now }];
}
