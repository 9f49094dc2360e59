// Many who watch one coordinator: each hears of everything once and in its order, the broker is not asked for each of them,
// and nothing of one that has left stays.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { EventDocument } from "../../../src/common/document-schemas.ts";
import { systemRuntime } from "../../../src/common/runtime.ts";
import { openConnection } from "../../../src/communication/connection.ts";
import { authenticatorOf, parseCreds } from "../../../src/communication/credentials.ts";
import { readEndpoint } from "../../../src/communication/endpoint.ts";
import { openLog } from "../../../src/communication/log.ts";
import { formatTaskId } from "../../../src/core/ids.ts";
import { type Cluster, openCluster } from "../../cluster.ts";
import { until, within } from "../../until.ts";

const WATCHERS = 100;
const SUBMISSIONS = 60;
const TASKS = 5;
/** A ping of a stream comes after 15 s: what is over before did not wait for it. */
const AT_ONCE_MS = 5_000;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ workers: 1 });
});

afterAll(() => cluster.close());

function ask(path: string, init: RequestInit): Promise<Response> {
  const { http_url, token_file } = readEndpoint(cluster.paths.data_dir)!;
  const authorization = `Bearer ${readFileSync(token_file!, "utf8").trim()}`;
  return fetch(`${http_url}${path}`, { ...init, headers: { authorization, ...init.headers } });
}

/** One who watches. */
class Watcher {
  readonly ids: string[] = [];
  readonly #stop = new AbortController();
  readonly #opened = Promise.withResolvers<void>();
  #wanted: { id: string; heard: () => void } | undefined;
  readonly done: Promise<void>;

  constructor(path: string) {
    this.done = this.#read(path).catch((error: unknown) => this.#opened.reject(error));
  }

  get opened(): Promise<void> {
    return within(this.#opened.promise, "the stream's first message");
  }

  async #read(path: string): Promise<void> {
    const response = await ask(path, { headers: { accept: "text/event-stream" }, signal: this.#stop.signal });
    let text = "";
    for await (const part of response.body!) {
      const messages = (text + Buffer.from(part).toString()).split("\n\n");
      text = messages.pop() ?? "";
      for (const message of messages) this.#take(message);
    }
  }

  #take(message: string): void {
    const { event, id } = Object.fromEntries(message.split("\n").map((line) => line.split(": ")));
    if (event === "open") this.#opened.resolve();
    else if (event !== "ping") this.ids.push(id as string);
    if (id === this.#wanted?.id) this.#wanted?.heard();
  }

  /** When it has heard of this one. */
  hears(id: string): Promise<void> {
    if (this.ids.includes(id)) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wanted = { id, heard: resolve };
    return within(promise, `event ${id}`);
  }

  leave(): void {
    this.#stop.abort();
  }
}

interface Consumers {
  /** Those that the broker was asked for so far, by the streams that they read. */
  made: string[];
  /** Reads the log, for which it takes one. */
  read(): Promise<void>;
  close(): Promise<void>;
}

async function countConsumers(): Promise<Consumers> {
  const { creds } = await cluster.client.command("credentials.export", { v: 1, role: "coordinator" });
  const { jwt, key, claims } = parseCreds(creds)!;
  const connection = await openConnection({
    ...{ url: cluster.coordinator.nats_url, name: "test", timeout_ms: 5_000, inbox_prefix: `_INBOX_${claims.name}` },
    authenticator: authenticatorOf(jwt, key),
  });
  const made: string[] = [];
  connection.subscribe("$JS.EVENT.ADVISORY.CONSUMER.CREATED.>", {
    callback: (_error, message) => void made.push(message.json<{ stream: string }>().stream),
  });
  await connection.flush();
  const read = async (): Promise<void> => {
    const log = await openLog(connection, systemRuntime, "default", 1);
    for await (const _entry of log.read(1)) break;
  };
  return { made, read, close: () => connection.close() };
}

/** Everything behind the place, in pages. */
async function eventsAfter(place: string): Promise<EventDocument[]> {
  const found: EventDocument[] = [];
  let after = place;
  for (let more = true; more; ) {
    const page = await cluster.client.query("event.list", { after, limit: 1000, wait_ms: 0 });
    found.push(...page.events);
    ({ cursor: after, more } = page);
  }
  return found;
}

const end = async (): Promise<string> => (await cluster.client.query("event.list", { limit: 1, wait_ms: 0 })).cursor;

/** Requests that wait at the coordinator. */
const waiting = (): number => cluster.runtime.waiting.filter((origin) => origin.includes("waiters.ts")).length;

test("a hundred hear of everything, once and in its order, and the broker is asked as for none of them", async () => {
  const cursor = await end();
  const consumers = await countConsumers();
  const watchers = Array.from({ length: WATCHERS }, () => new Watcher(`/api/v1/events?after=${cursor}`));
  await Promise.all(watchers.map(({ opened }) => opened));
  await until(() => waiting() === WATCHERS, "all of them to wait");
  const noop = { argv: [], needs: { executor: "noop" as const } };
  for (let left = SUBMISSIONS; left > 0; left--) {
    await cluster.finished((await cluster.submit(noop, { count: TASKS })).number);
  }
  const told = await eventsAfter(cursor);
  const ids = told.map(({ id }) => id);
  await Promise.all(watchers.map((watcher) => watcher.hears(ids.at(-1)!)));
  const over = told.filter(({ type }) => type === "task.completed");
  expect(over.reduce((sum, { count = 0 }) => sum + count, 0)).toBe(SUBMISSIONS * TASKS);
  for (const watcher of watchers) expect(watcher.ids).toEqual(ids);
  expect(consumers.made.length).toBeLessThan(5);
  const made = consumers.made.length;
  await consumers.read();
  await until(() => consumers.made.length === made + 1, "a consumer to be counted");
  await consumers.close();
  for (const watcher of watchers.slice(1)) watcher.leave();
  await until(() => waiting() === 1, "those who left to wait no more", AT_ONCE_MS);
  watchers[0]?.leave();
  await Promise.all(watchers.map(({ done }) => done));
  await until(() => waiting() === 0, "nobody to wait", AT_ONCE_MS);
}, 60_000);

test("one who leaves while he waits for a page, or for a task, waits no more", async () => {
  const { number, id } = await cluster.submit({ argv: ["sleep", "60"] });
  await cluster.started(number);
  const paths = [
    `/api/v1/events?after=${await end()}&wait_ms=20000`,
    `/api/v1/tasks/${formatTaskId(id)}?wait_ms=20000`,
  ];
  for (const path of paths) {
    const left = new AbortController();
    const answer = ask(path, { signal: left.signal }).catch(() => "none");
    await until(() => waiting() === 1, `${path} to wait`);
    left.abort();
    await until(() => waiting() === 0, `${path} to wait no more`, AT_ONCE_MS);
    expect(await answer).toBe("none");
  }
  await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
  await cluster.finished(number);
});
