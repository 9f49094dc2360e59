// A task's output to whoever reads it when its node told nothing of it, over a real server.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import type { AttemptView, Outcome } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { type Ended, followTask, printFinished, printSoFar, type Sink } from "../../src/communication/follow.ts";
import { OutputPublisher } from "../../src/communication/output.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { openStores } from "../../src/communication/stores.ts";
import { type Bench, CLUSTER, openBench, until } from "./server-bench.ts";

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

describe("that an attempt was lost is said behind what it wrote", () => {
  const lost: AttemptView = { attempt: 1, node: NODE, reason: "lost", at: 3_000 };
  const note = (number: number): string => `claw: t${number}: attempt 1 was lost with its node\n`;
  const end = (text: string): Ended => {
    const tail = { stdout_tail: text, inline: true };
    return {
      outcome: { status: "completed", reason: "exit", exit_code: 0, ...times, ...tail },
      attempt: 2,
      node: NODE,
    };
  };

  test("where the next one's came with its end", async () => {
    await writes(11, 1, "one\n");
    const io = terminal();
    await printFinished(io, client, task(11), end("two\n"), [lost]);
    expect(io.text).toBe(`one\n${note(11)}two\n`);
  });

  test("where the next one is in the stream, over or not", async () => {
    await writes(12, 1, "one\n");
    await writes(12, 2, "two\n");
    const so_far = terminal();
    await printSoFar(so_far, client, task(12), [lost]);
    const { outcome } = end("");
    const stdout = { bytes: 4, hash: "0".repeat(16) };
    const io = terminal();
    const whole = { outcome: { ...outcome, inline: false, stdout }, attempt: 2, node: NODE };
    await printFinished(io, client, task(12), whole, [lost]);
    expect([so_far.text, io.text]).toEqual(Array(2).fill(`one\n${note(12)}two\n`));
  });

  test("to whoever follows it, before the next one writes anything", async () => {
    await writes(13, 1, "one\n");
    const io = terminal();
    const over = Promise.withResolvers<Ended>();
    const following = followTask(io, client, task(13), (tell) => {
      tell(lost);
      return over.promise;
    });
    await until(() => io.text.includes(note(13)) || undefined, "the note");
    await writes(13, 2, "two\n");
    await until(() => io.text.includes("two") || undefined, "attempt 2");
    over.resolve(end(""));
    await following;
    expect(io.text).toBe(`one\n${note(13)}two\n`);
  });
});
