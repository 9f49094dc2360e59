// A server that a killed coordinator left behind: found by who holds the store's lock file open, and ended. It is never
// adopted: nobody knows with which settings and keys it runs.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { ClawError } from "../common/errors.ts";
import { type Runtime, sleep } from "../common/runtime.ts";
import { type Lock, tryLock } from "./lock.ts";

const TERM_MS = 3_000;
const KILL_MS = 10_000;
const POLL_MS = 5;

/** Processes that hold the lock, as the kernel says it: no remembered pid that may be another process by now, and nobody
 * who merely reads the file. */
export function holdersOf(path: string): number[] {
  if (process.platform === "linux") return linuxHolders(path);
  const found = Bun.spawnSync(["lsof", "-t", path]).stdout.toString();
  return found
    .split("\n")
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid);
}

function linuxHolders(path: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => holdsLock(pid, path))
    .map(Number);
}

function holdsLock(pid: string, path: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some(
      (fd) =>
        readlinkSync(`/proc/${pid}/fd/${fd}`) === path &&
        /^lock:.*FLOCK/m.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8")),
    );
  } catch {
    return false; // gone, or another user's
  }
}

function end(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // it went by itself
  }
}

/** The store's lock; whoever holds it is ended first. Only for the coordinator of this folder, which has its own lock. */
export async function takeStoreLock(runtime: Runtime, path: string): Promise<Lock> {
  const begun_ms = runtime.monotonic_ms();
  let sent: "none" | "SIGTERM" | "SIGKILL" = "none";
  for (;;) {
    const lock = tryLock(path);
    if (lock !== undefined) return lock;
    const waited_ms = runtime.monotonic_ms() - begun_ms;
    const holders = holdersOf(path);
    if (waited_ms > KILL_MS) {
      const who = holders.length > 0 ? `pid ${holders.join(", ")}` : "another user's, or in another container";
      throw new ClawError("broker", `another nats-server (${who}) uses this store and does not end`, {
        hint: "end it by hand, then start claw again",
      });
    }
    const wanted = waited_ms > TERM_MS ? "SIGKILL" : "SIGTERM";
    if (sent !== wanted && holders.length > 0) {
      for (const pid of holders) end(pid, wanted);
      sent = wanted;
    }
    await sleep(runtime, POLL_MS);
  }
}

/** The pid that a coordinator wrote into its lock file. */
export function pidIn(path: string): string {
  return readFileSync(path, "utf8").trim();
}
