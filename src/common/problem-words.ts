// What zod found wrong, in claw's words: the same for a setting, a message on the wire and a request over HTTP.

import type { z } from "zod";
import { nearest } from "./nearest.ts";

/** What is wrong first; of a number that no computer counts to, its own limit is said and not that of computers. */
export function firstOf(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const [issue] = issues;
  if (issue === undefined) throw new Error("an error without an issue");
  const place = issue.path.join(".");
  return issues.find((one) => one.code === issue.code && isOwn(one) && one.path.join(".") === place) ?? issue;
}

function isOwn(issue: z.core.$ZodIssue): boolean {
  return (issue.code === "too_big" || issue.code === "too_small") && issue.origin !== "int";
}

export interface Words {
  message: string;
  hint?: string;
}

/** How each kind of value is called. */
export type Kinds = Readonly<Record<string, string>>;

/** In JSON. */
const KINDS: Kinds = {
  string: "a text",
  int: "a whole number",
  number: "a number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

/** What zod says where the schema has no words of its own. */
const UNSAID = /^(Too small|Too big|Invalid|Unrecognized)\b/;

/** `given` is the value at fault, where it is known. */
export function wordsOf(issue: z.core.$ZodIssue, name: string, kinds = KINDS, given?: unknown): Words {
  if (!UNSAID.test(issue.message)) return { message: `${name}: ${issue.message}` };
  switch (issue.code) {
    case "invalid_type":
      return { message: `${name} must be ${kinds[issue.expected] ?? issue.expected}` };
    case "invalid_value": {
      const values = issue.values.map(String);
      const hint = typeof given === "string" ? meant(nearest(given, values)) : {};
      return { message: `${name} must be ${values.join(", ").replace(/, ([^,]*)$/, " or $1")}`, ...hint };
    }
    case "too_small": {
      const [small] = extent(issue.origin);
      if (small === "short" && issue.minimum === 1) return { message: `${name} must not be empty` };
      return { message: `${name} is too ${small}: at least ${issue.minimum}` };
    }
    case "too_big":
      return { message: `${name} is too ${extent(issue.origin)[1]}: at most ${issue.maximum}` };
    case "unrecognized_keys":
      return { message: `${name} has no field ${issue.keys.join(", ")}` };
    case "invalid_key":
      return { message: `${name} is no name that can be used here` };
    case "invalid_union":
      return { message: `${name} is nothing that can be used here` };
    default:
      return { message: `${name}: ${issue.message}` };
  }
}

function extent(origin: string): [string, string] {
  return origin === "string" || origin === "array" ? ["short", "long"] : ["small", "large"];
}

/** The hint that names what somebody most likely meant; nothing where nothing is near. */
export function meant(name: string | undefined): { hint?: string } {
  return name === undefined ? {} : { hint: `did you mean ${name}?` };
}

/** The value that stands at a path. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown> | null | undefined)?.[part], value);
}
