// A coordinator as small as can be, for the tests to kill: its server, a stream, and one append after the other. It says
// on stdout what was acknowledged, and only then.

import { StorageType } from "nats";
import { messageOf } from "../../src/common/errors.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { Identity } from "../../src/communication/identity.ts";
import { NatsServerChild } from "../../src/communication/server.ts";

const [data_dir = "", executable = "", round = ""] = process.argv.slice(2);
const identity = Identity.open(data_dir, "test", systemRuntime);
const server = new NatsServerChild({
  runtime: systemRuntime,
  data_dir,
  host: "127.0.0.1",
  port: 0,
  identity,
  executable,
});
try {
  await server.start();
} catch (error) {
  process.stdout.write(`refused ${messageOf(error)}\n`);
  process.exit(1);
}
process.stdout.write(`server ${server.pid}\n`);
const { authenticator, inbox_prefix } = readCredentials(identity.localCredentials("coordinator"));
const options = { name: "appender", authenticator, inbox_prefix, timeout_ms: 10_000 };
const connection = await openConnection({ url: server.url, ...options });
const manager = await connection.jetstreamManager();
await manager.streams.add({ name: "APPENDED", subjects: ["appended"], storage: StorageType.File });
const jetstream = connection.jetstream();
for (let count = 0; ; count += 1) {
  const { seq } = await jetstream.publish("appended", `${round}.${count}`);
  process.stdout.write(`acknowledged ${seq} ${round}.${count}\n`);
}
