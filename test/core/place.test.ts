// Placing: what it may never do, whatever is asked, and what it does with simple cases.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Needs } from "../../src/common/models.ts";
import type { Strategy } from "../../src/common/vocabulary.ts";
import { fits, type NodeLoad, obstacle, suits, suitsOtherwise } from "../../src/core/fit.ts";
import { Neighbours } from "../../src/core/neighbours.ts";
import { type Placement, place as placeAll, type WaitingLane } from "../../src/core/place.ts";
import { addUse, emptyUsed } from "../../src/core/state.ts";
import type { Chance } from "../sim/chance.ts";
import { DEFAULT_PLACEMENT, needsOf, nodeOf } from "./placing-model.ts";
import { forSeeds } from "./seeds.ts";

interface Lane {
  needs: Needs;
  waiting: number;
  mean_ms?: number;
  warm?: ReadonlySet<string>;
}

/** Each lane came as a whole, one after the other. */
function place(
  lanes: readonly Lane[],
  nodes: readonly NodeLoad[],
  strategy: Strategy = "best_fit",
): Omit<Placement, "turn">[] {
  const ready: WaitingLane[] = lanes.map((lane, number) => ({
    ...lane,
    queue: [{ turn: number, number, count: lane.waiting }],
    since: 0,
  }));
  const { placements } = placeAll(ready, nodes, { at: 0, seed: 1, settings: { ...DEFAULT_PLACEMENT, strategy } });
  return placements.map(({ turn: _turn, ...placement }) => placement);
}

const countOn = (placements: readonly Omit<Placement, "turn">[], node: string, lane?: number): number =>
  placements
    .filter((placement) => placement.node === node && (lane === undefined || placement.lane === lane))
    .reduce((sum, { count }) => sum + count, 0);

function randomNeeds(chance: Chance): Needs {
  return needsOf({
    cpu_millis: chance.once(5) ? 0 : chance.between(1, 3_000),
    memory_mib: chance.once(2) ? 0 : chance.between(1, 4_000),
    gpus: chance.once(5) ? 1 : 0,
    executor: chance.once(8) ? "script" : "command",
    ...(chance.once(4) ? { resources: { licence: chance.between(1, 3) } } : {}),
    ...(chance.once(5) ? { tags: ["ssd"] } : {}),
    ...(chance.once(8) ? { node: chance.once(2) ? "a" : "name-b" } : {}),
  });
}

function randomNode(chance: Chance, id: string): NodeLoad {
  const capacity = {
    cpu_millis: chance.between(0, 16_000),
    memory_mib: chance.between(0, 16_000),
    gpus: chance.below(3),
    resources: chance.once(2) ? { licence: chance.below(5) } : {},
  };
  const node = nodeOf(id, capacity, { open: !chance.once(6), full: chance.once(4) });
  if (chance.once(2)) {
    node.used.cpu_millis = chance.between(0, 20_000); // prefetched work counts too, so it may be over
    node.held = chance.below(50);
  }
  return node;
}

describe("whatever is asked", () => {
  test("no node gets more than it has free, none that does not fit, none that takes no work, no lane more than it has", () => {
    forSeeds(400, (chance) => {
      const lanes: Lane[] = Array.from({ length: chance.between(1, 6) }, () => ({
        needs: randomNeeds(chance),
        waiting: chance.between(1, 60),
      }));
      const nodes = ["a", "b", "c", "d"].slice(0, chance.between(1, 4)).map((id) => randomNode(chance, id));
      const before = JSON.stringify([lanes, nodes]);
      const placements = place(lanes, nodes);
      expect(JSON.stringify([lanes, nodes])).toBe(before);
      for (const [at, { waiting }] of lanes.entries()) {
        const placed = placements.filter(({ lane }) => lane === at).reduce((sum, { count }) => sum + count, 0);
        expect(placed).toBeLessThanOrEqual(waiting);
      }
      for (const node of nodes) {
        const mine = placements.filter((placement) => placement.node === node.id);
        if (!node.open) expect(mine).toEqual([]);
        const used = structuredClone(node.used);
        for (const { lane, count } of mine) {
          const { needs } = lanes[lane]!;
          expect(count).toBeGreaterThan(0);
          expect(needs.executor).not.toBe("script");
          expect([undefined, node.id, node.info.name]).toContain(needs.node);
          addUse(used, needs, count);
          const { capacity } = node.info;
          if (needs.cpu_millis > 0) expect(used.cpu_millis).toBeLessThanOrEqual(capacity.cpu_millis);
          if (needs.memory_mib > 0) expect(used.memory_mib).toBeLessThanOrEqual(capacity.memory_mib);
          if (needs.gpus > 0) expect(used.gpus).toBeLessThanOrEqual(capacity.gpus);
          if (needs.resources)
            expect(used.resources["licence"]!).toBeLessThanOrEqual(capacity.resources["licence"] ?? 0);
        }
      }
      // Nothing that could start is left: the lane that still waits finds an obstacle on every node.
      for (const [at, lane] of lanes.entries()) {
        const placed = placements
          .filter((placement) => placement.lane === at)
          .reduce((sum, { count }) => sum + count, 0);
        if (placed === lane.waiting) continue;
        for (const node of nodes) {
          const used = structuredClone(node.used);
          for (const placement of placements) {
            if (placement.node === node.id) addUse(used, lanes[placement.lane]!.needs, placement.count);
          }
          const full = countOn(placements, node.id, at) >= LIMITS.prefetch_tasks;
          if (!full) expect(obstacle(lane.needs, { ...node, used })).toBeString();
        }
      }
    });
  });

  test("the first lane is served before the second", () => {
    forSeeds(50, (chance) => {
      const waiting = chance.between(1, 12);
      const lanes = [
        { needs: needsOf(), waiting },
        { needs: needsOf({ cpu_millis: 500 }), waiting: 100 },
      ];
      const placements = place(lanes, [nodeOf("a"), nodeOf("b")]);
      expect(countOn(placements, "a", 0) + countOn(placements, "b", 0)).toBe(Math.min(waiting, 8));
      expect(countOn(placements, "a", 1) + countOn(placements, "b", 1)).toBe(2 * (8 - Math.min(waiting, 8)));
    });
  });
});

describe("best_fit", () => {
  test("spreads over equal machines evenly", () => {
    const nodes = ["a", "b", "c", "d"].map((id) => nodeOf(id));
    const placements = place([{ needs: needsOf({ cpu_millis: 100 }), waiting: 40 }], nodes);
    for (const { id } of nodes) expect(countOn(placements, id)).toBe(10);
  });

  test("spreads over unequal machines by their size", () => {
    const nodes = [nodeOf("big", { cpu_millis: 32_000, memory_mib: 65_536 }), nodeOf("small")];
    const placements = place([{ needs: needsOf({ cpu_millis: 500, memory_mib: 256 }), waiting: 36 }], nodes);
    const [big, small] = [countOn(placements, "big"), countOn(placements, "small")];
    expect(big + small).toBe(36);
    expect(big).toBeGreaterThanOrEqual(24);
    expect(small).toBeGreaterThan(0);
  });

  test("a lone task goes to the machine that has most free", () => {
    const busy = nodeOf("busy", {}, { used: { ...emptyUsed(), cpu_millis: 3_000 }, held: 3 });
    expect(place([{ needs: needsOf(), waiting: 1 }], [busy, nodeOf("idle")])).toEqual([
      { lane: 0, node: "idle", count: 1 },
    ]);
    expect(place([{ needs: needsOf({ node: "busy" }), waiting: 1 }], [busy, nodeOf("idle")])[0]!.node).toBe("busy");
  });

  test("one that gave work back is asked last, and asked all the same when it is the only one", () => {
    const full = nodeOf("full", { cpu_millis: 64_000 }, { full: true });
    const lane = { needs: needsOf(), waiting: 1 };
    expect(place([lane], [full, nodeOf("small")])[0]!.node).toBe("small");
    expect(place([lane], [full])[0]!.node).toBe("full");
  });

  test("costs by the number of lanes and machines, not of tasks", () => {
    const nodes = Array.from({ length: 20 }, (_, at) => nodeOf(`n${at}`, { cpu_millis: 64_000 }));
    const begun = process.cpuUsage();
    const placements = place([{ needs: needsOf(), waiting: 10_000_000 }], nodes);
    const { user, system } = process.cpuUsage(begun);
    expect((user + system) / 1_000).toBeLessThan(200);
    expect(placements.reduce((sum, { count }) => sum + count, 0)).toBe(20 * 64);
  });
});

describe("the other strategies", () => {
  const small = (waiting: number, more: Partial<Needs> = {}): Lane => ({
    needs: needsOf({ cpu_millis: 250, ...more }),
    waiting,
  });
  const on = (lane: Lane, nodes: readonly NodeLoad[], strategy: Strategy): number[] => {
    const placements = place([lane], nodes, strategy);
    return nodes.map(({ id }) => countOn(placements, id));
  };
  const [big, middle, little] = [nodeOf("a", { cpu_millis: 8_000 }), nodeOf("b"), nodeOf("c", { cpu_millis: 1_000 })];
  const some = nodeOf("d", {}, { held: 3, used: { ...emptyUsed(), cpu_millis: 300 } });

  test("least_tasks: as many here as there, however large they are", () => {
    expect(on(small(9), [big, middle, little], "least_tasks")).toEqual([3, 3, 3]);
    expect(on(small(5), [middle, some], "least_tasks")).toEqual([4, 1]);
    expect(on(small(20), [big, little], "least_tasks")).toEqual([16, 4]);
  });

  test("pack: the fullest first, and to the brim", () => {
    expect(on(small(10), [middle, some], "pack")).toEqual([0, 10]);
    expect(on(small(20), [middle, some], "pack")).toEqual([6, 14]);
    expect(on(small(3), [middle, { ...some, full: true }], "pack")).toEqual([3, 0]);
  });

  test("random: somewhere", () => {
    const counts = on(small(30), [big, middle, little], "random");
    expect(counts.reduce((sum, count) => sum + count)).toBe(30);
    expect(counts[2]).toBeLessThanOrEqual(4);
  });

  test("affinity: where most of what it prefers is, else where its like ran last", () => {
    const rack = nodeOf("e", {}, { attributes: { rack: "7" } });
    const both = nodeOf("f", { cpu_millis: 1_000 }, { attributes: { rack: "7", disk: "fast" } });
    const prefer = [
      { attribute: "rack", op: "=" as const, values: ["7"] },
      { attribute: "disk", op: "exists" as const, values: [] },
    ];
    expect(on(small(10, { prefer }), [big, rack, both], "affinity")).toEqual([0, 6, 4]);
    expect(on(small(1, { prefer }), [middle, rack], "best_fit")).toEqual([0, 1]);
    const lane = { ...small(4), warm: new Set(["b"]) };
    expect(on(lane, [big, middle], "affinity")).toEqual([0, 4]);
    expect(on({ ...lane, waiting: 1 }, [nodeOf("a"), middle], "best_fit")).toEqual([0, 1]);
  });

  test("a task's own wins over the cluster's", () => {
    expect(on(small(6, { strategy: "pack" }), [middle, some], "least_tasks")).toEqual([0, 6]);
  });
});

describe("prefetching", () => {
  const lane = (mean_ms: number, waiting = 100_000): Lane => ({ needs: needsOf(), waiting, mean_ms });
  const extra = (mean_ms: number, more: Partial<NodeLoad> = {}): number =>
    countOn(place([lane(mean_ms)], [nodeOf("a", {}, more)]), "a") - 4;

  test("gives some milliseconds of work ahead: many short tasks, no long ones", () => {
    expect(extra(1)).toBe(120);
    expect(extra(10)).toBe(12);
    expect(extra(1_000)).toBe(0);
    expect(extra(0)).toBe(LIMITS.prefetch_tasks);
  });

  test("not to a node that gave work back, and not by drops when it has plenty", () => {
    expect(extra(1, { full: true })).toBe(0);
    const loaded = (held: number) => nodeOf("a", {}, { held, used: { ...emptyUsed(), cpu_millis: 4_000 } });
    expect(countOn(place([lane(1)], [loaded(120)]), "a")).toBe(0);
    expect(countOn(place([lane(1)], [loaded(50)]), "a")).toBe(74);
  });

  test("takes nobody's room who has waited longer, and no node from what wants one for itself", () => {
    const older = { needs: needsOf({ cpu_millis: 3_000 }), waiting: 2 };
    expect(countOn(place([older, lane(1)], [nodeOf("a")]), "a", 1)).toBe(1);
    expect(countOn(place([lane(1), older], [nodeOf("a")]), "a", 0)).toBe(124);
    const elsewhere = { needs: needsOf({ cpu_millis: 3_000, node: "b" }), waiting: 2 };
    const placements = place([elsewhere, lane(1)], [nodeOf("a"), nodeOf("b")]);
    expect([countOn(placements, "a", 1), countOn(placements, "b", 1)]).toEqual([124, 1]);
    const apart = { needs: needsOf({ spread: { by: "node", among: "web" } }), waiting: 2 };
    const used = { ...emptyUsed(), cpu_millis: 1_000, spread: { "=web": 1 } };
    expect(countOn(place([apart, lane(1)], [nodeOf("a", {}, { held: 1, used })]), "a", 1)).toBe(123);
    const alone = { needs: needsOf({ exclusive: true }), waiting: 5, mean_ms: 1 };
    expect(countOn(place([alone], [nodeOf("a")]), "a")).toBe(1);
  });

  test("is shared among the machines when there is little", () => {
    const placements = place([lane(1, 8 + 10)], [nodeOf("a"), nodeOf("b")]);
    expect([countOn(placements, "a"), countOn(placements, "b")]).toEqual([9, 9]);
  });
});

describe("what is in the way", () => {
  const cases: [string, Partial<Needs>, string][] = [
    ["another node", { node: "b" }, "is not b"],
    ["the executor", { executor: "shell" }, "does not run shell tasks"],
    ["a tag", { tags: ["ssd", "gpu"] }, "lacks the tag gpu"],
    ["two tags", { tags: ["big", "gpu"] }, "lacks the tags big, gpu"],
    ["processors", { cpu_millis: 4_500 }, "needs 4.5 cpu, has 4"],
    ["memory", { memory_mib: 9_000 }, "needs 9000M of memory, has 8G"],
    ["graphics", { gpus: 1 }, "needs 1 gpu, has 0"],
    ["a resource", { resources: { licence: 2 } }, "needs 2 licence, has 0"],
  ];
  test.each(cases)("%s", (_, needs, words) => expect(obstacle(needsOf(needs), nodeOf("a"))).toBe(words));

  test("just now, or for good", () => {
    const used = { ...emptyUsed(), cpu_millis: 3_500, memory_mib: 9_000 };
    expect(obstacle(needsOf(), nodeOf("a", {}, { used }))).toBe("needs 1 cpu, has free 0.5");
    expect(obstacle(needsOf({ cpu_millis: 0, memory_mib: 1 }), nodeOf("a", {}, { used }))).toContain("has free 0");
    expect(obstacle(needsOf(), nodeOf("a", {}, { open: false }))).toBe("takes no new work");
    expect(obstacle(needsOf({ cpu_millis: 9_000 }), nodeOf("a", {}, { open: false }))).toContain("has 4");
    expect(obstacle(needsOf({ node: "name-a", tags: ["ssd"] }), nodeOf("a"))).toBeUndefined();
  });

  test("attributes, what keeps apart, and what takes a node whole", () => {
    const zoned = (id: string, zone: string, spread: Record<string, number> = {}): NodeLoad =>
      nodeOf(id, {}, { attributes: { zone }, used: { ...emptyUsed(), spread } });
    const where = [{ attribute: "zone", op: "in" as const, values: ["eu", "us"] }];
    expect(obstacle(needsOf({ where }), zoned("a", "asia"))).toBe("has zone=asia, not zone in eu,us");
    expect(obstacle(needsOf({ where }), nodeOf("a"))).toBe("has no zone, not zone in eu,us");
    expect(obstacle(needsOf({ where }), zoned("a", "us"))).toBeUndefined();
    const spread = { by: "zone", among: "web" };
    const nodes = [zoned("a", "eu", { "=web": 1 }), zoned("b", "eu"), zoned("c", "us", { "=other": 1 }), nodeOf("d")];
    expect(nodes.map((node) => obstacle(needsOf({ spread }), node, new Neighbours(nodes)))).toEqual([
      "has a task in zone=eu already that it keeps away from",
      "has a task in zone=eu already that it keeps away from",
      undefined,
      "has no zone to spread by",
    ]);
    const by_node = needsOf({ spread: { by: "node", among: "web" } });
    expect(nodes.map((node) => obstacle(by_node, node, new Neighbours(nodes)) === undefined)).toEqual([
      false,
      true,
      true,
      true,
    ]);
    const busy = nodeOf("a", {}, { held: 1 });
    expect(obstacle(needsOf({ exclusive: true }), busy)).toBe("has to be empty, holds 1 task");
    const whole = nodeOf("a", {}, { held: 1, used: { ...emptyUsed(), exclusive: 1 } });
    expect(obstacle(needsOf({ cpu_millis: 0 }), whole)).toBe("is taken whole by another task");
  });

  test("a folder that it lacks, or has not said to have; nobody is placed there", () => {
    const node = (usable?: boolean, more = {}): NodeLoad => {
      return nodeOf("a", {}, { ...more, folders: new Map(usable === undefined ? [] : [["/data/x", usable]]) });
    };
    const needs = needsOf({ folder: "/data/x" });
    expect(obstacle(needs, node(true))).toBeUndefined();
    expect(obstacle(needs, node(false))).toBe("has no folder /data/x");
    const unsaid = "has not said yet whether it has the folder /data/x";
    for (const one of [node(), nodeOf("a")]) expect(obstacle(needs, one)).toBe(unsaid);
    expect(obstacle(needs, node(undefined, { open: false }))).toBe(`${unsaid}; takes no new work`);
    // Who lacks something else is not asked.
    expect(obstacle(needsOf({ folder: "/data/x", gpus: 1 }), node())).toBe("needs 1 gpu, has 0");
    expect(obstacle(needsOf({ folder: "/data/x", gpus: 1 }), node(false))).toBe(
      "needs 1 gpu, has 0; has no folder /data/x",
    );
    const some = [node(), { ...node(false), id: "b" }, { ...node(true), id: "c" }];
    expect(some.map((one) => [suits(needs, one), suitsOtherwise(needs, one)])).toEqual([
      [false, true],
      [false, true],
      [true, true],
    ]);
    expect(place([{ needs, waiting: 2 }], some)).toEqual([{ lane: 0, node: "c", count: 2 }]);
  });

  test("limits that the task demands and the node does not hold it to", () => {
    const limited = (limits: NodeLoad["info"]["limits"]): NodeLoad => {
      const node = nodeOf("a");
      return { ...node, info: { ...node.info, ...(limits === undefined ? {} : { limits }) } };
    };
    const none = limited({ enforced: [], reason: "no cgroup v2 is mounted here" });
    const all = needsOf({ memory_mib: 100, pids: 10, enforce: true });
    expect(obstacle(all, none)).toBe("cannot limit memory, cpu, pids: no cgroup v2 is mounted here");
    expect(obstacle(all, limited({ enforced: ["memory", "cpu"], reason: "no pids" }))).toBe(
      "cannot limit pids: no pids",
    );
    expect(obstacle(all, limited({ enforced: ["memory", "cpu", "pids"] }))).toBeUndefined();
    expect(obstacle(needsOf({ enforce: true }), limited(undefined))).toStartWith(
      "cannot limit cpu: its worker does not",
    );
    expect(obstacle(needsOf({ cpu_millis: 0, enforce: true }), none)).toBeUndefined();
    expect(obstacle(needsOf({ memory_mib: 100, pids: 10 }), none)).toBeUndefined();
    const lane = { needs: needsOf({ enforce: true }), waiting: 1 };
    const able = { ...nodeOf("b", { cpu_millis: 1_000 }), info: limited({ enforced: ["cpu"] }).info };
    expect(place([lane], [none, able])).toEqual([{ lane: 0, node: "b", count: 1 }]);
  });

  test("what fits side by side is bounded by the scarcest", () => {
    const free = { cpu_millis: 4_000, memory_mib: 1_000, gpus: 2, resources: { licence: 5 } };
    expect(fits(needsOf(), free)).toBe(4);
    expect(fits(needsOf({ memory_mib: 400 }), free)).toBe(2);
    expect(fits(needsOf({ gpus: 2 }), free)).toBe(1);
    expect(fits(needsOf({ resources: { licence: 2 } }), free)).toBe(2);
    expect(fits(needsOf({ resources: { other: 1 } }), free)).toBe(0);
    expect(fits(needsOf({ cpu_millis: 0 }), free)).toBe(LIMITS.prefetch_tasks);
    expect(fits(needsOf(), { ...free, cpu_millis: -500 })).toBe(0);
  });
});
