// This machine's skills, looked at again whenever something changes in their folders, and each minute, as programs and
// settings come and go elsewhere.

import { existsSync, type FSWatcher, watch } from "node:fs";
import { homedir } from "node:os";
import { resolve } from "node:path";
import { messageOf } from "../../common/errors.ts";
import type { Logger } from "../../common/logging.ts";
import type { Runtime, Timer } from "../../common/runtime.ts";
import type { NodeSkills } from "../../core/skills.ts";
import type { Machine } from "./eligible.ts";
import { hashOf } from "./file.ts";
import { findOpenClaw, type SkillSource } from "./openclaw.ts";
import { SkillScanner } from "./scan.ts";

export interface SkillWatchOptions {
  runtime: Runtime;
  logger: Logger;
  /** Named in worker.yaml: they come before OpenClaw's. */
  folders: readonly string[];
  /** OpenClaw's state folder, where it is not found by itself. */
  openclaw: string | undefined;
  changed: (skills: NodeSkills) => void;
}

const EVERY_MS = 60_000;
/** A folder that is being copied changes many times. */
const SETTLE_MS = 200;

/** A machine's that looks for none. */
export const NO_SKILLS: NodeSkills = { hash: hashOf("[]"), list: [] };

export class SkillWatch {
  readonly #options: SkillWatchOptions;
  readonly #scanner = new SkillScanner();
  readonly #watchers = new Map<string, FSWatcher>();
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

  #look(): void {
    if (this.#stopped) return;
    const { runtime, changed } = this.#options;
    const found = this.#find();
    if (found !== undefined && found.hash !== this.#hash) {
      this.#hash = found.hash;
      changed(found);
    }
    this.#timer?.cancel();
    this.#timer = runtime.after(EVERY_MS, () => this.#look());
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
    const all = [...own, ...sources];
    const { skills, problems } = this.#scanner.scan(all, machine(settings));
    const told = problems.join("\n");
    if (told !== this.#told) for (const problem of problems) logger.warn("not a skill", { why: problem });
    this.#told = told;
    this.#watch(all);
    return { hash: hashOf(JSON.stringify(skills)), list: skills };
  }

  /** Whatever cannot be watched is looked at each minute. */
  #watch(sources: readonly SkillSource[]): void {
    const there = new Set(sources.map(({ folder }) => folder).filter((folder) => existsSync(folder)));
    for (const [folder, watcher] of this.#watchers) {
      if (there.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of there) {
      if (this.#watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, { recursive: true }, () => this.#lookSoon());
        watcher.on("error", () => {
          watcher.close();
          if (this.#watchers.get(folder) === watcher) this.#watchers.delete(folder);
        });
        this.#watchers.set(folder, watcher);
      } catch (error) {
        this.#options.logger.debug("a folder of skills cannot be watched", { folder, why: messageOf(error) });
      }
    }
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
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
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
