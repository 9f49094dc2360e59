// The life of a task as the code has it, printed: a change of the table is seen.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { TRANSITIONS } from "../../src/core/transitions.ts";

test("the table of legal transitions is the one that is written down", async () => {
  const lines = Object.entries(TRANSITIONS).flatMap(([event, { from, to }]) =>
    from.flatMap((before) => to.map((after) => `${before} -> ${after}  by ${event}`)),
  );
  const written = await Bun.file(join(import.meta.dir, "transitions.txt")).text();
  expect(`${lines.join("\n")}\n`).toBe(written);
});
