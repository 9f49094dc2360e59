// NATS's JWTs: an operator signs accounts, an account signs users. Signed with nkeys; the format is NATS's own (version
// 2), checked by the server that reads them.

import type { KeyPair } from "nkeys.js";

const encoder = new TextEncoder();

function base32(bytes: Uint8Array): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  let bits = 0;
  let value = 0;
  let text = "";
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      text += alphabet[(value >>> (bits - 5)) & 31];
      bits -= 5;
    }
  }
  if (bits > 0) text += alphabet[(value << (5 - bits)) & 31];
  return text;
}

function sign(issuer: KeyPair, subject: string, name: string, issued_at: number, nats: object): string {
  const claims = { iat: Math.floor(issued_at / 1000), iss: issuer.getPublicKey(), name, sub: subject, nats };
  const jti = base32(new Bun.CryptoHasher("sha512-256").update(JSON.stringify(claims)).digest());
  const header = Buffer.from(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" })).toString("base64url");
  const body = Buffer.from(JSON.stringify({ ...claims, jti })).toString("base64url");
  const signature = issuer.sign(encoder.encode(`${header}.${body}`));
  return `${header}.${body}.${Buffer.from(signature).toString("base64url")}`;
}

export function operatorJwt(operator: KeyPair, system_account: string, issued_at: number): string {
  const nats = { type: "operator", version: 2, system_account };
  return sign(operator, operator.getPublicKey(), "claw", issued_at, nats);
}

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
const STORAGE = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };

export function accountJwt(
  operator: KeyPair,
  account: string,
  name: string,
  jetstream: boolean,
  issued_at: number,
): string {
  const limits = jetstream ? { ...UNLIMITED, ...STORAGE } : UNLIMITED;
  return sign(operator, account, name, issued_at, { type: "account", version: 2, limits });
}

export interface Permissions {
  pub: { allow?: string[]; deny?: string[] };
  sub: { allow?: string[]; deny?: string[] };
}

export function userJwt(
  account: KeyPair,
  user: string,
  name: string,
  permissions: Permissions,
  issued_at: number,
): string {
  const limits = { subs: -1, data: -1, payload: -1 };
  return sign(account, user, name, issued_at, { type: "user", version: 2, ...permissions, ...limits });
}

/** The file format of NATS's tools: the JWT and the seed between markers. */
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
