// flock(2): a lock that the kernel releases with its last descriptor, so no crash leaves one behind, and that a child
// inherits with the descriptor. Bun has no call for it; libc has.

import { FFIType } from "bun:ffi";
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ClawError, messageOf, writeProblem } from "../common/errors.ts";
import { openLibc } from "../common/libc.ts";
import { type Runtime, sleep } from "../common/runtime.ts";

export interface Lock {
  /** To be handed to a child: it then holds the same lock, and the file stays locked until both have let go. */
  readonly fd: number;
  /** May be called twice. */
  release(): void;
}

const LOCK_EX = 2;
const LOCK_NB = 4;
/** A process that was just killed may still hold its lock for a moment. */
const DYING_MS = 300;

type Flock = (fd: number, operation: number) => number;
let flock: Flock | undefined;

function loadFlock(): Flock {
  if (flock !== undefined) return flock;
  const libc = openLibc({ flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } });
  if ("error" in libc) {
    throw new ClawError("unsupported", `this system has no flock: ${messageOf(libc.error)}`, { cause: libc.error });
  }
  flock = libc.calls.flock;
  return flock;
}

/** Takes the lock of a file (made if need be) at once, or gives undefined when somebody has it. */
export function tryLock(path: string): Lock | undefined {
  const call = loadFlock();
  const fd = openFile(path);
  if (call(fd, LOCK_EX | LOCK_NB) !== 0) {
    closeSync(fd);
    requireLocks(call, path);
    return undefined;
  }
  let held = true;
  return {
    fd,
    release() {
      if (held) closeSync(fd);
      held = false;
    },
  };
}

/**
 * Only one coordinator, or worker, a folder: view, keys and server, or outbox, tasks and identity, are one process's at a
 * time. Throws already_running.
 */
export async function ownFolder(runtime: Runtime, folder: string, role: "coordinator" | "worker"): Promise<Lock> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${role}.lock`);
  const until_ms = runtime.monotonic_ms() + DYING_MS;
  for (;;) {
    const lock = tryLock(path);
    if (lock !== undefined) {
      ftruncateSync(lock.fd);
      writeSync(lock.fd, `${process.pid}\n`);
      return lock;
    }
    if (runtime.monotonic_ms() > until_ms) {
      const pid = readFileSync(path, "utf8").trim();
      const hint =
        role === "worker" ? { hint: `end it first, or give this one a folder of its own with CLAW_HOME` } : {};
      throw new ClawError("already_running", `a ${role} (pid ${pid}) already uses ${folder}`, hint);
    }
    await sleep(runtime, 10);
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, "a+", 0o600);
  } catch (error) {
    throw writeProblem(error, `open the lock ${path}`);
  }
}

/**
 * A refusal means that somebody has the lock, unless the file system has no locks at all. errno would tell, but is not
 * to be had reliably through the runtime: so a file that nobody else knows of is tried.
 */
function requireLocks(call: Flock, path: string): void {
  const probe = `${path}.${process.pid}.probe`;
  const fd = openFile(probe);
  const works = call(fd, LOCK_EX | LOCK_NB) === 0;
  closeSync(fd);
  rmSync(probe, { force: true });
  if (works) return;
  throw new ClawError("unsupported", `the file system of ${path} has no locks`, {
    hint: "put claw's data on a local disk: CLAW_HOME names the folder",
  });
}
