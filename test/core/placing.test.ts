// What placing promises while time passes: whatever the strategy, no node is idle while a task that fits waits, nobody is
// overtaken by what came later and could have gone first, everybody's turn comes, and it takes hardly longer than it must.

import { describe, expect, test } from "bun:test";
import { type Needs, PRIORITIES, STRATEGIES } from "../../src/common/models.ts";
import { obstacle } from "../../src/core/fit.ts";
import { turnOf } from "../../src/core/place.ts";
import { addUse } from "../../src/core/state.ts";
import { Chance } from "../sim/chance.ts";
import { shortestMakespan } from "./makespan.ts";
import { type ModelTask, needsOf, nodeOf, PlacingModel, type Ran } from "./placing-model.ts";
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
      for (const node of nodes) {
        if (node.id === model.reserved) continue;
        const why = obstacle(task.needs, node, nodes);
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
        expect(model.nodes.every((node) => obstacle(needs, node, model.nodes) !== undefined)).toBe(true);
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
