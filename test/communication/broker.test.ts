// The broker as the coordinator gets it: its own, or one of the user's.

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadOptions, loadConfig } from "../../src/common/config.ts";
import { ClawError } from "../../src/common/errors.ts";
import { createLogger } from "../../src/common/logging.ts";
import { resolvePaths } from "../../src/common/paths.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { type Broker, type BrokerOptions, openBroker } from "../../src/communication/broker.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { findServer, serversOn, until } from "./server-bench.ts";

const folders: string[] = [];
const brokers: Broker[] = [];

afterEach(async () => {
  for (const broker of brokers.splice(0).reverse()) await broker.close();
  for (const folder of folders.splice(0)) {
    expect(serversOn(join(folder, "data", "coordinator"))).toEqual([]);
    rmSync(folder, { recursive: true, force: true });
  }
});

interface Setting {
  options: BrokerOptions;
  lines: string[];
}

function setting(flags: LoadOptions["flags"] = {}, home = mkdtempSync(join(tmpdir(), "claw-broker-"))): Setting {
  if (!folders.includes(home)) folders.push(home);
  const paths = resolvePaths({ CLAW_HOME: home });
  const { config } = loadConfig("coordinator", { paths, env: {}, flags: { "nats.server": findServer(), ...flags } });
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const logger = createLogger({ role: "test", level: "debug", format: "json", runtime: systemRuntime, write });
  const onFailed = (error: ClawError): void => {
    throw error;
  };
  return { options: { runtime: systemRuntime, config, paths, logger, onFailed }, lines };
}

async function open({ options }: Setting): Promise<Broker> {
  const broker = await openBroker(options);
  brokers.push(broker);
  return broker;
}

async function failureOf(promise: Promise<unknown>): Promise<ClawError> {
  const error: unknown = await promise.catch((reason: unknown) => reason);
  if (!(error instanceof ClawError)) throw new Error(`no ClawError: ${error}`);
  return error;
}

describe("a broker of claw's own", () => {
  test("knows its identities: this machine's, and new ones", async () => {
    const broker = await open(setting());
    expect(broker.managed).toBe(true);
    expect(broker.version).toMatch(/^2\.\d+\.\d+$/);
    expect(broker.url).toMatch(/^nats:\/\/127\.0\.0\.1:\d+$/);
    const connection = await broker.connect("test");
    expect(connection.info?.jetstream).toBe(true);
    await connection.close();
    for (const role of ["worker", "client"] as const) {
      const file = broker.localCredentials(role);
      expect(readCredentials(file!).role).toBe(role);
      const [one, other] = [broker.issue(role, "client_1"), broker.issue(role, "client_1")];
      expect(one!.id).not.toBe(other!.id);
      expect(one!.creds).toContain("BEGIN NATS USER JWT");
    }
  });

  test("logs what happens to its server", async () => {
    const set = setting();
    const broker = await open(set);
    const [pid] = serversOn(set.options.paths.coordinator_dir);
    process.kill(pid!, "SIGKILL");
    const up = await until(() => set.lines.find((line) => line.includes("is up again")), "its return");
    expect(JSON.parse(up)).toMatchObject({ level: "info" });
    expect(set.lines.some((line) => line.includes("nats-server: it ended (SIGKILL)"))).toBe(true);
    await (await broker.connect("test")).close();
  });
});

describe("a NATS of the user's own", () => {
  test("is used with the credentials that its operator gave, and claw makes none for it", async () => {
    const own = await open(setting());
    const creds = own.localCredentials("client")!;
    const foreign = await open(setting({ "nats.url": own.url, "nats.creds": creds }));
    expect([foreign.managed, foreign.url, foreign.version]).toEqual([false, own.url, ""]);
    const connection = await foreign.connect("test");
    expect(foreign.version).toBe(own.version);
    await connection.close();
    expect(foreign.localCredentials("worker")).toBe(creds);
    expect(foreign.issue("worker", "client_1")).toBeUndefined();
  });

  test("that refuses, or is not there, is an error that names it without its password", async () => {
    const own = await open(setting());
    const stranger = await open(setting({ "nats.url": own.url.replace("//", "//user:secret@") }));
    expect(stranger.url).toBe(own.url);
    const refused = await failureOf(stranger.connect("test"));
    expect([refused.code, refused.message.includes("secret")]).toEqual(["refused", false]);
    const nobody = await open(setting({ "nats.url": "nats://user:secret@127.0.0.1:1" }));
    const missing = await failureOf(nobody.connect("test"));
    expect([missing.code, missing.message.includes("secret")]).toEqual(["broker", false]);
    const nonsense = await open(setting({ "nats.url": "nats://x" }));
    expect((await failureOf(nonsense.connect("test"))).code).toBe("broker");
  });

  test("one coordinator a folder, there too", async () => {
    const own = await open(setting());
    const set = setting({ "nats.url": own.url });
    const first = await open(set);
    const second = await failureOf(openBroker(set.options));
    expect(second.code).toBe("already_running");
    await first.close();
    await open(set);
  });
});
