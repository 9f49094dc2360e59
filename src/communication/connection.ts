// A connection to NATS as claw wants it: reconnecting for ever once it was there, a private inbox prefix, and the
// server's version checked before anything rests on it.

import { connect as dial } from "node:net";
import { type Authenticator, type ConnectionOptions, connect, type NatsConnection } from "nats";
import { ClawError, messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { parseNatsUrls } from "../common/nats-url.ts";
import { redactAddresses } from "../common/redact.ts";
import type { Runtime } from "../common/runtime.ts";

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
  /** Called, and waited for, before the first connection is tried again (a worker waits for its coordinator). */
  wait?: () => Promise<void>;
  /** A service's: once it was there it comes back, even if the server refuses its login meanwhile. */
  lasting?: boolean;
  domain?: string;
  /** What to do when it cannot be reached. */
  hint?: string;
}

/** What one message of ours may take, with its headers. */
const LEAST_PAYLOAD_BYTES = Math.max(LIMITS.message_bytes, LIMITS.batch_bytes) + LIMITS.header_bytes;
const NATS_PORT = 4222;
const OLDEST: readonly [number, number, number] = [2, 14, 5];

export async function openConnection(options: ConnectOptions): Promise<NatsConnection> {
  for (;;) {
    try {
      return await tryConnection(options);
    } catch (error) {
      if (options.wait === undefined || !(error instanceof ClawError) || error.code !== "broker") throw error;
      await options.wait();
    }
  }
}

async function tryConnection(options: ConnectOptions): Promise<NatsConnection> {
  const { servers, user, pass } = parseUrls(options.url);
  const settings: ConnectionOptions = {
    servers,
    name: options.name,
    timeout: options.timeout_ms,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    reconnect: true,
    // Otherwise the second refusal in a row is the end of the connection, for a mistake in the server's settings.
    ignoreAuthErrorAbort: options.lasting ?? false,
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
      checkPayload(connection.info?.max_payload ?? 0);
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof ClawError) throw error;
    if (isLoginRefused((error as { code?: string }).code)) {
      const anonymous = options.authenticator === undefined && user === undefined;
      throw new ClawError(
        "refused",
        `NATS at ${servers.join(", ")} ${anonymous ? "wants credentials" : "refused these credentials"}`,
        { cause: error, hint: "make them where the coordinator runs: claw credentials export --role worker|client" },
      );
    }
    throw new ClawError("broker", `cannot reach NATS at ${servers.join(", ")}: ${messageOf(error)}`, {
      cause: error,
      ...(options.hint === undefined ? {} : { hint: options.hint }),
    });
  }
}

/** Whether anybody is there, at one of these addresses: a server that would refuse us is there as well. */
export async function isListening(urls: string, runtime: Runtime, most_ms: number): Promise<boolean> {
  const heard = await Promise.all((parseNatsUrls(urls) ?? []).map((url) => answers(url, runtime, most_ms)));
  return heard.includes(true);
}

async function answers({ hostname, port }: URL, runtime: Runtime, most_ms: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = dial({ host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? NATS_PORT : Number(port) });
  socket.on("connect", () => resolve(true));
  socket.on("error", () => resolve(false));
  const timer = runtime.after(most_ms, () => resolve(false));
  const heard = await promise;
  timer.cancel();
  socket.destroy();
  return heard;
}

/** Until the broker has all that was said and has given all that it had, but no longer than so: one that is gone never does. */
export async function flushWithin(connection: NatsConnection, runtime: Runtime, most_ms: number): Promise<void> {
  if (connection.isClosed()) return;
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = runtime.after(most_ms, resolve);
  await Promise.race([connection.flush().catch(() => undefined), late]);
  timer.cancel();
}

/** A code of the `nats` package's errors, which its connections tell as well. */
function isLoginRefused(code: unknown): boolean {
  return code === "AUTHORIZATION_VIOLATION" || code === "AUTHENTICATION_EXPIRED";
}

function parseUrls(text: string): { servers: string[]; user?: string; pass?: string } {
  const urls = parseNatsUrls(text);
  if (urls === undefined) {
    throw new ClawError("bad_config", `'${redactAddresses(text)}' is no NATS URL`, {
      hint: "it looks like nats://HOST:4222",
      field: "nats.url",
    });
  }
  const servers = urls.map(({ protocol, host }) => `${protocol}//${host}`);
  const login = urls.findLast(({ username }) => username !== "");
  if (login === undefined) return { servers };
  return { servers, user: decodeURIComponent(login.username), pass: decodeURIComponent(login.password) };
}

/** Calls `tell` if the connection ends for good without having been asked to: nothing would come back by itself. */
export function watchEnd(connection: NatsConnection, asked: () => boolean, tell: (error: ClawError) => void): void {
  void connection.closed().then((why) => {
    if (asked()) return;
    const reason = why === undefined ? "" : `: ${messageOf(why)}`;
    tell(new ClawError("broker", `the connection to NATS has ended for good${reason}`, { hint: "start it again" }));
  });
}

export interface LinkWatch {
  lost(): void;
  /** The server is there, and does not let this one in: told once until it is there again. */
  refused(): void;
  back(): void;
}

/** Tells of each change of the connection once. */
export async function watchLink(connection: NatsConnection, told: LinkWatch): Promise<void> {
  let linked = true;
  let refused = false;
  for await (const { type, data } of connection.status()) {
    // "disconnect" comes again for each attempt that fails.
    if (type === "disconnect" && linked) {
      linked = false;
      refused = false;
      told.lost();
    } else if (type === "error" && isLoginRefused(data) && !refused) {
      refused = true;
      told.refused();
    } else if (type === "reconnect") {
      linked = true;
      told.back();
    }
  }
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

/** Otherwise the first large message would be the end of whoever sends it. */
function checkPayload(max_payload: number): void {
  if (max_payload >= LEAST_PAYLOAD_BYTES) return;
  const least = LEAST_PAYLOAD_BYTES;
  throw new ClawError(
    "unsupported",
    `NATS takes messages of ${max_payload} bytes (max_payload), and claw needs ${least}`,
    {
      hint: `set max_payload in the server's configuration to ${least} at least; without it a server takes 1 MiB`,
    },
  );
}
