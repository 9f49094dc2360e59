// What must never be shown: not in a log line, not by `claw config show`, not in an error.

const SECRET_NAME = /^(?:.*[_-])?(?:seed|jwt|creds|token|password|passwd|secret|authorization|cookie|nonce|pin)$/i;
const SECRET_TEXT: readonly (readonly [RegExp, string])[] = [
  // user:password@ or token@ in an address; the last @ before the path ends it, because a password may hold one.
  [/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/"',]+@/gi, "$1(secret)@"],
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}/g, "$1 (secret)"],
  // A seed of an nkey: S, the kind, base32.
  [/\bS[ACNOUX][A-Z2-7]{56}\b/g, "(secret)"],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g, "(secret)"],
];

/** Whether the value of a field of this name is a secret. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** The text with whatever looks like a secret replaced. */
export function redactText(text: string): string {
  let clean = text;
  for (const [pattern, replacement] of SECRET_TEXT) clean = clean.replace(pattern, replacement);
  return clean;
}
