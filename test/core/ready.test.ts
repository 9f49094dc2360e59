// Whose turn it is: lanes by requirement and priority, and inside a lane first ready, first served.

import { describe, expect, test } from "bun:test";
import { PRIORITIES, type Priority } from "../../src/common/vocabulary.ts";
import { Ready } from "../../src/core/ready.ts";
import type { Submission } from "../../src/core/state.ts";
import { forSeeds } from "./seeds.ts";

/** What the lanes look at; submission n was made at time n. */
function waits(number: number, more: Partial<Submission> = {}): Submission {
  const one = { number, at: number, start_at: undefined, group: "a", priority: "normal", ready: 0, ...more };
  return one as Submission;
}

const turns = (ready: Ready): string[] =>
  ready.lanes().map((lane) => {
    const numbers = Array.from(lane, ({ number }) => number);
    return `${lane.priority} ${lane.group} ${numbers.join(",")} (${lane.waiting})`;
  });

describe("lanes", () => {
  test("come by priority, then by who waits longest", () => {
    const ready = new Ready();
    ready.add(waits(2, { group: "b" }), 5);
    ready.add(waits(3), 1);
    ready.add(waits(1, { priority: "low" }), 1);
    ready.add(waits(9, { priority: "critical" }), 1);
    ready.add(waits(8, { group: "b", priority: "high" }), 1);
    ready.add(waits(7), 2);
    const rest = ["normal b 2 (5)", "normal a 3,7 (3)", "low a 1 (1)"];
    expect(turns(ready)).toEqual(["critical a 9 (1)", "high b 8 (1)", ...rest]);
    ready.add(waits(0, { group: "c", start_at: 4 }), 1);
    expect(turns(ready)).toContainAllValues(["critical a 9 (1)", "high b 8 (1)", ...rest, "normal c 0 (1)"]);
    expect(turns(ready).slice(2, 5)).toEqual(["normal b 2 (5)", "normal a 3,7 (3)", "normal c 0 (1)"]);
  });

  test("have what was put off behind what was ready before it, and before what was ready at the same time or later", () => {
    const ready = new Ready();
    for (const number of [2, 8, 9]) ready.add(waits(number), 1);
    ready.add(waits(1, { start_at: 8 }), 3);
    expect(turns(ready)).toEqual(["normal a 2,1,8,9 (6)"]);
  });

  test("give a task that waits again its old place", () => {
    const ready = new Ready();
    const [one, two, three] = [waits(1), waits(2), waits(3, { start_at: 9 })];
    for (const each of [one, two, three]) ready.add(each, 1);
    ready.take(one, 1);
    ready.take(two, 1);
    expect(turns(ready)).toEqual(["normal a 3 (1)"]);
    ready.add(one, 1);
    expect(turns(ready)).toEqual(["normal a 1,3 (2)"]);
    ready.take(three, 1);
    ready.add(waits(4), 1);
    ready.add(three, 1);
    expect(turns(ready)).toEqual(["normal a 1,4,3 (3)"]);
  });

  test("that are empty are gone, and to take from one that is not there is a bug", () => {
    const ready = new Ready();
    const one = waits(1, { ready: 1 });
    ready.add(one, 3);
    ready.take(one, 2);
    expect(turns(ready)).toEqual(["normal a 1 (1)"]);
    expect(() => ready.take(waits(2), 1)).toThrow("in no lane");
    one.ready = 0;
    ready.add(waits(1), 1);
    ready.take(one, 1);
    expect(turns(ready)).toEqual([]);
    expect(() => ready.take(one, 1)).toThrow("no lane");
  });

  const sizes: [submissions: number, steps: number, seeds: number][] = [
    [30, 200, 60],
    [4_000, 9_000, 4], // many chunks
  ];
  test.each(sizes)(
    "of %d submissions say the same as a list of them, whatever comes and goes",
    (most, steps, seeds) => {
      forSeeds(seeds, (chance) => {
        const ready = new Ready();
        const model = new Map<number, Submission>();
        for (let step = 1; step <= steps; step++) {
          const number = chance.between(1, most);
          const one =
            model.get(number) ??
            waits(number, {
              group: `g${chance.below(2)}`,
              priority: PRIORITIES[chance.below(2)] as Priority,
              start_at: chance.once(3) ? number + chance.between(1, most / 2) : undefined,
            });
          model.set(number, one);
          if (one.ready > 0 && chance.once(step * 2 < steps ? 4 : 2)) {
            const count = chance.between(1, one.ready);
            one.ready -= count;
            ready.take(one, count);
          } else {
            const count = chance.between(1, 5);
            one.ready += count;
            ready.add(one, count);
          }
          if (most <= 100 || step % 1_000 === 0) expect(turns(ready)).toEqual(wanted([...model.values()]));
        }
      });
    },
  );

  function wanted(all: Submission[]): string[] {
    const lanes = new Map<string, { rank: number; first: Submission; numbers: number[]; waiting: number }>();
    const since = ({ at, start_at }: Submission): number => start_at ?? at;
    const sooner = (a: Submission, b: Submission): number => since(a) - since(b) || a.number - b.number;
    for (const one of all.filter(({ ready }) => ready > 0).sort(sooner)) {
      const { group, priority, number } = one;
      const name = `${priority} ${group}`;
      const lane = lanes.get(name) ?? { rank: PRIORITIES.indexOf(priority), first: one, numbers: [], waiting: 0 };
      lane.numbers.push(number);
      lane.waiting += one.ready;
      lanes.set(name, lane);
    }
    return [...lanes]
      .sort(([, a], [, b]) => a.rank - b.rank || sooner(a.first, b.first))
      .map(([name, { numbers, waiting }]) => `${name} ${numbers.join(",")} (${waiting})`);
  }

  test("of a long backlog let those in the middle go, and come again, as cheaply as the first", () => {
    const ready = new Ready();
    const all = Array.from({ length: 300_000 }, (_, number) => waits(number));
    for (const one of all) ready.add(one, 1);
    const middle = all.slice(100_000, 160_000);
    const spent_ms = (some: readonly Submission[], change: (one: Submission) => void): number => {
      const began = process.cpuUsage();
      for (const one of some) change(one);
      const { user, system } = process.cpuUsage(began);
      return (user + system) / 1_000;
    };
    // In one array each of them moves two hundred thousand others: seconds.
    expect(spent_ms(middle, (one) => ready.take(one, 1))).toBeLessThan(800);
    expect(spent_ms(middle, (one) => ready.add(one, 1))).toBeLessThan(800);
    expect(spent_ms(all, (one) => ready.take(one, 1))).toBeLessThan(800);
    expect(ready.lanes()).toEqual([]);
  });
});
