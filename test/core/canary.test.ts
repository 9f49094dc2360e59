// The planted bugs are for the simulator alone: what scripts/build makes cannot be talked into any of them.

import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Canary, planted } from "../../src/core/canary.ts";

const ROOT = join(import.meta.dir, "../..");
const NAME: Canary = "attempt_ignored";
const globals = globalThis as { CLAW_CANARY?: string | undefined };

afterEach(() => {
  globals.CLAW_CANARY = undefined;
});

test("from source, one is planted when it is named, and only that one", () => {
  expect(planted(NAME)).toBe(false);
  globals.CLAW_CANARY = NAME;
  expect(planted(NAME)).toBe(true);
  expect(planted("promise_before_log")).toBe(false);
});

test("built with the definition of scripts/build, none is", async () => {
  const [, name, value] = /--define (CLAW_CANARY)=(\S+)/.exec(readFileSync(join(ROOT, "scripts/build"), "utf8")) ?? [];
  expect(name).toBe("CLAW_CANARY");
  const outdir = mkdtempSync(join(tmpdir(), "claw-canary-"));
  try {
    const define = { [name!]: value! };
    const built = await Bun.build({ entrypoints: [join(ROOT, "src/core/canary.ts")], minify: true, define, outdir });
    expect(await built.outputs[0]!.text()).not.toContain("CLAW_CANARY");
    const release = (await import(built.outputs[0]!.path)) as { planted: typeof planted };
    globals.CLAW_CANARY = NAME;
    expect(release.planted(NAME)).toBe(false);
  } finally {
    rmSync(outdir, { recursive: true });
  }
});
