// What runs on this machine: from /proc on Linux, from `ps` elsewhere. Only as much is read as is asked for, because it
// is asked after every task.

import { readdirSync, readFileSync } from "node:fs";
import { LIMITS } from "../common/limits.ts";
import { blockFor } from "../common/runtime.ts";

export interface ProcessRow {
  pid: number;
  pgid: number;
  /** Differs between two processes that had the same pid. */
  key: string;
  /** The CLAW_ATTEMPT that it was started with, read when asked. */
  attempt(): string | undefined;
}

const linux = process.platform === "linux";
const VARIABLE = "CLAW_ATTEMPT=";

function readOrNothing(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined; // it ended meanwhile, or belongs to somebody else
  }
}

/** How often one is looked at again that is just becoming another program, a millisecond apart. */
const EXEC_LOOKS = 25;

/**
 * In the middle of an exec a process has neither environment nor arguments for a moment, which grows with the machine's
 * load: whoever took that for an answer would let it go.
 */
function environOf(pid: number): string | undefined {
  let whole = false;
  for (let looks = 0; ; looks++) {
    const environ = readOrNothing(`/proc/${pid}/environ`);
    // One with arguments at the look before has no environment indeed.
    if (environ !== "" || whole || looks === EXEC_LOOKS) return environ;
    whole = readOrNothing(`/proc/${pid}/cmdline`) !== "";
    if (!whole && looks > 0) blockFor(1);
  }
}

function attemptIn(pid: number): string | undefined {
  const environ = environOf(pid);
  return environ
    ?.split("\0")
    .find((entry) => entry.startsWith(VARIABLE))
    ?.slice(VARIABLE.length);
}

/** One living process; undefined for none and for a zombie, which only waits to be collected. */
function rowOf(pid: number): ProcessRow | undefined {
  const stat = readOrNothing(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The name may hold spaces and parentheses: fields are counted from the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return undefined;
  const pgid = Number(fields[2]);
  // The kernel's own threads have neither.
  return { pid, pgid, key: `${pid}:${fields[19]}`, attempt: () => (pgid === 0 ? undefined : attemptIn(pid)) };
}

function isRow(row: ProcessRow | undefined): row is ProcessRow {
  return row !== undefined;
}

function pidsInProc(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Every living process but this one. */
export function listProcesses(): ProcessRow[] {
  if (!linux) return listByPs();
  return pidsInProc()
    .filter((pid) => pid !== process.pid)
    .map(rowOf)
    .filter(isRow);
}

/**
 * Processes that may descend from `pid`, which has ended after `lived_ms`, apart from `own`. A descendant is younger, so
 * its number lies between `pid` and the last that the kernel gave out: after a short task that is none or a few, and a look
 * costs microseconds where listing everything would cost milliseconds. After a longer one the numbers may have begun anew,
 * and be beyond `pid` again. Elsewhere than on Linux nothing tells the last number cheaply: there only the group is looked
 * at when a task ends by itself, and everything when it is stopped.
 */
export function processesAfter(pid: number, lived_ms: number, own: ReadonlySet<number>): ProcessRow[] {
  if (!linux) return [];
  return candidatesAfter(pid, lived_ms)
    .filter((other) => other !== process.pid && !own.has(other))
    .map(rowOf)
    .filter(isRow);
}

function candidatesAfter(pid: number, lived_ms: number): number[] {
  if (lived_ms > LIMITS.pids_rise_ms) return pidsInProc();
  const last = Number(readOrNothing("/proc/loadavg")?.trim().split(" ").at(-1));
  if (!(last >= pid)) return pidsInProc(); // the numbers began anew, or cannot be read
  if (last - pid > LIMITS.tree_candidates) return pidsInProc().filter((other) => other > pid);
  return Array.from({ length: last - pid }, (_, offset) => pid + 1 + offset);
}

/** For systems without /proc; `e` adds the environment to the command. */
export function listByPs(): ProcessRow[] {
  const result = Bun.spawnSync(["ps", "-axeww", "-o", "pid=,pgid=,stat=,lstart=,command="], {
    stdout: "pipe",
    stderr: "ignore",
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
  });
  const rows: ProcessRow[] = [];
  for (const line of result.stdout.toString().split("\n")) {
    const match = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d+)\s+(.*)$/.exec(line);
    const [, pid, pgid, state = "", started = "", command = ""] = match ?? [];
    if (match === null || state.startsWith("Z") || Number(pid) === process.pid) continue;
    const attempt = / CLAW_ATTEMPT=(\S+)/.exec(command)?.[1];
    rows.push({ pid: Number(pid), pgid: Number(pgid), key: `${pid}:${started}`, attempt: () => attempt });
  }
  return rows;
}
