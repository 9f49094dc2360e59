// What is asked over a connection that breaks will not be answered: whoever asked learns it at once, not when his patience
// is over. What became of it, nobody knows.

import type { NatsConnection } from "nats";

export class Outages {
  readonly #waiting = new Set<(why: Error) => void>();

  constructor(connection: NatsConnection) {
    void this.#watch(connection);
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      // What was asked in between went nowhere as well.
      if (type !== "disconnect" && type !== "reconnect") continue;
      for (const giveUp of this.#waiting) giveUp(new Error("the connection was lost meanwhile"));
    }
  }

  /** The answer; rejects as soon as the connection that it should come over is gone. */
  async answer<T>(asked: Promise<T>): Promise<T> {
    const { promise: lost, reject } = Promise.withResolvers<never>();
    this.#waiting.add(reject);
    try {
      return await Promise.race([asked, lost]);
    } finally {
      this.#waiting.delete(reject);
    }
  }
}
