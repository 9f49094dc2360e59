// Where a task runs. Making and removing two folders costs a quarter of what starting /bin/true costs, so a pair that a
// task left empty is handed to the next one; a pair with anything in it is removed. Names are slots, not attempts: they
// say nothing that must be true later, and everything found at start is of an earlier life and goes.

import {
  accessSync,
  chmodSync,
  constants,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { basename, isAbsolute, join } from "node:path";
import { ClawError, messageOf, writeProblem } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Specification } from "../common/models.ts";
import type { Runtime } from "../common/runtime.ts";

/** One attempt's folders; `release` only when its whole tree is gone. */
export interface TaskFolders {
  /** Where it runs. */
  folder: string;
  /** Its TMPDIR, always its own. */
  tmp: string;
  release(): void;
}

interface Slot {
  base: string;
  work: string;
  tmp: string;
}

const PRIVATE = 0o700;
const SLOT = /^slot-\d+$/;

/** What keeps a path that somebody named from being used as a folder: it may be anything. */
function folderProblem(path: string): string | undefined {
  if (!isAbsolute(path)) return "is not an absolute path";
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory() !== true) return "does not exist on this node";
    accessSync(path, constants.X_OK);
    return undefined;
  } catch (error) {
    // Not ours to look into, too long, links in a circle, no name at all.
    return `cannot be used on this node: ${messageOf(error)}`;
  }
}

/**
 * Whether a task could be started in it. Where a server of files is away looking takes for ever, and what looks can only be
 * left alone: that is a process, for the runtime has a thread a processor for all that it does with files.
 */
async function isUsable(path: string): Promise<boolean | undefined> {
  if (!isAbsolute(path) || path.includes("\0")) return false;
  try {
    const child = Bun.spawn(["/bin/sh", "-c", 'test -d "$0" && test -x "$0"', path], {
      env: {},
      stdio: ["ignore", "ignore", "ignore"],
      timeout: LIMITS.look_ms,
      killSignal: "SIGKILL",
    });
    child.unref();
    return (await child.exited) === 0;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "E2BIG" || code === "ENAMETOOLONG") return false;
    // No process can be had just now, or ever: a machine without a shell has no servers of files either.
    return code === "ENOENT" ? folderProblem(path) === undefined : undefined;
  }
}

/** Told what was found, as much as a message takes. */
type Found = (folders: [path: string, usable: boolean][]) => void;

/** Looks at folders that tasks ask for, a few at a time, and nothing of the worker waits meanwhile. */
export class FolderLooks {
  readonly #runtime: Runtime;
  readonly #found: Found;
  /** Undefined: there is no looking at it just now. */
  readonly #isUsable: (path: string) => Promise<boolean | undefined>;
  readonly #mounts: () => string;
  /** Asked for, and not answered: those behind `looks_at_once` wait for their turn. */
  readonly #waiting = new Set<string>();
  readonly #looking = new Set<string>();
  /** Answered, for nobody can wait any longer; whoever looks there is still at it. */
  readonly #stuck = new Set<string>();
  #answers: Parameters<Found>[0] = [];

  constructor(
    runtime: Runtime,
    found: Found,
    usable: (path: string) => Promise<boolean | undefined> = isUsable,
    mounts = readMounts,
  ) {
    this.#runtime = runtime;
    this.#found = found;
    this.#isUsable = usable;
    this.#mounts = mounts;
  }

  look(paths: readonly string[]): void {
    const away = this.#away();
    for (const path of paths) {
      if (this.#stuck.has(path) || away(path)) this.#answer(path, false);
      else if (!this.#looking.has(path) && this.#waiting.size < LIMITS.looks_waiting) this.#waiting.add(path);
    }
    this.#next();
  }

  /** Below what is mounted where somebody looks in vain: who looked there as well would do so in vain. */
  #away(): (path: string) => boolean {
    if (this.#stuck.size === 0) return () => false;
    const mounts = mountsOf(this.#mounts())
      .filter((path) => path.length > 1)
      .sort((one, other) => other.length - one.length);
    const mountOf = (path: string): string | undefined => mounts.find((mount) => path.startsWith(`${mount}/`));
    const dead = new Set([...this.#stuck].map(mountOf));
    return (path) => {
      const mount = mountOf(path);
      return mount !== undefined && dead.has(mount);
    };
  }

  #next(): void {
    const away = this.#away();
    for (const path of this.#waiting) {
      if (away(path)) {
        this.#waiting.delete(path);
        this.#answer(path, false);
        continue;
      }
      if (this.#looking.size >= LIMITS.looks_at_once) return;
      if (this.#looking.size + this.#stuck.size >= LIMITS.looks_stuck) return;
      this.#waiting.delete(path);
      this.#looking.add(path);
      this.#begin(path);
    }
  }

  #begin(path: string): void {
    const timer = this.#runtime.after(LIMITS.look_ms, () => {
      this.#looking.delete(path);
      this.#stuck.add(path);
      this.#answer(path, false);
      this.#next();
    });
    void this.#isUsable(path).then((usable) => {
      timer.cancel();
      if (this.#looking.delete(path) && usable !== undefined) this.#answer(path, usable);
      this.#stuck.delete(path);
      this.#next();
    });
  }

  #answer(path: string, usable: boolean): void {
    this.#answers.push([path, usable]);
    if (this.#answers.length > 1) return;
    this.#runtime.soon(() => {
      const most = LIMITS.look_folders;
      while (this.#answers.length > 0) this.#found(this.#answers.splice(0, most));
    });
  }
}

/** Empty, a real folder, and still with the rights that it was made with. */
function isFresh(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || !found.isDirectory() || (found.mode & 0o7777) !== PRIVATE) return false;
  return readdirSync(path).length === 0;
}

function slotIsFresh(slot: Slot): boolean {
  try {
    return isFresh(slot.work) && isFresh(slot.tmp) && readdirSync(slot.base).length === 2;
  } catch {
    return false; // the task took our right to look
  }
}

/** Removes a folder with all in it; links are removed, never followed. What a task made unwritable is made writable. */
function removeTree(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    makeRemovable(path);
    rmSync(path, { recursive: true, force: true });
  }
}

function makeRemovable(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || !found.isDirectory()) return; // a link is not followed: its own folder's rights count
  chmodSync(path, PRIVATE);
  for (const name of readdirSync(path)) makeRemovable(join(path, name));
}

/** Where something is mounted at or below a folder, given by its real path: the kernel names those, as \\ooo what is blank. */
function mountIn(folder: string, mountinfo: string): string | undefined {
  return mountsOf(mountinfo).find((path) => path === folder || path.startsWith(`${folder}/`));
}

function mountsOf(mountinfo: string): string[] {
  return mountinfo
    .split("\n")
    .map((line) =>
      (line.split(" ")[4] ?? "").replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(parseInt(code, 8))),
    );
}

/** As this process sees them. */
function readMounts(): string {
  return process.platform === "linux" ? readFileSync("/proc/self/mountinfo", "utf8") : "";
}

function folderMissing(folder: string, why: string): ClawError {
  return new ClawError("not_found", `the folder ${folder} ${why}`, { field: "needs.folder", hint: "see `claw nodes`" });
}

/**
 * A task runs as the same user, and may take our rights in the folder of all of them: they are taken back. A folder that is
 * not there, or not ours, is found by whoever uses it next.
 */
export function unlock(tasks_dir: string): void {
  try {
    accessSync(tasks_dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch {
    try {
      chmodSync(tasks_dir, PRIVATE);
    } catch {}
  }
}

/** Told of a folder that cannot be removed, and why. */
type OnLeft = (path: string, why: string) => void;

export class TaskFolderPool {
  readonly #tasks_dir: string;
  readonly #machine: string;
  readonly #onLeft: OnLeft;
  readonly #mounts: () => string;
  readonly #free: Slot[] = [];
  #made = 0;

  /**
   * `machine`: this machine's hash, as in NodeInfo. Removes what earlier lives left: end their processes first. `onLeft`
   * is told what cannot be removed (a container's files that belong to root, something mounted): that is nobody's failure but a
   * folder that stays. Nothing in here ends a worker: what keeps tasks from being started its checks find.
   */
  constructor(tasks_dir: string, machine: string, onLeft: OnLeft, mounts = readMounts) {
    this.#tasks_dir = tasks_dir;
    this.#machine = machine;
    this.#onLeft = onLeft;
    this.#mounts = mounts;
    try {
      mkdirSync(tasks_dir, { recursive: true, mode: PRIVATE });
      unlock(tasks_dir);
      // Only what a pool made: the configuration may name a folder that holds other things.
      for (const name of readdirSync(tasks_dir)) if (SLOT.test(name)) this.#remove(join(tasks_dir, name));
    } catch (error) {
      onLeft(tasks_dir, messageOf(error));
    }
  }

  #remove(path: string): void {
    try {
      this.#requireNoMount(path);
      removeTree(path);
    } catch (error) {
      this.#onLeft(path, messageOf(error));
    }
  }

  /** Removing does not stop at what a task mounted: it would empty what is there for everybody. */
  #requireNoMount(path: string): void {
    const mount = mountIn(join(realpathSync(this.#tasks_dir), basename(path)), this.#mounts());
    if (mount !== undefined) throw new Error(`something is mounted at ${mount}: unmount it`);
  }

  /** Throws ClawError not_found when the folder that the task demands is not there, io when none can be made. */
  acquire(specification: Specification): TaskFolders {
    const given = this.#givenFolder(specification);
    unlock(this.#tasks_dir);
    const slot = this.#free.pop() ?? this.#make();
    return { folder: given ?? slot.work, tmp: slot.tmp, release: () => this.#release(slot) };
  }

  /** The caller's folder where it is one; undefined for a fresh one. Scripts always get a fresh one. */
  #givenFolder({ needs, origin }: Specification): string | undefined {
    if (needs.executor === "script") return undefined;
    if (needs.folder !== undefined) {
      const problem = folderProblem(needs.folder);
      if (problem !== undefined) throw folderMissing(needs.folder, problem);
      return needs.folder;
    }
    const own = origin?.machine === this.#machine && folderProblem(origin.folder) === undefined;
    return own ? origin.folder : undefined;
  }

  #make(): Slot {
    try {
      let base: string;
      do {
        this.#made += 1;
        base = join(this.#tasks_dir, `slot-${this.#made}`);
      } while (lstatSync(base, { throwIfNoEntry: false }) !== undefined);
      const slot = { base, work: join(base, "work"), tmp: join(base, "tmp") };
      for (const path of [slot.base, slot.work, slot.tmp]) mkdirSync(path, { mode: PRIVATE });
      return slot;
    } catch (error) {
      throw writeProblem(error, "make a folder for a task");
    }
  }

  #release(slot: Slot): void {
    unlock(this.#tasks_dir);
    if (this.#free.length < LIMITS.folder_pool && slotIsFresh(slot)) {
      this.#free.push(slot);
      return;
    }
    void this.#removeLater(slot.base);
  }

  /** A task may have left a hundred thousand files: nothing else waits until they are gone. */
  async #removeLater(path: string): Promise<void> {
    try {
      this.#requireNoMount(path);
      await rm(path, { recursive: true, force: true });
    } catch {
      this.#remove(path);
    }
  }
}
