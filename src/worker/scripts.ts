// Scripts that the store has and this node ran: fetched once, kept while they are used, and let go when nobody ran them
// for long.

import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { ClawError, messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Logger } from "../common/logging.ts";
import { type Runtime, sleep } from "../common/runtime.ts";
import { hashOf, type RemoteFiles } from "../communication/files.ts";

/** The store may just have taken one away that nobody needed, and be putting it back because somebody does. */
const MISSING_MS = 1_000;
/** A coordinator that starts again, or hands over: what it assigned is not to fail for that. */
const SILENT_MS = 60_000;
const PAUSE_MS = 200;

function patienceOf(error: unknown): number {
  if (!(error instanceof ClawError)) return 0;
  if (error.code === "not_found") return MISSING_MS;
  return ["no_coordinator", "not_leading", "broker"].includes(error.code) ? SILENT_MS : 0;
}

export class ScriptCache {
  readonly #runtime: Runtime;
  readonly #logger: Logger;
  readonly #files: Pick<RemoteFiles, "fetch">;
  readonly #folder: string;
  /** Those on their way, by hash. */
  readonly #fetching = new Map<string, Promise<void>>();

  /** Those that are what they are called. */
  readonly #sound = new Set<string>();

  constructor(runtime: Runtime, logger: Logger, files: Pick<RemoteFiles, "fetch">, folder: string) {
    this.#runtime = runtime;
    this.#logger = logger;
    this.#files = files;
    this.#folder = folder;
  }

  /** The bundle's path, fetched once, however many tasks ask for it at a time. */
  async path(sha256: string): Promise<string> {
    const path = join(this.#folder, `${sha256}.js`);
    const under_way = this.#fetching.get(sha256);
    if (under_way !== undefined) await under_way;
    else if (this.#sound.has(sha256) && existsSync(path)) this.#touch(path);
    else {
      const fetching = this.#make(sha256, path).finally(() => this.#fetching.delete(sha256));
      this.#fetching.set(sha256, fetching);
      await fetching;
    }
    return path;
  }

  /** What an earlier life left is looked at once: the machine may have lost it, or a part of it, with its power. */
  async #make(sha256: string, path: string): Promise<void> {
    const bytes = this.#sound.has(sha256) ? undefined : await readFile(path).catch(() => undefined);
    if (bytes !== undefined && hashOf(bytes) === sha256) this.#touch(path);
    else await this.#fetch(sha256, path);
    this.#sound.add(sha256);
  }

  async #fetch(sha256: string, path: string): Promise<void> {
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      await this.#ask(sha256, path);
      this.#touch(path);
      this.#sweep();
    } catch (error) {
      this.#logger.warn("cannot fetch a script", { sha256, why: messageOf(error) });
      throw error;
    }
  }

  async #ask(sha256: string, path: string): Promise<void> {
    const begun_ms = this.#runtime.monotonic_ms();
    for (;;) {
      try {
        await this.#files.fetch(sha256, path);
        return;
      } catch (error) {
        if (this.#runtime.monotonic_ms() - begun_ms >= patienceOf(error)) throw error;
        await sleep(this.#runtime, PAUSE_MS);
      }
    }
  }

  #touch(path: string): void {
    const now_s = this.#runtime.wall_ms() / 1000;
    utimesSync(path, now_s, now_s);
  }

  #sweep(): void {
    const oldest_ms = this.#runtime.wall_ms() - LIMITS.script_cached_ms;
    for (const name of readdirSync(this.#folder)) {
      const path = join(this.#folder, name);
      const used_ms = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? oldest_ms;
      if (used_ms >= oldest_ms) continue;
      rmSync(path, { recursive: true, force: true });
      this.#sound.delete(basename(name, ".js"));
    }
  }
}
