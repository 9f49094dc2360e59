// A connection to NATS as claw wants it: reconnecting for ever once it was there, a private inbox prefix, and the
// server's version checked before anything rests on it.

import { type Authenticator, type ConnectionOptions, connect, type NatsConnection } from "nats";
import { ClawError, messageOf } from "../common/errors.ts";

export type { NatsConnection } from "nats";

export interface ConnectOptions {
  /** One or more URLs, separated by commas; may carry user and password. */
  url: string;
  /** For people reading the server's connection list. */
  name: string;
  inbox_prefix?: string;
  authenticator?: Authenticator;
  /** Give up the first connection after this long. */
  timeout_ms: number;
  /** Keep trying the first connection too (a worker waits for its coordinator). */
  wait?: boolean;
  domain?: string;
}

const OLDEST: readonly [number, number, number] = [2, 14, 5];

export async function openConnection(options: ConnectOptions): Promise<NatsConnection> {
  const { servers, user, pass } = parseUrls(options.url);
  const settings: ConnectionOptions = {
    servers,
    name: options.name,
    timeout: options.timeout_ms,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    waitOnFirstConnect: options.wait ?? false,
    reconnect: true,
    pingInterval: 30_000,
    ignoreClusterUpdates: true,
    ...(options.inbox_prefix === undefined ? {} : { inboxPrefix: options.inbox_prefix }),
    ...(options.authenticator === undefined ? {} : { authenticator: options.authenticator }),
    ...(user === undefined ? {} : { user, pass: pass ?? "" }),
  };
  try {
    const connection = await connect(settings);
    try {
      checkServerVersion(connection.info?.version ?? "");
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof ClawError) throw error;
    const code = (error as { code?: string }).code ?? "";
    if (code === "AUTHORIZATION_VIOLATION" || code === "AUTHENTICATION_EXPIRED") {
      const anonymous = options.authenticator === undefined && user === undefined;
      throw new ClawError(
        "refused",
        `NATS at ${servers.join(", ")} ${anonymous ? "wants credentials" : "refused these credentials"}`,
        { cause: error, hint: "make them where the coordinator runs: claw credentials export --role worker|client" },
      );
    }
    throw new ClawError("broker", `cannot reach NATS at ${servers.join(", ")}: ${messageOf(error)}`, { cause: error });
  }
}

function parseUrls(text: string): { servers: string[]; user?: string; pass?: string } {
  let found: { user?: string; pass?: string } = {};
  const servers = text.split(",").map((part) => {
    const url = parseUrl(part.trim());
    if (url.username !== "") {
      found = { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) };
    }
    return `${url.protocol}//${url.host}`;
  });
  return { servers, ...found };
}

function parseUrl(text: string): URL {
  try {
    const url = new URL(text.includes("://") ? text : `nats://${text}`);
    if ((url.protocol === "nats:" || url.protocol === "tls:") && url.hostname !== "") return url;
  } catch {
    // falls through to the error that says what it should look like
  }
  throw new ClawError("bad_config", `'${text.replace(/\/\/.*@/, "//…@")}' is no NATS URL`, {
    hint: "it looks like nats://HOST:4222",
    field: "nats.url",
  });
}

/** Throws broker_version for a server that is too old for what claw relies on. */
export function checkServerVersion(version: string): void {
  const parts = version.split(/[.-]/).slice(0, 3).map(Number);
  for (const [position, least] of OLDEST.entries()) {
    const part = parts[position] ?? 0;
    if (part > least) return;
    if (part < least || Number.isNaN(part)) {
      throw new ClawError("broker_version", `nats-server ${version || "of unknown version"} is too old`);
    }
  }
}
