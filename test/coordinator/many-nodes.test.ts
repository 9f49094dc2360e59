// More nodes than one answer carries, each as large as a node may be: whoever wants them all gets them, a page after the
// other, and no answer is larger than a message.

import { expect, test } from "bun:test";
import { manageCommand } from "../../src/client/commands/node-manage.ts";
import { nodesCommand } from "../../src/client/commands/nodes.ts";
import type { Io } from "../../src/client/io.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { NodeInfo } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { NodeSettings } from "../../src/common/settings.ts";
import { QUERIES, type QueryAnswers } from "../../src/communication/queries.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { Answers } from "../../src/coordinator/answers.ts";
import type { HttpSource } from "../../src/coordinator/http/api.ts";
import { httpApp } from "../../src/coordinator/http/app.ts";
import { Streams } from "../../src/coordinator/http/streams.ts";
import type { Leader } from "../../src/coordinator/leader.ts";
import { Event } from "../../src/core/event.ts";
import type { Queries } from "../../src/storage/queries.ts";
import { AT, Cluster, INFO } from "../core/cluster.ts";

const NODES = 200;
const idOf = (at: number): string => `node_${at.toString(16).padStart(8, "0")}`;
/** Six bytes each as JSON. */
const long = (at: number, chars: number): string => `${at}`.padEnd(chars, "\u0001");

function names<V>(value: V, count: number = LIMITS.label_count, chars: number = LIMITS.label_chars): Record<string, V> {
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [long(at, chars), value]));
}

const widest = (count: number = LIMITS.label_count) => ({
  resources: names(1, count, 64),
  attributes: names("\u0001".repeat(LIMITS.label_chars), count),
});

const tags = Object.keys(names(0));

function largest(name: string): NodeInfo {
  const { resources, attributes } = widest();
  const limits = { enforced: [], reason: "\u0001".repeat(4_096) };
  return NodeInfo.parse({ ...INFO, name, tags, attributes, capacity: { ...INFO.capacity, resources }, limits });
}

/** The answers of a coordinator that leads nodes of this kind, and how large they were. */
function asked(infoOf: (at: number) => NodeInfo, settings?: NodeSettings) {
  const cluster = new Cluster();
  for (let at = NODES; at > 0; at--) {
    const node = idOf(at);
    cluster.add({ t: "registered", node, incarnation: "1", info: infoOf(at), at: AT });
    if (settings !== undefined) cluster.add({ t: "configured", node, settings, by: "c", at: AT });
  }
  const leader = {
    state: cluster.state,
    contacts: new Map(),
    ends: { recent: () => [], refused: () => [] },
    heartbeats: { heartbeat_ms: 10_000, missed: 3 },
  };
  const answers = new Answers(
    {} as Queries,
    () => leader as unknown as Leader,
    () => 0,
  );
  const sizes: number[] = [];
  const query = async (_: "node.list", request: object): Promise<QueryAnswers["node.list"]> => {
    const answer = answers.nodes(QUERIES["node.list"].parse(request));
    sizes.push(Buffer.byteLength(JSON.stringify(answer)));
    return await Promise.resolve(answer);
  };
  return { sizes, query };
}

const ALL = Array.from({ length: NODES }, (_, at) => idOf(at + 1));

for (const [what, infoOf, settings] of [
  ["small", (at: number) => ({ ...INFO, name: `n${at}` }), undefined],
  ["the largest", (at: number) => largest(`n${at}`), NodeSettings.parse({ ...widest(), tags_added: tags })],
] as const) {
  test(`nodes that are ${what} are listed and named, here and over HTTP`, async () => {
    const { query, sizes } = asked(infoOf, settings);
    const out: string[] = [];
    const commands: { nodes: string[] }[] = [];
    const command = (_: string, payload: { nodes: string[] }) => Promise.resolve(commands.push(payload));
    const client = { query, command } as unknown as RequestClient;
    const io = { out: async (text: string) => void out.push(text), err: () => undefined } as unknown as Io;
    await nodesCommand(io, client, { quiet: true });
    const printed = out.join("").trimEnd().split("\n");
    expect(printed.toSorted()).toEqual(ALL);
    await manageCommand(io, client, "cordon", ["n1", `n${NODES}`], { quiet: true });
    expect(commands.map(({ nodes }) => nodes)).toEqual([[idOf(1), idOf(NODES)]]);

    const source = { runtime: systemRuntime, query, failed: (error: unknown) => void sizes.push(Number(error)) };
    const app = httpApp(source as unknown as HttpSource, "t", "127.0.0.1", new Streams());
    const headers = { host: "localhost:7433", authorization: "Bearer t" };
    const found: string[] = [];
    for (let cursor: string | undefined = ""; cursor !== undefined; ) {
      const response = await app.request(`/api/v1/nodes?limit=90&cursor=${cursor}`, { headers });
      const page = (await response.json()) as { nodes: { id: string }[]; cursor?: string };
      expect(page.nodes.length).toBeWithin(1, 91);
      found.push(...page.nodes.map(({ id }) => id));
      ({ cursor } = page);
    }
    expect(found).toEqual(ALL);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(LIMITS.message_bytes);
    if (settings !== undefined) expect(sizes.length).toBeGreaterThan(NODES / 2);
  });
}

test("more names than a node may have are refused where they come from, and read where they are in a log", () => {
  const { resources, attributes } = widest(LIMITS.label_count + 1);
  const capacity = { ...INFO.capacity, resources };
  for (const more of [{ resources }, { attributes }]) {
    expect(NodeSettings.safeParse(more).error?.message).toContain("has more than 32 names");
    const event = { t: "configured", node: "n", settings: more, by: "c", at: AT };
    expect(Event.parse(event)).toEqual(event as Event);
  }
  for (const info of [
    { ...INFO, attributes },
    { ...INFO, capacity },
  ]) {
    expect(NodeInfo.safeParse(info).error?.message).toContain("has more than 32 names");
    const event = { t: "registered", node: "n", incarnation: "1", info, at: AT };
    expect(Event.parse(event)).toEqual(event as Event);
  }
});
