// Which tasks run where and when: never more than a node can take, the urgent ones first, and those that cannot run say
// why, node by node.

import { afterEach, describe, expect, test } from "bun:test";
import { type Cluster, type ClusterOptions, openCluster, type Settings } from "../cluster.ts";
import { until } from "../until.ts";
import { Notes } from "./notes.ts";

const clusters: Cluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

async function open(options: ClusterOptions): Promise<Cluster> {
  const cluster = await openCluster(options);
  clusters.push(cluster);
  return cluster;
}

const MEASURE = "n=$(ls -d $$.run *.run 2>/dev/null | wc -l)";

/** The most that ran at once, told by marks that the tasks make while they run; the first ones until so many are there. */
async function mostAtOnce(cluster: Cluster, count: number, needs: object, first: number): Promise<number> {
  const notes = new Notes(cluster, "load");
  const folder = cluster.cwd;
  const held = `until [ -e '${notes.path}.first' ]; do sleep 0.01; done`;
  const mark = "$CLAW_TASK_INDEX.run";
  const line = `cd '${folder}'; : > ${mark}; ${MEASURE}; note $n; ${held}; sleep 0.03; rm ${mark}`;
  const { number } = await cluster.submit(notes.task(line, { needs }), { count });
  await notes.written(first);
  await notes.release("first");
  const { counts } = await cluster.finished(number);
  expect(counts?.completed).toBe(count);
  return Math.max(...notes.lines.map(Number));
}

describe("a node", () => {
  const cases: [what: string, settings: Settings, needs: object, most: number][] = [
    ["processors", { "resources.cpus": 2 }, { cpu_millis: 500 }, 4],
    ["memory", { "resources.memory": "1G", "resources.cpus": 64 }, { memory_mib: 400 }, 2],
    [
      "a resource that it counts",
      { "resources.named": { licence: 3 }, "resources.cpus": 64 },
      { resources: { licence: 1 } },
      3,
    ],
    ["gpus", { "resources.gpus": 1, "resources.cpus": 64 }, { gpus: 1 }, 1],
  ];
  test.each(cases)("never runs more at once than its %s allow", async (_, worker, needs, most) => {
    const cluster = await open({ worker });
    expect(await mostAtOnce(cluster, most * 5, needs, most)).toBe(most);
  });

  test("that holds nothing any more has all its room again", async () => {
    const cluster = await open({ worker: { "resources.cpus": 2 } });
    await mostAtOnce(cluster, 10, { cpu_millis: 2000 }, 1);
    const { nodes } = await cluster.client.query("node.list", {});
    expect(nodes[0]).toMatchObject({ held: 0, used: { cpu_millis: 0, memory_mib: 0, gpus: 0 }, completed: 10 });
  });

  test("that joins takes what waited for it", async () => {
    const cluster = await open({ workers: 0 });
    const { number } = await cluster.submit({ argv: ["true"] });
    expect((await cluster.show(number)).waiting).toEqual({
      summary: "no worker has joined yet",
      nodes: [],
      change: ["a worker: claw --role worker"],
    });
    await cluster.addWorker();
    expect((await cluster.finished(number)).node_name).toBe("worker-1");
  });

  test("gets its share: work spreads over unequal machines", async () => {
    const cluster = await open({ workers: 0 });
    await cluster.addWorker({ "resources.cpus": 1 });
    await cluster.addWorker({ "resources.cpus": 3 });
    const notes = new Notes(cluster, "spread");
    const { number } = await cluster.submit(notes.held("all", { needs: { cpu_millis: 1000 } }), { count: 4 });
    await notes.written(4);
    await notes.release("all");
    await cluster.finished(number);
    const { nodes } = await cluster.client.query("node.list", {});
    const done = nodes.map(({ name, completed }) => [name, completed]).sort();
    expect(done).toEqual([
      ["worker-1", 1],
      ["worker-2", 3],
    ]);
  });
});

test("the urgent go first, and of the equally urgent the oldest", async () => {
  const cluster = await open({ worker: { "resources.cpus": 1 } });
  const notes = new Notes(cluster, "order");
  const needs = { cpu_millis: 1000 };
  const first = await cluster.submit(notes.held("first", { needs }));
  await notes.written(1);
  const waiting = [];
  for (const [name, priority] of [
    ["low", "low"],
    ["normal 1", "normal"],
    ["normal 2", "normal"],
    ["high", "high"],
    ["critical", "critical"],
  ] as const) {
    waiting.push(await cluster.submit(notes.task(`note '${name}'`, { needs, priority })));
  }
  await notes.release("first");
  await cluster.finished(first.number);
  for (const { number } of waiting) await cluster.finished(number);
  expect(notes.lines).toEqual(["first", "critical", "high", "normal 1", "normal 2", "low"]);
});

/** No heartbeat is missed for it. */
const LATE_MS = 10_000;

test("of the equally urgent the one that was ready first goes first, and who waits is told so", async () => {
  const cluster = await open({ worker: { "resources.cpus": 1 } });
  const notes = new Notes(cluster, "ready");
  const needs = { cpu_millis: 1000 };
  const first = await cluster.submit(notes.held("first", { needs }));
  await notes.written(1);
  const late = await cluster.submit(notes.task("note late", { needs, start_after_ms: LATE_MS }));
  const early = await cluster.submit(notes.task("note early", { needs }));
  cluster.runtime.skip(LATE_MS);
  const ahead = async (number: number) => (await cluster.show(number)).waiting?.ahead;
  const id = (await cluster.show(early.number)).id;
  await until(() => ahead(late.number), "the late one to wait for a node");
  expect(await ahead(late.number)).toEqual({ tasks: 1, first: id });
  expect(await ahead(early.number)).toBeUndefined();
  await notes.release("first");
  for (const { number } of [first, late, early]) await cluster.finished(number);
  expect(notes.lines).toEqual(["first", "early", "late"]);
});

describe("a task that cannot run says why, node by node", () => {
  test("what is missing, on which node", async () => {
    const cluster = await open({ workers: 0 });
    await cluster.addWorker({ "resources.cpus": 1, tags: ["disk"] });
    await cluster.addWorker({ "resources.cpus": 2, "resources.memory": "1G", executors: ["command"] });
    const cases: [needs: object, small: string, large: string, summary: string][] = [
      [
        { cpu_millis: 8000 },
        "needs 8 cpu, has 1",
        "needs 8 cpu, has 2",
        "needs 8 cpu, the most that a node has is 2 cpu (worker-2)",
      ],
      [
        { tags: ["disk", "fast"] },
        "lacks the tag fast",
        "lacks the tags disk, fast",
        "needs the tag fast, which no node has",
      ],
      [{ node: "worker-2", gpus: 1 }, "is not worker-2", "needs 1 gpu, has 0", "needs 1 gpu, which no node has"],
      [
        { executor: "noop", resources: { licence: 2 } },
        "needs 2 licence, has 0",
        "does not run noop tasks",
        "needs 2 licence, which no node has",
      ],
      [
        { tags: ["disk"], memory_mib: 2 ** 30 },
        "of memory, has",
        "lacks the tag disk",
        "needs 1048576G of memory, the most that",
      ],
    ];
    for (const [needs, small, large, summary] of cases) {
      const { number } = await cluster.submit({ needs });
      const { status, waiting } = await cluster.show(number);
      expect(status).toBe("pending");
      const reasons = new Map(waiting?.nodes.map(({ node, reason }) => [node, reason]));
      expect(reasons.get("worker-1")).toContain(small);
      expect(reasons.get("worker-2")).toContain(large);
      expect(waiting?.summary).toContain(summary);
      expect((await cluster.show(number, 0)).waiting).toEqual(waiting!);
    }
  });

  test("room that is taken just now, and a node that is gone", async () => {
    const cluster = await open({ worker: { "resources.cpus": 1 } });
    const notes = new Notes(cluster, "room");
    const needs = { cpu_millis: 1000 };
    const first = await cluster.submit(notes.held("first", { needs }));
    await notes.written(1);
    const { number } = await cluster.submit({ needs });
    expect((await cluster.show(number)).waiting?.summary).toBe("worker-1 needs 1 cpu, has free 0");
    await notes.release("first");
    await cluster.finished(first.number);
    await cluster.finished(number);
    await cluster.workers[0]?.stop();
    await until(async () => {
      const { nodes } = await cluster.client.query("node.list", {});
      return nodes[0]?.status === "offline";
    }, "the goodbye");
    const late = await cluster.submit({ needs });
    const { waiting } = await cluster.show(late.number);
    const reason = expect.stringMatching(/^is offline since .*Z: said goodbye: stopped$/) as string;
    expect(waiting).toEqual({
      summary: expect.stringMatching(/^worker-1 is offline since .*Z: said goodbye: stopped$/) as string,
      nodes: [{ node: "worker-1", reason }],
      change: ["the worker on worker-1 has to be there again"],
    });
  });
});
