// A server that a killed coordinator left behind: found by its hold on the store's lock, and ended. It is never adopted:
// nobody knows with which settings and keys it runs. Whoever holds the lock is asked for, not a file with a pid in it,
// so that neither a recycled pid nor a kill between spawning and writing such a file can mislead.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { ClawError } from "../common/errors.ts";
import { type Runtime, sleep } from "../common/runtime.ts";
import { type Lock, tryLock } from "./lock.ts";

const TERM_MS = 3_000;
const GIVE_UP_MS = 10_000;
const POLL_MS = 2;

/** Processes other than this one that hold the lock of that file. */
function holdersOf(path: string): number[] {
  if (process.platform === "linux") return linuxHolders(path);
  const { stdout } = Bun.spawnSync(["lsof", "-t", path], { stderr: "ignore" });
  const pids = stdout.toString().split("\n").map(Number);
  return pids.filter((pid) => pid > 0 && pid !== process.pid);
}

function linuxHolders(path: string): number[] {
  const { dev, ino } = statSync(path);
  const holds = (pid: string, fd: string): boolean => {
    const file = statSync(`/proc/${pid}/fd/${fd}`);
    // To have it open is not to have it locked: a backup that reads the folder must not be ended.
    return file.ino === ino && file.dev === dev && /FLOCK/.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "latin1"));
  };
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .filter((pid) => descriptorsOf(pid).some((fd) => attempt(() => holds(pid, fd))))
    .map(Number);
}

function descriptorsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return []; // gone, or another user's
  }
}

function attempt(look: () => boolean): boolean {
  try {
    return look();
  } catch {
    return false; // closed meanwhile
  }
}

/** Ends whoever holds the lock; says who that was. */
function endHolders(path: string, signal: "SIGTERM" | "SIGKILL"): number[] {
  const pids = holdersOf(path);
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // it went by itself
    }
  }
  return pids;
}

/**
 * The store's lock; whoever holds it is ended first. Only for the coordinator of this folder, which has its own lock.
 * Gives it up when `wanted` no longer says yes.
 */
export async function takeStoreLock(runtime: Runtime, path: string, wanted: () => boolean): Promise<Lock> {
  const begun_ms = runtime.monotonic_ms();
  const waited = (): number => runtime.monotonic_ms() - begun_ms;
  let pids: number[] = [];
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    let sent = false;
    while (waited() < (signal === "SIGTERM" ? TERM_MS : GIVE_UP_MS) && wanted()) {
      const lock = tryLock(path);
      if (lock !== undefined) return lock;
      // Nobody to be seen: it is on its way out, and its descriptors go last.
      if (!sent) {
        pids = endHolders(path, signal);
        sent = pids.length > 0;
      }
      await sleep(runtime, sent ? POLL_MS : POLL_MS * 10);
    }
  }
  if (!wanted()) throw new ClawError("broker", "stopped before nats-server was started");
  const who = pids.length === 0 ? "a process that cannot be seen from here" : `pid ${pids.join(", ")}`;
  throw new ClawError("broker", `another nats-server (${who}) uses the store of ${path} and does not end`, {
    hint: "end it by hand (it may run in another container, or as another user), then start claw again",
  });
}
