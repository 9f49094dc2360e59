// This machine's skills, looked at again whenever something changes in their folders, and each minute, as programs and
// settings come and go elsewhere.

import { type FSWatcher, statSync, watch } from "node:fs";
import { homedir } from "node:os";
import { resolve } from "node:path";
import { messageOf } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { Logger } from "../../common/logging.ts";
import type { Runtime, Timer } from "../../common/runtime.ts";
import type { NodeSkills } from "../../core/skills.ts";
import type { Machine } from "./eligible.ts";
import { hashOf } from "./file.ts";
import { findOpenClaw, type SkillSource } from "./openclaw.ts";
import { codeOf, FILE, isHidden, SkillScanner, type Visited } from "./scan.ts";

export interface SkillWatchOptions {
  runtime: Runtime;
  logger: Logger;
  /** Named in worker.yaml: they come before OpenClaw's. */
  folders: readonly string[];
  /** OpenClaw's state folder, where it is not found by itself. */
  openclaw: string | undefined;
  changed: (skills: NodeSkills) => void;
  /** Of node:fs, unless a test has another. */
  watch?: typeof watch;
}

const EVERY_MS = 60_000;
/** A folder that is being copied changes many times. */
const SETTLE_MS = 200;

/** A machine's that looks for none. */
export const NO_SKILLS: NodeSkills = { hash: hashOf("[]"), list: [] };

/** There are no more watches, or no memory for them: others would fail as well. */
const EXHAUSTED: ReadonlySet<string> = new Set(["ENOSPC", "EMFILE", "ENFILE", "ENOMEM"]);

interface Watched {
  watcher: FSWatcher;
  /** Which folder it was: another one may have its name by now. */
  identity: string | undefined;
  skill: boolean;
}

export class SkillWatch {
  readonly #options: SkillWatchOptions;
  readonly #scanner = new SkillScanner();
  readonly #watched = new Map<string, Watched>();
  /** Folders whose watching failed: not tried again before the next minute. */
  readonly #unwatchable = new Set<string>();
  /** That not every folder is watched is told once. */
  #partly = false;
  #timer: Timer | undefined;
  #soon: Timer | undefined;
  #hash = "";
  #told = "";
  /** What a look threw last. */
  #failed = "";
  #stopped = false;

  constructor(options: SkillWatchOptions) {
    this.#options = options;
    this.#look();
  }

  /** Each minute, when all is tried again. */
  #lookAnew(): void {
    this.#unwatchable.clear();
    this.#look();
  }

  #look(): void {
    if (this.#stopped) return;
    const { runtime, changed } = this.#options;
    const found = this.#find();
    if (found !== undefined && found.hash !== this.#hash) {
      this.#hash = found.hash;
      changed(found);
    }
    this.#timer?.cancel();
    this.#timer = runtime.after(EVERY_MS, () => this.#lookAnew());
  }

  /**
   * A bug in here does not crash, as bugs do elsewhere (style 6): what is read was written by anybody, and whoever writes it
   * wrong must not end a worker that runs tasks, nor keep it from starting. It is said, and what was found before stays.
   */
  #find(): NodeSkills | undefined {
    try {
      const found = this.#scan();
      this.#failed = "";
      return found;
    } catch (error) {
      const why = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
      if (why !== this.#failed) this.#options.logger.error("skills cannot be looked for: a bug in claw", { why });
      this.#failed = why;
      return undefined;
    }
  }

  #scan(): NodeSkills {
    const { logger, folders, openclaw } = this.#options;
    const { env } = process;
    const { settings, sources } = findOpenClaw({ env, home: env["HOME"] ?? homedir(), state_dir: openclaw });
    const own = folders.map((folder): SkillSource => ({ source: "config", folder: resolve(folder) }));
    const { skills, problems, visited } = this.#scanner.scan([...own, ...sources], machine(settings));
    const told = problems.join("\n");
    if (told !== this.#told) for (const problem of problems) logger.warn("not a skill", { why: problem });
    this.#told = told;
    this.#watch(visited);
    return { hash: hashOf(JSON.stringify(skills)), list: skills };
  }

  /**
   * Only folders that were looked into, each by itself: what lies below a skill (its node_modules, its venv) may be tens of
   * thousands of folders, and none of them counts. Whatever is not watched is looked at each minute.
   */
  #watch(visited: readonly Visited[]): void {
    // The nearest are watched first, each once: two sources may be one folder.
    const nearest = visited.toSorted((one, other) => one.depth - other.depth);
    const all = [...new Map(nearest.map((one) => [one.folder, one]))];
    const folders = new Map(all.slice(0, LIMITS.watched_folders));
    let added = false;
    for (const [folder, { watcher, identity, skill }] of this.#watched) {
      const one = folders.get(folder);
      if (one?.skill === skill && identityOf(folder) === identity) folders.delete(folder);
      else {
        watcher.close();
        this.#watched.delete(folder);
      }
    }
    for (const one of folders.values()) {
      if (this.#unwatchable.has(one.folder)) continue;
      try {
        this.#watchOne(one);
        added = true;
      } catch (error) {
        // One that is gone is told by the folder above it when it comes back.
        if (codeOf(error) !== "ENOENT") this.#unwatchable.add(one.folder);
        this.#options.logger.debug("a folder of skills cannot be watched", {
          folder: one.folder,
          why: messageOf(error),
        });
        if (EXHAUSTED.has(codeOf(error))) break;
      }
    }
    if (this.#unwatchable.size > 0 || all.length > LIMITS.watched_folders) this.#tellPartly(all.length);
    // What changed between the look and the watch was not seen.
    if (added) this.#lookSoon();
  }

  #watchOne({ folder, skill }: Visited): void {
    const identity = identityOf(folder);
    const watcher = (this.#options.watch ?? watch)(folder, (event, name) => {
      if (counts(skill, event, name)) this.#lookSoon();
    });
    watcher.on("error", () => {
      watcher.close();
      if (this.#watched.get(folder)?.watcher !== watcher) return;
      this.#watched.delete(folder);
      this.#unwatchable.add(folder);
    });
    this.#watched.set(folder, { watcher, identity, skill });
  }

  #tellPartly(folders: number): void {
    if (this.#partly) return;
    this.#partly = true;
    this.#options.logger.info("not all folders of skills are watched: the others are looked at each minute", {
      ...{ folders, watched: this.#watched.size },
    });
  }

  #lookSoon(): void {
    if (this.#stopped) return;
    this.#soon?.cancel();
    this.#soon = this.#options.runtime.after(SETTLE_MS, () => this.#look());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#soon?.cancel();
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }
}

/** Whether a change in a folder may change the list: of a skill only its file can, elsewhere whatever comes and goes. */
function counts(skill: boolean, event: string, name: string | null): boolean {
  if (name === null || name === FILE) return true;
  return !skill && event === "rename" && !isHidden(name);
}

/** Numbers of inodes are given away again. */
function identityOf(folder: string): string | undefined {
  try {
    const { dev, ino, birthtimeMs } = statSync(folder);
    return `${dev} ${ino} ${birthtimeMs}`;
  } catch {
    return undefined;
  }
}

function machine(settings: Record<string, unknown>): Machine {
  const { env, platform } = process;
  const known = new Map<string, boolean>();
  return {
    platform,
    env,
    settings,
    has: (program) => {
      const found = known.get(program) ?? Bun.which(program) !== null;
      known.set(program, found);
      return found;
    },
  };
}
