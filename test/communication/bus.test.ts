// Messages between the roles over a real server: what arrives is what was meant, and what cannot be read harms nobody.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { CoordinatorBus, type CoordinatorHandlers, type Request, WorkerBus } from "../../src/communication/bus.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import type { DownMessage, UpMessage } from "../../src/communication/messages.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { countingProxy } from "./proxy.ts";
import { type Bench, CLUSTER, openBench, until } from "./server-bench.ts";

const NODE = "node_0123abcd";
const SHUTDOWN: UpMessage = { type: "node.shutdown", incarnation: "0123456789abcdef", reason: "test" };
const ACK: DownMessage = { type: "report.ack", incarnation: "0".repeat(16), seqs: [1, 2] };
/** The largest that can be: a name of the longest, all counters at their ends. */
const LARGEST: UpMessage = {
  type: "node.heartbeat",
  i: "ffffffff",
  n: LIMITS.heartbeat_attempts,
  h: "ffffffff",
  p: 9,
  c: 100,
  m: LIMITS.heartbeat_memory_mib,
};

let bench: Bench;
let connection: NatsConnection;
/** Asks in the name of client_1. */
let client: NatsConnection;
const buses: { stop(): void }[] = [];

async function join(url = bench.server.url, inbox_prefix = "_INBOX_test"): Promise<NatsConnection> {
  const { authenticator } = readCredentials(bench.identity.localCredentials("coordinator"));
  return await openConnection({ url, name: "test", authenticator, inbox_prefix, timeout_ms: 5_000 });
}

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  connection = await join();
  client = await join(bench.server.url, "_INBOX_client_1");
});

afterEach(() => {
  for (const bus of buses.splice(0)) bus.stop();
});

afterAll(async () => {
  await client.close();
  await connection.close();
  await bench.close();
});

interface Heard {
  bus: CoordinatorBus;
  dropped: [sender: string, why: string][];
  ups: [node: string, message: UpMessage][];
}

async function coordinator(handlers: Partial<CoordinatorHandlers> = {}): Promise<Heard> {
  const dropped: Heard["dropped"] = [];
  const ups: Heard["ups"] = [];
  const bus = new CoordinatorBus(connection, CLUSTER, (sender, why) => dropped.push([sender, why]));
  buses.push(bus);
  const refuse = (_: string, __: unknown, ___: string, ...rest: unknown[]): void =>
    (rest.at(-1) as Request).respond(new ClawError("unsupported", "not in this test"));
  bus.serve({ command: refuse, query: refuse, up: (node, message) => ups.push([node, message]), ...handlers });
  await connection.flush();
  return { bus, dropped, ups };
}

describe("the coordinator's side", () => {
  test("gets a worker's messages under the name that its subject has", async () => {
    const { ups, bus } = await coordinator();
    const worker = new WorkerBus(connection, CLUSTER, NODE, () => undefined);
    worker.send(SHUTDOWN);
    await until(() => ups[0], "the message");
    expect(ups).toEqual([[NODE, SHUTDOWN]]);
    expect(bus.dropped).toBe(0);
  });

  test("counts what it cannot read, tells of it once a sender, and hears what comes next", async () => {
    const { ups, bus, dropped } = await coordinator();
    const bad: [string | Uint8Array, string][] = [
      ["", NODE],
      ["{", NODE],
      ["[1]", NODE],
      ['{"type":"node.shutdown"}', NODE],
      [JSON.stringify({ ...SHUTDOWN, strange: 1 }), NODE],
      [new Uint8Array([0xff, 0xfe]), NODE],
      [JSON.stringify({ ...SHUTDOWN, reason: "x".repeat(LIMITS.message_bytes) }), "node_big"],
    ];
    for (const [text, node] of bad) connection.publish(subjects.up(CLUSTER, node), text);
    connection.publish(subjects.up(CLUSTER, NODE), JSON.stringify(SHUTDOWN));
    await until(() => ups[0], "the good one");
    expect(ups).toHaveLength(1);
    expect(bus.dropped).toBe(bad.length);
    expect(dropped.map(([sender]) => sender)).toEqual([NODE, "node_big"]);
    expect(dropped[0]![1]).toContain("not JSON");
    expect(dropped[1]![1]).toContain(`at most ${LIMITS.message_bytes}`);
  });

  test("answers a request that it cannot read with what is wrong with it", async () => {
    const { bus, dropped } = await coordinator();
    const ask = async (type: string, payload: string) => {
      const answer = await client.request(subjects.command(CLUSTER, "client_1", type), payload, { timeout: 5_000 });
      return answer.json() as { ok: boolean; error: { code: string; field?: string; message: string } };
    };
    const { ok, error } = await ask("credentials.export", '{"v":1,"role":"king"}');
    expect([ok, error.code, error.field]).toEqual([false, "bad_request", "role"]);
    expect((await ask("no.such", "{}")).error.code).toBe("unsupported");
    expect((await ask("toString", "{}")).error.code).toBe("unsupported");
    const query = await client.request(subjects.query(CLUSTER, "client_1", "no.such"), "{}", { timeout: 5_000 });
    expect(query.json<{ error: { code: string } }>().error.code).toBe("unsupported");
    // Who asked knows: nobody else has to be told.
    expect([bus.dropped, dropped.length]).toEqual([0, 0]);
  });

  test("an answer that no message can carry is an error, and the connection lives on", async () => {
    await coordinator({
      query: (_type, _payload, _who, request) => request.respond({ text: "x".repeat(2 * LIMITS.message_bytes) }),
    });
    const ask = async () =>
      (await client.request(subjects.query(CLUSTER, "client_1", "node.list"), "{}", { timeout: 5_000 })).json<{
        error: { code: string };
      }>();
    expect((await ask()).error.code).toBe("too_large");
    expect((await ask()).error.code).toBe("too_large");
  });

  test("hands a request on, with its sender and its size, and sends the answer", async () => {
    const payload = JSON.stringify({ v: 1, role: "worker" });
    const got: unknown[] = [];
    await coordinator({
      command: (type, parsed, who, bytes, request) => {
        got.push(type, parsed, who, bytes);
        request.respond({ creds: "c", id: "i" });
      },
      query: (type, parsed, who, request) => {
        got.push(type, parsed, who);
        request.respond(new ClawError("not_found", "no such thing", { field: "refs" }));
      },
    });
    const command = subjects.command(CLUSTER, "client_1", "credentials.export");
    const answer = await client.request(command, payload, { timeout: 5_000 });
    expect(answer.json<object>()).toEqual({ ok: true, creds: "c", id: "i" });
    const query = subjects.query(CLUSTER, "client_1", "task.resolve");
    const refusal = await client.request(query, '{"refs":["x"]}', { timeout: 5_000 });
    expect(refusal.json<{ ok: boolean; error: object }>()).toMatchObject({
      ok: false,
      error: { code: "not_found", message: "no such thing", field: "refs" },
    });
    expect(got).toEqual([
      "credentials.export",
      { v: 1, role: "worker" },
      "client_1",
      payload.length,
      "task.resolve",
      { refs: ["x"] },
      "client_1",
    ]);
  });

  test("hears nothing after its end", async () => {
    const { bus, ups } = await coordinator();
    const second = await coordinator();
    bus.stop();
    await connection.flush();
    connection.publish(subjects.up(CLUSTER, NODE), JSON.stringify(SHUTDOWN));
    await until(() => second.ups[0], "the message at the other one");
    expect(ups).toEqual([]);
  });
});

describe("the worker's side", () => {
  test("gets its own messages, and drops what cannot be read", async () => {
    const heard: DownMessage[] = [];
    const dropped: string[] = [];
    const worker = new WorkerBus(connection, CLUSTER, NODE, (sender, why) => dropped.push(`${sender}: ${why}`));
    buses.push(worker);
    worker.listen((message) => void heard.push(message));
    await connection.flush();
    const { bus } = await coordinator();
    connection.publish(subjects.down(CLUSTER, NODE), "nonsense");
    bus.send("node_ffffffff", ACK);
    bus.send(NODE, ACK);
    await until(() => heard[0], "the message");
    expect(heard).toEqual([ACK]);
    expect(dropped).toHaveLength(1);
    expect(dropped[0]).toContain("the leader: not JSON");
  });

  test("a closed connection takes messages without a word: they are sent again when there is one", async () => {
    const own = await join();
    const worker = new WorkerBus(own, CLUSTER, NODE, () => undefined);
    const bus = new CoordinatorBus(own, CLUSTER, () => undefined);
    await own.close();
    worker.send(SHUTDOWN);
    bus.send(NODE, ACK);
    worker.stop();
  });

  test("a heartbeat has at most 149 bytes as sent, with subject, length and line ends, whatever it says", async () => {
    const proxy = await countingProxy(bench.server.port);
    const cluster = "c".repeat(LIMITS.cluster_name_chars);
    const own = await join(`nats://127.0.0.1:${proxy.port}`);
    try {
      await own.flush();
      const before = proxy.upstream_bytes();
      await own.flush();
      const flush_bytes = proxy.upstream_bytes() - before;
      new WorkerBus(own, cluster, NODE, () => undefined).send(LARGEST);
      await own.flush();
      const sent = proxy.upstream_bytes() - before - 2 * flush_bytes;
      expect(sent).toBeGreaterThan(JSON.stringify(LARGEST).length);
      expect(sent).toBeLessThanOrEqual(LIMITS.heartbeat_bytes);
    } finally {
      await own.close();
      proxy.close();
    }
  });
});
