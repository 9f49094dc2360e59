// Finding the cluster: the flags or the environment name a NATS and credentials, or the coordinator on this machine left
// word of where it is.

import { ClawError } from "../common/errors.ts";
import { type Environment, resolvePaths } from "../common/paths.ts";
import { randomHex } from "../common/runtime.ts";
import { connectOptions } from "../communication/broker.ts";
import { openConnection } from "../communication/connection.ts";
import { readCredentials } from "../communication/credentials.ts";
import { readEndpoint } from "../communication/endpoint.ts";
import { RequestClient } from "../communication/request.ts";
import type { Io } from "./io.ts";

export interface Target {
  nats?: string | undefined;
  creds?: string | undefined;
  cluster?: string | undefined;
  profile?: string | undefined;
}

export async function connectClient(io: Io, target: Target): Promise<RequestClient> {
  const { url, creds, cluster } = find(io.env, target);
  const credentials = creds === undefined || creds === "" ? undefined : readCredentials(creds);
  const who = credentials?.id ?? `client_${randomHex(io.runtime, 4)}`;
  const connection = await openConnection(connectOptions(`claw ${who}`, url, credentials)).catch((error: unknown) => {
    if (!(error instanceof ClawError) || error.code !== "broker") throw error;
    throw new ClawError("no_coordinator", error.message, { cause: error });
  });
  return new RequestClient(connection, {
    runtime: io.runtime,
    cluster,
    who,
    patience_ms: Number.POSITIVE_INFINITY,
    onWaiting: (why) => io.err(`claw: ${why}; waiting for the coordinator\n`),
  });
}

function find(env: Environment, target: Target): { url: string; creds: string | undefined; cluster: string } {
  const url = target.nats ?? env["CLAW_NATS_URL"];
  const creds = target.creds ?? env["CLAW_NATS_CREDS"];
  const cluster = target.cluster ?? env["CLAW_CLUSTER"];
  if (url !== undefined) return { url, creds, cluster: cluster ?? "default" };
  const paths = resolvePaths(env, target.profile === undefined ? {} : { profile: target.profile });
  const endpoint = readEndpoint(paths.data_dir);
  if (endpoint === undefined) throw new ClawError("no_coordinator", "no coordinator runs on this machine");
  return { url: endpoint.nats_url, creds: creds ?? endpoint.creds, cluster: cluster ?? endpoint.cluster };
}
