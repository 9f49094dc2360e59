// What the words say of each other.

import { describe, expect, test } from "bun:test";
import { outcomeDocument } from "../../src/common/documents.ts";
import type { Outcome } from "../../src/common/models.ts";
import { isoTime } from "../../src/common/runtime.ts";
import { hasBegun } from "../../src/common/vocabulary.ts";

const AT = 1_700_000_000_000;
const ended = (more: Partial<Outcome>): Outcome => {
  return { status: "cancelled", reason: "cancelled", started_at: AT, ended_at: AT, ...more };
};

describe("an attempt that was called off in the millisecond of its start", () => {
  test.each<[string, Partial<Outcome>]>([
    ["an exit code", { exit_code: 0 }],
    ["a signal", { signal: "SIGTERM" }],
    ["output", { stdout: { bytes: 4, hash: "0".repeat(16) } }],
  ])("began, if %s is known of it", (_, told) => {
    expect(hasBegun(ended(told))).toBe(true);
    expect(outcomeDocument(ended(told))).toMatchObject({ started_at: isoTime(AT), duration_ms: 0 });
  });

  test("did not begin as far as is known, if nothing is", () => {
    expect(hasBegun(ended({}))).toBe(false);
    expect(outcomeDocument(ended({}))).not.toHaveProperty("started_at");
  });
});
