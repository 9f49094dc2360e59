// What a worker makes sure of now and then, because a task would fail by it: that its data folder takes a file, that there is
// room left, that its outbox takes a row, and that a process can be started. What fails puts the node in error.

import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { formatSize } from "../common/units.ts";
import { unlock } from "./folders.ts";
import { readDisk } from "./metrics.ts";

export interface ChecksOptions {
  /** The worker's data. */
  folder: string;
  /** Writes into the outbox; throws what is wrong with it. */
  outbox: () => void;
  /** Something that ends at once; null where there is nothing of the kind. */
  program?: string | null;
}

const CONTENT = "x".repeat(4096);
const SPAWN_MS = 5_000;

/** A sentence on the first thing that does not work; undefined when everything does. */
export async function checkWorker(options: ChecksOptions): Promise<string | undefined> {
  const { folder, outbox, program = Bun.which("true") } = options;
  const checks: [what: string, check: () => Promise<void> | void][] = [
    [`cannot write to ${folder}`, () => writable(folder)],
    ["its outbox takes nothing", outbox],
    ["cannot start a process", () => (program === null ? undefined : startable(program))],
  ];
  const room = await roomIn(folder);
  if (room !== undefined) return room;
  for (const [what, check] of checks) {
    try {
      await check();
    } catch (error) {
      return `${what}: ${messageOf(error)}`;
    }
  }
  return undefined;
}

/** A reading that fails is no trouble: writing tells. */
async function roomIn(folder: string): Promise<string | undefined> {
  const disk = await readDisk(folder).catch(() => undefined);
  if (disk === undefined || disk.free_bytes >= LIMITS.disk_floor_bytes) return undefined;
  return `only ${formatSize(disk.free_bytes)} left on the disk of ${folder}`;
}

async function writable(folder: string): Promise<void> {
  const tasks = join(folder, "tasks");
  const probe = join(tasks, ".check");
  unlock(tasks);
  try {
    await mkdir(probe, { recursive: true });
    await writeFile(join(probe, "file"), CONTENT);
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}

async function startable(program: string): Promise<void> {
  const child = Bun.spawn([program], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    timeout: SPAWN_MS,
    killSignal: "SIGKILL",
  });
  await child.exited;
  if (child.signalCode === "SIGKILL") throw new Error(`${program} did not end in ${SPAWN_MS} ms`);
}
