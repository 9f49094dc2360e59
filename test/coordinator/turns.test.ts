// In whose turn the scheduler gives work out, when submissions become ready in another order than they came.

import { describe, expect, test } from "bun:test";
import { PRIORITIES } from "../../src/common/vocabulary.ts";
import { Scheduler } from "../../src/coordinator/scheduler.ts";
import { decideDue } from "../../src/core/due.ts";
import type { EventRun } from "../../src/core/event.ts";
import { AT, Cluster, INFO, specificationOf } from "../core/cluster.ts";
import { DEFAULT_PLACEMENT, needsOf } from "../core/placing-model.ts";
import { forSeeds } from "../core/seeds.ts";

const AGING_MS = 1_000;

class Stage extends Cluster {
  readonly scheduler = new Scheduler(this.state, { ...DEFAULT_PLACEMENT, aging_ms: AGING_MS }, () => 0);
  readonly running: EventRun[] = [];
  now = AT;

  constructor(slots: number) {
    super();
    const capacity = { ...INFO.capacity, cpu_millis: slots * 1_000 };
    this.add({ t: "registered", node: "n1", incarnation: "1", info: { ...INFO, capacity }, at: AT });
  }

  submitted(count: number, more: Parameters<typeof specificationOf>[0] = {}): number {
    const number = this.state.next_number;
    const spec = specificationOf({ needs: needsOf(), ...more });
    this.add({ t: "submitted", number, nonce: "n", by: "c", at: this.now, spec, array: true, ids: [number], count });
    return number;
  }

  /** Time goes on, and what was put off until then is ready. */
  pass(ms: number): void {
    this.now += ms;
    for (const number of this.state.submissions.keys()) this.add(...decideDue(this.state, number, this.now).events);
  }

  /** What is given out now, as `submission.index`. */
  place(): string[] {
    const events = this.scheduler.assignments(() => true, this.now);
    this.add(...events);
    const runs = events.flatMap((event) => (event.t === "assigned" ? event.runs : []));
    const single = runs.flatMap(([number, from, to, attempt]) =>
      Array.from({ length: to - from }, (_, at): EventRun => [number, from + at, from + at + 1, attempt]),
    );
    this.running.push(...single);
    return single.map(([number, index]) => `${number}.${index}`);
  }

  /** One that runs ends well, or fails and waits again for so long. */
  end(position: number, again_ms?: number): void {
    const [run] = this.running.splice(position, 1);
    const [number, index, to, attempt] = run!;
    const times = { started_at: this.now, ended_at: this.now };
    if (again_ms === undefined) {
      this.add({ t: "succeeded", node: "n1", runs: [[number, index, to, attempt, this.now, this.now]] });
      return;
    }
    const outcome = { status: "failed" as const, reason: "exit" as const, exit_code: 1, ...times };
    const result = { task: [number, index, attempt] as [number, number, number], outcome, failures: 1 };
    this.add({ t: "retried", node: "n1", results: [{ ...result, not_before: this.now + again_ms }], at: this.now });
  }

  /** Everything that waits for a node, whose turn is first first. */
  line(): string[] {
    const all = [...this.state.submissions.values()].flatMap(({ number, at, start_at, priority, segments }) =>
      segments
        .filter(({ status, not_before }) => status === "pending" && not_before === undefined)
        .flatMap(({ from, to }) => Array.from({ length: to - from }, (_, offset) => from + offset))
        .map((index) => ({ number, index, turn: (start_at ?? at) + PRIORITIES.indexOf(priority) * AGING_MS })),
    );
    all.sort((a, b) => a.turn - b.turn || a.number - b.number || a.index - b.index);
    return all.map(({ number, index }) => `${number}.${index}`);
  }
}

describe("of tasks that need the same", () => {
  test("one that was ready first goes first, though another was submitted before it", () => {
    const stage = new Stage(1);
    stage.submitted(1);
    expect(stage.place()).toEqual(["1.0"]);
    stage.submitted(2, { start_after_ms: 8_000 });
    stage.pass(10);
    stage.submitted(1);
    stage.pass(8_000);
    stage.submitted(1);
    const order = Array.from({ length: 4 }, () => {
      stage.end(0);
      return stage.place();
    });
    expect(order.flat()).toEqual(["3.0", "2.0", "2.1", "4.0"]);
  });

  test("a retry has its submission's place, however long it was put off", () => {
    const stage = new Stage(1);
    stage.submitted(2);
    stage.place();
    stage.submitted(1);
    stage.end(0, 500);
    expect(stage.place()).toEqual(["1.1"]);
    stage.pass(600);
    stage.end(0);
    expect(stage.place()).toEqual(["1.0"]);
  });

  test("those whose turn is first are taken, whatever was put off, failed or is more urgent", () => {
    forSeeds(30, (chance) => {
      const stage = new Stage(chance.between(1, 5));
      for (let step = 0; step < 60; step++) {
        if (chance.once(2)) {
          const put_off = chance.once(2) ? { start_after_ms: chance.between(1, 3_000) } : {};
          const priority = PRIORITIES[chance.below(PRIORITIES.length)]!;
          stage.submitted(chance.between(1, 4), { priority, ...put_off });
        }
        stage.pass(chance.below(500));
        while (stage.running.length > 0 && chance.once(2)) {
          stage.end(chance.below(stage.running.length), chance.once(4) ? chance.below(2_000) : undefined);
        }
        const line = stage.line();
        const taken = stage.place();
        expect(taken.sort()).toEqual(line.slice(0, taken.length).sort());
      }
      stage.check();
    });
  });
});
