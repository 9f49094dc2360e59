// What must never be shown: not in a log line, not by `claw config show`, not in an error.

const SECRET_NAME = /(?:seed|jwt|creds|token|password|passwd|secret|authorization|cookie|nonce)$/i;
const SECRET_TEXT: readonly (readonly [RegExp, string])[] = [
  // token@ or user:password@ of an address. A password may hold what it should not, such as a slash.
  [/\b([a-z][a-z0-9+.-]*:\/\/)(?:[^\s/]+|[^\s/@:]*:[^\s@]*)@/gi, "$1(secret)@"],
  [/(^|[\s,'"=(])[^\s/:@,'"=(]+:[^\s/@]+@(?=\w)/g, "$1(secret)@"],
  [/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}/gi, "$1 (secret)"],
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

/** Addresses with commas between, each without its user, password or token; here a scheme may be missing. */
export function redactAddresses(text: string): string {
  return text
    .split(",")
    .map((address) => address.replace(/^(\s*(?:[a-z][a-z0-9+.-]*:\/\/)?).*@/is, "$1(secret)@"))
    .join(",");
}
