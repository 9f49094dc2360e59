// `nodes cordon|drain|shutdown|resume|rm`: nodes out of service and back, and waiting until one is empty.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { NodeView, TaskView } from "../../common/models.ts";
import { isoTime, sleep } from "../../common/runtime.ts";
import { formatDuration, plural } from "../../common/units.ts";
import { allNodes } from "../../communication/all-nodes.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { agreed } from "../select.ts";
import { duration } from "../values.ts";
import { allOrNone, nodesNamed, tasksOn } from "./nodes.ts";

type Action = "cordon" | "drain" | "shutdown" | "resume" | "remove";

export interface ManageOptions {
  reason?: string;
  deadline?: string;
  wait?: boolean;
  timeout?: string;
  yes?: boolean;
  json?: boolean;
  quiet?: boolean;
}

const EMPTYING: ReadonlySet<Action> = new Set<Action>(["cordon", "drain", "shutdown"]);

/** Between two looks of `--wait`. */
const LOOK_MS = 500;

export async function manageCommand(
  io: Io,
  client: RequestClient,
  action: Action,
  words: readonly string[],
  options: ManageOptions,
): Promise<number> {
  const { deadline, json, quiet } = options;
  const reason = options.reason === undefined ? undefined : reasonOf(options.reason);
  const deadline_ms = deadline === undefined ? undefined : duration("--deadline", deadline);
  const limit_ms = options.timeout === undefined ? undefined : duration("--timeout", options.timeout);
  if (limit_ms !== undefined && options.wait !== true) {
    throw new ClawError("usage", "--timeout without --wait", {
      hint: "add --wait; what stops the work itself is --deadline",
      field: "--timeout",
    });
  }
  const nodes = await allOrNone(words, () => nodesNamed(client, words));
  const timed = deadline_ms !== undefined || nodes.some(({ cordon }) => cordon?.drain_at !== undefined);
  const stops = (timed && EMPTYING.has(action)) || (action === "remove" && nodes.some(({ held }) => held > 0));
  const once = stops ? await onceOn(client, nodes) : new Map<string, TaskView[]>();
  if (action === "remove" && !(await mayRemove(io, nodes, once, options.yes === true))) return 1;
  if (action === "shutdown" && !(await mayShutDown(io, nodes, once, options.yes === true))) return 1;
  const told = { ...(reason === undefined ? {} : { reason }), ...(deadline_ms === undefined ? {} : { deadline_ms }) };
  const ids = nodes.map(({ id }) => id);
  await allOrNone(words, () => client.command("node.manage", { v: 1, action, nodes: ids, ...told }));
  const cordons = new Map((await allNodes(client)).map(({ id, cordon }) => [id, cordon]));
  if (json === true) {
    const rows = nodes.map(({ id, name }) => {
      const fails = (once.get(id) ?? []).map((task) => task.id);
      const drain_at = cordons.get(id)?.drain_at;
      const until = drain_at === undefined ? {} : { drain_at: isoTime(drain_at) };
      return { id, name, action, ...until, ...(fails.length === 0 ? {} : { must_not_run_twice: fails }) };
    });
    await io.out(`${JSON.stringify(rows)}\n`);
  } else if (quiet !== true) {
    for (const node of nodes)
      io.err(`claw: ${node.name} ${said(action, node, cordons.get(node.id))}${failing(once.get(node.id))}\n`);
  }
  return options.wait === true
    ? await untilEmpty(io, client, nodes, action === "shutdown", limit_ms, quiet === true)
    : 0;
}

function reasonOf(text: string): string {
  if (text.length > 0 && text.length <= LIMITS.label_chars) return text;
  const wrong = text === "" ? "must not be empty" : `is too long: at most ${LIMITS.label_chars}`;
  throw new ClawError("usage", `--reason ${wrong}`, { field: "--reason" });
}

async function mayShutDown(
  io: Io,
  nodes: readonly NodeView[],
  once: ReadonlyMap<string, TaskView[]>,
  yes: boolean,
): Promise<boolean> {
  const names = nodes.filter(({ status }) => status !== "offline").map(({ name }) => name);
  const running = nodes.reduce((sum, { held }) => sum + held, 0);
  const fails = failing([...once.values()].flat());
  const what = `shut down ${names.join(", ")}, with ${plural(running, "task")} there${fails}`;
  return names.length === 0 || (await agreed(io, what, yes));
}

/** An offline node may still run what it held, and nobody knows: what is told to run elsewhere may run twice. */
async function mayRemove(
  io: Io,
  nodes: readonly NodeView[],
  once: ReadonlyMap<string, TaskView[]>,
  yes: boolean,
): Promise<boolean> {
  const holding = nodes.filter(({ held }) => held > 0);
  // One that is not offline is refused.
  if (holding.length === 0 || nodes.some(({ status }) => status !== "offline")) return true;
  const held = holding.reduce((sum, one) => sum + one.held, 0);
  const fails = failing([...once.values()].flat());
  const names = holding.map(({ name }) => name).join(", ");
  return await agreed(io, `forget ${names} and have ${plural(held, "task")} there run elsewhere${fails}`, yes);
}

/** `now`: what holds for it now, of this command and those before it. */
function said(action: Action, { status, cordon, held }: NodeView, now: NodeView["cordon"]): string {
  const drain_at = now?.drain_at;
  const until = drain_at === undefined || held === 0 ? "" : ` until ${isoTime(drain_at)}, ${plural(held, "task")} left`;
  const ends = now?.shutdown === true ? "; then its worker ends, as was said before: `resume` takes that back" : "";
  switch (action) {
    case "cordon":
      return `takes no new work${until === "" ? "" : `; it is being emptied${until}`}${ends}`;
    case "drain":
      return `${held === 0 ? "takes no new work and is empty" : `is being emptied${until}`}${ends}`;
    case "shutdown":
      return status === "offline" ? "is offline already" : `is being emptied${until}, then its worker ends`;
    case "resume":
      return cordon === undefined ? "was in service" : "is back";
    case "remove":
      return held === 0 ? "is forgotten" : `is forgotten, with ${plural(held, "task")} there`;
  }
}

/** What nodes hold and must not run twice: the deadline fails it, rather than that it runs elsewhere. */
async function onceOn(client: RequestClient, nodes: readonly NodeView[]): Promise<Map<string, TaskView[]>> {
  const found = await tasksOn(client, new Set(nodes.map(({ id }) => id)));
  for (const [id, tasks] of found) {
    found.set(
      id,
      tasks.filter(({ specification }) => specification.on_lost === "fail"),
    );
  }
  return found;
}

const NAMED = 5;

function failing(tasks: readonly TaskView[] = []): string {
  if (tasks.length === 0) return "";
  const names = tasks.slice(0, NAMED).map(({ id }) => id);
  const more = tasks.length > NAMED ? ", …" : "";
  const verb = tasks.length === 1 ? "fails" : "fail";
  return `; ${tasks.length} of them must not run twice and ${verb} then (${names.join(", ")}${more})`;
}

/** 0 when they are empty (and, where they are shut down, have ended), 75 when that took too long, 1 when it was called off. */
async function untilEmpty(
  io: Io,
  client: RequestClient,
  nodes: readonly NodeView[],
  ends: boolean,
  limit_ms: number | undefined,
  quiet: boolean,
): Promise<number> {
  const begun_ms = io.runtime.monotonic_ms();
  const draws = io.terminal.err && !quiet;
  const clear = (): void => {
    if (draws) io.draw("");
  };
  for (;;) {
    const there = (await allNodes(client)).filter(({ id }) => nodes.some((one) => one.id === id));
    const left = there.filter(({ held, status }) => held > 0 || (ends && status !== "offline"));
    const resumed = left.find(({ cordon }) => cordon === undefined);
    const took_ms = io.runtime.monotonic_ms() - begun_ms;
    const over = limit_ms !== undefined && took_ms >= limit_ms;
    const names = left.map(({ name, held }) => `${name} (${plural(held, "task")} left)`).join(", ");
    if (left.length === 0 || resumed !== undefined || over) clear();
    if (left.length === 0) return 0;
    if (resumed !== undefined) {
      io.err(`claw: ${resumed.name} was put into service again before it was empty\n`);
      return 1;
    }
    if (over) {
      io.err(`claw: still not ${ends ? "ended" : "empty"} after ${formatDuration(limit_ms)}: ${names}\n`);
      return 75;
    }
    if (draws) io.draw(`waiting for ${names}, ${formatDuration(Math.floor(took_ms / 1000) * 1000)}`);
    await sleep(io.runtime, Math.min(LOOK_MS, (limit_ms ?? Number.POSITIVE_INFINITY) - took_ms));
  }
}
