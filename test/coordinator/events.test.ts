// What happened, read out of the log: by the command line, from any place on, filtered, and as it happens.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { EventDocument } from "../../src/common/document-schemas.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { formatTaskId } from "../../src/core/ids.ts";
import { type Cluster, openCluster } from "../cluster.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ workers: 1 });
});

afterAll(() => cluster.close());

async function events(...args: string[]): Promise<EventDocument[]> {
  const { code, stdout, stderr } = await cluster.runCli(["events", "--json", ...args]);
  expect([code, stderr]).toEqual([0, ""]);
  const found = JSON.parse(stdout) as EventDocument[];
  for (const event of found) EventDocument.parse(event);
  return found;
}

const typesOf = (found: readonly EventDocument[]): string[] => found.map(({ type }) => type);

test("a task's life, from its submission to its end, each with its place and time", async () => {
  const { number, id } = await cluster.submit({ argv: ["sh", "-c", "exit 3"], name: "bad" });
  await cluster.finished(number);
  const found = await events(formatTaskId(id));
  // That it began may come with its end.
  const told = found.filter(({ type }) => type !== "task.started");
  expect(typesOf(told)).toEqual(["task.submitted", "task.scheduled", "task.failed"]);
  expect(found.map(({ task }) => task)).toEqual(found.map(() => formatTaskId(id)));
  expect(found[0]).toMatchObject({ name: "bad", count: 1, by: expect.stringContaining("client_") });
  expect(found.at(-1)).toMatchObject({ exit_code: 3, node_name: "worker-1", attempt: 1 });
  const places = found.map((event) => event.id);
  expect(new Set(places).size).toBe(places.length);
  const { stdout } = await cluster.runCli(["events", formatTaskId(id)]);
  expect(stdout.trim().split("\n").at(-1)).toMatch(/^\S+Z task\.failed +task_[0-9a-f]{8} on worker-1 exit code 3$/);
});

test("an array's members come as ranges, or one alone by its own id", async () => {
  const { number, id } = await cluster.submit({ argv: [], needs: { executor: "noop" } }, { count: 5 });
  await cluster.finished(number);
  const found = await events(formatTaskId(id));
  expect(found[0]).toMatchObject({ type: "task.submitted", task: formatTaskId(id), first: 0, last: 4, count: 5 });
  const over = found.filter(({ type }) => type === "task.completed");
  expect(over.reduce((sum, { count = 0 }) => sum + count, 0)).toBe(5);
  const member = await events(`${formatTaskId(id)}.3`);
  expect(typesOf(member)).toEqual(expect.arrayContaining(["task.submitted", "task.completed"]));
  expect(member.length).toBeLessThanOrEqual(found.length);
});

test("by kind, by node, and from any place on", async () => {
  const nodes = await events("--type", "node");
  expect(typesOf(nodes)).toContain("node.joined");
  expect(nodes.every(({ type }) => type.startsWith("node."))).toBe(true);
  const here = await events("--node", "worker-1", "--type", "task.started,task.completed");
  expect(here.length).toBeGreaterThan(0);
  expect(here.every(({ node_name }) => node_name === "worker-1")).toBe(true);
  const all = await events("--after", "0");
  expect(all[0]).toMatchObject({ type: "cluster.created", id: "1.0" });
  expect(typesOf(all)).toContain("leader.elected");
  for (const at of [0, 1, Math.floor(all.length / 2), all.length - 2]) {
    expect((await events("--after", all[at]!.id)).map(({ id }) => id)).toEqual(all.slice(at + 1).map(({ id }) => id));
  }
  expect(await events("--after", all.at(-1)!.id)).toEqual([]);
  expect((await events("--tail", "3")).map(({ id }) => id)).toEqual(all.slice(-3).map(({ id }) => id));
});

test("in pages of any size, nothing twice and nothing left out", async () => {
  const all = await events("--after", "0");
  for (const limit of [1, 3, LIMITS.list_rows]) {
    const ids: string[] = [];
    let after = "0";
    for (let more = true; more; ) {
      const page = await cluster.client.query("event.list", { after, limit, wait_ms: 0 });
      expect(page.events.length).toBeLessThanOrEqual(limit);
      ids.push(...page.events.map(({ id }) => id));
      ({ cursor: after, more } = page);
    }
    expect(ids).toEqual(all.map(({ id }) => id));
  }
});

test("as it happens: who follows hears of a task that is submitted later", async () => {
  const run = cluster.startCli(["events", "-f", "--tail", "0", "--json", "--type", "task.completed"]);
  // It asks for the end of the log first; what it hears of comes behind it.
  const seen = async (): Promise<EventDocument[]> => {
    const { number } = await cluster.submit({ argv: [], needs: { executor: "noop" } });
    await cluster.finished(number);
    return run.stdout.trim() === ""
      ? []
      : run.stdout
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line) as EventDocument);
  };
  let found: EventDocument[] = [];
  for (let tries = 0; found.length === 0 && tries < 200; tries++) found = await seen();
  expect(found[0]).toMatchObject({ type: "task.completed", count: 1 });
  run.closeOutput();
  await seen();
  expect((await run.done).code).toBe(0);
});

test("a question that waits is answered when something happens, and at its end when nothing did", async () => {
  const { cursor } = await cluster.client.query("event.list", { limit: 1, wait_ms: 0 });
  const nothing = await cluster.client.query("event.list", { after: cursor, limit: 1, wait_ms: 30 });
  expect(nothing).toMatchObject({ events: [], cursor, more: false });
  const asked = cluster.client.query("event.list", { after: cursor, limit: 10, wait_ms: 10_000 });
  const { id } = await cluster.submit({ argv: [], needs: { executor: "noop" } });
  const { events: heard } = await asked;
  expect(heard[0]).toMatchObject({ type: "task.submitted", task: formatTaskId(id) });
});

test("a place that cannot be is refused, and the field named", async () => {
  for (const after of ["x", "1.", ".1", "-1", "1e3", "999999", "1.2.3", "0x1"]) {
    const refused = await cluster.client.query("event.list", { after, limit: 1, wait_ms: 0 }).catch((error) => error);
    expect([after, refused]).toEqual([after, expect.objectContaining({ code: "bad_request", field: "after" })]);
  }
  const { code, stderr } = await cluster.runCli(["events", "--tail", "-1"]);
  expect([code, stderr]).toEqual([64, expect.stringContaining("--tail")]);
});
