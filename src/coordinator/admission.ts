// Messages that found the open batch full wait here for the next one, in their order, up to a cap.

import { LIMITS } from "../common/limits.ts";
import type { Now } from "./leader-world.ts";

interface Deferred {
  bytes: number;
  run: (now: Now) => void;
}

export class Admission {
  readonly #deferred: Deferred[] = [];
  readonly #fits: (bytes: number) => boolean;
  #bytes = 0;

  /** `fits`: whether the open batch can take so many bytes more. */
  constructor(fits: (bytes: number) => boolean) {
    this.#fits = fits;
  }

  /** Runs at once, or when the open batch has room again; false when too much waits already. */
  admit(bytes: number, now: Now, run: (now: Now) => void): boolean {
    if (this.#deferred.length === 0 && this.#fits(bytes)) {
      run(now);
      return true;
    }
    if (this.#deferred.length >= LIMITS.deferred_messages || this.#bytes + bytes > LIMITS.deferred_bytes) return false;
    this.#deferred.push({ bytes, run });
    this.#bytes += bytes;
    return true;
  }

  /** Runs what fits now; `after` each one. */
  drain(now: Now, after: () => void): void {
    for (let next = this.#deferred[0]; next !== undefined && this.#fits(next.bytes); next = this.#deferred[0]) {
      this.#deferred.shift();
      this.#bytes -= next.bytes;
      next.run(now);
      after();
    }
  }
}
