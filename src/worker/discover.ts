// What a worker says of its machine when it registers: measured where that is cheap, overridden by the configuration.

import * as os from "node:os";
import { LIMITS } from "../common/limits.ts";
import { machineHash, type ReadText, readText } from "../common/machine.ts";
import type { NodeInfo } from "../common/models.ts";
import { VERSION } from "../common/version.ts";
import { EXECUTORS, type ExecutorKind } from "../common/vocabulary.ts";
import { groupFolders } from "./cgroup.ts";
import type { Gpus } from "./gpus.ts";

/** From the worker's configuration; what is absent is measured. */
export interface NodeOverrides {
  name?: string;
  cpus?: number;
  memory_mib?: number;
  gpus?: number;
  /** Countable things by name: licences, slots of a device. */
  named?: Record<string, number>;
  tags?: string[];
  attributes?: Record<string, string>;
  executors?: ExecutorKind[];
}

const MIB = 1024 * 1024;

function positive(text: string | undefined): number | undefined {
  const value = Number(text);
  return Number.isFinite(value) && value > 0 ? value : undefined;
}

/**
 * The lowest limit of the worker's own group and of those above it (cgroup v2: a container's, a systemd unit's), then v1's,
 * which says "none" as 2^63; the machine's memory where none is lower.
 */
export function memoryLimitMib(total_bytes: number, read: ReadText = readText, groups = groupFolders()): number {
  const limit =
    lowest(groups.map((folder) => positive(read(`${folder}/memory.max`)))) ??
    positive(read("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
  return Math.floor(Math.min(total_bytes, limit ?? total_bytes) / MIB);
}

/** Processors in thousandths, quotas respected in the same way. */
export function cpuLimitMillis(cpus: number, read: ReadText = readText, groups = groupFolders()): number {
  const quotas = groups.map((folder) => (read(`${folder}/cpu.max`) ?? "").split(" "));
  const share =
    lowest(quotas.map(([quota, period]) => quotient(quota, period))) ??
    quotient(read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  return Math.max(1, Math.floor(Math.min(cpus, share ?? cpus) * 1000));
}

function lowest(limits: readonly (number | undefined)[]): number | undefined {
  const there = limits.filter((limit) => limit !== undefined);
  return there.length === 0 ? undefined : Math.min(...there);
}

function quotient(quota: string | undefined, period: string | undefined): number | undefined {
  const [above, below] = [positive(quota), positive(period)];
  return above === undefined || below === undefined ? undefined : above / below;
}

/** A node, and what its tasks are told of its graphics processors; empty: their numbers. */
export interface Discovered {
  info: NodeInfo;
  devices: string[];
}

/** `warn` is told what could not be found out, and what to do about it. */
export async function discoverNode(
  overrides: NodeOverrides,
  warn: (message: string) => void,
  gpusOf: () => Promise<Gpus>,
): Promise<Discovered> {
  const gpus = overrides.gpus === 0 ? { count: 0, devices: [] } : await gpusOf();
  const { attributes = {} } = overrides;
  // What people say of it comes first.
  const model = Object.keys(attributes).length < LIMITS.label_count ? gpus.model : undefined;
  const count = overrides.gpus ?? gpus.count;
  if (overrides.gpus === undefined && gpus.trouble !== undefined) {
    const say = "resources.gpus in worker.yaml, or `claw nodes set NODE --gpu N`, says how many there are";
    warn(`${gpus.trouble}: the node offers no gpus; ${say}`);
  }
  const info: NodeInfo = {
    name: overrides.name ?? (os.hostname().slice(0, 128) || "unnamed"),
    machine: machineHash(),
    os: process.platform,
    arch: process.arch,
    version: VERSION,
    pid: process.pid,
    capacity: {
      cpu_millis:
        overrides.cpus === undefined ? cpuLimitMillis(os.availableParallelism()) : Math.round(overrides.cpus * 1000),
      memory_mib: overrides.memory_mib ?? memoryLimitMib(os.totalmem()),
      gpus: count,
      resources: overrides.named ?? {},
    },
    tags: overrides.tags ?? [],
    attributes: {
      ...(model === undefined ? {} : { gpu: model.slice(0, LIMITS.label_chars) }),
      ...attributes,
    },
    executors: overrides.executors ?? [...EXECUTORS],
  };
  return { info, devices: gpus.devices.length < count ? [] : gpus.devices };
}
