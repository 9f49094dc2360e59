// Answers that last: which they are, how many there may be, and what ends them.

import { expect, test } from "bun:test";
import { LIMITS } from "../../../src/common/limits.ts";
import { systemRuntime } from "../../../src/common/runtime.ts";
import type { HttpSource } from "../../../src/coordinator/http/api.ts";
import { httpApp } from "../../../src/coordinator/http/app.ts";
import { Streams } from "../../../src/coordinator/http/streams.ts";
import { until } from "../../until.ts";

const never = (): AbortSignal => new AbortController().signal;

test("there may be so many, and one more when one has ended", () => {
  const streams = new Streams();
  const open = Array.from({ length: LIMITS.http_streams }, () => streams.open(never()));
  expect(() => streams.open(never())).toThrow("are open already");
  open[0]!.end();
  streams.open(never());
  expect(() => streams.open(never())).toThrow("are open already");
});

test("one ends with whoever asked for it, all end with the endpoint", () => {
  const streams = new Streams();
  const asked = new AbortController();
  const [one, other] = [streams.open(asked.signal), streams.open(never())];
  asked.abort();
  expect([one.signal.aborted, other.signal.aborted]).toEqual([true, false]);
  expect(streams.open(asked.signal).signal.aborted).toBe(true);
  streams.close();
  expect(other.signal.aborted).toBe(true);
});

test("output that is not followed is one as well, until it was read or nobody reads it any more", async () => {
  const outcome = { status: "completed", reason: "exit", inline: true, stdout_tail: "done\n", stderr_tail: "well\n" };
  const answers = {
    "task.resolve": { refs: [{ id: "task_1", number: 1, index: 0 }] },
    "task.show": { task: { status: "completed", outcome } },
  };
  const source = {
    runtime: systemRuntime,
    failing: () => [],
    query: (type: keyof typeof answers) => Promise.resolve(answers[type]),
    client: () => undefined,
  } as unknown as HttpSource;
  const streams = new Streams();
  const app = httpApp(source, "t", "127.0.0.1", streams);
  const headers = { host: "localhost", authorization: "Bearer t" };
  const logs = async (method = "GET"): Promise<Response> =>
    await app.request("/api/v1/tasks/task_1/logs", { method, headers });
  for (let left = LIMITS.http_streams - 1; left > 0; left--) streams.open(never());
  const unread = await logs();
  expect([unread.status, (await logs()).status]).toEqual([200, 429]);
  expect(await unread.text()).toBe("done\nwell\n");
  const another = await logs();
  expect([another.status, (await logs()).status]).toEqual([200, 429]);
  await another.body?.cancel();
  const room = (): Promise<Response> =>
    until(() => logs().then((answer) => answer.status === 200 && answer), "room for another");
  expect(await (await room()).text()).toBe("done\nwell\n");
  // Of which nobody reads anything.
  expect((await logs("HEAD")).status).toBe(200);
  expect(await (await room()).text()).toBe("done\nwell\n");
});

test("who leaves while the newest of a filter are looked for is looked for no further", async () => {
  const asked = new AbortController();
  let looks = 0;
  const source = {
    runtime: systemRuntime,
    query: () => {
      looks += 1;
      if (looks === 3) asked.abort();
      if (looks > 100) throw new Error("it goes on");
      return Promise.resolve({ events: [], cursor: "1000", more: false, before: `${1000 - looks}.0` });
    },
  } as unknown as HttpSource;
  const app = httpApp(source, "t", "127.0.0.1", new Streams());
  const headers = { host: "localhost", authorization: "Bearer t", accept: "text/event-stream" };
  await app.request("/api/v1/events?tail=5&type=node", { headers, signal: asked.signal });
  expect(looks).toBe(3);
});
