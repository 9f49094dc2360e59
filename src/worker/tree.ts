// Ending a task's whole tree of processes: its process group, and those that left the group (setsid, double fork), known
// by CLAW_ATTEMPT in their environment or by the control group that they cannot leave. A bare number is never killed: a
// process is looked at before each signal, and its pid together with its start time is what it is known by.

import { LIMITS } from "../common/limits.ts";
import { type Runtime, sleep } from "../common/runtime.ts";
import { isExhausted, listProcesses, type ProcessRow, processesAfter, processesNow } from "./processes.ts";

export interface Tree {
  /** The task's process group; absent when only the marker is known. */
  pgid?: number;
  /** The value of CLAW_ATTEMPT. */
  marker: string;
  /** Whether the group's leader was collected: from then on a process with the leader's pid is a stranger. */
  leaderGone?: () => boolean;
  control?: ControlGroup | undefined;
}

/** What the kernel knows of a tree. */
interface ControlGroup {
  pids(): ReadonlySet<number>;
  kill(): void;
}

/** What ending came to: `stuck` are processes that even SIGKILL did not end in time (in the kernel's hands), `left`
 * those of them that nobody waited for. */
export interface EndReport {
  stuck: ProcessRow[];
  left: ProcessRow[];
}

/** Told once which processes SIGKILL does not end; says whether to wait until they are gone all the same. */
type WhenStuck = (stuck: ProcessRow[]) => "wait" | "leave";

const FIRST_POLL_MS = 2;
const LONGEST_POLL_MS = 100;
const STUCK_POLL_MS = 1_000;

export function marker(node_id: string, incarnation: string, task: { number: number; index: number; attempt: number }) {
  return `${node_id}/${incarnation}/${task.number}.${task.index}.${task.attempt}`;
}

function signal(pid: number, name: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone since it was looked at, or not ours to end (set-user-id): the next look tells.
  }
}

interface Members {
  group: ProcessRow[];
  escaped: ProcessRow[];
}

function membersOf(tree: Tree, rows: readonly ProcessRow[]): Members {
  const recycled = tree.leaderGone?.() === true && rows.some((row) => row.pid === tree.pgid);
  const group = recycled ? [] : rows.filter((row) => row.pgid === tree.pgid);
  const held = tree.control?.pids();
  const belongs = (row: ProcessRow): boolean => held?.has(row.pid) === true || row.attempt() === tree.marker;
  const escaped = rows.filter((row) => !group.includes(row) && belongs(row));
  return { group, escaped };
}

/** Whether anything of a main process that ended after `lived_ms` may still run. Cheap: asked after every task. */
export async function hasLeftovers(
  runtime: Runtime,
  pgid: number,
  lived_ms: number,
  { marker, control }: Pick<Tree, "marker" | "control">,
  own: ReadonlySet<number>,
): Promise<boolean> {
  if (groupExists(pgid) || (control !== undefined && control.pids().size > 0)) return true;
  try {
    const younger = await processesAfter(runtime, pgid, lived_ms, own);
    return younger.some((row) => row.attempt() === marker);
  } catch (error) {
    if (isExhausted(error)) return true; // ending the tree looks again until it can see
    throw error;
  }
}

function groupExists(pgid: number): boolean {
  try {
    process.kill(-pgid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

function signalAll(tree: Tree, members: Members, told: Set<string>, kill: boolean): void {
  const { group, escaped } = members;
  const wants = (row: ProcessRow): boolean => kill || !told.has(row.key);
  const name = kill ? "SIGKILL" : "SIGTERM";
  // All of it first, by calls that no fork can slip past.
  if (kill) tree.control?.kill();
  if (tree.pgid !== undefined && group.some(wants)) signal(-tree.pgid, name);
  for (const row of escaped.filter(wants)) signal(row.pid, name);
  for (const row of [...group, ...escaped]) told.add(row.key);
}

/**
 * SIGTERM, grace, SIGKILL, until nothing is left; `tree_end_ms` later `whenStuck` decides about what still is. The grace is
 * asked for at each look: it may have become shorter.
 */
export async function endTree(
  runtime: Runtime,
  tree: Tree,
  graceMs: () => number,
  whenStuck: WhenStuck,
): Promise<EndReport> {
  const began = runtime.monotonic_ms();
  const told = new Set<string>();
  let interval_ms = FIRST_POLL_MS;
  let stuck: ProcessRow[] = [];
  let empty_looks = 0;
  for (;;) {
    // Looked at and signalled in one turn: whoever has a number then had it a moment ago.
    const members = membersOf(tree, await processesNow(runtime));
    const left = [...members.group, ...members.escaped];
    // A list is no snapshot: who forked and ended while it was made shows its child in the next one.
    empty_looks = left.length === 0 ? empty_looks + 1 : 0;
    if (empty_looks === 2 || (empty_looks === 1 && told.size === 0)) return { stuck, left };
    if (left.length === 0) continue;
    const passed_ms = runtime.monotonic_ms() - began;
    const grace_ms = graceMs();
    signalAll(tree, members, told, passed_ms >= grace_ms);
    if (stuck.length === 0 && passed_ms > grace_ms + LIMITS.tree_end_ms) {
      stuck = left;
      if (whenStuck(left) === "leave") return { stuck, left };
    }
    const until_kill_ms = passed_ms >= grace_ms ? STUCK_POLL_MS : Math.max(1, grace_ms - passed_ms);
    await sleep(runtime, Math.min(interval_ms, until_kill_ms));
    interval_ms = stuck.length > 0 ? STUCK_POLL_MS : Math.min(interval_ms * 2, LONGEST_POLL_MS);
  }
}

/**
 * Ends whatever lives of this node left running that are `over`; gives the attempts it ended. A process that cannot be
 * ended does not keep the whole node away: it is told in `left`. `groups` are the control groups that are lived in, by the
 * marker of their attempt.
 */
export async function sweepEarlierLives(
  runtime: Runtime,
  node_id: string,
  over: (incarnation: string) => boolean,
  grace_ms: number,
  groups: ReadonlyMap<string, ControlGroup> = new Map(),
): Promise<{ attempts: string[]; left: ProcessRow[] }> {
  const earlier = new Set<string>();
  for (const attempt of [...groups.keys(), ...listProcesses().map((row) => row.attempt())]) {
    const [node, incarnation = ""] = attempt?.split("/") ?? [];
    if (attempt !== undefined && node === node_id && over(incarnation)) earlier.add(attempt);
  }
  const attempts = [...earlier];
  const reports = await Promise.all(
    attempts.map((attempt) =>
      endTree(
        runtime,
        { marker: attempt, control: groups.get(attempt) },
        () => grace_ms,
        () => "leave",
      ),
    ),
  );
  return { attempts, left: reports.flatMap((report) => report.left) };
}
