// How a node is chosen, on a cluster that runs: by the cluster's strategy or the task's own, by attributes, apart from each
// other, alone.

import { afterEach, describe, expect, test } from "bun:test";
import { type Cluster, type ClusterOptions, openCluster } from "../cluster.ts";
import { Notes } from "./notes.ts";

const clusters: Cluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

async function open(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await openCluster({ workers: 0, ...options });
  clusters.push(cluster);
  return cluster;
}

/** Where the tasks of an array ran that were held until all of them did. */
async function nodesOf(cluster: Cluster, count: number, needs: object): Promise<(string | undefined)[]> {
  const notes = new Notes(cluster, "held");
  const { number } = await cluster.submit(notes.held("all", { needs }), { count });
  await notes.written(count);
  const nodes = await Promise.all(Array.from({ length: count }, (_, at) => cluster.show(number, at)));
  await notes.release("all");
  await cluster.finished(number);
  return nodes.map(({ node_name }) => node_name).sort();
}

describe("the strategy", () => {
  test("is the cluster's, unless the task has its own", async () => {
    const cluster = await open({ coordinator: { "placement.strategy": "pack" } });
    await cluster.addWorker({ "resources.cpus": 8 });
    await cluster.addWorker({ "resources.cpus": 8 });
    expect(new Set(await nodesOf(cluster, 4, { cpu_millis: 500 })).size).toBe(1);
    const strategy = "round_robin";
    expect(await nodesOf(await withTwo(), 4, { cpu_millis: 500, strategy })).toEqual([
      "worker-1",
      "worker-1",
      "worker-2",
      "worker-2",
    ]);
  });

  async function withTwo(): Promise<Cluster> {
    const cluster = await open({ coordinator: { "placement.strategy": "pack" } });
    await cluster.addWorker({ "resources.cpus": 8 });
    await cluster.addWorker({ "resources.cpus": 8 });
    return cluster;
  }

  test("that nobody knows is refused, by the command line and by the settings", async () => {
    const cluster = await open();
    const { code, stderr } = await cluster.runCli(["submit", "--strategy", "best", "--", "true"]);
    expect([code, stderr]).toEqual([64, expect.stringContaining("--strategy is one of best_fit, least_tasks")]);
    const opened = open({ coordinator: { "placement.strategy": "best" } });
    await opened.then(
      () => expect.unreachable(),
      (error: unknown) => expect(String(error)).toContain("did not start"),
    );
  });
});

describe("a task", () => {
  test("goes where the attributes are as it says, and says what is not so", async () => {
    const cluster = await open();
    await cluster.addWorker({ attributes: { zone: "eu" } });
    await cluster.addWorker({ attributes: { zone: "us" } });
    const where = async (...conditions: string[]): Promise<string> => {
      const options = conditions.flatMap((text) => ["--where", text]);
      const { code, stdout } = await cluster.runCli(["run", ...options, "--", "sh", "-c", "echo $CLAW_NODE"]);
      return code === 0 ? stdout.trim() : `exit code ${code}`;
    };
    expect(await where("zone=us")).toBe("worker-2");
    expect(await where("zone!=us")).toBe("worker-1");
    expect(await where("zone in asia,us", "os=linux")).toBe("worker-2");
    const { stdout } = await cluster.runCli(["submit", "--where", "zone=asia", "--", "true"]);
    const shown = await cluster.runCli(["show", stdout.trim()]);
    expect(shown.stdout).toContain("has zone=eu, not zone=asia");
    expect(shown.stdout).toContain("has zone=us, not zone=asia");
    const { code, stderr } = await cluster.runCli(["run", "--where", "zone in", "--", "true"]);
    expect([code, stderr]).toEqual([125, expect.stringContaining("says nothing of an attribute")]);
  });

  test("that spreads has no other of its kind on its node, or in its zone", async () => {
    const cluster = await open();
    await cluster.addWorker({ attributes: { zone: "eu" } });
    await cluster.addWorker({ attributes: { zone: "eu" } });
    await cluster.addWorker({ attributes: { zone: "us" } });
    const notes = new Notes(cluster, "apart");
    const spread = { by: "zone" };
    const { number } = await cluster.submit(notes.held("all", { needs: { cpu_millis: 100, spread } }), { count: 3 });
    await notes.written(2);
    const { counts } = await cluster.show(number);
    expect([counts?.pending, (counts?.scheduled ?? 0) + (counts?.running ?? 0)]).toEqual([1, 2]);
    const { waiting } = await cluster.show(number);
    expect(waiting?.nodes.map(({ reason }) => reason)).toEqual([
      "has a task in zone=eu already that it keeps away from",
      "has a task in zone=eu already that it keeps away from",
      "has a task in zone=us already that it keeps away from",
    ]);
    await notes.release("all");
    expect((await cluster.finished(number)).counts?.completed).toBe(3);
    // The name may be one that every object has.
    const lone = { name: "constructor", argv: ["true"], needs: { spread: { by: "node" } } };
    const { number: first } = await cluster.submit(lone);
    expect((await cluster.finished(first)).status).toBe("completed");
    expect(await nodesOf(cluster, 3, { cpu_millis: 100, spread: { by: "node" } })).toEqual([
      "worker-1",
      "worker-2",
      "worker-3",
    ]);
  });

  test("that demands to be held to its limits waits for a node that can, and the node says why it cannot", async () => {
    const cluster = await open({ worker: { limits: false } });
    await cluster.addWorker();
    const { stdout } = await cluster.runCli(["submit", "--enforce", "--memory", "64M", "--pids", "9", "--", "true"]);
    const shown = await cluster.runCli(["show", stdout.trim()]);
    expect(shown.stdout).toContain("waits       needs a node that holds it to its limits, and there is none");
    expect(shown.stdout).toContain("would help  a worker that may divide its cgroup");
    const why = await cluster.runCli(["plan", "--enforce", "--memory", "64M", "--", "true"]);
    expect(why.stdout).toContain("cannot limit memory, cpu: worker.yaml says limits: false");
    const node = await cluster.runCli(["nodes", "show", "worker-1"]);
    expect(node.stdout).toMatch(/limits +none: worker.yaml says limits: false/);
    expect((await cluster.runCli(["run", "--memory", "64M", "--pids", "9", "--", "true"])).code).toBe(0);
  });

  test("with --exclusive has a node of its own, as the node sees it too", async () => {
    const cluster = await open();
    await cluster.addWorker({ "resources.cpus": 4 });
    const notes = new Notes(cluster, "alone");
    const small = await cluster.submit(notes.held("small", { needs: { cpu_millis: 100 } }));
    await notes.written(1);
    const alone = await cluster.submit(notes.held("alone", { needs: { cpu_millis: 100, exclusive: true } }));
    expect((await cluster.show(alone.number)).waiting?.summary).toContain("has to be empty, holds 1 task");
    await notes.release("small");
    await cluster.finished(small.number);
    await notes.written(2);
    const after = await cluster.submit({ argv: ["true"], needs: { cpu_millis: 0 } });
    expect((await cluster.show(after.number)).waiting?.summary).toContain("is taken whole by another task");
    await notes.release("alone");
    await cluster.finished(alone.number);
    expect((await cluster.finished(after.number)).status).toBe("completed");
    const { code, stdout } = await cluster.runCli(["run", "--exclusive", "--json", "--", "true"]);
    expect([code, (JSON.parse(stdout) as { specification: object }).specification]).toMatchObject([
      0,
      { needs: { exclusive: true } },
    ]);
  });
});
