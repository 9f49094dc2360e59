// `plan` says where a task would go, and is right; `show` and `status` say why something waits and behind what.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ClusterState, PlanView, TaskView } from "../../src/common/models.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { Notes } from "../coordinator/notes.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster({ workers: 0 });
  await cluster.addWorker({ "resources.cpus": 1, attributes: { zone: "eu" } });
  await cluster.addWorker({ "resources.cpus": 4, tags: ["fast"] });
});
afterAll(() => cluster.close());

async function json<T>(...words: string[]): Promise<T> {
  const { code, stdout, stderr } = await cluster.runCli(words);
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as T;
}

const plan = (...options: string[]): Promise<PlanView> => json("plan", ...options, "--json", "--", "true");

describe("plan", () => {
  test("names the node that then gets it, and submits nothing", async () => {
    for (const options of [
      ["--strategy", "pack"],
      ["--where", "zone=eu"],
      ["--tag", "fast"],
      ["--strategy", "affinity"],
    ]) {
      const { node, node_name, waiting } = await plan(...options);
      expect(waiting).toBeUndefined();
      const ran = await json<TaskView>("run", ...options, "--json", "--", "true");
      expect([ran.node, ran.node_name]).toEqual([node, node_name]);
    }
    expect((await json<TaskView[]>("ls", "--json")).length).toBe(4);
  });

  test("says what is free where, what is in the way, and what would help", async () => {
    const { strategy, nodes } = await plan("--cpu", "2", "--strategy", "least_tasks");
    expect(strategy).toBe("least_tasks");
    expect(nodes).toMatchObject([
      { node: "worker-1", room: 0, held: 0, free: { cpu_millis: 1_000 }, reason: "needs 2 cpu, has 1" },
      { node: "worker-2", room: 2, held: 0, free: { cpu_millis: 4_000 } },
    ]);
    const { stdout } = await cluster.runCli(["plan", "--cpu", "16", "--", "true"]);
    expect(stdout).toContain("would wait  needs 16 cpu, the most that a node has is 4 cpu (worker-2)");
    expect(stdout).toContain("would help  a larger node, or at most --cpu 4");
    const there = await cluster.runCli(["plan", "--tag", "fast", "--", "true"]);
    expect(there.stdout).toMatch(/^would go to {2}worker-2 \(best_fit: it has most free, by the cluster's weights\)\n/);
    expect(there.stdout).toContain("has room for 8 (4 cpu and ");
  });

  test("takes a script without sending it, and refuses what cannot be asked", async () => {
    writeFileSync(join(cluster.cwd, "hello.ts"), "console.log(1);\n");
    expect((await json<PlanView>("plan", "--json", "hello.ts")).node_name).toBeString();
    const { code, stderr } = await cluster.runCli(["plan", "--where", "=x", "--", "true"]);
    expect([code, stderr]).toEqual([64, expect.stringContaining("'=x' says nothing of an attribute")]);
  });
});

describe("what waits", () => {
  test("says behind what, node by node and in one line, and the status says it by requirement", async () => {
    const notes = new Notes(cluster, "busy");
    const needs = { cpu_millis: 4_000 };
    const running = await cluster.submit(notes.held("busy", { needs }));
    await notes.written(1);
    const first = await cluster.submit(notes.task("true", { needs }), { count: 5 });
    const second = await cluster.submit(notes.task("true", { needs: { cpu_millis: 2_000 } }));
    const { waiting } = await cluster.show(second.number);
    const id = (await cluster.show(first.number)).id;
    expect(waiting).toEqual({
      summary: `no room yet: worker-2 needs 2 cpu, has free 0; behind 5 waiting tasks, ${id} the first of them`,
      nodes: [
        { node: "worker-1", reason: "needs 2 cpu, has 1" },
        { node: "worker-2", reason: "needs 2 cpu, has free 0" },
      ],
      ahead: { tasks: 5, first: id },
      change: ["something that runs on worker-2 ends"],
    });
    const shown = await cluster.runCli(["show", (await cluster.show(second.number)).id]);
    expect(shown.stdout).toContain("would help  something that runs on worker-2 ends");
    const status = await json<ClusterState>("status", "--json");
    expect(status.waiting).toMatchObject([
      { needs: "4 cpu", priority: "normal", tasks: 5, oldest: id },
      { needs: "2 cpu", priority: "normal", tasks: 1, why: "no room yet: worker-2 needs 2 cpu, has free 0" },
    ]);
    const { stdout } = await cluster.runCli(["status"]);
    expect(stdout).toMatch(new RegExp(`waiting +5 normal for \\d+s \\(${id} first\\), each: 4 cpu; no room yet`));
    expect((await plan("--cpu", "2")).waiting?.ahead).toEqual({ tasks: 6, first: id });
    expect((await plan()).node_name).toBe("worker-1");
    await notes.release("busy");
    for (const { number } of [running, first, second]) await cluster.finished(number);
    expect((await json<ClusterState>("status", "--json")).waiting).toEqual([]);
  });
});
