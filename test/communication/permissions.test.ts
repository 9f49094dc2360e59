// Each permission is tried against a real server: what an identity needs works, and its neighbour's is refused.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import type { NatsConnection } from "nats";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { CoordinatorBus, WorkerBus } from "../../src/communication/bus.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { authenticatorOf, parseCreds, readCredentials } from "../../src/communication/credentials.ts";
import { FileStore, RemoteFiles } from "../../src/communication/files.ts";
import { type Log, openLog } from "../../src/communication/log.ts";
import { followOutput, type OutputChunk, OutputPublisher } from "../../src/communication/output.ts";
import type { Role } from "../../src/communication/permissions.ts";
import type { QueryRequest } from "../../src/communication/queries.ts";
import { openStores } from "../../src/communication/stores.ts";
import { findStream } from "../../src/communication/streams.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { type Bench, CLUSTER, openBench, until } from "./server-bench.ts";

interface Peer {
  id: string;
  connection: NatsConnection;
  refusals: string[];
}

let bench: Bench;
let coordinator: NatsConnection;
let log: Log;
/** What nobody but the log's stream knows. */
let log_subject = "";
let log_name = "";
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

/** A worker asks the coordinator for scripts. */
function serveFiles(): CoordinatorBus {
  const files = new FileStore(coordinator, CLUSTER);
  const never = (): never => {
    throw new Error("nobody asks for that here");
  };
  const bus = new CoordinatorBus(coordinator, CLUSTER, () => undefined);
  bus.serve({
    command: never,
    up: () => undefined,
    query: (type, payload, _who, request) => {
      if (type !== "file.chunk") return request.respond(new ClawError("unsupported", "not in this test"));
      const { sha256, at } = payload as QueryRequest<"file.chunk">;
      files.piece(sha256, at).then(
        ({ bytes, chunks }) => request.respond({ data: Buffer.from(bytes).toString("base64"), chunks }),
        (error: ClawError) => request.respond(error),
      );
    },
  });
  return bus;
}

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  const own = readCredentials(bench.identity.localCredentials("coordinator"));
  coordinator = await openConnection({ url: bench.server.url, name: "c", ...own, timeout_ms: 5_000 });
  await openStores(coordinator, CLUSTER, { total_bytes: 1 << 26, max_age_ms: 3_600_000 }, 1);
  log = await openLog(coordinator, systemRuntime, CLUSTER, 1, undefined, undefined, true);
  const manager = await coordinator.jetstreamManager();
  log_name = (await findStream(manager, subjects.logStream(CLUSTER)))!;
  log_subject = (await manager.streams.info(log_name)).config.subjects[0]!;
  expect(await log.append(1, "n", new TextEncoder().encode("the first event"))).toBe("stored");
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
    expect(await publishes(worker, log_subject)).toBe(false);
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

  test("may neither read log and snapshots nor change a stream", async () => {
    for (const api of ["STREAM.INFO", "STREAM.MSG.GET", "STREAM.PURGE", "STREAM.DELETE", "CONSUMER.CREATE"]) {
      expect(await publishes(worker, `$JS.API.${api}.${subjects.logStream(CLUSTER)}`)).toBe(false);
      expect(await publishes(worker, `$JS.API.${api}.${subjects.snapshotStream(CLUSTER)}`)).toBe(false);
    }
    expect(await publishes(worker, subjects.snapshots(CLUSTER, "secret"))).toBe(false);
    for (const stream of [subjects.fileStream(CLUSTER), subjects.outputStream(CLUSTER)]) {
      for (const api of ["STREAM.INFO", "STREAM.MSG.GET", "STREAM.PURGE", "STREAM.DELETE", "CONSUMER.CREATE"]) {
        expect(await publishes(worker, `$JS.API.${api}.${stream}`)).toBe(false);
      }
      expect(await publishes(worker, `$JS.API.CONSUMER.CREATE.${stream}.name.filter`)).toBe(false);
    }
    const script = subjects.fileChunk(CLUSTER, "a".repeat(64), 0);
    expect(await publishes(worker, `$JS.API.DIRECT.GET.${subjects.fileStream(CLUSTER)}.${script}`)).toBe(false);
    expect(await publishes(worker, `$JS.API.DIRECT.GET.${subjects.outputStream(CLUSTER)}`)).toBe(false);
    expect(await publishes(worker, subjects.nodeQuery(CLUSTER, worker.id, "task.list"))).toBe(false);
    expect(await publishes(worker, subjects.nodeQuery(CLUSTER, neighbour.id, "file.chunk"))).toBe(false);
    expect(await publishes(worker, subjects.fileChunk(CLUSTER, "a", 0))).toBe(false);
    expect(await publishes(worker, "$JS.API.INFO")).toBe(false);
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
    expect(await publishes(client, log_subject)).toBe(false);
  });

  test("hears its own answers only", async () => {
    // Events are asked for: nobody publishes them.
    expect(await hears(client, `claw.${CLUSTER}.event.>`)).toBe(false);
    expect(await hears(client, `_INBOX_${client.id}.>`)).toBe(true);
    expect(await hears(client, `_INBOX_${stranger.id}.>`)).toBe(false);
    expect(await hears(client, subjects.lead(CLUSTER))).toBe(true);
    expect(await publishes(client, subjects.lead(CLUSTER))).toBe(false);
    expect(await hears(client, subjects.down(CLUSTER, worker.id))).toBe(false);
    expect(await hears(client, subjects.allCommands(CLUSTER))).toBe(false);
    expect(await hears(client, subjects.allOutput(CLUSTER))).toBe(false);
  });

  test("may neither read log and snapshots nor change a stream", async () => {
    for (const api of ["STREAM.INFO", "STREAM.MSG.GET", "STREAM.PURGE", "STREAM.DELETE", "CONSUMER.CREATE"]) {
      expect(await publishes(client, `$JS.API.${api}.${subjects.logStream(CLUSTER)}`)).toBe(false);
      expect(await publishes(client, `$JS.API.${api}.${subjects.snapshotStream(CLUSTER)}`)).toBe(false);
    }
    expect(await publishes(client, subjects.snapshots(CLUSTER, "secret"))).toBe(false);
    for (const stream of [subjects.outputStream(CLUSTER), subjects.fileStream(CLUSTER)]) {
      for (const api of ["STREAM.DELETE", "STREAM.UPDATE", "STREAM.PURGE", "STREAM.MSG.DELETE"]) {
        expect(await publishes(client, `$JS.API.${api}.${stream}`)).toBe(false);
      }
    }
    expect(await publishes(client, `$JS.API.CONSUMER.CREATE.${subjects.fileStream(CLUSTER)}.name`)).toBe(false);
    expect(await publishes(client, "$JS.API.STREAM.CREATE.OWN")).toBe(false);
    expect(await publishes(client, "$JS.API.STREAM.LIST")).toBe(false);
  });
});

describe("what passes through the streams", () => {
  let bus: CoordinatorBus;
  beforeAll(async () => {
    bus = serveFiles();
    await coordinator.flush();
  });
  afterAll(() => bus.stop());

  test("a file goes from a client to a worker, once, however often it is sent", async () => {
    const folder = mkdtempSync(joinPath(tmpdir(), "claw-files-"));
    try {
      const bytes = crypto.getRandomValues(new Uint8Array(60_000));
      const many = Buffer.concat(Array.from({ length: 5 }, () => bytes));
      const before = [client.refusals.length, stranger.refusals.length, worker.refusals.length];
      for (const file of [bytes, many, new Uint8Array(0)]) {
        const names = await Promise.all(
          [client, stranger, client].map((peer) => new FileStore(peer.connection, CLUSTER).put(file)),
        );
        expect(new Set(names).size).toBe(1);
        const path = joinPath(folder, names[0]!);
        await new RemoteFiles(worker.connection, CLUSTER, worker.id).fetch(names[0]!, path);
        expect(Buffer.compare(readFileSync(path), file)).toBe(0);
      }
      expect([client.refusals.length, stranger.refusals.length, worker.refusals.length]).toEqual(before);
      const { state } = await (await coordinator.jetstreamManager()).streams.info(subjects.fileStream(CLUSTER));
      expect(state.messages).toBe(1 + 3 + 1);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("a file that was not sent whole is sent to its end by the next who has it", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(300_000 / 5));
    const many = Buffer.concat(Array.from({ length: 5 }, () => bytes));
    const sha256 = new Bun.CryptoHasher("sha256").update(many).digest("hex");
    await client.connection.jetstream().publish(subjects.fileChunk(CLUSTER, sha256, 2), many.subarray(2 * 128 * 1024));
    const path = joinPath(tmpdir(), `claw-file-${sha256}`);
    const reader = new RemoteFiles(worker.connection, CLUSTER, worker.id);
    const missing = await reader.fetch(sha256, path).catch((error: { code: string }) => error.code);
    expect(missing).toBe("not_found");
    await new FileStore(stranger.connection, CLUSTER).put(many);
    try {
      await reader.fetch(sha256, path);
      expect(Buffer.compare(readFileSync(path), many)).toBe(0);
    } finally {
      rmSync(path, { force: true });
    }
  });

  test("a file that nobody needs is removed, and put back when somebody does after all", async () => {
    const store = new FileStore(coordinator, CLUSTER);
    const bytes = Buffer.concat(Array.from({ length: 5 }, () => crypto.getRandomValues(new Uint8Array(60_000))));
    const sha256 = await new FileStore(client.connection, CLUSTER).put(bytes);
    expect(await store.list()).toContain(sha256);
    const age_ms = systemRuntime.wall_ms() - (await store.storedAt(sha256))!;
    expect(age_ms).toBeWithin(-1_000, 60_000);
    const path = joinPath(tmpdir(), `claw-file-${sha256}`);
    try {
      expect(await store.remove(sha256, () => true)).toBe(false);
      await new RemoteFiles(worker.connection, CLUSTER, worker.id).fetch(sha256, path);
      expect(Buffer.compare(readFileSync(path), bytes)).toBe(0);
    } finally {
      rmSync(path, { force: true });
    }
    const before = await store.list();
    expect(await store.remove(sha256, () => false)).toBe(true);
    expect(new Set(await store.list())).toEqual(new Set(before.filter((name) => name !== sha256)));
    expect(await store.storedAt(sha256)).toBeUndefined();
  });

  test("a file that is larger than any script is not sent", async () => {
    const sending = new FileStore(client.connection, CLUSTER).put(new Uint8Array(LIMITS.script_bytes + 1));
    expect(await sending.catch((error: { code: string }) => error.code)).toBe("too_large");
  });

  test("a file that stands there can be neither replaced nor passed off as another", async () => {
    const store = new FileStore(client.connection, CLUSTER);
    const sha256 = await store.put(new TextEncoder().encode("console.log(1)"));
    const again = await client.connection
      .jetstream()
      .publish(subjects.fileChunk(CLUSTER, sha256, 0), "evil")
      .then(() => "taken")
      .catch((error: { api_error: { description: string } }) => error.api_error.description);
    expect(again).toContain("per subject");
    const squatted = "f".repeat(64);
    await client.connection.jetstream().publish(subjects.fileChunk(CLUSTER, squatted, 0), "evil");
    const path = joinPath(tmpdir(), `claw-file-${squatted}`);
    const error = await new RemoteFiles(worker.connection, CLUSTER, worker.id)
      .fetch(squatted, path)
      .catch((e: Error) => e.message);
    expect(error).toContain("damaged");
  });

  test("output goes from a worker to a client, which follows it", async () => {
    const publisher = new OutputPublisher(worker.connection, CLUSTER, worker.id, { runtime: systemRuntime });
    const done = new AbortController();
    const followed = followOutput(client.connection, CLUSTER, 7, 8, { follow: true, done: done.signal })[
      Symbol.asyncIterator
    ]();
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

const sent = ([subject, message]: [string, object]): [string, string] => [subject, JSON.stringify(message)];

describe("an answer that is sent elsewhere", () => {
  const PAUSE = "the answers";

  /** Waits until everything that the server had to do for a peer before is done. */
  async function settled({ connection }: Peer): Promise<void> {
    await connection.flush();
    await until(async () => ((await log.last()) >= 1 ? true : undefined), PAUSE);
    await coordinator.flush();
  }

  test("by the broker does not reach the log, whose subject nobody knows", async () => {
    const output = subjects.outputStream(CLUSTER);
    expect(log_subject).toMatch(new RegExp(`^claw\\.${CLUSTER}\\.log\\.[0-9a-f]{32}$`));
    for (const reply of [`claw.${CLUSTER}.log`, `claw.${CLUSTER}.log.x`, subjects.logStream(CLUSTER)]) {
      client.connection.publish(`$JS.API.STREAM.INFO.${output}`, "", { reply });
      worker.connection.publish(subjects.output(CLUSTER, worker.id, 1, 2, 3), "x", { reply });
    }
    await settled(client);
    await settled(worker);
    expect(await log.last()).toBe(1);
  });

  test("by the broker out of a stream is not taken for what a leader, a worker or another client says", async () => {
    const heard: string[] = [];
    const dropped: string[] = [];
    const tell = (sender: string, why: string): void => void dropped.push(`${sender}: ${why}`);
    const toWorker = new WorkerBus(worker.connection, CLUSTER, worker.id, tell);
    toWorker.listen(({ type }) => heard.push(type));
    const toLeader = new CoordinatorBus(coordinator, CLUSTER, tell);
    toLeader.serve({
      command: (type) => heard.push(type),
      query: (type) => heard.push(type),
      up: (_, { type }) => heard.push(type),
    });
    const incarnation = "0123456789abcdef";
    const refuse = { kind: "refuse", code: "refused", message: "forged" };
    const forged: [string, object][] = [
      [subjects.down(CLUSTER, worker.id), { type: "node.control", incarnation, action: refuse }],
      [subjects.up(CLUSTER, worker.id), { type: "task.start", incarnation, runs: [[1, 0, 1, 1, 1]] }],
      [subjects.query(CLUSTER, stranger.id, "cluster.status"), {}],
    ];
    const files = subjects.fileStream(CLUSTER);
    const drops = (count: number) => until(() => (dropped.length === count ? true : undefined), `${count} drops`);
    for (const [at, [subject, message]] of forged.entries()) {
      const kept = subjects.fileChunk(CLUSTER, String(at).repeat(64), 0);
      await client.connection.jetstream().publish(kept, JSON.stringify(message));
      client.connection.publish(`$JS.API.DIRECT.GET.${files}.${kept}`, "", { reply: subject });
      await drops(at + 1);
    }
    // What is said by whom it is said to be is heard.
    coordinator.publish(...sent(forged[0]!));
    worker.connection.publish(...sent(forged[1]!));
    await until(() => (heard.length === 2 ? true : undefined), "both");
    expect(heard.sort()).toEqual(["node.control", "task.start"]);
    expect(dropped.every((one) => one.includes("out of a stream"))).toBe(true);
    toWorker.stop();
    toLeader.stop();
  });

  test("by the broker neither purges nor deletes the log, whatever the message is that it carries", async () => {
    const output = subjects.outputStream(CLUSTER);
    const stream = subjects.logStream(CLUSTER);
    const text = '{"keep":0}';
    await worker.connection.jetstream().publish(subjects.output(CLUSTER, worker.id, 9, 9, 1), text);
    await worker.connection.jetstream().publish(subjects.output(CLUSTER, worker.id, 9, 9, 1), "");
    for (const api of ["PURGE", "DELETE"]) {
      const deliver_subject = `$JS.API.STREAM.${api}.${stream}`;
      const config = { name: `push${api}`, deliver_subject, ack_policy: "none", deliver_policy: "all" };
      const create = `$JS.API.CONSUMER.CREATE.${output}.push${api}`;
      await client.connection.request(create, JSON.stringify({ stream_name: output, config }), { timeout: 5_000 });
      client.connection.publish(`$JS.API.STREAM.INFO.${output}`, "", { reply: deliver_subject });
    }
    await settled(client);
    expect(await log.last()).toBe(1);
    const manager = await coordinator.jetstreamManager();
    expect((await manager.streams.info(log_name)).state.first_seq).toBe(1);
    for (const api of ["PURGE", "DELETE"]) await manager.consumers.delete(output, `push${api}`);
  });

  test("by the broker, and empty, finds no log to delete, because nobody knows its name", async () => {
    expect(log_name).toMatch(new RegExp(`^CLAW_${CLUSTER}_LOG_[0-9a-f]{32}$`));
    const output = subjects.outputStream(CLUSTER);
    const nowhere = subjects.fileChunk(CLUSTER, "0".repeat(64), 0);
    const create = `$JS.API.CONSUMER.CREATE.${output}.nothing.claw.${CLUSTER}.node.*.out.1.1.>`;
    const config = { name: "nothing", filter_subject: `claw.${CLUSTER}.node.*.out.1.1.>`, ack_policy: "none" };
    await client.connection.request(create, JSON.stringify({ stream_name: output, config }), { timeout: 5_000 });
    // The way is open: a stream whose name is known goes. When it does not, the names need no hiding any more.
    const manager = await coordinator.jetstreamManager();
    await manager.streams.add({ name: "KNOWN", subjects: ["known"] });
    for (const name of [subjects.logStream(CLUSTER), `${subjects.logStream(CLUSTER)}_*`, "KNOWN"]) {
      for (const api of ["PURGE", "DELETE"]) {
        const reply = `$JS.API.STREAM.${api}.${name}`;
        const read = `$JS.API.DIRECT.GET.${subjects.fileStream(CLUSTER)}.${nowhere}`;
        client.connection.publish(read, "", { reply });
        // An acknowledgement says something, and so asks for nothing.
        worker.connection.publish(subjects.output(CLUSTER, worker.id, 1, 2, 3), "x", { reply });
        client.connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${output}.nothing`, '{"no_wait":true}', { reply });
      }
    }
    const known = (): Promise<boolean> =>
      manager.streams.info("KNOWN").then(
        () => false,
        () => true,
      );
    await until(async () => ((await known()) ? true : undefined), "the end of the stream whose name is known");
    await settled(client);
    expect(await log.last()).toBe(1);
    expect((await manager.streams.info(log_name)).state.messages).toBe(1);
  });

  test("by the coordinator goes to nobody", async () => {
    const bus = new CoordinatorBus(coordinator, CLUSTER, () => undefined);
    const asked: string[] = [];
    bus.serve({
      command: (type, _, who, __, request) => {
        asked.push(`${type} ${who}`);
        request.respond({ creds: "secret" });
      },
      query: () => undefined,
      up: () => undefined,
    });
    const stolen = coordinator.subscribe("stolen.>");
    const inbox = client.connection.subscribe(`_INBOX_${client.id}.own`);
    await Promise.all([coordinator.flush(), client.connection.flush()]);
    const command = subjects.command(CLUSTER, client.id, "credentials.export");
    const payload = JSON.stringify({ v: 1, role: "worker" });
    for (const reply of ["stolen.a", log_subject, `_INBOX_${stranger.id}.x`, `_INBOX_${client.id}.own`]) {
      client.connection.publish(command, payload, { reply });
    }
    client.connection.publish(command, "unreadable", { reply: "stolen.b" });
    await until(() => (inbox.getReceived() === 1 ? true : undefined), "the one answer");
    bus.stop();
    await settled(client);
    expect(asked).toHaveLength(4);
    expect(stolen.getReceived()).toBe(0);
    expect(await log.last()).toBe(1);
    stolen.unsubscribe();
    inbox.unsubscribe();
  });
});
