// Tasks' output over a real server: every byte, told apart, live and later.

import { afterAll, beforeAll, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { systemRuntime } from "../../src/common/runtime.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { followOutput, type OutputChunk, OutputPublisher } from "../../src/communication/output.ts";
import { openStores } from "../../src/communication/stores.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { type Bench, CLUSTER, openBench } from "./server-bench.ts";

const LIMITS_OF = { total_bytes: 1 << 20, max_age_ms: 3_600_000 };
let bench: Bench;
let connection: NatsConnection;
let publisher: OutputPublisher;

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  const { authenticator, inbox_prefix } = readCredentials(bench.identity.localCredentials("coordinator"));
  const url = bench.server.url;
  connection = await openConnection({ url, name: "test", authenticator, inbox_prefix, timeout_ms: 5_000 });
  await openStores(connection, CLUSTER, LIMITS_OF, 1);
  publisher = new OutputPublisher(connection, CLUSTER, "node_00000001", { runtime: systemRuntime });
});

afterAll(async () => {
  await connection.close();
  await bench.close();
});

const never = (): AbortSignal => new AbortController().signal;

async function all(number: number, index: number): Promise<OutputChunk[]> {
  const found: OutputChunk[] = [];
  for await (const chunk of followOutput(connection, CLUSTER, number, index, { follow: false, done: never() })) {
    found.push(chunk);
  }
  return found;
}

test("what was written is there later, byte by byte, in order, with attempt and stream", async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  expect(await publisher.publish(1, 0, 1, "stdout", bytes)).toBe(true);
  expect(await publisher.publish(1, 0, 1, "stderr", new Uint8Array([0, 255]))).toBe(true);
  expect(await publisher.publish(1, 0, 2, "stdout", new Uint8Array(0))).toBe(true);
  expect(await publisher.publish(1, 1, 1, "stdout", new Uint8Array([7]))).toBe(true);
  const found = await all(1, 0);
  expect(found.map(({ attempt, stream, bytes: part }) => [attempt, stream, part.length])).toEqual([
    [1, "stdout", 60_000],
    [1, "stderr", 2],
    [2, "stdout", 0],
  ]);
  expect(Buffer.compare(found[0]!.bytes, bytes)).toBe(0);
  expect(await all(1, 7)).toEqual([]);
});

test("a follower gets what comes, and leaves nothing behind when he goes", async () => {
  const done = new AbortController();
  const follower = followOutput(connection, CLUSTER, 2, 0, { follow: true, done: done.signal })[Symbol.asyncIterator]();
  const first = follower.next();
  await publisher.publish(2, 0, 1, "stdout", new Uint8Array([1]));
  expect(((await first).value as OutputChunk).bytes).toEqual(new Uint8Array([1]));
  await publisher.publish(2, 0, 1, "stdout", new Uint8Array([2]));
  expect(((await follower.next()).value as OutputChunk).bytes).toEqual(new Uint8Array([2]));
  done.abort();
  expect((await follower.next()).done).toBe(true);
  const manager = await connection.jetstreamManager();
  expect(await manager.consumers.list(subjects.outputStream(CLUSTER)).next()).toEqual([]);
});

test("a chunk of a kind that is not known is no output", async () => {
  await connection.jetstream().publish(subjects.output(CLUSTER, "node_00000001", 3, 0, 1), new Uint8Array([9, 1]));
  expect(await all(3, 0).catch((error: Error) => error.message)).toBe("an output chunk of unknown kind 9");
});

test("a chunk that was stored without an answer comes once", async () => {
  const chunk = (number: number, byte: number) => new Uint8Array([1, 0, 0, 0, number, byte]);
  for (const [attempt, number, byte] of [
    [1, 1, 65],
    [1, 2, 66],
    [1, 2, 66],
    [2, 2, 67],
    [1, 3, 66],
  ] as const) {
    await connection.jetstream().publish(subjects.output(CLUSTER, "node_00000001", 5, 0, attempt), chunk(number, byte));
  }
  expect((await all(5, 0)).map(({ attempt, bytes }) => [attempt, ...bytes])).toEqual([
    [1, 65],
    [1, 66],
    [2, 67],
    [1, 66],
  ]);
});

test("what another node writes of a task is not its output, whether its node is known or not", async () => {
  const write = (node: string, attempt: number, ...chunk: number[]) =>
    connection.jetstream().publish(subjects.output(CLUSTER, node, 12, 0, attempt), new Uint8Array(chunk));
  // Heard of first, but not the one that it ran on.
  await write("node_0000000b", 1, 1, 0, 0, 0, 1, 66);
  await write("node_0000000a", 1, 1, 0, 0, 0, 1, 65);
  // The next numbers are said to be given, and another byte is none that a chunk begins with.
  await write("node_0000000b", 1, 1, 127, 255, 255, 240, 66);
  await write("node_0000000b", 1, 9);
  await write("node_0000000a", 1, 1, 0, 0, 0, 2, 97);
  await write("node_0000000c", 2, 1, 0, 0, 0, 1, 67);
  await write("node_0000000b", 2, 1, 127, 255, 255, 240, 66);
  await write("node_0000000c", 2, 1, 0, 0, 0, 2, 99);
  const seen: string[] = [];
  const nodeOf = (attempt: number) => (attempt === 1 ? "node_0000000a" : undefined);
  const options = { follow: false, done: never(), nodeOf };
  for await (const { attempt, bytes } of followOutput(connection, CLUSTER, 12, 0, options)) {
    seen.push(`${attempt}${Buffer.from(bytes)}`);
  }
  expect(seen).toEqual(["1A", "1a", "2C", "2c"]);
});

// The last moment's chunks may die with it: the output stream is not synced, so that output costs little.
test("while a broker dies and comes back the next chunks wait, and come once and in order", async () => {
  const pid = bench.server.pid!;
  const parts = Array.from({ length: 40 }, (_, index) => new Uint8Array([index]));
  for (const [index, part] of parts.entries()) {
    if (index === 20) process.kill(pid, "SIGKILL");
    expect(await publisher.publish(6, 0, 1, "stdout", part)).toBe(true);
  }
  const found = (await all(6, 0)).map(({ bytes }) => bytes[0]!);
  expect(found).toEqual([...new Set(found)].sort((a, b) => a - b));
  expect(found.slice(-20)).toEqual(Array.from({ length: 20 }, (_, index) => 20 + index));
});

test("a reader that is slower than the writer gets every chunk", async () => {
  const count = 300;
  const done = new AbortController();
  const seen: number[] = [];
  const reading = (async () => {
    for await (const { bytes } of followOutput(connection, CLUSTER, 8, 0, { follow: true, done: done.signal })) {
      seen.push(bytes[0]! * 256 + bytes[1]!);
      if (seen.length === count) done.abort();
      if (seen.length % 7 === 0) await Bun.sleep(1); // busy while the next ones arrive
    }
  })();
  for (let index = 0; index < count; index++) {
    await publisher.publish(8, 0, 1, "stdout", new Uint8Array([index >> 8, index & 255]));
  }
  await reading;
  expect(seen).toEqual(Array.from({ length: count }, (_, index) => index));
});

test("a follower whose consumer or whose stream is gone gets each chunk once, wherever it stands then", async () => {
  const manager = await connection.jetstreamManager();
  const stream = subjects.outputStream(CLUSTER);
  const done = new AbortController();
  let idle = Promise.withResolvers<void>();
  const onIdle = (): void => idle.resolve();
  const seen: number[] = [];
  const options = { follow: true, done: done.signal, onIdle };
  const reading = (async () => {
    for await (const { bytes } of followOutput(connection, CLUSTER, 9, 0, options)) seen.push(bytes[0]!);
  })();
  const write = async (from: number): Promise<void> => {
    for (const byte of [from, from + 1]) await publisher.publish(9, 0, 1, "stdout", new Uint8Array([byte]));
    idle = Promise.withResolvers<void>();
    await idle.promise;
  };
  await write(1);
  for (const { name } of await manager.consumers.list(stream).next()) await manager.consumers.delete(stream, name);
  await write(3);
  // As a broker that was killed and forgot its last moment: places are given a second time.
  await manager.streams.delete(stream);
  await openStores(connection, CLUSTER, LIMITS_OF, 1);
  await write(5);
  done.abort();
  await reading;
  expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
});

test("the oldest is forgotten when the limit is reached, and the limits follow the settings", async () => {
  const part = new Uint8Array(60_000);
  for (let index = 0; index < 25; index++) expect(await publisher.publish(4, index, 1, "stdout", part)).toBe(true);
  expect(await all(4, 0)).toEqual([]);
  expect(await all(4, 24)).toHaveLength(1);
  const manager = await connection.jetstreamManager();
  await openStores(connection, CLUSTER, { ...LIMITS_OF, total_bytes: 1 << 22 }, 1);
  expect((await manager.streams.info(subjects.outputStream(CLUSTER))).config.max_bytes).toBe(1 << 22);
});

test("without a broker it is not kept, and the worker is told so", async () => {
  const { authenticator, inbox_prefix } = readCredentials(bench.identity.localCredentials("coordinator"));
  const url = bench.server.url;
  const other = await openConnection({ url, name: "gone", authenticator, inbox_prefix, timeout_ms: 5_000 });
  const options = { runtime: systemRuntime, patience_ms: 200 };
  const gone = new OutputPublisher(other, CLUSTER, "node_00000001", options);
  const nowhere = new OutputPublisher(other, "nobody", "node_00000001", options);
  expect(await nowhere.publish(1, 0, 1, "stdout", new Uint8Array([1]))).toBe(false);
  await other.close();
  expect(await gone.publish(1, 0, 1, "stdout", new Uint8Array([1]))).toBe(false);
});
