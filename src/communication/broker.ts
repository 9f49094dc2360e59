// The broker as the coordinator sees it: a child of its own with identities that it made, or a NATS of the user's own
// (`nats.url`), with credentials that its operator issued.

import { join } from "node:path";
import type { NatsConnection } from "nats";
import type { CoordinatorConfig } from "../common/config.ts";
import { ClawError } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import type { Paths } from "../common/paths.ts";
import type { Runtime } from "../common/runtime.ts";
import { openConnection } from "./connection.ts";
import { type Credentials, readCredentials } from "./credentials.ts";
import { Identity } from "./identity.ts";
import { ownFolder } from "./lock.ts";
import type { Role } from "./permissions.ts";
import { NatsServerChild } from "./server.ts";

export interface Broker {
  /** For people: without user and password. */
  readonly url: string;
  /** To connect with: whoever reads it may do what its user and password let him. */
  readonly login_url: string;
  /** By which this coordinator is known to it; undefined where it knows no identities. */
  readonly identity: string | undefined;
  readonly managed: boolean;
  readonly version: string;
  connect(name: string): Promise<NatsConnection>;
  /** Path of this machine's credentials; undefined where claw makes none. */
  localCredentials(role: "worker" | "client"): string | undefined;
  /** Told which cluster is served over it. */
  serves(cluster_id: string): void;
  /** Undefined where claw makes none. Throws `refused` for what this client may not have. */
  issue(role: Role, who: string): { creds: string; id: string } | undefined;
  close(): Promise<void>;
}

export interface BrokerOptions {
  runtime: Runtime;
  config: CoordinatorConfig;
  paths: Paths;
  logger: Logger;
  /** Told when the child cannot write any more: the log is the truth, and without it nothing can go on. */
  onFailed: (error: ClawError) => void;
}

const CONNECT_TIMEOUT_MS = 5_000;

export function openBroker(options: BrokerOptions): Promise<Broker> {
  return options.config.nats.url === undefined ? openOwn(options) : openForeign(options, options.config.nats.url);
}

async function openOwn({ runtime, config, paths, logger, onFailed }: BrokerOptions): Promise<Broker> {
  const identity = Identity.open(paths.coordinator_dir, config.cluster, runtime);
  const { server: executable } = config.nats;
  const child = new NatsServerChild({
    runtime,
    data_dir: paths.coordinator_dir,
    host: config.listen,
    port: config.nats.port,
    identity,
    ...(executable === undefined ? {} : { executable }),
    onEvent: ({ kind, message }) => {
      if (kind === "disk_full") onFailed(new ClawError("disk_full", `no room left to write the log: ${message}`));
      else if (kind === "up") logger.info("nats-server is up again", { why: message });
      else logger.warn(`nats-server: ${message}`, { event: kind });
    },
  });
  await child.start();
  const credentials = readCredentials(identity.localCredentials("coordinator"));
  return {
    get url() {
      return child.url;
    },
    get login_url() {
      return child.url;
    },
    identity: credentials.id,
    managed: true,
    get version() {
      return child.version;
    },
    connect: (name) => {
      const hint = `its log says why: ${join(paths.coordinator_dir, "nats-server.log")}`;
      return openConnection({ ...connectOptions(name, child.url, credentials), lasting: true, hint });
    },
    localCredentials: (role) => identity.localCredentials(role),
    serves: (cluster_id) => identity.noteCluster(cluster_id),
    issue: (role, who) => {
      // It may read and write everything: whoever may read this machine's files may have that, and nobody else.
      if (role === "coordinator" && who !== readCredentials(identity.localCredentials("client")).id) {
        throw new ClawError("refused", "credentials of a coordinator are given on the coordinator's machine only");
      }
      return identity.issue(role);
    },
    close: () => child.stop(),
  };
}

async function openForeign({ config, runtime, paths }: BrokerOptions, url: string): Promise<Broker> {
  const { creds } = config.nats;
  const credentials = creds === undefined ? undefined : readCredentials(creds);
  // Elsewhere the server's supervisor holds it.
  const own = await ownFolder(runtime, paths.coordinator_dir, "coordinator");
  let version = "";
  return {
    url: withoutLogin(url),
    login_url: url,
    identity: credentials?.id,
    managed: false,
    get version() {
      return version;
    },
    connect: async (name) => {
      const hint =
        "does that NATS run there, and does this machine reach it? Its address is what --nats or nats.url says";
      const connection = await openConnection({ ...connectOptions(name, url, credentials), lasting: true, hint });
      version = connection.info?.version ?? "";
      return connection;
    },
    localCredentials: () => creds,
    serves: () => undefined, // its keys are its operator's
    issue: () => undefined,
    close: () => {
      own.release();
      return Promise.resolve();
    },
  };
}

/** A password may hold what it should not, such as a slash: everything up to the last @ goes. */
function withoutLogin(urls: string): string {
  return urls
    .split(",")
    .map((url) => url.replace(/^(\s*(?:[a-z]+:\/\/)?).*@/is, "$1"))
    .join(",");
}

export function connectOptions(name: string, url: string, credentials: Credentials | undefined) {
  return {
    url,
    name,
    timeout_ms: CONNECT_TIMEOUT_MS,
    ...(credentials === undefined
      ? {}
      : { authenticator: credentials.authenticator, inbox_prefix: credentials.inbox_prefix }),
  };
}
