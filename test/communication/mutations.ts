// What is wrong with a message, made from its schema and its golden examples: whoever adds a message adds these cases with
// it. Every one of them has to be refused, whatever the schema thinks: the schema only says what is where.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { LIMITS } from "../../src/common/limits.ts";

export interface Mutation {
  what: string;
  /** What is sent: text, because JSON has more numbers than JavaScript. */
  body: string | Uint8Array;
  code: "bad_request" | "too_large";
  /** Where it is wrong. */
  field: string;
}

type Path = readonly (string | number)[];

interface JsonSchema {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  pattern?: string;
  maxLength?: number;
  minLength?: number;
  maximum?: number;
  maxItems?: number;
  minItems?: number;
  required?: string[];
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
  prefixItems?: JsonSchema[];
  oneOf?: JsonSchema[];
  anyOf?: JsonSchema[];
}

/** Stands in the JSON for a number that JavaScript cannot say. */
const RAW = "@@raw@@";
const RAW_NUMBERS = ["-1", "0.5", "1e308", "-1e308", "9007199254740993", "1e400"];
const OTHER_TYPES: readonly unknown[] = ["text", 7, true, null, [], {}];

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** Latin letters and digits in their full width: NFKC makes the plain ones of them. */
function widened(text: string): string {
  return text.replace(/[!-~]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) + 0xfee0));
}

export function examplesOf(folder: string, name: string): unknown[] {
  const path = join(import.meta.dir, "../golden", folder, `${name}.jsonl`);
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as unknown);
}

/** Every place of a value, with what its schemas say of it. */
function* places(value: unknown, schemas: readonly JsonSchema[], path: Path = []): Iterable<Place> {
  const forms = schemas.flatMap((one) => one.oneOf ?? one.anyOf ?? [one]);
  const fitting = forms.filter((one) => fits(value, one));
  yield { path, value, schemas: fitting, types: new Set(forms.flatMap(({ type }) => typeName(type) ?? [])) };
  if (Array.isArray(value)) {
    for (const [at, part] of value.entries()) {
      const below = fitting.flatMap((one) => one.prefixItems?.[at] ?? one.items ?? []);
      yield* places(part, below, [...path, at]);
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [name, part] of Object.entries(value)) {
      const below = fitting.flatMap(({ properties, additionalProperties: more }) => {
        return properties?.[name] ?? (typeof more === "object" ? more : []);
      });
      yield* places(part, below, [...path, name]);
    }
  }
}

interface Place {
  path: Path;
  value: unknown;
  schemas: readonly JsonSchema[];
  /** What may stand there. */
  types: ReadonlySet<string>;
}

const typeName = (type: string | undefined): string | undefined => (type === "integer" ? "number" : type);

function fits(value: unknown, { type, properties, required = [] }: JsonSchema): boolean {
  const wanted = typeName(type);
  if (wanted !== undefined && wanted !== typeOf(value)) return false;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return true;
  const tagged = Object.entries(properties ?? {}).every(
    ([name, one]) => one.const === undefined || one.const === Reflect.get(value, name),
  );
  return tagged && required.every((name) => Object.hasOwn(value, name));
}

function put(root: unknown, path: Path, value: unknown): unknown {
  if (path.length === 0) return value;
  const copy = structuredClone(root);
  let at = copy as Record<string | number, unknown>;
  for (const step of path.slice(0, -1)) at = at[step] as typeof at;
  const last = path.at(-1)!;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
}

/** Everything that may be wrong at one place of an example. */
function* wrongAt(example: unknown, { path, value, schemas, types }: Place): Iterable<Mutation> {
  const name = path.join(".");
  const make = (what: string, changed: unknown, field = name): Mutation => {
    const body = JSON.stringify(put(example, path, changed));
    return { what: `${name === "" ? "the message" : name} ${what}`, body, code: "bad_request", field };
  };
  for (const other of OTHER_TYPES) {
    if (!types.has(typeOf(other))) yield make(`is ${JSON.stringify(other)}`, other);
  }
  if (typeof value === "number") {
    for (const raw of RAW_NUMBERS) {
      const mutation = make(`is ${raw}`, RAW);
      yield { ...mutation, body: String(mutation.body).replace(`"${RAW}"`, raw) };
    }
  }
  if (typeOf(value) === "object") yield make("has a strange field", { ...(value as object), strange: { strange: [] } });
  const [schema] = schemas;
  if (schema === undefined || schemas.length > 1) return;
  yield* beyondBounds(value, schema, make);
  for (const needed of schema.required ?? []) {
    const field = [...path, needed].join(".");
    yield { ...make(`lacks ${needed}`, { ...(value as object), [needed]: undefined }, field) };
  }
}

function* beyondBounds(
  value: unknown,
  { const: only, enum: some, pattern, maxLength, minLength, maximum, maxItems, minItems }: JsonSchema,
  make: (what: string, changed: unknown) => Mutation,
): Iterable<Mutation> {
  if (typeof value === "string" && (only !== undefined || some !== undefined || pattern !== undefined)) {
    yield make("is written in full width", widened(value));
    yield make("has a mark that joins it", `${value}\u0301`);
    yield make("has a letter that is not seen", `${value}\u200b`);
    yield make("ends in NUL", `${value}\u0000`);
    yield make("is half a pair", "\ud800");
  }
  if (typeof value === "string" && maxLength !== undefined && maxLength < LIMITS.message_bytes / 2) {
    yield make("is too long", "x".repeat(maxLength + 1));
  }
  if (typeof value === "string" && minLength !== undefined) yield make("is empty", "");
  if (typeof value === "number" && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER) {
    yield make("is too high", maximum + 1);
  }
  if (!Array.isArray(value)) return;
  if (maxItems !== undefined && value.length > 0) {
    yield make(
      "has too many",
      Array.from({ length: maxItems + 1 }, () => value[0] as unknown),
    );
  }
  if (minItems !== undefined && minItems > 0) yield make("has too few", value.slice(0, minItems - 1));
}

/** What is no message at all. */
function unreadable(example: unknown): Mutation[] {
  const text = JSON.stringify(example);
  const bad = (what: string, body: Mutation["body"]): Mutation => ({ what, body, code: "bad_request", field: "" });
  const bodies = [
    bad("nothing", ""),
    bad("half of it", text.slice(0, text.length / 2)),
    bad("twice in one", text + text),
    bad("NaN", text.replace(/:(\d+|"[^"]*")/, ":NaN")),
    bad("no UTF-8", new Uint8Array([0x22, 0xff, 0xfe, 0x22])),
    bad("a byte order mark before it", new Uint8Array([0xef, 0xbb, 0xbf, 0xef, 0xbb, 0xbf, ...Buffer.from(text)])),
    bad("deeper than anybody reads", "[".repeat(100_000)),
    {
      what: "too large",
      body: text + " ".repeat(LIMITS.message_bytes + 1 - text.length),
      code: "too_large",
      field: "",
    },
  ] as const;
  return bodies.filter(({ body }) => body !== text);
}

/** Wrong versions of what has one. */
function versions(example: unknown): Mutation[] {
  if (!Object.hasOwn(example as object, "v")) return [];
  return [0, 2, "1", undefined].map((v) => {
    const body = JSON.stringify({ ...(example as object), v });
    return { what: `version ${v}`, body, code: "bad_request", field: "v" };
  });
}

export function mutationsOf(schema: z.ZodType, examples: readonly unknown[]): Mutation[] {
  const json = z.toJSONSchema(schema) as JsonSchema;
  const found = new Map<string, Mutation>();
  for (const example of examples) {
    for (const place of places(example, [json])) {
      for (const mutation of wrongAt(example, place)) found.set(`${mutation.what} ${mutation.field}`, mutation);
    }
  }
  const [first] = examples;
  return [...unreadable(first), ...versions(first), ...found.values()];
}
