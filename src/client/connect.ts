// Finding the cluster: the flags or the environment name a NATS and credentials, or the coordinator on this machine left
// word of where it is.

import { existsSync } from "node:fs";
import { ClusterName } from "../common/cluster-name.ts";
import { ClawError } from "../common/errors.ts";
import { parseNatsUrls } from "../common/nats-url.ts";
import { type Environment, resolvePaths } from "../common/paths.ts";
import { redactAddresses } from "../common/redact.ts";
import { randomHex, sleep } from "../common/runtime.ts";
import { connectOptions } from "../communication/broker.ts";
import { openConnection } from "../communication/connection.ts";
import { type Credentials, readCredentialsFor } from "../communication/credentials.ts";
import { readEndpoint } from "../communication/endpoint.ts";
import { RequestClient } from "../communication/request.ts";
import type { Io } from "./io.ts";
import { remedy, remedyBesideIt } from "./start-again.ts";

/** A person waits for the error. As long a coordinator of this machine has to bring its nats-server up again. */
const CONNECT_MS = 3_000;
const LEAST_CONNECT_MS = 500;
const AGAIN_MS = 100;

/**
 * How long a coordinator that answered before is waited for. Longer than a restart or a hand-over takes; without an end
 * only for who waits for work that goes on meanwhile.
 */
const PATIENCE_MS = 30_000;

const BESIDE_A_WORKER =
  "on the coordinator's machine: claw credentials export --role client --out c.creds; here: claw --nats nats://HOST:7422 --creds c.creds status (or set CLAW_NATS_URL and CLAW_NATS_CREDS)";

export interface Target {
  nats?: string | undefined;
  creds?: string | undefined;
  cluster?: string | undefined;
  profile?: string | undefined;
  /** Stays until the work that it follows is over, however long the coordinator is away. */
  follows?: boolean;
}

/** Where a cluster is to be found, and what to do when its NATS is not there. */
interface Found {
  url: string;
  creds: string | undefined;
  cluster: string;
  hint: string;
  /** By its word on this machine, so that its coordinator lives: it starts its nats-server again, or waits for its NATS. */
  here: boolean;
}

/** Throws `no_coordinator` when none is there, or its NATS is not; where the coordinator lives that is waited for a moment. */
export async function connectClient(io: Io, target: Target): Promise<RequestClient> {
  const { runtime } = io;
  const until_ms = runtime.monotonic_ms() + CONNECT_MS;
  let left_ms = CONNECT_MS;
  for (let failed: ClawError | undefined; ; ) {
    // Anew each time: it may have ended meanwhile, or another one is in its place.
    const found = find(io.env, target);
    if (failed !== undefined && (!found.here || left_ms <= 0)) {
      throw new ClawError("no_coordinator", failed.message, { hint: found.hint, cause: failed });
    }
    try {
      return await connectTo(io, found, target, Math.max(left_ms, LEAST_CONNECT_MS));
    } catch (error) {
      if (!(error instanceof ClawError) || error.code !== "broker") throw error;
      failed = error;
    }
    left_ms = until_ms - runtime.monotonic_ms();
    if (found.here && left_ms > 0) await sleep(runtime, AGAIN_MS);
  }
}

async function connectTo(
  io: Io,
  { url, creds, cluster }: Found,
  target: Target,
  timeout_ms: number,
): Promise<RequestClient> {
  const credentials = creds === undefined || creds === "" ? undefined : clientCredentials(creds, cluster);
  const who = credentials?.id ?? `client_${randomHex(io.runtime, 4)}`;
  const connection = await openConnection({ ...connectOptions(`claw ${who}`, url, credentials), timeout_ms });
  return new RequestClient(connection, {
    runtime: io.runtime,
    cluster,
    who,
    nats_url: redactAddresses(url),
    patience_ms: target.follows === true ? Number.POSITIVE_INFINITY : PATIENCE_MS,
    onWaiting: (why) => io.err(`claw: ${why}; waiting for the coordinator\n`),
  });
}

/** A worker's would connect and then never be answered: they may not ask anything. */
function clientCredentials(file: string, cluster: string): Credentials {
  const credentials = readCredentialsFor(file, cluster);
  if (credentials.role !== "worker") return credentials;
  throw new ClawError("refused", `${file} holds credentials of a ${credentials.role}, and this is a client`, {
    hint: "on the coordinator's machine: claw credentials export --role client --out c.creds",
    field: "--creds",
  });
}

/** An address or a name that cannot be one is refused before anybody is asked, by where it stands. */
function checkTarget(url: string | undefined, cluster: string | undefined, target: Target): void {
  if (url !== undefined && parseNatsUrls(url) === undefined) {
    const [code, field] =
      target.nats === undefined ? ["bad_config" as const, "CLAW_NATS_URL"] : ["usage" as const, "--nats"];
    const hint = "it looks like nats://HOST:4222";
    throw new ClawError(code, `${field}: '${redactAddresses(url)}' is no NATS URL`, { hint, field });
  }
  if (cluster === undefined || ClusterName.safeParse(cluster).success) return;
  const [code, field] =
    target.cluster === undefined ? ["bad_config" as const, "CLAW_CLUSTER"] : ["usage" as const, "--cluster"];
  const hint = "lower-case letters, digits and hyphens, at most 16";
  throw new ClawError(code, `${field}: '${cluster}' is no cluster's name`, { hint, field });
}

/** An empty variable counts as not set. */
const variable = (env: Environment, name: string): string | undefined => (env[name] === "" ? undefined : env[name]);

function find(env: Environment, target: Target): Found {
  const { profile } = target;
  if (profile !== undefined && target.nats !== undefined) {
    const hint = "a profile is a cluster of this machine, whose NATS is known";
    throw new ClawError("usage", "--profile or --nats, not both", { hint, field: "--profile" });
  }
  // What the environment says is of another cluster than the one that was named.
  const variables = profile === undefined ? env : {};
  const url = target.nats ?? variable(variables, "CLAW_NATS_URL");
  const creds = target.creds ?? variable(variables, "CLAW_NATS_CREDS");
  const cluster = target.cluster ?? variable(variables, "CLAW_CLUSTER");
  checkTarget(url, cluster, target);
  if (url !== undefined) {
    const hint = "is the address right, and does the cluster's NATS run there?";
    return { url, creds, cluster: cluster ?? "default", hint, here: false };
  }
  const paths = resolvePaths(env, profile === undefined ? {} : { profile });
  const where = { env, data_dir: paths.data_dir, profile };
  const endpoint = readEndpoint(paths.data_dir);
  if (endpoint === undefined) {
    const which = profile === undefined ? "" : ` for the profile ${profile}`;
    if (existsSync(paths.worker_dir) && !existsSync(paths.coordinator_dir)) {
      throw new ClawError("no_coordinator", `no coordinator runs on this machine${which}, only a worker lives here`, {
        hint: BESIDE_A_WORKER,
      });
    }
    throw new ClawError("no_coordinator", `no coordinator runs on this machine${which}`, { hint: remedy(where) });
  }
  const { pid, nats_url } = endpoint;
  return {
    url: nats_url,
    creds: creds ?? endpoint.creds,
    cluster: cluster ?? endpoint.cluster,
    hint: remedyBesideIt(where, pid),
    here: true,
  };
}
