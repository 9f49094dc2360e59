// The example files: valid as they are, valid with everything uncommented, and telling the truth about each default.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { fieldsOf, SCHEMAS } from "../../src/common/config-schema.ts";
import { problemsOf } from "./check.ts";

const ROOT = join(import.meta.dir, "../..");

/** Settings that have no default: what stands in the example is an example. */
const WITHOUT_DEFAULT = {
  coordinator: ["nats.url", "nats.creds", "nats.domain", "nats.server", "heartbeat.lost_after"],
  worker: [
    "name",
    "nats.url",
    "nats.creds",
    "nats.domain",
    "resources.cpus",
    "resources.memory",
    "resources.gpus",
    "skills.openclaw",
  ],
};

function get(tree: unknown, path: string): unknown {
  return path.split(".").reduce((value, name) => (value as Record<string, unknown> | null)?.[name], tree);
}

for (const role of ["coordinator", "worker"] as const) {
  describe(`${role}.yaml.example`, () => {
    const file = `${role}.yaml.example`;
    const text = readFileSync(join(ROOT, "config", file), "utf8");
    const uncommented = text.replace(/^( *)#(?=[a-z_]+:)/gm, "$1");

    test("is valid as it is, and says nothing but defaults", () => {
      expect(problemsOf(role, text)).toEqual([]);
      const sections = Object.values(parse(text) as Record<string, unknown>);
      expect(sections.every((value) => value === null)).toBe(true);
    });

    test("is valid with every setting uncommented", () => {
      expect(uncommented).not.toBe(text);
      expect(problemsOf(role, uncommented)).toEqual([]);
    });

    test("has every setting, with its real default", () => {
      const documented = parse(uncommented) as unknown;
      for (const { path, initial } of fieldsOf(role)) {
        const value = get(documented, path);
        expect([path, value === undefined]).toEqual([path, false]);
        if (!WITHOUT_DEFAULT[role].includes(path)) expect([path, value]).toEqual([path, initial]);
        else expect([path, initial]).toEqual([path, undefined]);
      }
    });

    test("says something about each setting: a comment stands above it or above its neighbours", () => {
      const lines = text.split("\n");
      lines.forEach((line, at) => {
        if (!/^ *#[a-z_]+:/.test(line)) return;
        let above = at - 1;
        while (/^ *#[a-z_]+:/.test(lines[above] ?? "")) above--;
        expect([line, lines[above]?.trim().startsWith("# ")]).toEqual([line, true]);
      });
    });

    test("every field's default is itself valid", () => {
      expect(SCHEMAS[role].safeParse({}).success).toBe(true);
    });
  });
}
