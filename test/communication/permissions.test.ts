// Each permission is tried against a real server: what an identity needs works, and its neighbour's is refused.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type NatsConnection, StorageType } from "nats";
import { openConnection } from "../../src/communication/connection.ts";
import { authenticatorOf, parseCreds, readCredentials } from "../../src/communication/credentials.ts";
import { FileStore } from "../../src/communication/files.ts";
import { followOutput, type OutputChunk, OutputPublisher } from "../../src/communication/output.ts";
import type { Role } from "../../src/communication/permissions.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { type Bench, CLUSTER, openBench, until } from "./server-bench.ts";

interface Peer {
  id: string;
  connection: NatsConnection;
  refusals: string[];
}

let bench: Bench;
let coordinator: NatsConnection;
let worker: Peer;
let neighbour: Peer;
let client: Peer;
let stranger: Peer;

async function join(role: Role): Promise<Peer> {
  const { creds, id } = bench.identity.issue(role);
  const parsed = parseCreds(creds);
  if (parsed === undefined) throw new Error("credentials that cannot be read");
  const authenticator = authenticatorOf(parsed.jwt, parsed.key);
  const inbox_prefix = `_INBOX_${id}`;
  const connection = await openConnection({
    url: bench.server.url,
    name: id,
    authenticator,
    inbox_prefix,
    timeout_ms: 5_000,
  });
  const refusals: string[] = [];
  void (async () => {
    for await (const status of connection.status()) {
      const { data } = status as { data: unknown };
      if (/PERMISSIONS/i.test(String(data))) {
        const { permissionContext } = status as { permissionContext?: { operation: string; subject: string } };
        refusals.push(`${permissionContext?.operation} ${permissionContext?.subject}`);
      }
    }
  })();
  return { id, connection, refusals };
}

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  const own = readCredentials(bench.identity.localCredentials("coordinator"));
  coordinator = await openConnection({ url: bench.server.url, name: "c", ...own, timeout_ms: 5_000 });
  await coordinator.jetstream().views.os(subjects.filesBucket(CLUSTER), { storage: StorageType.File });
  const manager = await coordinator.jetstreamManager();
  const output = { name: subjects.outputStream(CLUSTER), subjects: [subjects.allOutput(CLUSTER)] };
  await manager.streams.add({ ...output, storage: StorageType.File });
  const log = { name: subjects.logStream(CLUSTER), subjects: [subjects.log(CLUSTER)], storage: StorageType.File };
  await manager.streams.add(log);
  await coordinator.jetstream().publish(subjects.log(CLUSTER), "the first event");
  [worker, neighbour, client, stranger] = [
    await join("worker"),
    await join("worker"),
    await join("client"),
    await join("client"),
  ];
});

afterAll(async () => {
  // Each may be missing when the beginning failed.
  const peers: (Peer | undefined)[] = [worker, neighbour, client, stranger];
  for (const connection of [...peers.map((peer) => peer?.connection), coordinator]) await connection?.close();
  await bench.close();
});

/** Whether a message from one reaches a subscription of the coordinator, which may hear everything. */
async function publishes({ connection, refusals }: Peer, subject: string): Promise<boolean> {
  const heard = coordinator.subscribe(subject, { max: 1 });
  await coordinator.flush();
  const before = refusals.length;
  connection.publish(subject, "x");
  await connection.flush();
  await coordinator.flush();
  const refused = refusals.slice(before).includes(`publish ${subject}`);
  const got = heard.getReceived() > 0;
  heard.unsubscribe();
  expect(refused).toBe(!got);
  return got;
}

async function hears({ connection, refusals }: Peer, subject: string): Promise<boolean> {
  const before = refusals.length;
  const heard = connection.subscribe(subject, { callback: () => undefined });
  await connection.flush();
  coordinator.publish(subject.replace(">", "x"), "x");
  await coordinator.flush();
  await connection.flush();
  const refused = refusals.slice(before).some((refusal) => refusal.startsWith("subscription"));
  const got = heard.getReceived() > 0;
  heard.unsubscribe();
  expect(refused).toBe(!got);
  return got;
}

describe("a worker", () => {
  test("speaks for itself only", async () => {
    expect(await publishes(worker, subjects.up(CLUSTER, worker.id))).toBe(true);
    expect(await publishes(worker, subjects.output(CLUSTER, worker.id, 1, 2, 3))).toBe(true);
    expect(await publishes(worker, subjects.up(CLUSTER, neighbour.id))).toBe(false);
    expect(await publishes(worker, subjects.output(CLUSTER, neighbour.id, 1, 2, 3))).toBe(false);
    expect(await publishes(worker, subjects.down(CLUSTER, neighbour.id))).toBe(false);
    expect(await publishes(worker, subjects.down(CLUSTER, worker.id))).toBe(false);
    expect(await publishes(worker, subjects.command(CLUSTER, worker.id, "task.submit"))).toBe(false);
    expect(await publishes(worker, subjects.log(CLUSTER))).toBe(false);
    expect(await publishes(worker, `claw.${CLUSTER}.event.task`)).toBe(false);
    expect(await publishes(worker, `claw.other.node.${worker.id}.up`)).toBe(false);
  });

  test("hears its own work and answers only", async () => {
    expect(await hears(worker, subjects.down(CLUSTER, worker.id))).toBe(true);
    expect(await hears(worker, `claw.${CLUSTER}.node.${worker.id}.in.>`)).toBe(true);
    expect(await hears(worker, `_INBOX_${worker.id}.>`)).toBe(true);
    expect(await hears(worker, subjects.down(CLUSTER, neighbour.id))).toBe(false);
    expect(await hears(worker, `_INBOX_${neighbour.id}.>`)).toBe(false);
    expect(await hears(worker, "_INBOX.>")).toBe(false);
    expect(await hears(worker, `claw.${CLUSTER}.>`)).toBe(false);
    expect(await hears(worker, ">")).toBe(false);
  });

  test("may neither read the log nor change a stream", async () => {
    for (const api of ["STREAM.INFO", "STREAM.MSG.GET", "STREAM.PURGE", "STREAM.DELETE", "CONSUMER.CREATE"]) {
      expect(await publishes(worker, `$JS.API.${api}.${subjects.logStream(CLUSTER)}`)).toBe(false);
    }
    expect(await publishes(worker, `$JS.API.STREAM.DELETE.OBJ_${subjects.filesBucket(CLUSTER)}`)).toBe(false);
    expect(await publishes(worker, `$O.${subjects.filesBucket(CLUSTER)}.C.x`)).toBe(false);
    expect(await publishes(worker, "$SYS.REQ.SERVER.PING")).toBe(false);
  });
});

describe("a client", () => {
  test("asks in its own name, and feeds tasks", async () => {
    expect(await publishes(client, subjects.command(CLUSTER, client.id, "task.submit"))).toBe(true);
    expect(await publishes(client, subjects.query(CLUSTER, client.id, "task.list"))).toBe(true);
    expect(await publishes(client, `claw.${CLUSTER}.node.${worker.id}.in.1.2.3`)).toBe(true);
    expect(await publishes(client, subjects.command(CLUSTER, stranger.id, "task.submit"))).toBe(false);
    expect(await publishes(client, subjects.query(CLUSTER, stranger.id, "task.list"))).toBe(false);
    expect(await publishes(client, subjects.up(CLUSTER, worker.id))).toBe(false);
    expect(await publishes(client, subjects.down(CLUSTER, worker.id))).toBe(false);
    expect(await publishes(client, subjects.output(CLUSTER, worker.id, 1, 2, 3))).toBe(false);
    expect(await publishes(client, subjects.log(CLUSTER))).toBe(false);
  });

  test("hears events and its own answers only", async () => {
    expect(await hears(client, `claw.${CLUSTER}.event.>`)).toBe(true);
    expect(await hears(client, `_INBOX_${client.id}.>`)).toBe(true);
    expect(await hears(client, `_INBOX_${stranger.id}.>`)).toBe(false);
    expect(await hears(client, subjects.down(CLUSTER, worker.id))).toBe(false);
    expect(await hears(client, subjects.allCommands(CLUSTER))).toBe(false);
    expect(await hears(client, subjects.allOutput(CLUSTER))).toBe(false);
  });

  test("may neither read the log nor change a stream", async () => {
    for (const api of ["STREAM.INFO", "STREAM.MSG.GET", "STREAM.PURGE", "STREAM.DELETE", "CONSUMER.CREATE"]) {
      expect(await publishes(client, `$JS.API.${api}.${subjects.logStream(CLUSTER)}`)).toBe(false);
    }
    for (const stream of [subjects.outputStream(CLUSTER), `OBJ_${subjects.filesBucket(CLUSTER)}`]) {
      expect(await publishes(client, `$JS.API.STREAM.DELETE.${stream}`)).toBe(false);
      expect(await publishes(client, `$JS.API.STREAM.UPDATE.${stream}`)).toBe(false);
    }
  });
});

describe("what passes through the streams", () => {
  test("a file goes from a client to a worker, and again when it is sent twice at once", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(300_000 / 5));
    const name = await new FileStore(client.connection, CLUSTER).put(bytes);
    expect(await new FileStore(stranger.connection, CLUSTER).put(bytes)).toBe(name);
    const store = await worker.connection.jetstream().views.os(subjects.filesBucket(CLUSTER));
    expect(Buffer.compare((await store.getBlob(name))!, bytes)).toBe(0);
    // Two that find it missing at the same time: the later one replaces it.
    const other = await stranger.connection.jetstream().views.os(subjects.filesBucket(CLUSTER));
    await other.putBlob({ name }, bytes);
    expect(Buffer.compare((await store.getBlob(name))!, bytes)).toBe(0);
    expect(
      [...client.refusals, ...stranger.refusals].filter(
        (refusal) => /OBJ_|\$O/.test(refusal) && !/DELETE|UPDATE/.test(refusal),
      ),
    ).toEqual([]);
  });

  test("output goes from a worker to a client, which follows it", async () => {
    const publisher = new OutputPublisher(worker.connection, CLUSTER, worker.id);
    const done = new AbortController();
    const followed = followOutput(client.connection, CLUSTER, 7, 8, done.signal)[Symbol.asyncIterator]();
    expect(await publisher.publish(7, 8, 1, "stdout", new TextEncoder().encode("hello"))).toBe(true);
    const { value } = await followed.next();
    const chunk = value as OutputChunk;
    expect([chunk.attempt, chunk.stream, new TextDecoder().decode(chunk.bytes)]).toEqual([1, "stdout", "hello"]);
    done.abort();
    await followed.next();
    const manager = await coordinator.jetstreamManager();
    const left = await until(
      async () =>
        (await manager.consumers.list(subjects.outputStream(CLUSTER)).next()).length === 0 ? true : undefined,
      "the consumer's end",
    );
    expect(left).toBe(true);
  });
});
