// The bearer token's file: made once, kept, its owner's alone, and never an empty one.

import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../../src/common/errors.ts";
import { systemRuntime } from "../../../src/common/runtime.ts";
import { httpToken } from "../../../src/coordinator/http/token.ts";

const folders: string[] = [];

function tokenFile(): string {
  const folder = mkdtempSync(join(tmpdir(), "claw-token-"));
  folders.push(folder);
  return join(folder, "http-token");
}

function refusal(path: string): ClawError {
  try {
    throw new Error(`taken: ${httpToken(path, systemRuntime)}`);
  } catch (error) {
    if (error instanceof ClawError) return error;
    throw error;
  }
}

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

describe("the token", () => {
  test("is made at the first start and is the same at the next", () => {
    const path = tokenFile();
    const token = httpToken(path, systemRuntime);
    expect(token).toMatch(/^[\w-]{43}$/);
    expect(httpToken(path, systemRuntime)).toBe(token);
    expect(httpToken(tokenFile(), systemRuntime)).not.toBe(token);
    expect(readFileSync(path, "utf8").trim()).toBe(token);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(path, ".."))).toEqual(["http-token"]);
  });

  test("that others can read is no secret", () => {
    const path = tokenFile();
    httpToken(path, systemRuntime);
    chmodSync(path, 0o644);
    expect(refusal(path)).toMatchObject({ code: "refused", field: path, hint: `chmod 600 ${path}` });
  });

  test("that is empty or cut, as by a full disk, is refused: an empty one would be everybody's", () => {
    for (const text of ["", "\n", "short\n", `${"t".repeat(42)}!\n`]) {
      const path = tokenFile();
      writeFileSync(path, text, { mode: 0o600 });
      expect(refusal(path)).toMatchObject({ code: "bad_config", field: path });
    }
  });
});
