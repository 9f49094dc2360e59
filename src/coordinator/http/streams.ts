// Answers that last: events as they happen, output as fast as it is written, or read. Their number is capped, and they end
// with whoever asked for them, and with the coordinator.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";

export interface OpenStream {
  /** Aborted when it is over, for whatever reason. */
  readonly signal: AbortSignal;
  /** It is over, or who asked has left. */
  end(): void;
}

export class Streams {
  readonly #open = new Set<AbortController>();

  /** Throws `too_many`. */
  open(asked: AbortSignal): OpenStream {
    if (this.#open.size >= LIMITS.http_streams) {
      throw new ClawError("too_many", `${this.#open.size} streams of events or output are open already`, {
        hint: "end some of them",
      });
    }
    const controller = new AbortController();
    const end = (): void => {
      asked.removeEventListener("abort", end);
      this.#open.delete(controller);
      controller.abort();
    };
    this.#open.add(controller);
    asked.addEventListener("abort", end);
    if (asked.aborted) end();
    return { signal: controller.signal, end };
  }

  close(): void {
    for (const controller of this.#open) controller.abort();
  }
}
