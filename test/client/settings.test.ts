// What is set while the cluster runs counts at once, needs no restart, and outlives one: a node's size, tags and attributes,
// and how tasks are placed.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { NodeView } from "../../src/common/models.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { Notes } from "../coordinator/notes.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster({ worker: { "resources.cpus": 2, tags: ["old"] } });
});
afterAll(() => cluster.close());

const claw = (...words: string[]) => cluster.runCli(words);

async function node(): Promise<NodeView> {
  const { stdout } = await claw("nodes", "--json");
  return (JSON.parse(stdout) as NodeView[])[0]!;
}

describe("nodes set", () => {
  test("brings what waits for a tag or an attribute", async () => {
    const { stdout } = await claw("submit", "--tag", "fast", "--where", "zone=eu", "--", "true");
    expect((await claw("show", stdout.trim())).stdout).toContain("needs the tag fast, which no node has");
    const set = await claw(
      "nodes",
      "set",
      "worker-1",
      "--tag",
      "fast",
      "--without-tag",
      "old",
      "--attribute",
      "zone=eu",
    );
    expect([set.code, set.stderr]).toEqual([0, "claw: worker-1 is set otherwise than its worker says\n"]);
    expect((await claw("wait", stdout.trim())).code).toBe(0);
    expect((await node()).tags).toEqual(["fast"]);
    expect((await claw("nodes", "show", "worker-1")).stdout).toMatch(/set +tag fast, no tag old, zone=eu\n/);
  });

  test("changes how much runs at once, on the node too: less, more than its worker said, and back", async () => {
    const atOnce = async (): Promise<number> => {
      const notes = new Notes(cluster, `size-${crypto.randomUUID()}`);
      const needs = { cpu_millis: 1_000 };
      const { number } = await cluster.submit(notes.held("all", { needs }), { count: 5 });
      const { capacity } = await node();
      await notes.written(capacity.cpu_millis / 1_000);
      await cluster.show(number);
      const begun = notes.lines.length;
      await notes.release("all");
      await cluster.finished(number);
      return begun;
    };
    expect(await atOnce()).toBe(2);
    await claw("nodes", "set", "worker-1", "--cpu", "1");
    expect(await atOnce()).toBe(1);
    await claw("nodes", "set", "worker-1", "--cpu", "4");
    expect(await atOnce()).toBe(4);
    expect((await claw("nodes")).stdout).not.toContain("GPUS");
    await claw("nodes", "set", "worker-1", "--gpu", "2");
    expect((await claw("nodes")).stdout).toMatch(/MEMORY +GPUS +LOAD[\s\S]+ 0\/2 /);
    const { stdout } = await claw("nodes", "set", "worker-1", "--reset", "--json");
    expect(JSON.parse(stdout)).toEqual([{ id: (await node()).id, name: "worker-1", settings: {} }]);
    expect(await atOnce()).toBe(2);
    expect((await node()).tags).toEqual(["old"]);
  });

  test("refuses what makes no sense, and changes nothing", async () => {
    const cases: [words: string[], message: string][] = [
      [["worker-1"], "what shall be set?"],
      [["nobody", "--tag", "x"], "there is no node nobody"],
      [["worker-1", "--cpu", "-1"], "--cpu is a number from 0"],
      [["worker-1", "--attribute", "zone"], "--attribute is NAME=VALUE"],
      [["worker-1", "--resource", "license=much"], "--resource is a whole number"],
    ];
    for (const [words, message] of cases) {
      const { code, stderr } = await claw("nodes", "set", ...words);
      expect([code !== 0, stderr]).toEqual([true, expect.stringContaining(message)]);
    }
    expect((await node()).settings).toBeUndefined();
  });
});

describe("placement", () => {
  test("is shown, set for the whole cluster, and taken back", async () => {
    expect((await claw("placement")).stdout).toBe(
      "strategy       best_fit\nweights        cpu 0.3, memory 0.3, tasks 0.2, affinity 0.2\n" +
        "aging          10m\nreserve after  30s\n",
    );
    const set = await claw("placement", "set", "--strategy", "pack", "--weight", "tasks=1", "--aging", "5m");
    expect(set.stdout).toContain(
      "strategy       pack (set)\nweights        cpu 0.3, memory 0.3, tasks 1, affinity 0.2 (set)\n",
    );
    expect((await claw("plan", "--", "true")).stdout).toContain("(pack: it is the fullest that has room)");
    const events = await claw("events", "--type", "cluster.configured", "--json");
    expect(JSON.parse(events.stdout)).toMatchObject([{ type: "cluster.configured" }]);
    for (const [option, value] of [
      ["--strategy", "best"],
      ["--weight", "luck=1"],
      ["--aging", "1ms"],
    ] as const) {
      const { code, stderr } = await claw("placement", "set", option, value);
      expect([code, stderr]).toEqual([64, expect.stringContaining(option)]);
    }
  });

  test("and nodes' settings outlive the coordinator and the worker", async () => {
    await claw("nodes", "set", "worker-1", "--attribute", "zone=us");
    await cluster.stopCoordinator();
    await cluster.startCoordinator();
    expect((await claw("placement", "--json")).stdout).toContain('"set":{"strategy":"pack"');
    expect((await node()).settings).toEqual({ attributes: { zone: "us" } });
    expect((await claw("placement", "reset")).stdout).toStartWith("strategy       best_fit\n");
    expect((await claw("run", "--where", "zone=us", "--", "true")).code).toBe(0);
  });
});
