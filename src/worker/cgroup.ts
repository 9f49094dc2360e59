// Limits that the kernel holds a task to, by cgroup v2: memory, its share of the processors, its number of processes. A
// group for each attempt below the worker's own, which it may only divide where it was delegated to it (systemd:
// Delegate=yes) or where nobody else lives in it. Where that is not so, the worker says why, and runs tasks without.

import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { LIMIT_KINDS, type LimitKind, type Needs, type NodeInfo } from "../common/models.ts";

const MIB = 1024 * 1024;
/** Where the worker's own processes go: a group that is divided may hold none itself. */
const OWN = "claw-worker";
const TASK = "claw-task-";

/** How it went with the limits of one attempt. */
interface LimitsEnd {
  /** The kernel ended something of it for want of memory: within its own limit, or in all that its node has. */
  out_of_memory?: "limit" | "node";
  peak_memory_mib?: number;
}

/** One attempt's group. */
export interface TaskGroup {
  /** A process that writes 0 here is in it. */
  readonly entrance: string;
  /** Nothing of the attempt runs any more. */
  end(): LimitsEnd;
}

interface CgroupPaths {
  /** `/proc/self/cgroup`, `/proc/self/mountinfo` */
  cgroup: string;
  mountinfo: string;
}

const SYSTEM: CgroupPaths = { cgroup: "/proc/self/cgroup", mountinfo: "/proc/self/mountinfo" };

export class Cgroups {
  readonly #folder: string;
  readonly enforced: readonly LimitKind[];

  private constructor(folder: string, enforced: readonly LimitKind[]) {
    this.#folder = folder;
    this.enforced = enforced;
  }

  /** Takes the worker's own group in hand, or says in words why not. Call when nothing of earlier lives runs any more. */
  static open(paths: CgroupPaths = SYSTEM): Cgroups | { reason: string } {
    if (process.platform !== "linux") return { reason: `${process.platform} has no cgroups` };
    const folder = ownFolder(paths);
    if (folder === undefined) return { reason: "no cgroup v2 is mounted here" };
    try {
      const there = readFileSync(join(folder, "cgroup.controllers"), "utf8").trim().split(" ");
      const wanted = LIMIT_KINDS.filter((kind) => there.includes(kind));
      if (wanted.length === 0) return { reason: `${folder} has none of ${LIMIT_KINDS.join(", ")}` };
      accessSync(join(folder, "cgroup.procs"), constants.W_OK);
      divide(folder, wanted);
      sweep(folder);
      return new Cgroups(folder, wanted);
    } catch (error) {
      return { reason: `${folder} cannot be divided (systemd: Delegate=yes): ${messageOf(error)}` };
    }
  }

  /** A group with the limits of what the task asked for; throws where the kernel refuses. */
  make(name: string, needs: Needs): TaskGroup {
    const folder = join(this.#folder, `${TASK}${name}`);
    mkdirSync(folder);
    for (const [file, value] of Object.entries(limitsOf(needs, this.enforced))) {
      // Without swap there is no such file, and nothing to limit.
      if (file !== "memory.swap.max" || existsSync(join(folder, file))) writeFileSync(join(folder, file), value);
    }
    return { entrance: join(folder, "cgroup.procs"), end: () => endOf(folder) };
  }
}

/** What the files of a group say for these needs. */
function limitsOf(needs: Needs, kinds: readonly LimitKind[]): Record<string, string> {
  const { cpu_millis, memory_mib, pids = LIMITS.task_pids } = needs;
  const limits: Record<string, string> = {};
  if (kinds.includes("memory") && memory_mib > 0) {
    limits["memory.max"] = String(memory_mib * MIB);
    limits["memory.swap.max"] = "0";
    limits["memory.oom.group"] = "1"; // all of it or nothing: half a task is none
  }
  // 100 is what everybody has who says nothing: a whole processor.
  if (kinds.includes("cpu")) limits["cpu.weight"] = String(Math.min(10_000, Math.max(1, Math.round(cpu_millis / 10))));
  if (kinds.includes("pids")) limits["pids.max"] = String(pids);
  return limits;
}

/** The folder of the group that this process is in. */
function ownFolder({ cgroup, mountinfo }: CgroupPaths): string | undefined {
  const path = /^0::(\/.*)$/m.exec(read(cgroup) ?? "")?.[1];
  // 36 35 0:30 / /sys/fs/cgroup rw,… - cgroup2 cgroup2 rw: the root that is mounted, and where.
  const mount = /^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 /m.exec(read(mountinfo) ?? "");
  if (path === undefined || mount === null) return undefined;
  const [, root = "/", at = ""] = mount;
  if (root !== "/" && path !== root && !path.startsWith(`${root}/`)) return undefined;
  const folder = join(at, root === "/" ? path : path.slice(root.length));
  return basename(folder) === OWN ? dirname(folder) : folder;
}

/** Moves this process and its children out of the way, and hands the controllers down. */
function divide(folder: string, wanted: readonly LimitKind[]): void {
  const given = (read(join(folder, "cgroup.subtree_control")) ?? "").trim().split(/\s+/);
  const missing = wanted.filter((kind) => !given.includes(kind));
  const pids = (read(join(folder, "cgroup.procs")) ?? "").split("\n").filter((line) => line !== "");
  const others = pids.filter((pid) => Number(pid) !== process.pid && parentOf(pid) !== process.pid);
  if (others.length > 0) throw new Error(`${others.length} other processes live in it`);
  // By an earlier life. The machine's root may be divided and lived in: that is another's, and was refused.
  if (missing.length === 0) return;
  const own = join(folder, OWN);
  mkdirSync(own, { recursive: true });
  for (const pid of pids) writeFileSync(join(own, "cgroup.procs"), pid);
  writeFileSync(join(folder, "cgroup.subtree_control"), missing.map((kind) => `+${kind}`).join(" "));
}

function parentOf(pid: string): number {
  return Number(/^PPid:\s*(\d+)/m.exec(read(`/proc/${pid}/status`) ?? "")?.[1]);
}

/** Groups that earlier lives left; one that still has somebody in it stays. */
function sweep(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory() && entry.name.startsWith(TASK)) remove(join(folder, entry.name));
  }
}

function endOf(folder: string): LimitsEnd {
  const events = read(join(folder, "memory.events")) ?? "";
  const count = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(events)?.[1] ?? 0);
  const peak = Number(read(join(folder, "memory.peak")) ?? Number.NaN);
  remove(folder);
  return {
    // `oom` counts how often its own limit was met; what ran out further up kills without it.
    ...(count("oom_kill") > 0 ? { out_of_memory: count("oom") > 0 ? "limit" : "node" } : {}),
    ...(peak > 0 ? { peak_memory_mib: Math.ceil(peak / MIB) } : {}),
  };
}

function remove(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // The kernel has not let go of the last of it yet: the next start sweeps it.
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // this kernel has no such file
  }
}

/** What the node says of itself. */
export function limitsInfo(opened: Cgroups | { reason: string }): NonNullable<NodeInfo["limits"]> {
  return opened instanceof Cgroups ? { enforced: [...opened.enforced] } : { enforced: [], reason: opened.reason };
}
