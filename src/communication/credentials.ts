// Credentials in files, in NATS's own format, so that its tools take them too: a JWT that says who it is and what it may
// do, and the seed of its key.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Authenticator } from "nats";
import { ClawError } from "../common/errors.ts";
import { type UserClaims, userClaims } from "./jwt.ts";
import { createKey, idOf, keyOfSeed, type NKey } from "./nkey.ts";
import { inboxPrefix, type Role } from "./permissions.ts";
import { createPrivate, readPrivate } from "./private.ts";

export interface Credentials {
  /** node_…, client_… or coordinator_…, from the key. */
  id: string;
  /** `foreign`: issued by somebody else than claw. */
  role: Role | "foreign";
  /** The one that they are for; a coordinator's do not say, nor do foreign ones. */
  cluster: string | undefined;
  /** Answers come here, and no other identity may listen. */
  inbox_prefix: string;
  public_key: string;
  authenticator: Authenticator;
}

const JWT = /-----BEGIN NATS USER JWT-----\s*([\w.-]+)\s*------END/;
const SEED = /-----BEGIN USER NKEY SEED-----\s*(SU[A-Z2-7]+)\s*------END/;

export const PREFIXES = { worker: "node", client: "client", coordinator: "coordinator" } as const;

/** The file format of NATS's tools. */
export function credsText(jwt: string, seed: string): string {
  return `-----BEGIN NATS USER JWT-----
${jwt}
------END NATS USER JWT------

************************* IMPORTANT *************************
This file lets whoever has it act as one node or client of
your cluster. Keep it to yourself.

-----BEGIN USER NKEY SEED-----
${seed}
------END USER NKEY SEED------

*************************************************************
`;
}

/** The parts of such a text; undefined when it is none, or when key and JWT are not of one another. */
export function parseCreds(text: string): { jwt: string; claims: UserClaims; key: NKey } | undefined {
  const jwt = JWT.exec(text)?.[1] ?? "";
  const claims = userClaims(jwt);
  const key = keyOfSeed("user", SEED.exec(text)?.[1] ?? "");
  return claims === undefined || key?.public_key !== claims.sub ? undefined : { jwt, claims, key };
}

function roleOf({ name, sub }: UserClaims): Role | "foreign" {
  const roles = Object.keys(PREFIXES) as Role[];
  return roles.find((role) => name === idOf(PREFIXES[role], sub)) ?? "foreign";
}

/** By what they may say. */
function clusterOf({ name, nats }: UserClaims): string | undefined {
  for (const subject of nats.pub.allow ?? []) {
    const [claw, cluster, , id] = subject.split(".");
    if (claw === "claw" && id === name) return cluster;
  }
  return undefined;
}

export function authenticatorOf(jwt: string, key: NKey): Authenticator {
  const encoder = new TextEncoder();
  return (nonce) => ({
    jwt,
    nkey: key.public_key,
    sig: Buffer.from(key.sign(encoder.encode(nonce ?? ""))).toString("base64url"),
  });
}

/** Throws not_found, io, refused (others can read it) or bad_config, naming the file. */
export function readCredentials(file: string): Credentials {
  const parsed = parseCreds(readPrivate(file));
  if (parsed === undefined) {
    throw new ClawError("bad_config", `${file} holds no NATS credentials`, {
      hint: "make them where the coordinator runs: claw credentials export --role worker --out w.creds",
      field: file,
    });
  }
  const { jwt, claims, key } = parsed;
  const role = roleOf(claims);
  const id = role === "foreign" ? idOf("client", key.public_key) : claims.name;
  return {
    id,
    role,
    cluster: clusterOf(claims),
    inbox_prefix: inboxPrefix(id),
    public_key: key.public_key,
    authenticator: authenticatorOf(jwt, key),
  };
}

/** As `readCredentials`; throws `wrong_cluster` for those of another one. */
export function readCredentialsFor(file: string, wanted: string): Credentials {
  const credentials = readCredentials(file);
  const { cluster } = credentials;
  if (cluster === undefined || cluster === wanted) return credentials;
  throw new ClawError("wrong_cluster", `these credentials are for the cluster ${cluster}, not ${wanted}`, {
    hint: `say --cluster ${cluster}, or take those of the cluster ${wanted} (${file} was read)`,
    field: "--cluster",
  });
}

/** This machine's node id where a foreign NATS says nothing of nodes: from a key that is made once and kept. */
export function localNodeId(folder: string): string {
  const path = join(folder, "node.seed");
  if (!existsSync(path)) createPrivate(path, `${createKey("user").seed}\n`);
  const key = keyOfSeed("user", readPrivate(path).trim());
  if (key === undefined) {
    throw new ClawError("bad_config", `${path} holds no key`, {
      hint: "remove it: this machine then joins as a new node",
      field: path,
    });
  }
  return idOf("node", key.public_key);
}
