// A task's output to whoever reads it when its node told nothing of it, over a real server.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import type { Outcome } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { printFinished, type Sink } from "../../src/communication/follow.ts";
import { OutputPublisher } from "../../src/communication/output.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { openStores } from "../../src/communication/stores.ts";
import { type Bench, CLUSTER, openBench } from "./server-bench.ts";

const NODE = "node_00000001";
let bench: Bench;
let connection: NatsConnection;
let client: RequestClient;
let publisher: OutputPublisher;

beforeAll(async () => {
  bench = openBench();
  await bench.server.start();
  const { authenticator, inbox_prefix } = readCredentials(bench.identity.localCredentials("coordinator"));
  const { url } = bench.server;
  connection = await openConnection({ url, name: "test", authenticator, inbox_prefix, timeout_ms: 5_000 });
  await openStores(connection, CLUSTER, { total_bytes: 1 << 20, max_age_ms: 3_600_000 }, 1);
  publisher = new OutputPublisher(connection, CLUSTER, NODE, { runtime: systemRuntime });
  // How a task ends is told by the test: nothing is asked of a coordinator.
  client = { connection, cluster: CLUSTER } as RequestClient;
});

afterAll(async () => {
  await connection.close();
  await bench.close();
});

/** Keeps everything in the order in which a terminal would show it. */
function terminal() {
  const got = {
    runtime: systemRuntime,
    text: "",
    out: (data: string | Uint8Array): Promise<void> => {
      got.text += typeof data === "string" ? data : Buffer.from(data).toString();
      return Promise.resolve();
    },
    passError: (data: string | Uint8Array): Promise<void> => got.out(data),
    err: (text: string): void => {
      got.text += text;
    },
  };
  return got satisfies Sink;
}

const task = (number: number) => ({ id: `t${number}`, number, index: 0 });
const writes = (number: number, attempt: number, text: string) =>
  publisher.publish(number, 0, attempt, "stdout", Buffer.from(text));
const times = { started_at: 1_000, ended_at: 2_000 };

describe("what came of a task before its node was lost is shown", () => {
  const ends: [string, Outcome][] = [
    ["that was to be cancelled", { status: "cancelled", reason: "cancelled", ...times }],
    ["whose deadline passed", { status: "timeout", reason: "deadline", ...times, message: "its deadline passed" }],
    ["that must not run twice", { status: "failed", reason: "lost", ...times }],
  ];
  test.each(ends)("%s", async (name, outcome) => {
    const number = 1 + ends.findIndex(([one]) => one === name);
    await writes(number, 1, "so far\n");
    const io = terminal();
    await printFinished(io, client, task(number), { outcome, attempt: 1, node: NODE });
    expect(io.text).toBe("so far\n");
  });
});
