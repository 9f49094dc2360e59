// What is said to do where the broker lost the log: a command that goes on with the same cluster, on the NATS that it has.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/common/config.ts";
import { ClawError } from "../../src/common/errors.ts";
import { resolvePaths } from "../../src/common/paths.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { Identity } from "../../src/communication/identity.ts";
import { createPrivate } from "../../src/communication/private.ts";
import { withWayOn } from "../../src/operations/log-lost.ts";

const home = mkdtempSync(join(tmpdir(), "claw-lost-"));
afterAll(() => rmSync(home, { recursive: true }));
const env = { CLAW_HOME: home };

function hintOf(flags: Record<string, unknown>, more: { file?: string; profile?: string } = {}): string | undefined {
  const { config } = loadConfig("coordinator", { paths: resolvePaths(env), env: {}, flags });
  const lost = new ClawError("log_lost", "gone");
  const told = withWayOn(lost, { env, config, file: more.file, profile: more.profile });
  expect(told).toMatchObject({ code: "log_lost", message: "gone", cause: lost });
  return (told as ClawError).hint;
}

const KNOWS = "goes on from all that this machine knows; its --help says what else there is";

test("on this machine, into the log here; on a NATS of one's own into that, without its password", () => {
  const restore = `CLAW_HOME=${home} claw snapshot restore --from-view`;
  expect(hintOf({})).toBe(`\`${restore}\` ${KNOWS}`);
  expect(hintOf({ cluster: "lab" }, { file: "c.yaml", profile: "p" })).toBe(
    `\`${restore} --cluster lab --config c.yaml --profile p\` ${KNOWS}`,
  );
  const flags = { "nats.url": "nats://me:hunter2@x:4222", "nats.creds": join(home, "gone.creds") };
  expect(hintOf(flags)).toBe(
    `stop all coordinators, then \`${restore} --nats 'nats://(secret)@x:4222' --creds ${home}/gone.creds\` ${KNOWS}`,
  );
});

test("where it followed another claw, which takes its NATS with it when it is stopped: here", () => {
  const { creds } = Identity.open(join(home, "keys"), "default", systemRuntime).issue("coordinator");
  const file = join(home, "claw.creds");
  createPrivate(file, creds);
  expect(hintOf({ "nats.url": "nats://x:4222", "nats.creds": file })).toBe(
    "its NATS is another claw's: stop that one, then " +
      `\`CLAW_HOME=${home} claw snapshot restore --from-view --own\` ${KNOWS}`,
  );
});

test("any other error, and one that has a better hint, stays as it is", () => {
  const { config } = loadConfig("coordinator", { paths: resolvePaths(env), env: {}, flags: {} });
  const newer = new ClawError("log_lost", "cannot be read", { hint: "was it written by a newer claw?" });
  for (const error of [newer, new ClawError("io", "x"), new Error("a bug")]) {
    expect(withWayOn(error, { env, config, file: undefined, profile: undefined })).toBe(error);
  }
});
