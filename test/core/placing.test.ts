// What placing promises while time passes: whatever the strategy, no node is idle while a task that fits waits, nobody is
// overtaken by what came later and could have gone first, everybody's turn comes, and it takes hardly longer than it must.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Needs } from "../../src/common/models.ts";
import { PRIORITIES, STRATEGIES } from "../../src/common/vocabulary.ts";
import { type NodeLoad, obstacle } from "../../src/core/fit.ts";
import { Neighbours } from "../../src/core/neighbours.ts";
import { place, turnOf } from "../../src/core/place.ts";
import { addUse, emptyUsed } from "../../src/core/state.ts";
import { Chance } from "../sim/chance.ts";
import { shortestMakespan } from "./makespan.ts";
import { DEFAULT_PLACEMENT, type ModelTask, needsOf, nodeOf, PlacingModel, type Ran } from "./placing-model.ts";
import { forSeeds } from "./seeds.ts";

const AGING_MS = 20_000;
const RESERVE_AFTER_MS = 10_000;

function randomNeeds(chance: Chance): Needs {
  return needsOf({
    cpu_millis: chance.once(6) ? 4_000 : chance.between(0, 8) * 250,
    memory_mib: chance.once(2) ? 0 : chance.between(1, 4_000),
    ...(chance.once(6) ? { resources: { licence: chance.between(1, 2) } } : {}),
    ...(chance.once(6) ? { where: [{ attribute: "zone", op: "in" as const, values: ["east", "north"] }] } : {}),
    ...(chance.once(8) ? { exclusive: true } : {}),
    ...(chance.once(6) ? { spread: { by: chance.once(2) ? "node" : "zone", among: `set ${chance.below(2)}` } } : {}),
    ...(chance.once(3) ? { strategy: STRATEGIES[chance.below(STRATEGIES.length)]! } : {}),
  });
}

function randomModel(chance: Chance): PlacingModel {
  const nodes = ["a", "b", "c"].slice(0, chance.between(1, 3)).map((id) => {
    const zone = { zone: chance.once(2) ? "east" : "west" };
    const resources = chance.once(2) ? { licence: 2 } : {};
    return nodeOf(id, { cpu_millis: chance.between(1, 8) * 1_000, resources }, { attributes: zone });
  });
  const strategy = STRATEGIES[chance.below(STRATEGIES.length)]!;
  return new PlacingModel(nodes, { strategy, aging_ms: AGING_MS, reserve_after_ms: RESERVE_AFTER_MS });
}

const turn = ({ at, priority }: ModelTask): number => turnOf(at, priority, AGING_MS);
const sooner = (a: ModelTask, b: ModelTask): boolean =>
  turn(a) - turn(b) < 0 || (turn(a) === turn(b) && a.number < b.number);

/** Nothing that fits waits for a node that is idle, and nobody was passed by who could have gone instead. */
function checkTurn(model: PlacingModel, began: readonly Ran[]): void {
  for (const task of model.waiting) {
    const before = model.nodes.map((node) => {
      const used = structuredClone(node.used);
      let { held } = node;
      for (const one of began) {
        if (one.node !== node.id || sooner(one, task)) continue;
        addUse(used, one.needs, -1);
        held -= 1;
      }
      return { ...node, used, held };
    });
    for (const nodes of [model.nodes, before]) {
      const neighbours = new Neighbours(nodes);
      for (const node of nodes) {
        if (node.id === model.reserved) continue;
        const why = obstacle(task.needs, node, neighbours);
        if (why === undefined) throw new Error(`task ${task.number} waits and could be on ${node.id}`);
      }
    }
  }
}

function checkRoom(model: PlacingModel): void {
  for (const { id, used, info, held } of model.nodes) {
    expect(used.cpu_millis).toBeLessThanOrEqual(info.capacity.cpu_millis);
    expect(used.memory_mib).toBeLessThanOrEqual(info.capacity.memory_mib);
    expect(used.resources["licence"] ?? 0).toBeLessThanOrEqual(info.capacity.resources["licence"] ?? 0);
    if (used.exclusive > 0) expect([id, used.exclusive, held]).toEqual([id, 1, 1]);
  }
  const places = model.running.flatMap(({ needs: { spread }, node }) => {
    if (spread === undefined) return [];
    const where = spread.by === "node" ? node : model.nodes.find(({ id }) => id === node)!.info.attributes["zone"];
    return [`${spread.by} ${where} ${spread.among}`];
  });
  expect(new Set(places).size).toBe(places.length);
}

describe("whatever comes, by whatever strategy", () => {
  test("no node is over its capacity, none idle while what fits waits, nobody is overtaken who could have gone", () => {
    forSeeds(500, (chance) => {
      const model = randomModel(chance);
      for (let number = 0; number < 40; number++) {
        model.submit({
          number,
          needs: randomNeeds(chance),
          priority: PRIORITIES[chance.below(PRIORITIES.length)]!,
          at: model.now,
          runs_ms: chance.between(1, 8_000),
        });
        if (chance.once(3)) continue;
        checkTurn(model, model.place(chance.u32()));
        checkRoom(model);
        model.advance(Math.min(model.next_end, model.now + chance.between(1, 4_000)));
      }
      for (let began = model.place(); model.running.length > 0; began = model.place()) {
        checkTurn(model, began);
        checkRoom(model);
        model.advance(model.next_end);
      }
      for (const { needs } of model.waiting) {
        expect(model.nodes.every((node) => obstacle(needs, node, new Neighbours(model.nodes)) !== undefined)).toBe(
          true,
        );
      }
    });
  });

  test("the same seed places the same, another one may not", () => {
    const placed = (seed: number): string => {
      const model = new PlacingModel(
        ["a", "b", "c"].map((id) => nodeOf(id)),
        { strategy: "random" },
      );
      for (let number = 0; number < 9; number++) {
        model.submit({ number, needs: needsOf(), priority: "normal", at: 0, runs_ms: 1 });
      }
      return model
        .place(seed)
        .map(({ node }) => node)
        .join("");
    };
    expect(placed(7)).toBe(placed(7));
    expect(new Set([1, 2, 3, 4, 5, 6].map(placed)).size).toBeGreaterThan(1);
  });
});

describe("everybody's turn comes", () => {
  /** A cluster that small and urgent tasks would keep full for ever, and one task among them. */
  function crowded(needs: Needs, priority: ModelTask["priority"], chance: Chance): number {
    const nodes = ["a", "b"].map((id) => nodeOf(id));
    const model = new PlacingModel(nodes, { aging_ms: AGING_MS, reserve_after_ms: RESERVE_AFTER_MS });
    const small = (): void => {
      while (model.waiting.length < 12) {
        const runs_ms = chance.between(500, 3_000);
        model.submit({ number: number++, needs: needsOf(), priority: "normal", at: model.now, runs_ms });
      }
    };
    let number = 0;
    small();
    model.place();
    model.submit({ number: number++, needs, priority, at: model.now, runs_ms: 1 });
    const wanted = number - 1;
    while (model.now < 600_000) {
      small();
      model.place();
      const found = model.running.find((task) => task.number === wanted);
      if (found !== undefined) return found.started_at;
      model.advance(model.next_end);
    }
    return Number.POSITIVE_INFINITY;
  }

  test("a task that needs a whole node gets one, though small ones come without end", () => {
    forSeeds(40, (chance) => {
      expect(crowded(needsOf({ cpu_millis: 4_000 }), "normal", chance)).toBeLessThan(RESERVE_AFTER_MS + 12_000);
      expect(crowded(needsOf({ exclusive: true }), "normal", chance)).toBeLessThan(RESERVE_AFTER_MS + 12_000);
    });
  });

  test("so does what is of low priority, when it has waited as long as the steps between are worth", () => {
    forSeeds(40, (chance) => {
      const began = crowded(needsOf(), "low", chance);
      expect(began).toBeGreaterThan(AGING_MS / 2);
      expect(began).toBeLessThan(AGING_MS + 12_000);
      expect(crowded(needsOf({ cpu_millis: 4_000 }), "low", chance)).toBeLessThan(AGING_MS + RESERVE_AFTER_MS + 12_000);
    });
  });

  test("a task that every gap is nearly large enough for has a node kept for it in the end", () => {
    // Two of them hold what a daemon leaves, and never end together.
    const model = new PlacingModel([nodeOf("a")], { reserve_after_ms: RESERVE_AFTER_MS });
    model.submit({ number: 0, needs: needsOf({ cpu_millis: 3_000 }), priority: "normal", at: 0, runs_ms: 1e9 });
    const half = (number: number): void =>
      model.submit({ number, needs: needsOf({ cpu_millis: 500 }), priority: "normal", at: model.now, runs_ms: 2_000 });
    half(1);
    model.place();
    model.advance(1_000);
    half(2);
    model.place();
    model.submit({ number: 3, needs: needsOf(), priority: "normal", at: model.now, runs_ms: 1 });
    let number = 4;
    while (!model.running.some((task) => task.number === 3) && model.now < 200_000) {
      half(number++);
      model.advance(model.next_end);
      model.place();
    }
    expect(model.now).toBeGreaterThan(RESERVE_AFTER_MS * 10);
    expect(model.now).toBeLessThan(RESERVE_AFTER_MS * 10 + 8_000);
  });
});

describe("what never ends", () => {
  /** Small tasks without end on nodes of which the first has something that keeps a large one out; who began when, per node. */
  function beside(first: Partial<ModelTask>, nodes: readonly NodeLoad[], until: number) {
    const model = new PlacingModel(nodes, { reserve_after_ms: RESERVE_AFTER_MS });
    const task = { number: 0, needs: needsOf({ cpu_millis: 500, node: "a" }), priority: "normal" as const, at: 0 };
    model.submit({ ...task, runs_ms: 1, ...first });
    model.place();
    const began: Record<string, number[]> = { a: [], b: [] };
    let number = 2;
    let large = Number.POSITIVE_INFINITY;
    for (let now = 0; now < until && large === Number.POSITIVE_INFINITY; now += 500) {
      model.advance(now);
      const small = { ...task, needs: needsOf({ cpu_millis: 500 }), runs_ms: 1_000, at: now };
      while (model.waiting.length < 20) model.submit({ ...small, number: number++ });
      if (now === 5_000)
        model.submit({ ...task, number: 1, needs: needsOf({ cpu_millis: 4_000 }), at: now, runs_ms: 1_000 });
      for (const one of model.place()) {
        if (one.number === 1) large = now;
        else began[one.node]!.push(now);
      }
    }
    return { began, large };
  }
  /** The longest time in which nothing began there, and the share of all time that nothing did for over ten seconds. */
  function idle(began: readonly number[], until: number): { longest: number; share: number } {
    const gaps = [...began, until].map((now, at) => now - (began[at - 1] ?? 0));
    const long = gaps.filter((gap) => gap > 10_000);
    return { longest: Math.max(...gaps), share: long.reduce((sum, gap) => sum + gap, 0) / until };
  }

  test("a daemon keeps a node from being emptied in vain: the others go on there", () => {
    const { began, large } = beside({ runs_ms: Number.POSITIVE_INFINITY }, [nodeOf("a")], 1_200_000);
    expect(large).toBe(Number.POSITIVE_INFINITY);
    expect(idle(began["a"]!, 1_200_000).longest).toBeLessThan(2_000);
  });

  test("with another node that one is emptied, and the large task begins", () => {
    const { began, large } = beside({ runs_ms: Number.POSITIVE_INFINITY }, [nodeOf("a"), nodeOf("b")], 600_000);
    expect(large).toBeLessThan(5_000 + RESERVE_AFTER_MS + 12_000);
    expect(idle(began["a"]!, large).longest).toBeLessThan(2_000);
  });

  test("so it is where a task keeps apart from what runs on the first", () => {
    const spread = { by: "node", among: "x" };
    const needs = needsOf({ cpu_millis: 500, spread });
    const busy = (id: string, apart: boolean): NodeLoad => {
      const used = emptyUsed();
      addUse(used, apart ? needs : needsOf({ cpu_millis: 500 }), 1);
      addUse(used, needsOf({ cpu_millis: 3_500 }), 1);
      return nodeOf(id, {}, { used, held: 2 });
    };
    const lane = {
      needs: needsOf({ cpu_millis: 4_000, spread }),
      waiting: 1,
      queue: [{ turn: 0, number: 0, count: 1 }],
      since: 0,
    };
    const now = { at: 1e9, seed: 1, settings: DEFAULT_PLACEMENT };
    expect(place([lane], [busy("a", true), busy("b", false)], now).reserved?.node).toBe("b");
    expect(place([lane], [busy("a", true)], now).reserved).toBeUndefined();
  });

  test("a job of which nobody knows its end is waited for half of the time at most, and another node is tried", () => {
    const day_ms = 86_400_000;
    const alone = beside({ runs_ms: day_ms }, [nodeOf("a")], 7_200_000);
    expect(idle(alone.began["a"]!, 7_200_000).share).toBeLessThan(0.5);
    const two = beside({ runs_ms: day_ms }, [nodeOf("a"), nodeOf("b")], 1_200_000);
    expect(two.large).toBeLessThan(5_000 + 11 * RESERVE_AFTER_MS + 72_000);
  });

  test("jobs that are much longer than that are waited for in the end", () => {
    const hour_ms = 3_600_000;
    const model = new PlacingModel([nodeOf("a")], { reserve_after_ms: RESERVE_AFTER_MS });
    const long = { needs: needsOf({ cpu_millis: 1_000 }), priority: "normal" as const };
    let number = 1;
    while (model.now < 100 * hour_ms && !model.ran.some((task) => task.number === 0)) {
      // They never end together.
      while (model.waiting.length < 8) {
        const runs_ms = hour_ms + (number % 4) * 900_000;
        model.submit({ ...long, number: number++, at: model.now, runs_ms });
      }
      if (number > 20 && number < 1_000) {
        model.submit({ ...long, number: 0, needs: needsOf({ cpu_millis: 4_000 }), at: model.now, runs_ms: 1 });
        number = 1_000;
      }
      model.place();
      model.advance(model.now + 10_000);
    }
    expect(model.now).toBeLessThan(24 * hour_ms);
  });
});

test("what a node has of something counted is a size, too", () => {
  const model = new PlacingModel([nodeOf("a", { cpu_millis: 64_000, resources: { license: 2 } })], {
    reserve_after_ms: RESERVE_AFTER_MS,
  });
  let number = 1;
  const one = { priority: "normal" as const, runs_ms: 1_500 };
  for (let now = 0; now < 200_000 && !model.running.some((task) => task.number === 0); now += 700) {
    model.advance(now);
    while (model.waiting.length < 6) {
      model.submit({
        ...one,
        number: number++,
        at: now,
        needs: needsOf({ cpu_millis: 100, resources: { license: 1 } }),
      });
    }
    if (now === 700)
      model.submit({ ...one, number: 0, at: now, needs: needsOf({ cpu_millis: 100, resources: { license: 2 } }) });
    model.place();
  }
  expect(model.now).toBeLessThan(RESERVE_AFTER_MS + 10_000);
});

test("of equal nodes always the same one is chosen, whoever lists them", () => {
  for (const strategy of STRATEGIES.filter((name) => name !== "random")) {
    const nodes = ["c", "a", "b"].map((id) => nodeOf(id));
    const lane = { needs: needsOf({ strategy }), waiting: 1, queue: [{ turn: 0, number: 0, count: 1 }], since: 0 };
    const now = { at: 0, seed: 1, settings: DEFAULT_PLACEMENT };
    const chosen = [nodes, nodes.toReversed()].map((listed) => place([lane], listed, now).placements[0]?.node);
    expect(chosen).toEqual(["a", "a"]);
  }
});

test("a turn has an end, and what is left waits for the next one", () => {
  const wide = nodeOf("a", { cpu_millis: 1e9 });
  const lanes = [0, 1].map((lane) => {
    const queue = Array.from({ length: LIMITS.placed_turns }, (_, at) => ({
      turn: at,
      number: 2 * at + lane,
      count: 1,
    }));
    return { needs: needsOf({ cpu_millis: 100 + lane }), waiting: queue.length, queue, since: 0 };
  });
  const { placements } = place(lanes, [wide], { at: 0, seed: 1, settings: DEFAULT_PLACEMENT });
  expect(placements.reduce((sum, { count }) => sum + count, 0)).toBe(LIMITS.placed_turns);
});

test("of a thousand kinds of tasks the first are given ahead", () => {
  const needs = (lane: number): Needs => needsOf({ cpu_millis: 1_000, memory_mib: lane + 1 });
  const used = emptyUsed();
  addUse(used, needsOf({ cpu_millis: 4_000 }), 1);
  const node = nodeOf("a", { memory_mib: 1e9 }, { used, held: 1 });
  const lanes = Array.from({ length: 2 * LIMITS.prefetched_lanes }, (_, lane) => ({
    ...{ needs: needs(lane), waiting: 1, queue: [{ turn: lane, number: lane, count: 1 }], since: 0, mean_ms: 0.01 },
  }));
  const { placements } = place(lanes, [node], {
    at: 0,
    seed: 1,
    settings: { ...DEFAULT_PLACEMENT, reserve_after_ms: 1e9 },
  });
  expect(placements.every(({ lane }) => lane < LIMITS.prefetched_lanes)).toBe(true);
});

describe("round_robin", () => {
  test("is even, over many turns and whatever comes at a time", () => {
    forSeeds(60, (chance) => {
      const ids = ["a", "b", "c", "d"].slice(0, chance.between(2, 4));
      const nodes = ids.map((id) => nodeOf(id, { cpu_millis: 64_000 }));
      const model = new PlacingModel(nodes, { strategy: "round_robin" });
      const given = new Map(ids.map((id) => [id, 0]));
      let number = 0;
      for (let step = 0; step < 30; step++) {
        for (let count = chance.between(0, 7); count > 0; count--) {
          const needs = needsOf({ cpu_millis: chance.between(1, 4) * 100 });
          model.submit({ number: number++, needs, priority: "normal", at: model.now, runs_ms: chance.between(1, 9) });
        }
        for (const { node } of model.place()) given.set(node, given.get(node)! + 1);
        const counts = [...given.values()];
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        model.advance(model.now + 10);
      }
    });
  });
});

test("10,000 small cases take hardly longer than the best of all schedules", () => {
  let sum = 0;
  const cases = 10_000;
  for (let seed = 1; seed <= cases; seed++) {
    const chance = new Chance(seed);
    const nodes = ["a", "b", "c"].slice(0, chance.between(1, 3)).map((id) => {
      return nodeOf(id, { cpu_millis: chance.between(2, 4) * 1_000, memory_mib: chance.between(2, 4) * 1_024 });
    });
    const model = new PlacingModel(nodes);
    const jobs = Array.from({ length: chance.between(2, 5) }, () => ({
      cpu_millis: chance.between(1, 4) * 500,
      memory_mib: chance.between(0, 4) * 512,
      runs_ms: chance.between(1, 10) * 1_000,
    }));
    for (const [number, { runs_ms, ...needs }] of jobs.entries()) {
      model.submit({ number, needs: needsOf(needs), priority: "normal", at: 0, runs_ms });
    }
    model.finish();
    expect(model.ran.length).toBe(jobs.length);
    const took_ms = Math.max(...model.ran.map(({ started_at, runs_ms }) => started_at + runs_ms));
    sum +=
      took_ms /
      shortestMakespan(
        jobs,
        nodes.map(({ info }) => info.capacity),
        took_ms,
      );
  }
  expect(sum / cases).toBeLessThan(1.1);
  expect(sum / cases).toBeGreaterThan(1); // or the search found nothing better, ever
}, 60_000);
