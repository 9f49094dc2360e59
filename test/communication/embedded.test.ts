// Unpacking the server that the binary carries: once a build, whole or not at all.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { serverExecutable, unpack } from "../../src/communication/embedded.ts";

let folder: string;

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "claw-embedded-")), "bin");
});
afterEach(() => rmSync(join(folder, ".."), { recursive: true }));

const program = (word: string): string => `#!/bin/sh\necho ${word}\n`;
const packed = (text: string): Blob => new Blob([new Uint8Array(Bun.zstdCompressSync(text))]);

async function failureOf(promise: Promise<unknown>): Promise<ClawError> {
  const error: unknown = await promise.then(
    () => new Error("it did not fail"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ClawError)) throw error;
  return error;
}

describe("the server that the binary carries", () => {
  test("is unpacked once, as a program for its owner only", async () => {
    const path = await unpack(folder, "2.15.2", packed(program("first")));
    expect(Bun.spawnSync([path]).stdout.toString()).toBe("first\n");
    expect(statSync(path).mode & 0o777).toBe(0o700);
    utimesSync(path, 1, 1);
    expect(await unpack(folder, "2.15.2", packed(program("first")))).toBe(path);
    expect(statSync(path).mtimeMs).toBe(1000);
    expect(readdirSync(folder)).toEqual([basename(path)]);
  });

  test("is replaced by another build, even one of the same version", async () => {
    const first = await unpack(folder, "2.15.2", packed(program("first")));
    const second = await unpack(folder, "2.15.2", packed(program("the second one")));
    expect(second).not.toBe(first);
    expect(readdirSync(folder)).toEqual([basename(second)]);
    const third = await unpack(folder, "2.16.0", packed(program("the second one")));
    expect(readdirSync(folder)).toEqual([basename(third)]);
  });

  test("leaves nothing when it cannot be unpacked, and says so", async () => {
    const broken = await failureOf(unpack(folder, "2.15.2", new Blob(["no zstd"])));
    expect(broken.code).toBe("io");
    expect(broken.message).toContain("cannot unpack nats-server");
    expect(readdirSync(folder)).toEqual([]);
    writeFileSync(join(folder, "..", "file"), "");
    expect((await failureOf(unpack(join(folder, "../file"), "1", packed("x")))).code).toBe("io");
    expect(readFileSync(join(folder, "../file"), "utf8")).toBe("");
  });
});

describe("a server of this machine", () => {
  function fake(text: string, mode = 0o700): string {
    const path = join(folder, "../fake");
    writeFileSync(path, text, { mode });
    return path;
  }

  test("is taken by path when it is new enough", async () => {
    const path = fake(program("nats-server: v2.14.5"));
    expect(await serverExecutable(folder, path)).toBe(path);
  });

  test("is refused when it is too old, no program, or cannot be run", async () => {
    expect((await failureOf(serverExecutable(folder, fake(program("nats-server: v2.14.4"))))).code).toBe(
      "broker_version",
    );
    expect((await failureOf(serverExecutable(folder, fake(program("something else"))))).code).toBe("broker_version");
    const missing = await failureOf(serverExecutable(folder, join(folder, "none")));
    expect(missing.message).toContain(join(folder, "none"));
    expect(missing.field).toBe("nats.server");
    const unable = await failureOf(serverExecutable(folder, fake("#!/nowhere/interpreter\n")));
    expect(unable.code).toBe("broker");
    expect(unable.message).toContain("cannot run");
  });
});
