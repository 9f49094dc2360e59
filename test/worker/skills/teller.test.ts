// What the cluster is told of a machine's skills, and how often: each telling is the whole list, and stays in the log.

import { expect, test } from "bun:test";
import { LIMITS } from "../../../src/common/limits.ts";
import type { NodeSkills } from "../../../src/core/skills.ts";
import { SkillTeller } from "../../../src/worker/skills/teller.ts";
import { NO_SKILLS } from "../../../src/worker/skills/watch.ts";

const skills = (hash: string): NodeSkills => ({
  hash,
  list: [{ name: "one", description: hash, source: "config", hash: "0".repeat(16) }],
});

/** A teller on a clock of its own, and when it told what. The cluster answers at once unless it is away. */
function teller() {
  const told: [number, string][] = [];
  let now_ms = 1_000_000;
  let away = false;
  const one = new SkillTeller("0".repeat(16), (message) => {
    if (message.type !== "skill.update") return;
    told.push([now_ms - 1_000_000, message.hash]);
    if (!away) one.known(message.hash);
  });
  return {
    ...{ one, told },
    leave: () => {
      away = true;
    },
    /** At the next moment that counts from the start, as the worker does: a look may find something, and each second it ticks. */
    at: (at_ms: number, hash?: string) => {
      while (now_ms + 500 < 1_000_000 + at_ms) {
        now_ms += 500;
        one.tell(now_ms);
      }
      now_ms = 1_000_000 + at_ms;
      if (hash !== undefined) one.found(skills(hash), now_ms);
      one.tell(now_ms);
    },
  };
}

test("a machine without skills is told of where the cluster believes that it has some, and only there", () => {
  const { one, told, at } = teller();
  one.found(NO_SKILLS, 0);
  at(0);
  expect(told).toEqual([]);
  one.known("0123456789abcdef");
  at(1);
  expect(told).toEqual([[1, NO_SKILLS.hash]]);
  at(10_000);
  expect(told.length).toBe(1);
});

test("what is found at the start and the first change are told at once, and so is one after a quiet time", () => {
  const { told, at } = teller();
  at(0, "a");
  at(100, "b");
  at(100 + LIMITS.skills_quiet_ms, "c");
  at(200 + 2 * LIMITS.skills_quiet_ms, "d");
  expect(told.map(([, hash]) => hash)).toEqual(["a", "b", "c", "d"]);
  expect(told.map(([at_ms]) => at_ms)).toEqual([
    ...[0, 100, 100 + LIMITS.skills_quiet_ms, 200 + 2 * LIMITS.skills_quiet_ms],
  ]);
});

test("what changes all the time is told in ever longer intervals, up to a limit", () => {
  const { told, at } = teller();
  at(0, "start");
  const last_ms = 3_600_000;
  for (let at_ms = 350; at_ms < last_ms; at_ms += 350) at(at_ms, `change ${at_ms}`);
  const times = told.slice(1).map(([at_ms]) => at_ms);
  const pauses = times.slice(1).map((at_ms, index) => Math.round((at_ms - times[index]!) / 1000));
  expect([times[0], ...pauses.slice(0, 7)]).toEqual([350, 10, 20, 40, 80, 160, 300, 300]);
  expect(told.length).toBeLessThan(20);
  // Then it is quiet: what it came to is told, long before the pause is over.
  at(last_ms, "end");
  at(last_ms + LIMITS.skills_quiet_ms);
  expect(told.at(-1)![1]).toBe("end");
  at(last_ms + LIMITS.skills_quiet_ms + 1_000, "next");
  expect(told.at(-1)).toEqual([last_ms + LIMITS.skills_quiet_ms + 1_000, "next"]);
});

test("what changed back meanwhile is not told", () => {
  const { told, at } = teller();
  for (const [at_ms, hash] of [
    [0, "a"],
    [1_000, "b"],
    [2_000, "c"],
    [3_000, "b"],
  ] as const) {
    at(at_ms, hash);
  }
  at(600_000);
  expect(told.map(([, hash]) => hash)).toEqual(["a", "b"]);
});

test("until it is answered the same is told again, whatever the pause, and at once to a leader that has something else", () => {
  const { one, told, at, leave } = teller();
  at(0, "a");
  at(1_000, "b");
  leave();
  at(30_000, "c");
  at(36_000);
  expect(told.slice(2)).toEqual([30_000, 32_000, 34_000, 36_000].map((at_ms) => [at_ms, "c"]));
  one.known("a");
  at(36_100);
  expect(told.at(-1)).toEqual([36_100, "c"]);
});
