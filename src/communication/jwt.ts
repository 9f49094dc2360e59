// NATS's JWTs: an operator signs accounts, an account signs users. The format is NATS's own (version 2), checked by the
// server that reads them.

import { createHash } from "node:crypto";
import { z } from "zod";
import { base32, type NKey } from "./nkey.ts";

/** Subjects that a user may publish to and subscribe to; no list means all of its account. */
export interface Permissions {
  pub: { allow?: string[] };
  sub: { allow?: string[] };
}

const Allowed = z.object({ allow: z.array(z.string()).optional() });
const UserClaims = z.object({
  name: z.string(),
  sub: z.string(),
  iss: z.string(),
  nats: z.object({ type: z.literal("user"), pub: Allowed.default({}), sub: Allowed.default({}) }),
});
export type UserClaims = z.infer<typeof UserClaims>;

const encoder = new TextEncoder();

function base64(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function sign(issuer: NKey, subject: string, name: string, issued_ms: number, nats: object): string {
  const claims = { iat: Math.floor(issued_ms / 1000), iss: issuer.public_key, name, sub: subject, nats };
  const jti = base32(createHash("sha512-256").update(JSON.stringify(claims)).digest());
  const text = `${base64({ typ: "JWT", alg: "ed25519-nkey" })}.${base64({ ...claims, jti })}`;
  return `${text}.${Buffer.from(issuer.sign(encoder.encode(text))).toString("base64url")}`;
}

export function operatorJwt(operator: NKey, system_account: string, issued_ms: number): string {
  const nats = { type: "operator", version: 2, system_account };
  return sign(operator, operator.public_key, "claw", issued_ms, nats);
}

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
const STORAGE = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };

/** The system account has no JetStream: the server refuses to give it any. */
export function accountJwt(operator: NKey, account: string, kind: "system" | "claw", issued_ms: number): string {
  const limits = kind === "claw" ? { ...UNLIMITED, ...STORAGE } : UNLIMITED;
  return sign(operator, account, kind, issued_ms, { type: "account", version: 2, limits });
}

export function userJwt(
  account: NKey,
  user: string,
  name: string,
  permissions: Permissions,
  issued_ms: number,
): string {
  const limits = { subs: -1, data: -1, payload: -1 };
  return sign(account, user, name, issued_ms, { type: "user", version: 2, ...permissions, ...limits });
}

/** What a user's JWT says; undefined for a text that is none. Its signature is the server's to check. */
export function userClaims(jwt: string): UserClaims | undefined {
  try {
    return UserClaims.parse(JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()));
  } catch {
    return undefined;
  }
}
