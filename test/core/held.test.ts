import { expect, test } from "bun:test";
import { Held } from "../../src/core/held.ts";
import { forSeeds } from "./seeds.ts";

test("the same attempts give the same count and hash, in whatever order and runs they came", () => {
  forSeeds(100, (chance) => {
    const [ranges, singles] = [new Held(), new Held()];
    const members: [number, number, number][] = [];
    for (let run = 0; run < 10; run++) {
      const [number, from, size, attempt] = [run, chance.below(50), chance.between(1, 9), chance.between(1, 3)];
      ranges.add(number, from, from + size, attempt);
      for (let index = from; index < from + size; index++) members.push([number, index, attempt]);
    }
    members.sort(() => chance.below(3) - 1);
    for (const [number, index, attempt] of members) singles.add(number, index, index + 1, attempt);
    expect([singles.count, singles.hash]).toEqual([ranges.count, ranges.hash]);
    expect(ranges.count).toBe(members.length);
    expect(ranges.hash).toMatch(/^[0-9a-f]{8}$/);
    const [number, index, attempt] = members[0]!;
    singles.remove(number, index, index + 1, attempt);
    expect(singles.hash).not.toBe(ranges.hash);
    singles.add(number, index, index + 1, attempt + 1);
    expect([singles.count, singles.hash === ranges.hash]).toEqual([ranges.count, false]);
    for (const [n, i, a] of members.slice(1)) singles.remove(n, i, i + 1, a);
    singles.remove(number, index, index + 1, attempt + 1);
    expect([singles.count, singles.hash]).toEqual([0, "00000000"]);
  });
});

test("neighbours differ: no two of many sets of one attempt share a hash", () => {
  const hashes = new Set<string>();
  for (let number = 1; number <= 10; number++) {
    for (let index = 0; index < 100; index++) {
      for (let attempt = 1; attempt <= 3; attempt++) {
        const held = new Held();
        held.add(number, index, index + 1, attempt);
        hashes.add(held.hash);
      }
    }
  }
  expect(hashes.size).toBe(3_000);
});
