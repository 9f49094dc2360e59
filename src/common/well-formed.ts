// Half of a surrogate pair is no text: JSON can say it, UTF-8 cannot, and whoever writes it down puts another character in
// its place. What was sent would silently become something else.

import { ClawError } from "./errors.ts";

/** Only escaped can one stand in what was UTF-8. */
const ESCAPED = /\\ud[89a-f]/i;

/** Of what `read` makes of `json`: throws `bad_request` naming the field whose text is none. */
export function requireWellFormed(json: string, read: () => unknown): void {
  if (!ESCAPED.test(json)) return;
  const path = illFormed(read());
  if (path === undefined) return;
  const field = path.join(".");
  throw new ClawError(
    "bad_request",
    `${field === "" ? "the text" : field} has half of a surrogate pair, which is no text`,
    {
      field: field === "" ? "body" : field,
      hint: "claw never changes a text silently: send whole characters; what is no text can be sent encoded, in base64",
    },
  );
}

/** Where the first one is; a name that is none is said to be in what has it. */
function illFormed(value: unknown): string[] | undefined {
  if (typeof value === "string") return value.isWellFormed() ? undefined : [];
  if (typeof value !== "object" || value === null) return undefined;
  for (const [name, inner] of Object.entries(value)) {
    if (!name.isWellFormed()) return [];
    const path = illFormed(inner);
    if (path !== undefined) return [name, ...path];
  }
  return undefined;
}
