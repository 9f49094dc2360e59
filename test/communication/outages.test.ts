// What is asked over a connection that breaks, over a real one: given up when it breaks, and when it is back, long before
// patience is over.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { Outages } from "../../src/communication/outages.ts";
import { countingProxy, type Proxy as Wire } from "./proxy.ts";
import { type Bench, openBench, until } from "./server-bench.ts";

/** Longer than any test may take. */
const PATIENCE_MS = 600_000;
const QUIET = "claw.test.quiet";

let bench: Bench;
let wire: Wire;
let connection: NatsConnection;

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  wire = await countingProxy(bench.server.port);
  const { authenticator, inbox_prefix } = readCredentials(bench.identity.localCredentials("coordinator"));
  const url = `nats://127.0.0.1:${wire.port}`;
  connection = await openConnection({ url, name: "test", authenticator, inbox_prefix, timeout_ms: 5_000 });
  connection.subscribe(QUIET, { callback: () => undefined });
  await connection.flush();
});

afterEach(() => connection.flush());

afterAll(async () => {
  await connection.close();
  wire.close();
  await bench.close();
});

const ask = (outages: Outages): Promise<string> =>
  outages.answer(connection.request(QUIET, "", { timeout: PATIENCE_MS })).then(
    () => "answered",
    ({ message }: Error) => message,
  );

test("an answer is handed on, and a refusal", async () => {
  const outages = new Outages(connection);
  expect(await outages.answer(Promise.resolve(7))).toBe(7);
  expect(await outages.answer(Promise.reject(new Error("no"))).catch(({ message }: Error) => message)).toBe("no");
});

test("what was asked before the connection broke is given up, and what was asked while it was away", async () => {
  const outages = new Outages(connection);
  const seen: string[] = [];
  void (async () => {
    for await (const { type } of connection.status()) seen.push(type);
  })();
  const before = ask(outages);
  await connection.flush();
  wire.heal();
  await until(() => seen.includes("disconnect") || undefined, "the end of the connection");
  const between = seen.includes("reconnect") ? Promise.resolve("") : ask(outages);
  expect(await before).toBe("the connection was lost meanwhile");
  expect(["the connection was lost meanwhile", ""]).toContain(await between);
});
