// What a worker finds out about itself.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { checkWorker } from "../../src/worker/checks.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "claw-checks-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const outbox = (): void => undefined;

test("where everything works nothing is said, and nothing is left behind", async () => {
  expect(await checkWorker({ folder, outbox })).toBeUndefined();
  expect(readdirSync(join(folder, "tasks"))).toEqual([]);
});

test("a folder that takes no file is named", async () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  expect(await checkWorker({ folder: file, outbox })).toMatch(/^cannot write to \S+file: .*ENOTDIR/);
  const gone = join(folder, "none", "tasks");
  mkdirSync(join(folder, "none"));
  writeFileSync(gone, "");
  expect(await checkWorker({ folder: join(folder, "none"), outbox })).toMatch(/^cannot write to /);
  expect(existsSync(gone)).toBe(true);
});

test.skipIf(process.getuid?.() === 0)("a task that locked the folder of tasks is undone", async () => {
  chmodSync(join(folder, "tasks"), 0o000);
  expect(await checkWorker({ folder, outbox })).toBeUndefined();
});

test("an outbox that takes nothing", async () => {
  const full = (): void => {
    throw new ClawError("disk_full", "no room left to write /x");
  };
  expect(await checkWorker({ folder, outbox: full })).toBe("its outbox takes nothing: no room left to write /x");
});

test("a process that cannot be started; where there is no program to try, that is no trouble", async () => {
  const program = join(folder, "no-such-program");
  expect(await checkWorker({ folder, outbox, program })).toMatch(/^cannot start a process: .*no-such-program/);
  expect(await checkWorker({ folder, outbox, program: null })).toBeUndefined();
  // It ran: how it ended says nothing of this node.
  expect(await checkWorker({ folder, outbox, program: Bun.which("false") })).toBeUndefined();
});
