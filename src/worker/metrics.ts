// The load that goes into a heartbeat: one reading each time and nothing in between. `systeminformation` gives it; where
// it fails, node:os does; where that fails too, the node works on and says once what it could not read.

import { statfs } from "node:fs/promises";
import * as os from "node:os";
import { messageOf } from "../common/errors.ts";

export interface Load {
  /** Of all processors, since the last reading; absent in the first one. */
  cpu_percent?: number;
  /** What new processes could have, caches counted as free. */
  free_memory_mib?: number;
  /** Of the file system with the worker's data, to whole percents. */
  disk_free_percent?: number;
}

export interface Disk {
  free_bytes: number;
  total_bytes: number;
}

export async function readDisk(folder: string): Promise<Disk> {
  const { bsize, blocks, bavail } = await statfs(folder);
  return { free_bytes: bavail * bsize, total_bytes: blocks * bsize };
}

/** The parts of systeminformation that are used; a test puts in failing ones. */
export interface LoadSource {
  currentLoad(): Promise<{ currentLoad: number }>;
  mem(): Promise<{ available: number }>;
}

const MIB = 1024 * 1024;

function cpuTimes(): { busy: number; total: number } {
  let busy = 0;
  let total = 0;
  for (const { times } of os.cpus()) {
    const used = times.user + times.nice + times.sys + times.irq;
    busy += used;
    total += used + times.idle;
  }
  return { busy, total };
}

function percent(value: number): number {
  if (!Number.isFinite(value)) throw new Error(`not a number: ${value}`);
  return Math.min(100, Math.max(0, Math.round(value)));
}

async function systemInformation(): Promise<LoadSource> {
  const library = await import("systeminformation");
  return { currentLoad: () => library.currentLoad(), mem: () => library.mem() };
}

export class LoadMeter {
  readonly #folder: string;
  readonly #load: () => Promise<LoadSource>;
  readonly #warn: (message: string) => void;
  readonly #warned = new Set<string>();
  #source: LoadSource | undefined;
  #before: { busy: number; total: number } | undefined;

  /** `warn` is told once for each kind of reading that does not work here. */
  constructor(folder: string, warn: (message: string) => void, load: () => Promise<LoadSource> = systemInformation) {
    this.#folder = folder;
    this.#warn = warn;
    this.#load = load;
  }

  async read(): Promise<Load> {
    const cpu_percent = await this.#cpuPercent();
    const free_memory_mib = await this.#freeMemoryMib();
    const disk_free_percent = await this.#diskFreePercent();
    return {
      ...(cpu_percent === undefined ? {} : { cpu_percent }),
      free_memory_mib,
      ...(disk_free_percent === undefined ? {} : { disk_free_percent }),
    };
  }

  async #diskFreePercent(): Promise<number | undefined> {
    try {
      const { free_bytes, total_bytes } = await readDisk(this.#folder);
      return percent((100 * free_bytes) / total_bytes);
    } catch (error) {
      if (!this.#warned.has("disk")) this.#warn(`cannot read how much room is left here: ${messageOf(error)}`);
      this.#warned.add("disk");
      return undefined;
    }
  }

  async #cpuPercent(): Promise<number | undefined> {
    const before = this.#before;
    const now = cpuTimes();
    this.#before = now;
    try {
      this.#source ??= await this.#load();
      const { currentLoad } = await this.#source.currentLoad();
      return before === undefined ? undefined : percent(currentLoad);
    } catch (error) {
      this.#warnOnce("processor load", error);
      if (before === undefined || now.total <= before.total) return undefined;
      return percent((100 * (now.busy - before.busy)) / (now.total - before.total));
    }
  }

  async #freeMemoryMib(): Promise<number> {
    try {
      this.#source ??= await this.#load();
      const { available } = await this.#source.mem();
      if (!Number.isFinite(available)) throw new Error(`not a number: ${available}`);
      return Math.floor(available / MIB);
    } catch (error) {
      this.#warnOnce("free memory", error);
      return Math.floor(os.freemem() / MIB);
    }
  }

  #warnOnce(what: string, error: unknown): void {
    if (this.#warned.has(what)) return;
    this.#warned.add(what);
    this.#warn(`systeminformation cannot read ${what} here, node:os is asked instead: ${messageOf(error)}`);
  }
}
