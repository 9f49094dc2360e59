// Whatever is sent to a coordinator: what cannot be read is refused with a code and the field that is wrong, what can be
// read and makes no sense is refused or left alone, and what comes again changes nothing. The cluster's state stays as it was.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { z } from "zod";
import type { ErrorCode, WireError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import type { NodeInfo, Specification } from "../../src/common/models.ts";
import { connectOptions } from "../../src/communication/broker.ts";
import { type NatsConnection, openConnection } from "../../src/communication/connection.ts";
import { type Credentials, readCredentials } from "../../src/communication/credentials.ts";
import { COMMANDS, type CommandType, type Run, UpMessage } from "../../src/communication/messages.ts";
import { QUERIES, type QueryType } from "../../src/communication/queries.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { View } from "../../src/storage/view.ts";
import { type Cluster, openCluster, type Submitted, submission, type Wanted } from "../cluster.ts";
import { examplesOf, type Mutation, mutationsOf } from "../communication/mutations.ts";
import { knowledge } from "../sim/canonical.ts";
import { PlayedNode } from "./played-node.ts";

const AT_ONCE = 100;
/** The largest number that a message may have. */
const MOST = Number.MAX_SAFE_INTEGER;
const NOWHERE = { needs: { tags: ["nowhere"] } };

interface Identity {
  credentials: Credentials;
  connection: NatsConnection;
}

let cluster: Cluster;
let node: PlayedNode;
let view: View;
let client: Identity;
let worker: Identity;
let open: Submitted;
let running: Run;
let over: Run;

async function identity(path: string): Promise<Identity> {
  const credentials = readCredentials(path);
  const connection = await openConnection(connectOptions("test", cluster.coordinator.nats_url, credentials));
  return { credentials, connection };
}

beforeAll(async () => {
  // The node that is played says nothing by itself: it is there all the same.
  cluster = await openCluster({ workers: 0, coordinator: { "heartbeat.interval": "10m" } });
  const { creds } = await cluster.client.command("credentials.export", { v: 1, role: "client" });
  const path = join(cluster.home, "client.creds");
  writeFileSync(path, creds, { mode: 0o600 });
  client = await identity(path);
  node = await PlayedNode.join(cluster, "played");
  worker = await identity(join(cluster.home, "played", "worker.creds"));
  await node.register();
  // Something of each kind that could be harmed: what runs, waits, is open and is over.
  await cluster.submit({ type: "daemon", needs: { cpu_millis: 1_000 } });
  running = await node.run();
  await cluster.submit({ needs: { executor: "noop", cpu_millis: 0 } });
  over = await node.run();
  await node.complete(over);
  open = await cluster.submit(NOWHERE, { inputs: ["a"], open: true });
  view = new View(join(cluster.folder, "view.sqlite"));
});

afterAll(async () => {
  view.close();
  await node.close();
  for (const { connection } of [client, worker]) await connection.close();
  await cluster.close();
});

/** Everything that the cluster knows, but for how far its log and its clock are. */
async function state(): Promise<string> {
  await cluster.client.query("cluster.status", {});
  return knowledge(view);
}

interface Answer {
  ok: boolean;
  error?: WireError;
}

async function ask({ connection }: Identity, subject: string, body: Mutation["body"]): Promise<Answer> {
  return (await connection.request(subject, body, { timeout: 5_000 })).json<Answer>();
}

const command = (type: string) => subjects.command(cluster.client.cluster, client.credentials.id, type);
const query = (type: string) => subjects.query(cluster.client.cluster, client.credentials.id, type);
const up = () => subjects.up(cluster.client.cluster, worker.credentials.id);

describe("what cannot be read is refused where it is wrong, and nothing changes", () => {
  async function refused(
    schema: z.ZodType,
    examples: readonly unknown[],
    send: (body: Mutation["body"]) => Promise<Answer>,
  ) {
    const mutations = mutationsOf(schema, examples);
    expect(mutations.length).toBeGreaterThan(15);
    const before = await state();
    for (let at = 0; at < mutations.length; at += AT_ONCE) {
      await Promise.all(
        mutations.slice(at, at + AT_ONCE).map(async ({ what, body, code, field }) => {
          const { ok, error } = await send(body);
          expect([what, ok, error?.code]).toEqual([what, false, code]);
          // In a record it is the entry that is wrong.
          const named = error?.field ?? "";
          if (field === "" || !named.startsWith(`${field}.`)) expect([what, named]).toEqual([what, field]);
        }),
      );
    }
    expect(await state()).toBe(before);
  }

  test.each(Object.keys(COMMANDS) as CommandType[])("the command %s", async (type) => {
    await refused(COMMANDS[type], examplesOf("command", type), (body) => ask(client, command(type), body));
  });

  test.each(Object.keys(QUERIES) as QueryType[])("the query %s", async (type) => {
    await refused(QUERIES[type], examplesOf("query", type), (body) => ask(client, query(type), body));
  });

  test.each(UpMessage.options.map((one) => [one.shape.type.value, one] as const))(
    "a node's %s",
    async (type, schema) => {
      await refused(schema, examplesOf("up", type), (body) => ask(worker, up(), body));
    },
  );

  test("what nobody knows", async () => {
    const before = await state();
    for (const type of ["task.invent", "constructor", "__proto__", "toString"]) {
      expect((await ask(client, command(type), "{}")).error?.code).toBe("unsupported");
      expect((await ask(client, query(type), "{}")).error?.code).toBe("unsupported");
      expect((await ask(worker, up(), JSON.stringify({ type }))).error).toMatchObject({
        code: "bad_request",
        field: "type",
      });
    }
    expect(await state()).toBe(before);
  });
});

describe("what makes no sense is refused, and nothing changes", () => {
  const change = (more: Partial<Specification>) => {
    const { request } = submission(NOWHERE);
    return { ...request, specifications: [{ ...request.specifications[0]!, ...more }] };
  };
  const resources = (text: string) =>
    change({ needs: { ...change({}).specifications[0]!.needs, resources: JSON.parse(text) } });
  const folder = (path: string) => change({ needs: { ...change({}).specifications[0]!.needs, folder: path } });
  const extend = (more: object) => ({ v: 1, id: open.id, nonce: open.nonce, offset: 1, inputs: [], ...more });
  const target = (more: object) => ({
    v: 1,
    targets: [
      { number: open.number, from: 0 },
      { from: 0, ...more },
    ],
  });
  const commands: [what: string, CommandType, () => object, code: ErrorCode, field?: string][] = [
    [
      "a submission under an id that is taken",
      "task.submit",
      () => ({ ...change({}), tasks: [[open.id, 0]] }),
      "id_taken",
    ],
    [
      "a specification that is not there",
      "task.submit",
      () => ({ ...change({}), tasks: [[1, MOST]] }),
      "bad_request",
      "tasks",
    ],
    [
      "a resource that every object has",
      "task.submit",
      () => resources('{"constructor":1}'),
      "bad_request",
      "needs.resources",
    ],
    ["a resource that is every object's parent", "task.submit", () => resources('{"__proto__":1}'), "bad_request"],
    ["a program without a name", "task.submit", () => change({ argv: ["", "a"] }), "bad_request", "argv.0"],
    ["a NUL for a program", "task.submit", () => change({ argv: ["echo", "a\0b"] }), "bad_request", "argv"],
    ["a NUL in a variable", "task.submit", () => change({ env: { A: "\0" } }), "bad_request", "env"],
    ["a variable with a value in its name", "task.submit", () => change({ env: { "A=B": "" } }), "bad_request", "env"],
    [
      "half of a character for a program",
      "task.submit",
      () => change({ argv: ["echo", "\ud800"] }),
      "bad_request",
      "specifications.0.argv.1",
    ],
    [
      "half of a character in a name",
      "task.submit",
      () => change({ env: { "\udc00": "" } }),
      "bad_request",
      "specifications.0.env",
    ],
    [
      "half of a character as an input",
      "task.extend",
      () => extend({ inputs: ["a\udfffb"] }),
      "bad_request",
      "inputs.0",
    ],
    ["half of a character for a reason", "node.manage", () => manage({ reason: "\ud83d" }), "bad_request", "reason"],
    ["a folder that no system has", "task.submit", () => folder("/tmp\0"), "bad_request", "needs.folder"],
    ["more inputs for what is no array", "task.extend", () => extend({ id: 0 }), "not_found"],
    ["more inputs in another's name", "task.extend", () => extend({ nonce: "0".repeat(32) }), "conflict"],
    ["more inputs behind a gap", "task.extend", () => extend({ offset: MOST }), "gap", "offset"],
    ["an end that is not the end", "task.extend", () => extend({ close: { total: MOST } }), "conflict", "close.total"],
    ["a cancel of what never was", "task.cancel", () => target({ number: MOST }), "not_found", "targets"],
    ["a cancel of number 0", "task.cancel", () => target({ number: 0 }), "not_found", "targets"],
    [
      "a cancel of members that never were",
      "task.cancel",
      () => target({ number: 1, from: 7 }),
      "not_found",
      "targets",
    ],
    [
      "a cancel of more than there can be",
      "task.cancel",
      () => target({ number: 1, to: MOST }),
      "not_found",
      "targets",
    ],
    ["a retry of what never was", "task.retry", () => retry({ number: MOST }), "not_found"],
    ["a retry under an id that is taken", "task.retry", () => retry({ id: open.id }), "id_taken"],
    [
      "a drain of a node that is none",
      "node.manage",
      () => manage({ nodes: ["node_ffffffff"] }),
      "not_found",
      "node_ffffffff",
    ],
    ["a drain of a node in full width", "node.manage", () => manage({ nodes: [wide(node.id)] }), "not_found"],
    ["the removal of a node that is there", "node.manage", () => manage({ action: "remove" }), "conflict"],
  ];
  const retry = (more: object) => ({
    ...{ v: 1, nonce: "f".repeat(32), statuses: ["completed"] },
    targets: [{ id: 1, number: over[0], ...more }],
  });
  const manage = (more: object) => ({ v: 1, action: "drain", nodes: [node.id], ...more });
  const wide = (id: string) => id.replace(/[a-z]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) + 0xfee0));

  // As one: for a case without a field a callback would stand in its place.
  test.each(commands.map((one) => [one[0], one] as const))("%s", async (_, [, type, payload, code, field]) => {
    const before = await state();
    const { ok, error } = await ask(client, command(type), JSON.stringify(payload()));
    expect([ok, error?.code]).toEqual([false, code]);
    if (field !== undefined) expect(error?.field).toContain(field);
    expect(await state()).toBe(before);
  });

  const queries: [what: string, QueryType, object, code: ErrorCode][] = [
    ["half of a character for a label", "task.list", { limit: 1, labels: { a: "\ud800" } }, "bad_request"],
    ["a task that never was", "task.show", { number: MOST }, "not_found"],
    ["a member that never was", "task.show", { number: 1, index: MOST }, "not_found"],
    [
      "waiting for a task that never was",
      "task.wait",
      { number: MOST, until: "finished", wait_ms: 20_000 },
      "not_found",
    ],
    [
      "results of a task that never was",
      "task.results",
      { number: MOST, cursor: 0, limit: 1, wait_ms: 0 },
      "not_found",
    ],
    ["a page that nobody gave out", "task.list", { limit: 1, cursor: "1.-1" }, "bad_request"],
    ["what the log will have one day", "cluster.status", { seen: MOST }, "not_leading"],
    ["an id in full width", "task.resolve", { refs: ["\uff54\uff41\uff53\uff4b_00000001"] }, "usage"],
    ["a snapshot that never was", "snapshot.chunk", { id: "../../view.sqlite", at: MOST }, "not_found"],
  ];
  test.each(queries)("%s", async (_, type, payload, code) => {
    const { ok, error } = await ask(client, query(type), JSON.stringify(payload));
    expect([ok, error?.code]).toEqual([false, code]);
  });
});

describe("what a node says that cannot be so changes nothing", () => {
  const outcome = { status: "failed", reason: "exit", exit_code: 1, started_at: 1, ended_at: 2 };
  const life = () => ({ incarnation: node.incarnation });
  const messages: [what: string, () => object][] = [
    [
      "the end of tasks that never were",
      () => ({ type: "task.complete", ...life(), seq: 1, runs: [[MOST, 0, MOST, 1, 1, 2]], results: [] }),
    ],
    [
      "the end of all tasks that can be",
      () => ({ type: "task.complete", ...life(), seq: 1, runs: [[1, 0, MOST, 1_000_000, 1, 2]], results: [] }),
    ],
    [
      "an end of what is over",
      () => ({ type: "task.complete", ...life(), seq: 1, runs: [[...over, 1, 2]], results: [] }),
    ],
    [
      "a failure of what is over",
      () => ({
        type: "task.fail",
        ...life(),
        seq: 1,
        results: [{ task: [over[0], over[1], over[3]], outcome }],
        released: [],
      }),
    ],
    [
      "a failure of a later attempt",
      () => ({
        type: "task.fail",
        ...life(),
        seq: 1,
        results: [{ task: [running[0], 0, running[3] + 1], outcome }],
        released: [],
      }),
    ],
    [
      "giving back what it never had",
      () => ({ type: "task.fail", ...life(), seq: 1, results: [], released: [[open.number, 0, MOST, 1]] }),
    ],
    ["a start of what it never had", () => ({ type: "task.start", ...life(), runs: [[open.number, 0, MOST, 1, 1]] })],
    ["a goodbye of another life", () => ({ type: "node.shutdown", incarnation: "0".repeat(16), reason: "x" })],
    [
      "a list that nobody asked for",
      () => ({ type: "node.held", ...life(), list: MOST, last: true, held: [[1, 0, MOST, 1]] }),
    ],
    [
      "output of what it never had",
      () => ({
        type: "task.progress",
        ...life(),
        task: [open.number, MOST, 1],
        stdout_bytes: MOST,
        stderr_bytes: MOST,
      }),
    ],
    [
      "a heartbeat that holds the world",
      () => ({ type: "node.heartbeat", i: node.incarnation.slice(0, 8), n: LIMITS.heartbeat_attempts, h: "ffffffff" }),
    ],
    ["a heartbeat of another life", () => ({ type: "node.heartbeat", i: "00000000", n: 0, h: "00000000" })],
    [
      "another cluster's node",
      () => ({
        type: "node.register",
        v: 1,
        cluster_id: "another",
        incarnation: "1".repeat(16),
        info: info(),
        held: [],
      }),
    ],
  ];
  const info = (): NodeInfo => node.info();

  test.each(messages)("%s", async (_, message) => {
    const before = await state();
    worker.connection.publish(up(), JSON.stringify(UpMessage.parse(message())));
    await worker.connection.flush();
    // What came before it is handled when this is answered.
    await ask(worker, up(), "{}");
    expect(await state()).toBe(before);
  });

  test("another cluster's node is told so", async () => {
    const stranger = { cluster_id: "another", incarnation: node.incarnation };
    worker.connection.publish(
      up(),
      JSON.stringify({ type: "node.register", v: 1, ...stranger, info: info(), held: [] }),
    );
    expect(await node.control("refuse")).toMatchObject({ code: "wrong_cluster" });
  });
});

describe("what is the same to a reader is another to the cluster", () => {
  const composed = "caf\u00e9";
  const apart = "cafe\u0301";
  const odd = [composed, apart, "\u212b", "\u00c5", "a\u0000b", "a\u0000c", "a", "\u202etxt", "\u0130", "i\u0307"];

  test("keys, names and labels: each text is itself, and comes back as it was", async () => {
    const made = new Map<number, string>();
    for (const text of odd.filter((one) => one === one.normalize("NFC"))) {
      const submit = async () => {
        const given = text.includes("\0") ? {} : { argv: [text], env: { [text]: text } };
        const spec = { ...NOWHERE, key: text, name: text, labels: { [text]: text }, ...given };
        return await cluster.client.command("task.submit", submission(spec, { inputs: [text] }).request);
      };
      const { number, existing } = await submit();
      expect([text, existing, made.get(number)]).toEqual([text, undefined, undefined]);
      made.set(number, text);
      expect((await submit()).number).toBe(number);
    }
    for (const [number, text] of made) {
      const { tasks } = await cluster.client.query("task.list", { name: text, labels: { [text]: text }, limit: 100 });
      expect(tasks.map((task) => task.number)).toEqual([number]);
      const { specification } = await cluster.show(number, 0);
      expect([specification.key, specification.name, specification.labels]).toEqual([text, text, { [text]: text }]);
      if (!text.includes("\0")) expect([specification.argv, specification.env]).toEqual([[text], { [text]: text }]);
    }
  });

  const where = (attribute: string, value: string) => [{ attribute, op: "=" as const, values: [value] }];
  test.each([
    ["name", { name: apart }],
    ["labels", { labels: { [apart]: "x" } }],
    ["labels", { labels: { x: "\u212b" } }],
    ["key", { key: apart }],
    ["needs.tags", { needs: { tags: [apart] } }],
    ["needs.where", { needs: { where: where("zone", apart) } }],
    ["needs.prefer", { needs: { prefer: where(apart, "x") } }],
    ["needs.resources", { needs: { resources: { [apart]: 1 } } }],
    ["needs.spread", { needs: { spread: { by: "node", among: apart } } }],
  ] as [string, Wanted][])("%s that would be another text when it is normalised are refused", async (field, wanted) => {
    const before = await state();
    const refused = await cluster.client
      .command("task.submit", submission({ ...NOWHERE, ...wanted }).request)
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "bad_request", field, message: expect.stringContaining("normal form C") });
    expect(await state()).toBe(before);
    // What a program is given is its own matter.
    const own = submission({ ...NOWHERE, argv: [apart], env: { A: apart } }).request;
    expect((await cluster.client.command("task.submit", own)).number).toBeGreaterThan(0);
  });
});
