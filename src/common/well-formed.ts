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

interface Place {
  value: unknown;
  name: string;
  within: Place | undefined;
}

/** Where one is; a name that is none is said to be in what has it. As deep as the text is: there is no call a level. */
function illFormed(whole: unknown): string[] | undefined {
  const left: Place[] = [{ value: whole, name: "", within: undefined }];
  for (let place = left.pop(); place !== undefined; place = left.pop()) {
    const { value } = place;
    if (typeof value === "string" && !value.isWellFormed()) return pathTo(place);
    if (typeof value !== "object" || value === null) continue;
    for (const [name, inner] of Object.entries(value)) {
      if (!name.isWellFormed()) return pathTo(place);
      left.push({ value: inner, name, within: place });
    }
  }
  return undefined;
}

const NAMES_TOLD = 8;

/** Its outermost names. */
function pathTo(place: Place): string[] {
  const names: string[] = [];
  for (let at = place; at.within !== undefined; at = at.within) names.push(at.name);
  return names.reverse().slice(0, NAMES_TOLD);
}
