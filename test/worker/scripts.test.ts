// Scripts that a node keeps: fetched once, let go when nobody ran them for long, asked for again when they were just away.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError, type ErrorCode } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { createLogger } from "../../src/common/logging.ts";
import { ScriptCache } from "../../src/worker/scripts.ts";
import { TestRuntime } from "../runtime.ts";

let folder: string;
let runtime: TestRuntime;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "claw-scripts-"));
  runtime = new TestRuntime();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A store that has a script after so many times that somebody asked in vain. */
function cacheOf(missing = 0, code: ErrorCode = "not_found"): { cache: ScriptCache; asked: string[] } {
  const asked: string[] = [];
  const fetch = async (sha256: string, path: string): Promise<void> => {
    asked.push(sha256);
    if (asked.length <= missing) throw new ClawError(code, `no ${sha256} for now`);
    await Bun.sleep(1);
    writeFileSync(path, sha256);
  };
  const logger = createLogger({ role: "test", level: "error", format: "json", runtime, write: () => undefined });
  return { cache: new ScriptCache(runtime, logger, { fetch }, folder), asked };
}

test("one is fetched once, however many ask for it at once and later", async () => {
  const { cache, asked } = cacheOf();
  const paths = await Promise.all(Array.from({ length: 8 }, () => cache.path("a")));
  expect(new Set([...paths, await cache.path("a")])).toEqual(new Set([join(folder, "a.js")]));
  expect(asked).toEqual(["a"]);
});

test("what nobody ran for long goes when another one comes; what was run stays", async () => {
  const { cache, asked } = cacheOf();
  for (const name of ["old", "used"]) await cache.path(name);
  runtime.skip(LIMITS.script_cached_ms - 1_000);
  await cache.path("used");
  expect(statSync(join(folder, "used.js")).mtimeMs).toBeGreaterThan(runtime.wall_ms() - 60_000);
  runtime.skip(10_000);
  await cache.path("new");
  expect(["old", "used", "new"].map((name) => existsSync(join(folder, `${name}.js`)))).toEqual([false, true, true]);
  expect(asked).toEqual(["old", "used", "new"]);
});

test("what an earlier life left is used when it is whole, looked at once, and fetched again when it is not", async () => {
  const text = "console.log(1);";
  const whole = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  const empty = "e".repeat(64);
  writeFileSync(join(folder, `${whole}.js`), text);
  writeFileSync(join(folder, `${empty}.js`), "");
  const { cache, asked } = cacheOf();
  for (const sha256 of [whole, empty, empty, whole]) await cache.path(sha256);
  expect(asked).toEqual([empty]);
  expect(readFileSync(join(folder, `${empty}.js`), "utf8")).toBe(empty);
  // Gone while this life knew it.
  rmSync(join(folder, `${whole}.js`));
  await cache.path(whole);
  expect(asked).toEqual([empty, whole]);
});

test("one that is put back just now is waited for; one that stays away fails", async () => {
  const { cache } = cacheOf(2);
  expect(existsSync(await cache.path("late"))).toBe(true);
  const { cache: poor, asked } = cacheOf(100);
  expect(await poor.path("never").catch((error: ClawError) => error.code)).toBe("not_found");
  expect(asked.length).toBeWithin(2, 10);
});

test("a coordinator that is away for a while is waited for; what it refuses is not asked again", async () => {
  for (const code of ["no_coordinator", "not_leading", "broker"] as const) {
    const { cache, asked } = cacheOf(8, code);
    expect(existsSync(await cache.path(code))).toBe(true);
    expect(asked).toHaveLength(9);
  }
  const { cache, asked } = cacheOf(1, "refused");
  expect(await cache.path("x").catch((error: ClawError) => error.code)).toBe("refused");
  expect(asked).toHaveLength(1);
});
