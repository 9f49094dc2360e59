// The system's C library, for the few calls that neither Bun nor Node has (tried: it works in the compiled binary).

import { dlopen, type FFIFunction, type Library } from "bun:ffi";

function namesOf(): string[] {
  if (process.platform === "darwin") return ["libSystem.B.dylib"];
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  return ["libc.so.6", `libc.musl-${machine}.so.1`, "libc.so"];
}

/** The calls, or why this system has none of them. */
export function openLibc<Calls extends Record<string, FFIFunction>>(
  calls: Calls,
): { calls: Library<Calls>["symbols"] } | { error: unknown } {
  let error: unknown;
  for (const name of namesOf()) {
    try {
      return { calls: dlopen(name, calls).symbols };
    } catch (problem) {
      error = problem;
    }
  }
  return { error };
}
