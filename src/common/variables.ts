// Environment variables that no caller may set for a task, because they change which code runs on the node (as on
// OpenClaw's nodes). The client refuses them, a worker drops them whoever sends them.

const RESERVED = /^(?:PATH|LD_.*|DYLD_.*|NODE_OPTIONS|BUN_OPTIONS|BUN_BE_BUN|BASH_ENV)$/;

export function isReserved(name: string): boolean {
  return RESERVED.test(name);
}
