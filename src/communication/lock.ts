// flock(2): a lock that the kernel releases with its last descriptor, so no crash leaves one behind, and that a child
// inherits with the descriptor. Bun has no call for it; libc has.

import { dlopen, FFIType } from "bun:ffi";
import { closeSync, openSync } from "node:fs";
import { ClawError, messageOf } from "../common/errors.ts";

export interface Lock {
  /** To be handed to a child: it then holds the same lock. */
  readonly fd: number;
  release(): void;
}

const LOCK_EX = 2;
const LOCK_NB = 4;

function libraryNames(): string[] {
  if (process.platform === "darwin") return ["libSystem.B.dylib"];
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  return ["libc.so.6", `libc.musl-${machine}.so.1`, "libc.so"];
}

type Flock = (fd: number, operation: number) => number;
let flock: Flock | undefined;

function loadFlock(): Flock {
  if (flock !== undefined) return flock;
  let last: unknown;
  for (const name of libraryNames()) {
    try {
      const library = dlopen(name, { flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } });
      flock = library.symbols.flock;
      return flock;
    } catch (error) {
      last = error;
    }
  }
  throw new ClawError("unsupported", `this system has no flock: ${messageOf(last)}`, { cause: last });
}

/** Takes the lock of a file at once, or gives undefined when somebody has it. */
export function tryLock(path: string): Lock | undefined {
  const call = loadFlock();
  const fd = openSync(path, "a+", 0o600);
  if (call(fd, LOCK_EX | LOCK_NB) !== 0) {
    closeSync(fd);
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
