// A broker that does not give what it is asked for is the world's doing: a typed error, and no bug.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { systemRuntime } from "../../src/common/runtime.ts";
import { type NatsConnection, openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { openLog } from "../../src/communication/log.ts";
import { asking } from "../../src/communication/streams.ts";
import { type Bench, CLUSTER, openBench } from "./server-bench.ts";

let bench: Bench;
let connection: NatsConnection;

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  const { authenticator } = readCredentials(bench.identity.localCredentials("coordinator"));
  connection = await openConnection({ url: bench.server.url, name: "test", authenticator, timeout_ms: 5_000 });
});

afterAll(async () => {
  await connection.close();
  await bench.close();
});

test("no JetStream where it is looked for", async () => {
  const refused = await asking("the log", () => openLog(connection, systemRuntime, CLUSTER, 1, "nowhere")).catch(
    (error: unknown) => error,
  );
  expect(refused).toMatchObject({ code: "broker", message: expect.stringContaining("NATS does not give the log") });
});

test("what is there is given, and a bug stays one", async () => {
  const log = await asking("the log", () => openLog(connection, systemRuntime, CLUSTER, 1));
  expect(await asking("its end", () => log.last())).toBe(0);
  const bug = new TypeError("undefined is no object");
  expect(await asking("it", () => Promise.reject(bug)).catch((error: unknown) => error)).toBe(bug);
});
