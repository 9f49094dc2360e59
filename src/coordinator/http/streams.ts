// Answers that last: events as they happen, output as it is written. Their number is capped, and they end with whoever asked
// for them, and with the coordinator.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";

export interface OpenStream {
  readonly signal: AbortSignal;
  end(): void;
}

export class Streams {
  readonly #open = new Set<AbortController>();

  /** Throws `too_many`. */
  open(asked: AbortSignal): OpenStream {
    if (this.#open.size >= LIMITS.http_streams) {
      throw new ClawError("too_many", `${this.#open.size} requests follow something already`, {
        hint: "end some of them",
      });
    }
    const controller = new AbortController();
    const abort = (): void => controller.abort();
    if (asked.aborted) abort();
    asked.addEventListener("abort", abort);
    this.#open.add(controller);
    return {
      signal: controller.signal,
      end: () => {
        asked.removeEventListener("abort", abort);
        this.#open.delete(controller);
      },
    };
  }

  close(): void {
    for (const controller of this.#open) controller.abort();
  }
}
