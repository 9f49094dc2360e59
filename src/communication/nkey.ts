// Keys as NATS writes them: Ed25519, in base32 with a letter that says what they are for. Signed by the crypto that is
// built in: the package of NATS does it in JavaScript, at 18 ms a signature in a process that has just started, which
// each command of the client would pay.

import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** The first byte of an encoded public key: it makes the first letter O, A or U. */
const KINDS = { operator: 14 << 3, account: 0, user: 20 << 3 } as const;
const SEED = 18 << 3;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** What stands before a raw Ed25519 key in PKCS #8. */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

export type KeyKind = keyof typeof KINDS;

export interface NKey {
  readonly kind: KeyKind;
  readonly public_key: string;
  readonly seed: string;
  sign(bytes: Uint8Array): Uint8Array;
}

export function base32(bytes: Uint8Array): string {
  let bits = 0;
  let value = 0;
  let text = "";
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += ALPHABET[(value >>> (bits - 5)) & 31];
  }
  return bits > 0 ? text + ALPHABET[(value << (5 - bits)) & 31] : text;
}

function fromBase32(text: string): Uint8Array | undefined {
  const bytes: number[] = [];
  let bits = 0;
  let value = 0;
  for (const letter of text) {
    const five = ALPHABET.indexOf(letter);
    if (five < 0) return undefined;
    value = ((value << 5) | five) & 0xffff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >>> bits) & 0xff);
    }
  }
  return Uint8Array.from(bytes);
}

/** CRC-16/XMODEM, as NATS appends it. */
function checksum(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? (crc << 1) & 0xffff : ((crc << 1) ^ 0x1021) & 0xffff;
  }
  return crc;
}

function encode(prefix: readonly number[], raw: Uint8Array): string {
  const bytes = Uint8Array.from([...prefix, ...raw]);
  const crc = checksum(bytes);
  return base32(Uint8Array.from([...bytes, crc & 0xff, crc >>> 8]));
}

function keyOf(kind: KeyKind, key: KeyObject): NKey {
  const { d = "", x = "" } = key.export({ format: "jwk" });
  const prefix = KINDS[kind];
  return {
    kind,
    public_key: encode([prefix], Buffer.from(x, "base64url")),
    seed: encode([SEED | (prefix >>> 5), (prefix & 31) << 3], Buffer.from(d, "base64url")),
    sign: (bytes) => sign(null, bytes, key),
  };
}

export function createKey(kind: KeyKind): NKey {
  return keyOf(kind, generateKeyPairSync("ed25519").privateKey);
}

/** Undefined for a text that is no seed of that kind. */
export function keyOfSeed(kind: KeyKind, seed: string): NKey | undefined {
  const bytes = fromBase32(seed);
  const prefix = KINDS[kind];
  if (bytes?.length !== 36 || bytes[0] !== (SEED | (prefix >>> 5)) || bytes[1] !== (prefix & 31) << 3) return undefined;
  const crc = checksum(bytes.subarray(0, 34));
  if (bytes[34] !== (crc & 0xff) || bytes[35] !== crc >>> 8) return undefined;
  const der = Buffer.concat([PKCS8, bytes.subarray(2, 34)]);
  return keyOf(kind, createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
}

/** `node_` (or another prefix) and eight hex digits of the key's hash. */
export function idOf(prefix: "node" | "client" | "coordinator", public_key: string): string {
  return `${prefix}_${createHash("sha256").update(public_key).digest("hex").slice(0, 8)}`;
}
