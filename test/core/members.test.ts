// Members that a retry stands for: the text and back, against a plain list.

import { expect, test } from "bun:test";
import { encodeMembers, Members, type Range } from "../../src/core/members.ts";
import type { Chance } from "../sim/chance.ts";
import { forSeeds } from "./seeds.ts";

function randomRanges(chance: Chance): Range[] {
  const ranges: Range[] = [];
  let end = 0;
  for (let left = chance.between(1, 20); left > 0; left--) {
    const from = end + chance.below(4);
    end = from + chance.between(1, 5);
    ranges.push({ from, to: end });
  }
  return ranges;
}

const listOf = (ranges: Iterable<Range>): number[] =>
  [...ranges].flatMap(({ from, to }) => Array.from({ length: to - from }, (_, at) => from + at));

test("any part of them is what a list of them has there", () => {
  forSeeds(100, (chance) => {
    const ranges = randomRanges(chance);
    const list = listOf(ranges);
    const members = new Members(encodeMembers(ranges));
    expect(members.count).toBe(list.length);
    const from = chance.below(list.length);
    const to = chance.between(from, list.length);
    expect(listOf(members.standFor(from, to))).toEqual(list.slice(from, to));
    for (const [place, old] of list.entries()) {
      expect(members.oldOf(place)).toBe(old);
      expect(members.newOf(old)).toBe(place);
      if (!list.includes(old + 1)) expect(members.newOf(old + 1)).toBeUndefined();
    }
    expect(members.oldOf(list.length)).toBeUndefined();
    if (!list.includes(0)) expect(members.newOf(0)).toBeUndefined();
  });
});

test("the text is short, also for many that lie apart", () => {
  expect(
    encodeMembers([
      { from: 3, to: 4 },
      { from: 4, to: 14 },
    ]),
  ).toBe("3,0+9");
  const scattered = Array.from({ length: 100_000 }, (_, at) => ({ from: at * 10, to: at * 10 + 1 }));
  expect(encodeMembers(scattered).length).toBeLessThan(200_001);
});

test("ranges that overlap, or are empty, are nobody's", () => {
  expect(() =>
    encodeMembers([
      { from: 3, to: 5 },
      { from: 4, to: 6 },
    ]),
  ).toThrow("members 4 to 6 after 5");
  expect(() => encodeMembers([{ from: 3, to: 3 }])).toThrow("members 3 to 3");
});
