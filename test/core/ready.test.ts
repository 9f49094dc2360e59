// Whose turn it is: lanes by requirement and priority, and inside a lane first come, first served.

import { describe, expect, test } from "bun:test";
import { PRIORITIES, type Priority } from "../../src/common/models.ts";
import { Ready } from "../../src/core/ready.ts";
import { forSeeds } from "./seeds.ts";

const turns = (ready: Ready): string[] =>
  ready.lanes().map(({ priority, group, numbers, head, waiting }) => {
    return `${priority} ${group} ${numbers.slice(head).join(",")} (${waiting})`;
  });

describe("lanes", () => {
  test("come by priority, then by the age of their oldest submission", () => {
    const ready = new Ready();
    ready.add("b", "normal", 2, 5);
    ready.add("a", "normal", 3, 1);
    ready.add("a", "low", 1, 1);
    ready.add("a", "critical", 9, 1);
    ready.add("b", "high", 8, 1);
    ready.add("a", "normal", 7, 2);
    expect(turns(ready)).toEqual([
      "critical a 9 (1)",
      "high b 8 (1)",
      "normal b 2 (5)",
      "normal a 3,7 (3)",
      "low a 1 (1)",
    ]);
  });

  test("a task that waits again takes its old place", () => {
    const ready = new Ready();
    for (const number of [1, 2, 3]) ready.add("a", "normal", number, 1);
    ready.take("a", "normal", 1, 1, true);
    ready.take("a", "normal", 2, 1, true);
    expect(turns(ready)).toEqual(["normal a 3 (1)"]);
    ready.add("a", "normal", 1, 1);
    expect(turns(ready)).toEqual(["normal a 1,3 (2)"]);
  });

  test("that are empty are gone, and to take from one that is not there is a bug", () => {
    const ready = new Ready();
    ready.add("a", "normal", 1, 3);
    ready.take("a", "normal", 1, 2, false);
    expect(turns(ready)).toEqual(["normal a 1 (1)"]);
    ready.take("a", "normal", 1, 1, true);
    expect(turns(ready)).toEqual([]);
    expect(() => ready.take("a", "normal", 1, 1, true)).toThrow("no lane");
  });

  test("say the same as a list of submissions, whatever comes and goes", () => {
    forSeeds(60, (chance) => {
      const ready = new Ready();
      const model = new Map<number, { group: string; priority: Priority; waiting: number }>();
      for (let step = 0; step < 200; step++) {
        const number = chance.between(1, 30);
        const known = model.get(number);
        const entry = known ?? {
          group: `g${chance.below(2)}`,
          priority: PRIORITIES[chance.below(PRIORITIES.length)]!,
          waiting: 0,
        };
        model.set(number, entry);
        if (entry.waiting > 0 && chance.once(2)) {
          const count = chance.between(1, entry.waiting);
          entry.waiting -= count;
          ready.take(entry.group, entry.priority, number, count, entry.waiting === 0);
        } else {
          const count = chance.between(1, 5);
          entry.waiting += count;
          ready.add(entry.group, entry.priority, number, count);
        }
        const lanes = new Map<string, { rank: number; numbers: number[]; waiting: number }>();
        for (const [key, { group, priority, waiting }] of [...model].sort(([a], [b]) => a - b)) {
          if (waiting === 0) continue;
          const rank = PRIORITIES.indexOf(priority);
          const lane = lanes.get(`${priority} ${group}`) ?? { rank, numbers: [], waiting: 0 };
          lane.numbers.push(key);
          lane.waiting += waiting;
          lanes.set(`${priority} ${group}`, lane);
        }
        const wanted = [...lanes].sort(([, a], [, b]) => a.rank - b.rank || a.numbers[0]! - b.numbers[0]!);
        expect(turns(ready)).toEqual(
          wanted.map(([name, lane]) => `${name} ${lane.numbers.join(",")} (${lane.waiting})`),
        );
      }
    });
  });

  test("of a long backlog give back what is done with", () => {
    const ready = new Ready();
    for (let number = 1; number <= 5_000; number++) ready.add("a", "normal", number, 1);
    for (let number = 1; number <= 4_000; number++) ready.take("a", "normal", number, 1, true);
    const [lane] = ready.lanes();
    expect([lane!.waiting, lane!.numbers[lane!.head], lane!.numbers.length < 3_000]).toEqual([1_000, 4_001, true]);
  });
});
