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
import type { Needs, NodeInfo } from "../common/models.ts";
import { LIMIT_KINDS, type LimitKind } from "../common/vocabulary.ts";

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
  /** Who is in it: no session, no environment and no parent of their own leads out of it. */
  pids(): ReadonlySet<number>;
  /** All of them at once, so that no fork slips past. */
  kill(): void;
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
  /** Groups of attempts of this life that are not over. */
  readonly #used = new Set<string>();
  /** One could not be removed when its attempt was over. */
  #untidy = false;

  private constructor(folder: string, enforced: readonly LimitKind[]) {
    this.#folder = folder;
    this.enforced = enforced;
  }

  /**
   * Takes the worker's own group in hand, or says in words why not. Call when what is known of earlier lives was ended:
   * they may have lived beside the worker.
   */
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
      const cgroups = new Cgroups(folder, wanted);
      cgroups.tidy();
      return cgroups;
    } catch (error) {
      return { reason: `${folder} cannot be divided (systemd: Delegate=yes): ${messageOf(error)}` };
    }
  }

  /** A group with the limits of what the task asked for; throws where the kernel refuses. */
  make(attempt: string, needs: Needs): TaskGroup {
    if (this.#untidy) this.tidy();
    const folder = join(this.#folder, nameOf(attempt));
    mkdirSync(folder);
    this.#used.add(folder);
    try {
      for (const [file, value] of Object.entries(limitsOf(needs, this.enforced))) {
        // Without swap there is no such file, and nothing to limit.
        if (file !== "memory.swap.max" || existsSync(join(folder, file))) writeFileSync(join(folder, file), value);
      }
    } catch (error) {
      this.#drop(folder);
      throw error;
    }
    return this.#groupAt(folder);
  }

  /** Groups that somebody lives in, of earlier lives too, by the marks of their attempts. */
  living(): Map<string, TaskGroup> {
    const groups = this.#taskFolders().map((folder) => [attemptOf(folder), this.#groupAt(folder)] as const);
    return new Map(groups.filter(([, group]) => group.pids().size > 0));
  }

  /** Removes groups that nobody uses; one that still has somebody in it stays. */
  tidy(): void {
    const unused = this.#taskFolders().filter((folder) => !this.#used.has(folder));
    this.#untidy = unused.filter((folder) => !remove(folder)).length > 0;
  }

  #taskFolders(): string[] {
    return groupsIn(this.#folder).filter((folder) => basename(folder).startsWith(TASK));
  }

  #groupAt(folder: string): TaskGroup {
    return {
      entrance: join(folder, "cgroup.procs"),
      pids: () => pidsIn(folder),
      kill: () => killAll(folder),
      end: () => {
        const end = endOf(folder);
        this.#drop(folder);
        return end;
      },
    };
  }

  #drop(folder: string): void {
    this.#used.delete(folder);
    // Where the kernel has not let go of the last of it yet, the next attempt's group is made in a tidy place.
    if (!remove(folder)) this.#untidy = true;
  }
}

/** A group is named by its attempt's mark (tree.ts), so that a later life knows whose it was. */
function nameOf(attempt: string): string {
  return `${TASK}${attempt.replaceAll("/", "-")}`;
}

function attemptOf(folder: string): string {
  return basename(folder).slice(TASK.length).replaceAll("-", "/");
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
function ownFolder(paths: CgroupPaths): string | undefined {
  return placeOf(paths)?.folder;
}

/** Those of the group that this process is in and of all above it, its own first: each one's limits hold for it. */
export function groupFolders(paths: CgroupPaths = SYSTEM): string[] {
  const place = placeOf(paths);
  // Where it cannot be told, the root is what a container sees of its own group.
  if (place === undefined) return ["/sys/fs/cgroup"];
  const folders = [place.folder];
  for (let folder = place.folder; folder.length > place.mount.length; folders.push(folder)) folder = dirname(folder);
  return folders;
}

/** The group that this process is in, and where the tree that it is part of is mounted. */
function placeOf({ cgroup, mountinfo }: CgroupPaths): { folder: string; mount: string } | undefined {
  const path = /^0::(\/.*)$/m.exec(read(cgroup) ?? "")?.[1];
  // 36 35 0:30 / /sys/fs/cgroup rw,… - cgroup2 cgroup2 rw: the root that is mounted, and where.
  const mount = /^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 /m.exec(read(mountinfo) ?? "");
  if (path === undefined || mount === null || path.startsWith("/..")) return undefined;
  const [, root = "/", at = ""] = mount;
  if (root !== "/" && path !== root && !path.startsWith(`${root}/`)) return undefined;
  const folder = join(at, root === "/" ? path : path.slice(root.length));
  return { folder: basename(folder) === OWN ? dirname(folder) : folder, mount: at };
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

function groupsIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
  } catch {
    return []; // gone meanwhile
  }
}

/** Whoever is in a group or in one that its task made below it. */
function pidsIn(folder: string): Set<number> {
  const pids = new Set<number>();
  // One small file tells it of all that is below: asked after every task.
  if (/^populated 0$/m.test(read(join(folder, "cgroup.events")) ?? "")) return pids;
  for (const line of (read(join(folder, "cgroup.procs")) ?? "").split("\n")) {
    // 0 is somebody whom this process cannot see.
    if (Number(line) > 0) pids.add(Number(line));
  }
  for (const pid of groupsIn(folder).flatMap((below) => [...pidsIn(below)])) pids.add(pid);
  return pids;
}

function killAll(folder: string): void {
  try {
    writeFileSync(join(folder, "cgroup.kill"), "1");
  } catch {
    // Before Linux 5.14 there is no such file: who asks for this ends them one by one as well.
  }
}

function endOf(folder: string): LimitsEnd {
  const events = read(join(folder, "memory.events")) ?? "";
  const count = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(events)?.[1] ?? 0);
  const peak = Number(read(join(folder, "memory.peak")) ?? Number.NaN);
  return {
    // `oom` counts how often its own limit was met; what ran out further up kills without it.
    ...(count("oom_kill") > 0 ? { out_of_memory: count("oom") > 0 ? "limit" : "node" } : {}),
    ...(peak > 0 ? { peak_memory_mib: Math.ceil(peak / MIB) } : {}),
  };
}

/** With the groups that its task made below it. False: somebody is in it, or the kernel thinks so for a moment more. */
function remove(folder: string): boolean {
  return removed(folder) || (groupsIn(folder).every(remove) && removed(folder));
}

function removed(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
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
