// A coordinator's broker on a disk that fills up and gets room again; run by trouble.test.ts in a mount namespace of its
// own, where the folder that it is given is a small tmpfs. Prints what happened, as JSON.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { StorageType } from "nats";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { openBench } from "./server-bench.ts";
import { impatientRuntime } from "./trouble.ts";

const ROOM_BYTES = 30 * 1024 * 1024;
const CHUNK = new Uint8Array(64 * 1024);

const [root = ""] = process.argv.slice(-1);
const ballast = join(root, "ballast");
writeFileSync(ballast, Buffer.alloc(ROOM_BYTES));
const { server, identity, event } = openBench({ data_dir: join(root, "data"), runtime: impatientRuntime });
await server.start();
const { authenticator, inbox_prefix } = readCredentials(identity.localCredentials("coordinator"));
const connection = await openConnection({ url: server.url, name: "x", authenticator, inbox_prefix, timeout_ms: 5_000 });
const manager = await connection.jetstreamManager();
await manager.streams.add({ name: "LOG", subjects: ["log"], storage: StorageType.File });
const stream = connection.jetstream({ timeout: 2_000 });

let acknowledged = 0;
const append = async (bytes: Uint8Array): Promise<boolean> => {
  try {
    acknowledged = (await stream.publish("log", bytes)).seq;
    return true;
  } catch {
    return false;
  }
};
while (await append(CHUNK));
const filled = acknowledged;
const full = await event("disk_full");
rmSync(ballast);
await event("up");
while (!(await append(new Uint8Array(8))));
const { state } = await manager.streams.info("LOG");
console.log(
  JSON.stringify({ filled, acknowledged, last: state.last_seq, messages: state.messages, full: full.message }),
);
await connection.close();
await server.stop();
