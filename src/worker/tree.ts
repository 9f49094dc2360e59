// Ending a task's whole tree of processes: its process group, and those that left the group (setsid, double fork),
// known by CLAW_ATTEMPT in their environment. A bare number is never killed: a process is looked at before each signal,
// and its pid together with its start time is what it is known by.

import { LIMITS } from "../common/limits.ts";
import { type Runtime, sleep } from "../common/runtime.ts";
import { listProcesses, type ProcessRow, processesAfter } from "./processes.ts";

export interface Tree {
  /** The task's process group; absent when only the marker is known. */
  pgid?: number;
  /** The value of CLAW_ATTEMPT. */
  marker: string;
  /** Whether the group's leader was collected: from then on a process with the leader's pid is a stranger. */
  leaderGone?: () => boolean;
}

/** What ending came to: `left` are processes that even SIGKILL did not end in time (stuck in the kernel). */
export interface EndReport {
  ended: number;
  killed: boolean;
  left: ProcessRow[];
}

const FIRST_POLL_MS = 2;
const LONGEST_POLL_MS = 100;

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

function membersOf(tree: Tree): { group: ProcessRow[]; escaped: ProcessRow[] } {
  const rows = listProcesses();
  const recycled = tree.leaderGone?.() === true && rows.some((row) => row.pid === tree.pgid);
  const group = recycled ? [] : rows.filter((row) => row.pgid === tree.pgid);
  const escaped = rows.filter((row) => !group.includes(row) && row.attempt() === tree.marker);
  return { group, escaped };
}

/** Whether anything of an ended main process may still run. Cheap: asked after every task. */
export function hasLeftovers(pgid: number, marker: string, own: ReadonlySet<number>): boolean {
  return groupExists(pgid) || processesAfter(pgid, own).some((row) => row.attempt() === marker);
}

function groupExists(pgid: number): boolean {
  try {
    process.kill(-pgid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** SIGTERM, grace, SIGKILL, until nothing is left or `tree_end_ms` are over. */
export async function endTree(runtime: Runtime, tree: Tree, grace_ms: number): Promise<EndReport> {
  const began = runtime.monotonic_ms();
  const told = new Set<string>();
  let killed = false;
  let interval_ms = FIRST_POLL_MS;
  for (;;) {
    const { group, escaped } = membersOf(tree);
    const left = [...group, ...escaped];
    const passed_ms = runtime.monotonic_ms() - began;
    if (left.length === 0 || passed_ms > grace_ms + LIMITS.tree_end_ms) {
      return { ended: told.size - left.length, killed, left };
    }
    const kill = passed_ms >= grace_ms;
    const fresh = left.filter((row) => !told.has(row.key));
    for (const row of left) told.add(row.key);
    killed ||= kill;
    // The group as a whole first: one call that no fork can slip past.
    if (group.length > 0 && tree.pgid !== undefined && (kill || group.some((row) => fresh.includes(row)))) {
      signal(-tree.pgid, kill ? "SIGKILL" : "SIGTERM");
    }
    for (const row of escaped) if (kill || fresh.includes(row)) signal(row.pid, kill ? "SIGKILL" : "SIGTERM");
    const until_kill_ms = kill ? LONGEST_POLL_MS : Math.max(1, grace_ms - passed_ms);
    await sleep(runtime, Math.min(interval_ms, until_kill_ms));
    interval_ms = Math.min(interval_ms * 2, LONGEST_POLL_MS);
  }
}

/** Ends whatever earlier lives of this node left running; gives the attempts it ended. Call before taking work. */
export async function sweepEarlierLives(
  runtime: Runtime,
  node_id: string,
  incarnation: string,
  grace_ms: number,
): Promise<{ attempts: string[]; left: ProcessRow[] }> {
  const earlier = new Set<string>();
  for (const row of listProcesses()) {
    const attempt = row.attempt();
    if (attempt?.startsWith(`${node_id}/`) && !attempt.startsWith(`${node_id}/${incarnation}/`)) earlier.add(attempt);
  }
  const attempts = [...earlier];
  const reports = await Promise.all(attempts.map((attempt) => endTree(runtime, { marker: attempt }, grace_ms)));
  return { attempts, left: reports.flatMap((report) => report.left) };
}
