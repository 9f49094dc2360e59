// Everything that was said in the life of some tasks, said again, and again in another order: by a broker that delivers
// twice, by a client that had no answer, by a node that was not acknowledged. Nothing of it changes anything any more.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { CommandType, UpMessage } from "../../src/communication/messages.ts";
import { View } from "../../src/storage/view.ts";
import { type Cluster, openCluster, submission } from "../cluster.ts";
import { knowledge } from "../sim/canonical.ts";
import { PlayedNode } from "./played-node.ts";

let cluster: Cluster;
let node: PlayedNode;
const said: UpMessage[] = [];
const commands: [CommandType, object, answer: unknown][] = [];

beforeAll(async () => {
  cluster = await openCluster({ workers: 0 });
  node = await PlayedNode.join(cluster, "played");
  const send = node.send.bind(node);
  node.send = (message) => {
    said.push(message);
    send(message);
  };
});

afterAll(async () => {
  await node.close();
  await cluster.close();
});

async function command(type: CommandType, payload: object): Promise<unknown> {
  const { sequence: _, ...answer } = (await cluster.client.command(type, payload as never)) as { sequence?: number };
  return answer;
}

async function first(type: CommandType, payload: object): Promise<unknown> {
  const answer = await command(type, payload);
  commands.push([type, payload, answer]);
  return answer;
}

/** Everything that the cluster knows, but for how far its log and its clock are, and since when a node is out of service. */
async function state(): Promise<string> {
  await cluster.client.query("cluster.status", {});
  const view = new View(join(cluster.folder, "view.sqlite"));
  const text = knowledge(view).replace(/(client_[0-9a-f]+\\",\\"at\\":)\d+/g, "$1");
  view.close();
  return text;
}

const spec = { needs: { cpu_millis: 250 }, retry: { limit: 1, backoff_ms: 0, backoff_max_ms: 0 } };

/** A life: what succeeds, fails and is tried again, is given back, cancelled, extended, retried, drained. */
async function live(): Promise<void> {
  await node.register();
  const array = submission(spec, { inputs: ["a", "b"], open: true });
  await first("task.submit", array.request);
  const { id } = array;
  const { nonce } = array.request;
  const runs = [await node.run()];
  await first("task.extend", { v: 1, id, nonce, offset: 2, inputs: ["c", "d"], close: { total: 4 } });
  runs.push(await node.run());
  const [[number, from, to, attempt], rest] = [runs[0]!, runs[1]!];
  node.send({ type: "task.start", incarnation: node.incarnation, runs: [[number, from, to, attempt, 1]] });
  await node.end([number, from, attempt]);
  node.heartbeat([]);
  const again = await node.run();
  await node.end([again[0], again[1], again[3]]);
  await node.release(rest);
  const back = await node.run();
  await node.complete(back);
  await first("task.cancel", { v: 1, targets: [{ number, from: 1, to: 2 }] });
  await node.cancelled();
  await node.end([number, 1, attempt], { status: "cancelled", reason: "cancelled" });
  const retry = { v: 1, nonce: "d".repeat(32), targets: [{ id: 77, number }], statuses: ["failed"] };
  await first("task.retry", retry);
  await node.complete(await node.run());
  await first("node.manage", { v: 1, action: "cordon", nodes: [node.id], reason: "test" });
  await first("task.submit", submission({ ...spec, key: "once" }).request);
}

test("a life's messages and commands, said again in any order, change nothing", async () => {
  await live();
  expect(said.length).toBeGreaterThan(7);
  const before = await state();
  for (const order of [[...said], [...said].reverse()]) {
    for (const message of order) node.send(message);
    for (const [type, payload, answer] of commands) {
      const now = await command(type, payload);
      // What is over was cancelled before: that is all that a second cancel says.
      if (type !== "task.cancel" && type !== "node.manage") expect([type, now]).toEqual([type, answer]);
    }
    expect(await state()).toBe(before);
  }
});
