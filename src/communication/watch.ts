// A connection of the system account to the server's own health, instead of its monitoring port: that one would tell
// every user of the machine about subjects and connections, without credentials.

import { type Authenticator, connect, type NatsConnection } from "nats";
import { z } from "zod";

const Health = z.object({ data: z.object({ status: z.string().default(""), error: z.string().default("") }) });
const TIMEOUT_MS = 2_000;

export class ServerWatch {
  readonly #connection: NatsConnection;

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /** Rejects while the server does not answer, or does not know these credentials. */
  static async open(url: string, authenticator: Authenticator): Promise<ServerWatch> {
    const settings = { servers: url, authenticator, name: "claw watcher", reconnect: false, timeout: TIMEOUT_MS };
    return new ServerWatch(await connect({ ...settings, ignoreClusterUpdates: true }));
  }

  get version(): string {
    return this.#connection.info?.version ?? "";
  }

  /** Not because the server is silent: its connection ended. */
  get closed(): boolean {
    return this.#connection.isClosed();
  }

  /** `ok`, what is wrong, or undefined when it does not answer. */
  async health(): Promise<string | undefined> {
    try {
      const subject = `$SYS.REQ.SERVER.${this.#connection.info?.server_id}.HEALTHZ`;
      const { data } = Health.parse((await this.#connection.request(subject, "", { timeout: TIMEOUT_MS })).json());
      return data.status === "ok" ? "ok" : data.error || data.status;
    } catch {
      return undefined;
    }
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}
