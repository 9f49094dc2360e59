// A client's requests: sent again until somebody knows the answer, never given up for what passes by itself.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { type Runtime, systemRuntime } from "../../src/common/runtime.ts";
import { CoordinatorBus, type CoordinatorHandlers, type Request } from "../../src/communication/bus.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { RequestClient, type RequestOptions } from "../../src/communication/request.ts";
import { countingProxy } from "./proxy.ts";
import { type Bench, CLUSTER, openBench, until } from "./server-bench.ts";

/** Seconds of patience in hundredths. */
const hasty: Runtime = {
  ...systemRuntime,
  monotonic_ms: () => systemRuntime.monotonic_ms() * 100,
  after: (delay_ms, action) => systemRuntime.after(delay_ms / 100, action),
};

/** Seconds of a pause in hundredths, by a clock that nothing moves but the pauses: however slow the machine, none is longer. */
function paced(): Runtime {
  let now_ms = 0;
  return {
    ...systemRuntime,
    monotonic_ms: () => now_ms,
    after: (delay_ms, action) =>
      systemRuntime.after(delay_ms / 100, () => {
        now_ms += delay_ms;
        action();
      }),
  };
}

let bench: Bench;
let connection: NatsConnection;
const open: { close(): Promise<void> | void }[] = [];

async function join(url: string, inbox_prefix: string): Promise<NatsConnection> {
  const { authenticator } = readCredentials(bench.identity.localCredentials("coordinator"));
  return await openConnection({ url, name: "test", authenticator, inbox_prefix, timeout_ms: 5_000 });
}

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  connection = await join(bench.server.url, "_INBOX_test");
});

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

afterAll(async () => {
  await connection.close();
  await bench.close();
});

async function clientOf(
  runtime: Runtime,
  url = bench.server.url,
  more: Partial<Pick<RequestOptions, "away_ms" | "patience_ms" | "coordinator">> = {},
) {
  const waiting: string[] = [];
  const client = new RequestClient(await join(url, "_INBOX_client_1"), {
    runtime,
    cluster: CLUSTER,
    who: "client_1",
    nats_url: url,
    patience_ms: 120_000,
    ...more,
    onWaiting: (why) => waiting.push(why),
  });
  open.push(client);
  return { client, waiting };
}

type Asked = [type: string, payload: Record<string, unknown>];

/** A coordinator that answers as it is told, one answer after the other, the last one again and again. */
async function coordinator(...answers: (object | ClawError | "silence")[]): Promise<Asked[]> {
  const asked: Asked[] = [];
  const bus = new CoordinatorBus(connection, CLUSTER, () => undefined);
  const answer = (type: string, payload: unknown, request: Request): void => {
    const next = answers[Math.min(asked.length, answers.length - 1)]!;
    asked.push([type, payload as Record<string, unknown>]);
    if (next !== "silence") request.respond(next);
  };
  const handlers: CoordinatorHandlers = {
    command: (type, payload, _, __, request) => answer(type, payload, request),
    query: (type, payload, _, request) => answer(type, payload, request),
    up: () => undefined,
  };
  bus.serve(handlers);
  open.push({ close: () => bus.stop() });
  await connection.flush();
  return asked;
}

async function failureOf(promise: Promise<unknown>): Promise<ClawError> {
  const error: unknown = await promise.catch((reason: unknown) => reason);
  if (!(error instanceof ClawError)) throw new Error(`no ClawError: ${String(error)}`);
  return error;
}

const EXPORT = { v: 1, role: "worker" } as const;

describe("a request", () => {
  test("is answered, and a query knows what the command before it did", async () => {
    const asked = await coordinator(
      { cancelled: 1, stopping: 0, finished: 0, sequence: 41 },
      { sequence: 7 },
      { nodes: [] },
    );
    const { client, waiting } = await clientOf(systemRuntime);
    expect(await client.command("task.cancel", { v: 1, targets: [] })).toMatchObject({ cancelled: 1, sequence: 41 });
    await client.command("task.cancel", { v: 1, targets: [] });
    expect(await client.query("node.list", {})).toMatchObject({ nodes: [] });
    expect(asked.map(([type]) => type)).toEqual(["task.cancel", "task.cancel", "node.list"]);
    expect(asked[2]![1]).toEqual({ seen: 41 });
    expect(waiting).toEqual([]);
  });

  test("is sent again when another coordinator leads, however long the one before might have taken", async () => {
    const asked = await coordinator("silence");
    const { client, waiting } = await clientOf(systemRuntime);
    const answer = client.query("task.wait", { number: 1, until: "finished", wait_ms: LIMITS.wait_ms });
    await until(() => asked.length === 1, "the first one to be asked");
    // As one that takes over: it answers, and the one before is deaf from now on.
    const next = await coordinator({ nodes: [] });
    expect(await answer).toMatchObject({ nodes: [] });
    expect([asked.length > 0, next.length, waiting]).toEqual([true, 1, []]);
  });

  test("is sent again as it was while nobody knows what became of it", async () => {
    const doubt = new ClawError("unknown_outcome", "in doubt");
    const asked = await coordinator(doubt, new ClawError("not_leading", "soon"), doubt, { creds: "c", id: "i" });
    const { client } = await clientOf(paced());
    expect(await client.command("credentials.export", EXPORT)).toMatchObject({ creds: "c" });
    expect(asked).toEqual(Array.from({ length: 4 }, () => ["credentials.export", EXPORT]));
  });

  test("larger than a message may be is refused before it is sent", async () => {
    const asked = await coordinator({ cancelled: 0, stopping: 0, finished: 0 });
    const { client, waiting } = await clientOf(systemRuntime);
    const labels = { text: "é".repeat(LIMITS.message_bytes / 2) };
    const error = await failureOf(client.query("task.list", { labels, limit: 1 }));
    expect([error.code, asked, waiting]).toEqual(["too_large", [], []]);
    expect(error.message).toMatch(/^what is asked has 983\d+ bytes, at most 983040$/);
    // The broker takes whatever is smaller.
    const fits = { text: "e".repeat(LIMITS.message_bytes - 100) };
    await client.query("task.list", { labels: fits, limit: 1 });
    expect(asked).toHaveLength(1);
  });

  test("that is refused is not sent again, and the refusal is whole", async () => {
    const asked = await coordinator(new ClawError("id_taken", "taken", { field: "task_1", hint: "draw another" }));
    const { client } = await clientOf(systemRuntime);
    const error = await failureOf(client.command("credentials.export", EXPORT));
    expect([error.code, error.message, error.field, error.hint]).toEqual([
      "id_taken",
      "taken",
      "task_1",
      "draw another",
    ]);
    expect(asked).toHaveLength(1);
  });

  test("that nobody answers ends soon when nobody ever did, and says why", async () => {
    const { client, waiting } = await clientOf(paced());
    const error = await failureOf(client.query("node.list", {}));
    const why = `no coordinator of cluster '${CLUSTER}' answers`;
    expect([error.code, error.message, waiting]).toEqual(["no_coordinator", why, [why]]);
    expect(error.hint).toStartWith("NATS is there: is the name of the cluster right");
  });

  test("that nobody answers is told from one that NATS itself does not answer, in the same time", async () => {
    await coordinator("silence");
    const proxy = await countingProxy(bench.server.port);
    open.push(proxy);
    const cut = `nats://127.0.0.1:${proxy.port}`;
    const asked = [
      await clientOf(systemRuntime, bench.server.url, { patience_ms: 0 }),
      await clientOf(systemRuntime, cut, { patience_ms: 0 }),
      await clientOf(systemRuntime, cut, { patience_ms: 0, coordinator: { managed: false } }),
    ];
    proxy.deafen();
    const begun_ms = performance.now();
    const errors = await Promise.all(asked.map(({ client }) => failureOf(client.query("node.list", {}))));
    expect(performance.now() - begun_ms).toBeLessThan(4_000);
    expect(errors.map(({ message }) => message)).toEqual([
      "the coordinator did not answer in time",
      `NATS at ${cut} does not answer`,
      `this coordinator hears nothing from NATS at ${cut}`,
    ]);
    expect(errors.map(({ hint }) => hint?.startsWith("NATS is there"))).toEqual([true, false, false]);
  });

  test("that a coordinator passes on is told of in that one's words", async () => {
    const words = async (managed: boolean) => {
      const proxy = await countingProxy(bench.server.port);
      const url = `nats://127.0.0.1:${proxy.port}`;
      const { client } = await clientOf(systemRuntime, url, { away_ms: 0, patience_ms: 0, coordinator: { managed } });
      const nobody = await failureOf(client.query("node.list", {}));
      proxy.close();
      await until(() => (client.connected ? undefined : true), "word of the loss");
      const lost = await failureOf(client.query("node.list", {}));
      expect(lost.message).toBe(`this coordinator has no connection to NATS at ${url}`);
      expect([nobody.message, nobody.hint]).toEqual([
        `no coordinator of cluster '${CLUSTER}' answers`,
        expect.stringContaining("another one takes over"),
      ]);
      return lost.hint;
    };
    expect(await words(true)).toContain("nats-server.log");
    expect(await words(false)).toContain("does that NATS run");
  });

  test("that the first one hears and does not answer is sent again, for another may lead by then", async () => {
    const asked = await coordinator("silence", { nodes: [] });
    const { client, waiting } = await clientOf(systemRuntime);
    expect(await client.query("node.list", {})).toMatchObject({ nodes: [] });
    expect([asked.length, waiting]).toEqual([2, ["the coordinator did not answer in time"]]);
  });

  test("waits for a coordinator that was there and comes back, and tells once that it waits", async () => {
    const first = await coordinator({ nodes: [] });
    const { client, waiting } = await clientOf(paced());
    await client.query("node.list", {});
    await open.splice(0, 1)[0]!.close(); // the coordinator
    await connection.flush();
    const asking = client.query("node.list", {}).catch((error: unknown) => error);
    await until(() => waiting[0], "word of the waiting");
    const second = await coordinator({ nodes: [] });
    expect(await asking).toMatchObject({ nodes: [] });
    expect([first.length, waiting.length]).toEqual([1, 1]);
    // What was on its way when it said that it leads is asked again.
    expect(second.length).toBeWithin(1, 3);
  });

  test("tells once that it waits, though those that wait are answered by one that does not lead, or one by one", async () => {
    const soon = new ClawError("not_leading", "soon");
    await coordinator({ nodes: [] }, ...Array.from({ length: 9 }, () => soon), { nodes: [] }, soon, soon, {
      nodes: [],
    });
    const { client, waiting } = await clientOf(hasty);
    await client.query("node.list", {});
    await Promise.all([client.query("node.list", {}), client.query("node.list", {})]);
    expect(waiting).toEqual(["soon"]);
  });

  test("whose connection was lost on the way is sent again at once, not when its time is over", async () => {
    const proxy = await countingProxy(bench.server.port);
    open.push(proxy);
    const asked = await coordinator({ nodes: [] });
    const { client } = await clientOf(systemRuntime, `nats://127.0.0.1:${proxy.port}`);
    await client.query("node.list", {});
    proxy.deafen();
    const begun_ms = performance.now();
    const asking = client.query("task.wait", { number: 1, until: "finished", wait_ms: 20_000 });
    await until(() => asked[1], "the request");
    proxy.heal();
    expect(await asking).toMatchObject({ nodes: [] });
    expect(performance.now() - begun_ms).toBeLessThan(4_000);
    expect(asked.map(([type]) => type)).toEqual(["node.list", "task.wait", "task.wait"]);
  });

  test("whose connection does not come back ends when its patience does, and says so", async () => {
    const proxy = await countingProxy(bench.server.port);
    const asked = await coordinator({ nodes: [] });
    const { client, waiting } = await clientOf(hasty, `nats://127.0.0.1:${proxy.port}`);
    await client.query("node.list", {});
    proxy.close();
    const error = await failureOf(client.query("node.list", {}));
    expect([error.code, error.message]).toEqual(["no_coordinator", "the connection was lost and did not come back"]);
    expect([asked.length, waiting]).toEqual([1, ["the connection was lost"]]);
  });

  test("is answered soon where a lost connection is not to be waited for, and at once from then on", async () => {
    const proxy = await countingProxy(bench.server.port);
    const asked = await coordinator({ nodes: [] }, "silence");
    const { client } = await clientOf(systemRuntime, `nats://127.0.0.1:${proxy.port}`, { away_ms: 300 });
    await client.query("node.list", {});
    expect(client.connected).toBe(true);
    const begun_ms = performance.now();
    const asking = failureOf(client.query("task.wait", { number: 1, until: "finished", wait_ms: 20_000 }));
    await until(() => asked[1], "the request");
    proxy.close();
    await until(() => !client.connected, "word of the loss");
    expect((await asking).code).toBe("no_coordinator");
    expect((await failureOf(client.query("node.list", {}))).code).toBe("no_coordinator");
    expect(performance.now() - begun_ms).toBeLessThan(2_000);
    expect(asked).toHaveLength(2);
  });

  test("may be closed twice", async () => {
    const { client } = await clientOf(systemRuntime);
    await client.close();
    await client.close();
    expect(client.connection.isClosed()).toBe(true);
  });
});
