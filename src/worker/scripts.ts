// Scripts that the store has and this node ran: fetched once, kept while they are used, and let go when nobody ran them
// for long.

import { existsSync, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { ClawError, messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Logger } from "../common/logging.ts";
import { type Runtime, sleep } from "../common/runtime.ts";
import type { FileStore } from "../communication/files.ts";

/** The store may just have taken one away that nobody needed, and be putting it back because somebody does. */
const TRIES = 5;
const PAUSE_MS = 200;

export class ScriptCache {
  readonly #runtime: Runtime;
  readonly #logger: Logger;
  readonly #files: Pick<FileStore, "fetch">;
  readonly #folder: string;
  /** Those on their way, by hash. */
  readonly #fetching = new Map<string, Promise<void>>();

  constructor(runtime: Runtime, logger: Logger, files: Pick<FileStore, "fetch">, folder: string) {
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
    else if (existsSync(path)) this.#touch(path);
    else {
      const fetching = this.#fetch(sha256, path).finally(() => this.#fetching.delete(sha256));
      this.#fetching.set(sha256, fetching);
      await fetching;
    }
    return path;
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
    for (let tries = 1; ; tries++) {
      try {
        await this.#files.fetch(sha256, path);
        return;
      } catch (error) {
        if (!(error instanceof ClawError) || error.code !== "not_found" || tries === TRIES) throw error;
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
      if (used_ms < oldest_ms) rmSync(path, { recursive: true, force: true });
    }
  }
}
