// Ranges through the whole life of tasks: whatever happens to a cluster, the state that keeps ranges says what a book says
// that keeps every task by itself. A history that fails names its seed, and is told as short as it can be made.

import { describe, expect, test } from "bun:test";
import { apply } from "../../src/core/apply.ts";
import type { Event } from "../../src/core/event.ts";
import type { Chance } from "../sim/chance.ts";
import { History, randomSteps, STEPS, type Step, shortened } from "./history.ts";
import { forSeeds } from "./seeds.ts";

const SEEDS = 60;
const LENGTH = 150;

interface Taken {
  told: string[];
  failure?: string;
}

function take(steps: readonly Step[], fold: typeof apply): Taken {
  const history = new History(fold);
  const { told } = history;
  try {
    for (const step of steps) history.take(step);
    return { told };
  } catch (error) {
    return { told, failure: error instanceof Error ? error.message : String(error) };
  }
}

/** Gives the events, a line each; throws what the history found, with the shortest one that finds anything. */
function run(steps: readonly Step[], fold: typeof apply = apply): string[] {
  const { told, failure } = take(steps, fold);
  if (failure === undefined) return told;
  const shortest = shortened(steps, (fewer) => take(fewer, fold).failure !== undefined);
  const found = take(shortest, fold);
  throw new Error(`after ${shortest.length} of ${steps.length} steps: ${found.failure}\n${found.told.join("\n")}`);
}

describe("the state kept as ranges", () => {
  test("equals the state kept task by task, for random histories", () => {
    const seen = new Map<string, number>();
    forSeeds(SEEDS, (chance) => {
      for (const line of run(randomSteps(chance, LENGTH))) {
        const { t } = JSON.parse(line) as Event;
        seen.set(t, (seen.get(t) ?? 0) + 1);
      }
    });
    // It is no test of what never happens.
    if (process.env["CLAW_SEED"] !== undefined) return;
    const kinds = ["submitted", "extended", "closed", "registered", "assigned", "started", "succeeded", "ended"];
    for (const kind of [...kinds, "retried", "due", "requeued", "dropped", "pruned", "stopping", "cordoned"]) {
      expect([kind, (seen.get(kind) ?? 0) > SEEDS / 4]).toEqual([kind, true]);
    }
  }, 120_000);

  const bugs: [string, (event: Event) => Event][] = [
    [
      "a success that is one member short",
      (event) => (event.t === "succeeded" ? { ...event, runs: event.runs.map(shorter) } : event),
    ],
    [
      "a failure that is not counted",
      (event) =>
        event.t === "retried" ? { ...event, results: event.results.map((one) => ({ ...one, failures: 0 })) } : event,
    ],
    [
      "a time that is forgotten",
      (event) =>
        event.t === "retried" ? { ...event, results: event.results.map((one) => ({ ...one, not_before: 0 })) } : event,
    ],
    [
      "a reason to stop that is another",
      (event) => (event.t === "stopping" ? { ...event, reason: "cancel" as const } : event),
    ],
    ["a loss that is a release", (event) => (event.t === "requeued" ? { ...event, reason: "released" } : event)],
  ];
  test.each(bugs)("finds %s, and tells it with a short history", (_, bend) => {
    let message = "";
    const planted: typeof apply = (state, event, touched) => apply(state, bend(event), touched);
    forSeeds(SEEDS, (chance: Chance) => {
      if (message !== "") return;
      try {
        run(randomSteps(chance, LENGTH), planted);
      } catch (error) {
        message = String(error);
      }
    });
    const [, steps = "0"] = /after (\d+) of/.exec(message) ?? [];
    expect(Number(steps)).toBeGreaterThan(1);
    expect(Number(steps)).toBeLessThan(15);
  });

  test("every kind of step is taken", () => {
    expect(Object.keys(STEPS).every((kind) => Object.hasOwn(History.prototype, kind))).toBe(true);
  });
});

function shorter<T extends [number, number, number, ...number[]]>(run: T): T {
  const copy: T = [...run];
  if (copy[2] - copy[1] > 1) copy[2] -= 1;
  return copy;
}
