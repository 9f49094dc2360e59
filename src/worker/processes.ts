// What runs on this machine: from /proc on Linux, from `ps` elsewhere. Only as much is read as is asked for, because it
// is asked after every task.

import { readdirSync, readFileSync } from "node:fs";
import { LIMITS } from "../common/limits.ts";
import { blockFor, type Runtime } from "../common/runtime.ts";

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
  } catch (error) {
    if (isExhausted(error)) throw error;
    return undefined; // it ended meanwhile, or belongs to somebody else
  }
}

/** No descriptor is left to look with: that says nothing of what there is. */
export function isExhausted(error: unknown): boolean {
  return ["EMFILE", "ENFILE"].includes((error as NodeJS.ErrnoException).code ?? "");
}

const LOOK_AGAIN_MS = 100;

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

/** Looked for at the end of this turn, and not before: what those found left running who ask until then is in it. */
let asked: Promise<ProcessRow[]> | undefined;

/**
 * Every living process but this one, with its attempt, looked at once a turn however many ask; later, when no descriptor is
 * left to look with.
 */
export function processesNow(runtime: Runtime): Promise<ProcessRow[]> {
  asked ??= new Promise((resolve, reject) => {
    const look = (): void => {
      try {
        const rows = listProcesses().map(read);
        asked = undefined;
        resolve(rows);
      } catch (error) {
        if (isExhausted(error)) {
          runtime.after(LOOK_AGAIN_MS, look);
          return;
        }
        asked = undefined;
        reject(error);
      }
    };
    runtime.soon(look);
  });
  return asked;
}

function read(row: ProcessRow): ProcessRow {
  const attempt = row.attempt();
  return { ...row, attempt: () => attempt };
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
export async function processesAfter(
  runtime: Runtime,
  pid: number,
  lived_ms: number,
  own: ReadonlySet<number>,
): Promise<ProcessRow[]> {
  if (!linux) return [];
  const some = lived_ms > LIMITS.pids_rise_ms ? undefined : pidsAfter(pid);
  const rows = some === undefined ? await processesNow(runtime) : some.map(rowOf).filter(isRow);
  return rows.filter((row) => row.pid !== process.pid && !own.has(row.pid));
}

/** The numbers that were given out after `pid`; undefined when they began anew, cannot be read, or are too many. */
function pidsAfter(pid: number): number[] | undefined {
  const last = Number(readOrNothing("/proc/loadavg")?.trim().split(" ").at(-1));
  if (!(last >= pid && last - pid <= LIMITS.tree_candidates)) return undefined;
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
