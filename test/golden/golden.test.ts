// What crosses the wire and what the log keeps, as bytes in files: a change of the format breaks one of them, and whoever
// makes it decides in the open whether older parts and older logs still understand it. A line an example, as it is sent.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { Manifest } from "../../src/common/snapshot.ts";
import { COMMANDS, DownMessage, UpMessage } from "../../src/communication/messages.ts";
import { QUERIES } from "../../src/communication/queries.ts";
import { Batch, Event } from "../../src/core/event.ts";

type Schemas = Record<string, z.ZodType>;

/** The members of a union of messages, by the value of the field that tells them apart. */
function byTag(options: readonly z.ZodType[], tag: string): Schemas {
  return Object.fromEntries(
    options.map((schema) => [
      String((schema as unknown as { shape: Record<string, z.ZodLiteral> }).shape[tag]!.value),
      schema,
    ]),
  );
}

const FOLDERS: Record<string, Schemas> = {
  up: byTag(UpMessage.options, "type"),
  down: byTag(DownMessage.options, "type"),
  command: COMMANDS,
  query: QUERIES,
  log: { batch: Batch },
  snapshot: { manifest: Manifest },
};

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
  oneOf?: JsonSchema[];
  anyOf?: JsonSchema[];
}

/** Every field that a format has, as a path; `[]` stands for the members of a list. */
function fieldsOf(schema: JsonSchema, path = ""): string[] {
  const below = Object.entries(schema.properties ?? {}).flatMap(([name, part]) => {
    return [`${path}.${name}`, ...fieldsOf(part, `${path}.${name}`)];
  });
  const items = schema.items === undefined ? [] : fieldsOf(schema.items, `${path}[]`);
  const unions = [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])].flatMap((one) => fieldsOf(one, path));
  return [...below, ...items, ...unions];
}

function fieldsIn(value: unknown, path = ""): string[] {
  if (Array.isArray(value)) return value.flatMap((one) => fieldsIn(one, `${path}[]`));
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, part]) => [`${path}.${name}`, ...fieldsIn(part, `${path}.${name}`)]);
}

for (const [folder, schemas] of Object.entries(FOLDERS)) {
  describe(folder, () => {
    test("each message has its file, and each file its message", () => {
      const files = readdirSync(join(import.meta.dir, folder)).sort();
      expect(files).toEqual(
        Object.keys(schemas)
          .map((name) => `${name}.jsonl`)
          .sort(),
      );
    });

    for (const [name, schema] of Object.entries(schemas)) {
      const lines = readFileSync(join(import.meta.dir, folder, `${name}.jsonl`), "utf8")
        .trimEnd()
        .split("\n");

      test(`${name}: is read, and written again byte by byte`, () => {
        for (const line of lines) expect(JSON.stringify(schema.parse(JSON.parse(line)))).toBe(line);
      });

      test(`${name}: the examples have every field that there is`, () => {
        const shown = new Set(lines.flatMap((line) => fieldsIn(JSON.parse(line))));
        const known = fieldsOf(z.toJSONSchema(schema) as JsonSchema);
        expect(known.length).toBeGreaterThan(0);
        expect(known.filter((field) => !shown.has(field))).toEqual([]);
      });

      test(`${name}: a field that nobody knows is refused`, () => {
        const strange = { ...(JSON.parse(lines[0]!) as object), strange: 1 };
        expect(schema.safeParse(strange).success).toBe(false);
      });
    }
  });
}

test("the log's example has every kind of event", () => {
  const { events } = Batch.parse(JSON.parse(readFileSync(join(import.meta.dir, "log/batch.jsonl"), "utf8")));
  expect([...new Set<string>(events.map(({ t }) => t))].sort()).toEqual(Object.keys(byTag(Event.options, "t")).sort());
});

describe("runs", () => {
  const outcome = { status: "completed", reason: "exit", exit_code: 0, started_at: 1, ended_at: 2 };
  const incarnation = "0".repeat(16);
  const complete = (runs: number[][], tasks: number[][] = []): boolean => {
    const results = tasks.map((task) => ({ task, outcome }));
    return UpMessage.safeParse({ type: "task.complete", incarnation, seq: 1, runs, results }).success;
  };

  test("may be in any order, and touch", () => {
    expect(
      complete(
        [
          [1, 5, 9, 1, 1, 2],
          [1, 0, 5, 1, 1, 2],
          [2, 0, 9, 1, 1, 2],
          [1, 0, 9, 2, 1, 2],
        ],
        [[1, 9, 1]],
      ),
    ).toBe(true);
  });

  test("may be of any attempt: what is begun again for ever gets there", () => {
    for (const attempt of [1_000_001, Number.MAX_SAFE_INTEGER]) {
      expect(complete([[1, 0, 1, attempt, 1, 2]], [[1, 1, attempt]])).toBe(true);
      const cancel = { type: "task.cancel", incarnation, runs: [[1, 0, 1, attempt]], reason: "cancelled" };
      expect(DownMessage.safeParse(cancel).success).toBe(true);
    }
  });

  test("that are empty, go backwards or name an attempt twice are refused", () => {
    expect(complete([[1, 5, 5, 1, 1, 2]])).toBe(false);
    expect(complete([[1, 5, 3, 1, 1, 2]])).toBe(false);
    expect(
      complete([
        [1, 0, 5, 1, 1, 2],
        [1, 4, 6, 1, 1, 2],
      ]),
    ).toBe(false);
    expect(
      complete([
        [1, 4, 6, 1, 1, 2],
        [1, 0, 5, 1, 1, 2],
      ]),
    ).toBe(false);
    expect(complete([[1, 0, 5, 1, 1, 2]], [[1, 4, 1]])).toBe(false);
    expect(
      complete(
        [],
        [
          [1, 4, 1],
          [1, 4, 1],
        ],
      ),
    ).toBe(false);
    const cancel = (to: number) => COMMANDS["task.cancel"].safeParse({ v: 1, targets: [{ number: 1, from: 3, to }] });
    expect(cancel(3).success).toBe(false);
    expect(cancel(4).success).toBe(true);
  });
});
