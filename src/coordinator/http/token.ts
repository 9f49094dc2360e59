// The bearer token of the HTTP endpoint: who can read its file may ask.

import { existsSync } from "node:fs";
import { ClawError } from "../../common/errors.ts";
import type { Runtime } from "../../common/runtime.ts";
import { createPrivate, readPrivate } from "../../communication/private.ts";

const TOKEN_BYTES = 32;
const TOKEN = /^[\w-]{43}$/;

/** The token of this coordinator, made at the first start, readable by the same user only. */
export function httpToken(path: string, runtime: Runtime): string {
  if (!existsSync(path))
    createPrivate(path, `${Buffer.from(runtime.random_bytes(TOKEN_BYTES)).toString("base64url")}\n`);
  const token = readPrivate(path).trim();
  // An empty one would be everybody's.
  if (TOKEN.test(token)) return token;
  throw new ClawError("bad_config", `${path} holds no token`, {
    hint: "remove it: the next start makes another",
    field: path,
  });
}
