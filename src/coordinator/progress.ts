// How far running tasks have come, as their nodes said last. In memory only: it is for people who wait, nothing is decided
// by it, and after a change of leader the next message brings it back.

import { LIMITS } from "../common/limits.ts";
import type { TaskProgress } from "../common/models.ts";

export class ProgressBook {
  /** The longest unheard of first. */
  readonly #entries = new Map<string, TaskProgress & { attempt: number }>();

  heard(number: number, index: number, attempt: number, progress: TaskProgress): void {
    const key = `${number}.${index}`;
    this.#entries.delete(key);
    this.#entries.set(key, { attempt, ...progress });
    if (this.#entries.size <= LIMITS.progress_tasks) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }

  /** What is known of that very attempt. */
  of(number: number, index: number, attempt: number): TaskProgress | undefined {
    const entry = this.#entries.get(`${number}.${index}`);
    if (entry?.attempt !== attempt) return undefined;
    const { stdout_bytes, stderr_bytes } = entry;
    return { stdout_bytes, stderr_bytes };
  }
}
