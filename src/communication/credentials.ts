// Credentials in files: NATS's own format, readable by their owner only. Who they belong to is in the JWT's name.

import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Authenticator, credsAuthenticator } from "nats";
import { createUser, fromSeed } from "nkeys.js";
import { ClawError, messageOf } from "../common/errors.ts";
import { inboxPrefix, type Role } from "./permissions.ts";

export interface Credentials {
  /** node_…, client_… or coordinator_… */
  id: string;
  role: Role | "foreign";
  inbox_prefix: string;
  authenticator: Authenticator;
}

const JWT = /-----BEGIN NATS USER JWT-----\s*([\w.-]+)\s*------END/;

/** `node_` (or another prefix) and eight hex digits of the key's hash. */
export function idOf(prefix: "node" | "client" | "coordinator", public_key: string): string {
  return `${prefix}_${new Bun.CryptoHasher("sha256").update(public_key).digest("hex").slice(0, 8)}`;
}

/** Writes a file that only its owner can read, whole or not at all. */
export function writePrivate(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, text, { mode: 0o600, flush: true });
  chmodSync(draft, 0o600);
  renameSync(draft, path);
}

/** Throws not_found, refused (others can read it) or bad_config, naming the file. */
export function readCredentials(file: string): Credentials {
  const text = readPrivate(file);
  const jwt = JWT.exec(text)?.[1];
  const claims = jwt === undefined ? undefined : decodeClaims(jwt);
  if (claims === undefined) {
    throw new ClawError("bad_config", `${file} holds no NATS credentials`, {
      hint: "make one with `claw credentials export --role worker > w.creds` where the coordinator runs",
      field: "nats.creds",
    });
  }
  const prefix = claims.name.split("_")[0];
  const role = prefix === "node" ? "worker" : prefix === "client" || prefix === "coordinator" ? prefix : "foreign";
  const id = role === "foreign" ? idOf("client", claims.sub) : claims.name;
  return { id, role, inbox_prefix: inboxPrefix(id), authenticator: credsAuthenticator(new TextEncoder().encode(text)) };
}

function readPrivate(file: string): string {
  try {
    if ((statSync(file).mode & 0o077) !== 0) {
      throw new ClawError("refused", `others can read ${file}`, { hint: `chmod 600 ${file}`, field: "nats.creds" });
    }
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof ClawError) throw error;
    throw new ClawError("not_found", `cannot read the credentials ${file}: ${messageOf(error)}`, {
      field: "nats.creds",
      hint: "name the file with --creds",
      cause: error,
    });
  }
}

function decodeClaims(jwt: string): { name: string; sub: string } | undefined {
  try {
    const claims = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as unknown;
    const { name, sub } = claims as { name?: unknown; sub?: unknown };
    return typeof name === "string" && typeof sub === "string" ? { name, sub } : undefined;
  } catch {
    return undefined;
  }
}

/** This machine's node id where a foreign NATS says nothing of nodes: from a key that is made once. */
export function localNodeId(folder: string): string {
  const path = join(folder, "node.seed");
  if (!existsSync(path)) writePrivate(path, new TextDecoder().decode(createUser().getSeed()));
  return idOf("node", fromSeed(new TextEncoder().encode(readFileSync(path, "utf8").trim())).getPublicKey());
}
