// The coordinators that there are, as each of them knows it from what the others say.

import type { CoordinatorView } from "../common/models.ts";
import type { Runtime, Timer } from "../common/runtime.ts";
import { VERSION } from "../common/version.ts";
import type { NatsConnection } from "../communication/connection.ts";
import { listenForPresence, type Presence, sayPresence } from "../communication/presence.ts";

/** Who was not heard for so many intervals is gone. */
const MISSED = 5;

export interface PeersOptions {
  runtime: Runtime;
  connection: NatsConnection;
  cluster: string;
  id: string;
  name: string;
  every_ms: number;
  /** The log's sequence that this coordinator has. */
  sequence: () => number;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #heard = new Map<string, { presence: Presence; heard_ms: number }>();
  readonly #unlisten: () => void;
  #timer: Timer | undefined;

  constructor(options: PeersOptions) {
    this.#options = options;
    const { connection, cluster, id, runtime } = options;
    this.#unlisten = listenForPresence(connection, cluster, (presence) => {
      if (presence.id === id) return;
      if (presence.leaving) this.#heard.delete(presence.id);
      else this.#heard.set(presence.id, { presence, heard_ms: runtime.monotonic_ms() });
    });
    this.#say();
  }

  #say(leaving = false): void {
    const { connection, cluster, id, name, sequence } = this.#options;
    sayPresence(connection, cluster, { v: 1, id, name, version: VERSION, sequence: sequence(), leaving });
    if (!leaving) this.#timer = this.#options.runtime.after(this.#options.every_ms, () => this.#say());
  }

  /** This one first, then the others by their names. */
  list(leader: string | undefined): CoordinatorView[] {
    const { runtime, id, name, every_ms, sequence } = this.#options;
    const now_ms = runtime.monotonic_ms();
    const here = sequence();
    const others: CoordinatorView[] = [];
    for (const [other, { presence, heard_ms }] of this.#heard) {
      if (now_ms - heard_ms > every_ms * MISSED) {
        this.#heard.delete(other);
        continue;
      }
      const { version } = presence;
      const behind = Math.max(0, here - presence.sequence);
      others.push({ id: other, name: presence.name, version, leads: other === leader, behind });
    }
    others.sort((one, other) => one.name.localeCompare(other.name) || one.id.localeCompare(other.id));
    return [{ id, name, version: VERSION, leads: id === leader, behind: 0 }, ...others];
  }

  stop(): void {
    this.#timer?.cancel();
    this.#say(true);
    this.#unlisten();
  }
}
