// A node's health: what takes how much from it, and what it says.

import { describe, expect, test } from "bun:test";
import { ended, healthOf, RECENT, type Signs } from "../../src/core/health.ts";

const WELL: Signs = {
  status: "online",
  reason: "",
  silent_ms: 4_000,
  heartbeat_ms: 10_000,
  missed: 3,
  cpu_percent: 40,
  free_memory_mib: 4_096,
  memory_mib: 8_192,
  disk_free_percent: 60,
  recent: { ended: 20, failed: 0, unstarted: 0 },
};

const health = (signs: Partial<Signs>) => {
  const { score, parts } = healthOf({ ...WELL, ...signs });
  return { score, low: parts.filter(({ lost }) => lost > 0).map(({ sign }): string => sign) };
};

test("all is well: 100, and each sign says what it is", () => {
  const { score, parts } = healthOf(WELL);
  expect(score).toBe(100);
  expect(parts.map(({ sign, says }) => [sign, says])).toEqual([
    ["status", "online"],
    ["heartbeat", "heard 4s ago, every 10s when it is well"],
    ["load", "40 % of its processors busy"],
    ["memory", "4G free, it offers 8G"],
    ["disk", "60 % of the disk with its data free"],
    ["failures", "none of the latest tasks"],
  ]);
});

test("offline it is 0, in error close to it, whatever else it says", () => {
  expect(health({ status: "offline", reason: "its heartbeats stopped" })).toEqual({ score: 0, low: ["status"] });
  expect(health({ status: "error", reason: "no room" })).toEqual({ score: 20, low: ["status"] });
  expect(healthOf({ ...WELL, status: "error", reason: "no room" }).parts[0]?.says).toBe("in error: no room");
});

const cases: [string, Partial<Signs>, number, string[]][] = [
  ["a heartbeat that is late by a little", { silent_ms: 14_999 }, 100, []],
  ["one that is missed", { silent_ms: 25_000 }, 80, ["heartbeat"]],
  ["about to count as offline", { silent_ms: 34_999 }, 60, ["heartbeat"]],
  ["busy", { cpu_percent: 80 }, 100, []],
  ["as busy as can be", { cpu_percent: 100 }, 85, ["load"]],
  ["a tenth of its memory free", { free_memory_mib: 819 }, 92, ["memory"]],
  ["no memory left", { free_memory_mib: 0 }, 75, ["memory"]],
  ["a full disk", { disk_free_percent: 0 }, 70, ["disk"]],
  ["all tasks fail by themselves", { recent: { ended: 20, failed: 20, unstarted: 0 } }, 92, ["failures"]],
  ["it can start none", { recent: { ended: 20, failed: 20, unstarted: 20 } }, 70, ["failures"]],
  ["it could not start its first", { recent: { ended: 1, failed: 1, unstarted: 1 } }, 94, ["failures"]],
  ["two bad signs", { disk_free_percent: 0, free_memory_mib: 0 }, 45, ["memory", "disk"]],
];
test.each(cases)("%s", (_, signs, score, low) => {
  expect(health(signs)).toEqual({ score, low });
});

test("what is not known takes nothing, and says so", () => {
  const none = {
    cpu_percent: undefined,
    free_memory_mib: undefined,
    disk_free_percent: undefined,
    silent_ms: undefined,
  };
  const { score, parts } = healthOf({ ...WELL, ...none, recent: { ended: 0, failed: 0, unstarted: 0 } });
  expect(score).toBe(100);
  expect(parts.filter((part) => part.unknown === true).map(({ sign }) => sign)).toEqual([
    "heartbeat",
    "load",
    "memory",
    "disk",
  ]);
});

describe("signs out of their range", () => {
  test("neither add to it nor take more than there is", () => {
    expect(health({ cpu_percent: 1e9, free_memory_mib: -5, disk_free_percent: 400, silent_ms: -1 }).score).toBe(60);
    const all = {
      status: "error" as const,
      silent_ms: 1e9,
      cpu_percent: 100,
      free_memory_mib: 0,
      disk_free_percent: 0,
    };
    expect(health({ ...all, recent: { ended: 9, failed: 9, unstarted: 9 } }).score).toBe(0);
    expect(health({ memory_mib: 0, free_memory_mib: 0 }).score).toBe(100);
  });
});

test("ends: the latest count, those before weigh less and less", () => {
  let recent = { ended: 0, failed: 0, unstarted: 0 };
  for (let round = 0; round < 5; round++) recent = ended(recent, { ended: 2, failed: 1, unstarted: 1 });
  expect(recent).toEqual({ ended: 10, failed: 5, unstarted: 5 });
  recent = ended(recent, { ended: 1_000_000, failed: 0, unstarted: 0 });
  expect(recent.ended).toBe(RECENT);
  expect(recent.failed).toBeLessThan(0.001);
});
