// What a worker is sent and cannot read harms it as little: it is dropped, and what comes behind it is heard.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { WorkerBus } from "../../src/communication/bus.ts";
import { type NatsConnection, openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { DownMessage } from "../../src/communication/messages.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { examplesOf, mutationsOf } from "./mutations.ts";
import { type Bench, CLUSTER, openBench, until } from "./server-bench.ts";

const NODE = "node_0123abcd";

let bench: Bench;
let connection: NatsConnection;

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  const { authenticator } = readCredentials(bench.identity.localCredentials("coordinator"));
  const inbox_prefix = "_INBOX_test";
  connection = await openConnection({
    url: bench.server.url,
    name: "test",
    authenticator,
    inbox_prefix,
    timeout_ms: 5_000,
  });
});

afterAll(async () => {
  await connection.close();
  await bench.close();
});

test.each(DownMessage.options.map((schema) => [schema.shape.type.value, schema] as const))(
  "a leader's %s",
  async (type, schema) => {
    const mutations = mutationsOf(schema, examplesOf("down", type));
    expect(mutations.length).toBeGreaterThan(15);
    const heard: DownMessage[] = [];
    const dropped: string[] = [];
    const bus = new WorkerBus(connection, CLUSTER, NODE, (_, why) => dropped.push(why));
    bus.listen((message) => heard.push(message));
    const [last] = examplesOf("down", "report.ack");
    for (const { body } of mutations) connection.publish(subjects.down(CLUSTER, NODE), body);
    connection.publish(subjects.down(CLUSTER, NODE), JSON.stringify(last));
    const end = await until(() => heard[0], "what comes behind them");
    expect([end as unknown, heard.length, dropped.length]).toEqual([last, 1, 1]);
    bus.stop();
  },
);
