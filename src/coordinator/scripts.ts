// Scripts that no task needs any more leave the store: after tasks were forgotten, and by who leads. What was sent a moment
// ago is left alone, because its task is on the way.

import { messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Logger } from "../common/logging.ts";
import type { Runtime, Timer } from "../common/runtime.ts";
import type { FileStore } from "../communication/files.ts";

export interface ScriptsOptions {
  runtime: Runtime;
  store: Pick<FileStore, "list" | "storedAt" | "remove">;
  logger: Logger;
  /** Whether a task that is kept runs it, as far as the log goes. */
  needed: (sha256: string) => boolean;
  leading: () => boolean;
}

export class Scripts {
  readonly #options: ScriptsOptions;
  #looked_ms: number | undefined;
  #under_way: Promise<void> = Promise.resolve();
  #again: Timer | undefined;
  #stopped = false;

  constructor(options: ScriptsOptions) {
    this.#options = options;
  }

  /** Tasks were forgotten: looks through the store, though not again and again. */
  forgotten(): void {
    const now_ms = this.#options.runtime.monotonic_ms();
    if (this.#looked_ms !== undefined && now_ms - this.#looked_ms < LIMITS.scripts_look_ms) return;
    this.#looked_ms = now_ms;
    this.#under_way = this.#under_way
      .then(() => this.#look())
      .catch((error: unknown) => {
        this.#options.logger.warn("scripts of forgotten tasks stay for now", { why: messageOf(error) });
      });
  }

  stop(): void {
    this.#stopped = true;
    this.#again?.cancel();
  }

  async #look(): Promise<void> {
    const { runtime, store, logger, needed, leading } = this.#options;
    let removed = 0;
    let young = false;
    for (const sha256 of leading() ? await store.list() : []) {
      if (!leading() || needed(sha256)) continue;
      const stored_at = await store.storedAt(sha256);
      if (stored_at === undefined) continue;
      if (runtime.wall_ms() - stored_at < LIMITS.script_unused_ms) young = true;
      else if (await store.remove(sha256, () => needed(sha256))) removed += 1;
    }
    // Who did not lead just now has seen nothing.
    if (!leading()) this.#looked_ms = undefined;
    this.#again?.cancel();
    if ((young || !leading()) && !this.#stopped) {
      this.#again = runtime.after(LIMITS.scripts_look_ms, () => this.forgotten());
    }
    if (removed > 0) logger.info("removed scripts that no task needs any more", { scripts: removed });
  }
}
