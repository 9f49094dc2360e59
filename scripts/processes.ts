// What a run left behind: every process whose environment, arguments or folder carries the run's mark. The mark is part
// of the run's temporary folder, so a task with a scrubbed environment is found by its folder. Linux only: elsewhere
// there is no /proc to look in, and the check says so.

import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

export interface LeftProcess {
  pid: number;
  command: string;
}

export const canFindProcesses = existsSync("/proc/self/environ");

function attempt(read: () => string): string {
  try {
    return read();
  } catch {
    return ""; // it ended meanwhile, or is somebody else's
  }
}

/** A process that ended but was not collected by its parent yet is no longer anything. */
function isZombie(pid: string): boolean {
  return /^\d+ \(.*\) Z/s.test(attempt(() => readFileSync(`/proc/${pid}/stat`, "utf8")));
}

export function findProcesses(mark: string): LeftProcess[] {
  if (!canFindProcesses) return [];
  const found: LeftProcess[] = [];
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    const command = attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
    const marked =
      command.includes(mark) ||
      attempt(() => readFileSync(`/proc/${pid}/environ`, "latin1")).includes(mark) ||
      attempt(() => readlinkSync(`/proc/${pid}/cwd`)).includes(mark);
    if (marked && !isZombie(pid)) {
      found.push({ pid: Number(pid), command: command.replaceAll("\0", " ").trim().slice(0, 200) });
    }
  }
  return found;
}

/** Waits until none is left or the time is over; gives what is left then. A child that was just told to stop is fine. */
export async function waitForNone(mark: string, wait_ms: number): Promise<LeftProcess[]> {
  const deadline = performance.now() + wait_ms;
  for (;;) {
    const left = findProcesses(mark);
    if (left.length === 0 || performance.now() > deadline) return left;
    await Bun.sleep(50);
  }
}

export function endProcesses(processes: readonly LeftProcess[]): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // gone already
    }
  }
}
