// What may happen: each command's answer and events, and each refusal with its code.

import { describe, expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import {
  currentPieces,
  decideAbandoned,
  decideCancel,
  decideExtend,
  decideLost,
  decideSubmit,
  type Extend,
  type FindIds,
  type Submit,
  takeWaiting,
} from "../../src/core/decide.ts";
import { AT, Cluster, outcomeOf, specificationOf } from "./cluster.ts";
import { forSeeds } from "./seeds.ts";

const NONCE = "a".repeat(32);

function refusalOf(action: () => unknown): [string, string | undefined] {
  try {
    action();
  } catch (error) {
    if (error instanceof ClawError) return [error.code, error.field];
    throw error;
  }
  throw new Error("it was not refused");
}

function submit(cluster: Cluster, command: Partial<Submit>): number {
  const whole = { nonce: NONCE, specifications: [specificationOf()], ...command };
  const { events, answer } = decideSubmit(
    cluster.state,
    { ids: cluster.find, key: () => undefined },
    whole,
    "client",
    AT,
  );
  cluster.add(...events);
  cluster.check();
  return answer.number;
}

describe("a submission", () => {
  test("of separate tasks is a range for each specification", () => {
    const cluster = new Cluster();
    const specifications = [specificationOf(), specificationOf({ argv: ["false"] })];
    expect(
      submit(cluster, {
        specifications,
        tasks: [
          [5, 0],
          [6, 1],
          [7, 0],
        ],
      }),
    ).toBe(1);
    expect([...cluster.state.submissions.values()].map(({ ids, count, array }) => [ids, count, array])).toEqual([
      [[5, 7], 2, false],
      [[6], 1, false],
    ]);
  });

  test("of an array has members by count or by inputs, and may be open with none", () => {
    const cluster = new Cluster();
    expect(submit(cluster, { array: { id: 1, count: 1_000_000 } })).toBe(1);
    expect(submit(cluster, { array: { id: 2, inputs: ["a", "b"] } })).toBe(2);
    expect(submit(cluster, { array: { id: 3, open: true } })).toBe(3);
    expect([1, 2, 3].map((number) => cluster.state.submissions.get(number)!.count)).toEqual([1_000_000, 2, 0]);
    expect(cluster.state.submissions.get(1)!.segments).toHaveLength(1);
    expect(cluster.touched.inputs).toEqual([{ number: 2, offset: 0, inputs: ["a", "b"] }]);
  });

  test("that is sent again gets the same answer, and nothing happens", () => {
    const cluster = new Cluster();
    const tasks: [number, number][] = [
      [5, 0],
      [6, 0],
    ];
    expect([submit(cluster, { tasks }), submit(cluster, { tasks }), submit(cluster, { tasks })]).toEqual([1, 1, 1]);
    expect(cluster.state.totals.total).toBe(2);
    const array = { id: 9, count: 3 };
    expect([submit(cluster, { array }), submit(cluster, { array })]).toEqual([2, 2]);
  });

  test("that could never run, or asks for what there is not, is refused by name", () => {
    const cluster = new Cluster();
    const refused = (more: Parameters<typeof specificationOf>[0]): [string, string | undefined] =>
      refusalOf(() => submit(cluster, { specifications: [specificationOf(more)], tasks: [[5, 0]] }));
    expect(refused({ start_after_ms: 10, deadline_ms: 10 })).toEqual(["bad_request", "start_after_ms"]);
    expect(refused({ start_at: AT + 10, deadline_ms: 10 })).toEqual(["bad_request", "start_at"]);
    expect(refused({ start_at: AT + 10, start_after_ms: 5, deadline_ms: 7 })).toEqual(["bad_request", "start_at"]);
    const retry = { limit: 3, backoff_ms: 1, backoff_max_ms: 1 };
    expect(refused({ type: "daemon", retry })).toEqual(["bad_request", "retry.limit"]);
    expect(cluster.state.submissions.size).toBe(0);
    const specifications = [specificationOf({ start_at: AT - 10, start_after_ms: 9, deadline_ms: 10 })];
    expect(submit(cluster, { specifications, tasks: [[5, 0]] })).toBe(1);
  });

  test("whose id another has is refused, and the ids are named", () => {
    const cluster = new Cluster();
    submit(cluster, {
      tasks: [
        [5, 0],
        [6, 0],
      ],
    });
    const nonce = "b".repeat(32);
    const taken = refusalOf(() =>
      submit(cluster, {
        nonce,
        tasks: [
          [4, 0],
          [5, 0],
          [6, 0],
        ],
      }),
    );
    expect(taken).toEqual(["id_taken", "task_00000005, task_00000006"]);
    expect(refusalOf(() => submit(cluster, { nonce, array: { id: 5, count: 1 } }))[0]).toBe("id_taken");
    expect(
      refusalOf(() =>
        submit(cluster, {
          tasks: [
            [5, 0],
            [7, 0],
          ],
        }),
      ),
    ).toEqual(["conflict", "nonce"]);
    expect(
      refusalOf(() =>
        submit(cluster, {
          tasks: [
            [7, 0],
            [6, 0],
          ],
        }),
      ),
    ).toEqual(["conflict", "nonce"]);
    expect(cluster.state.next_number).toBe(2);
  });

  test("that makes no sense is refused with the field", () => {
    const needs = specificationOf().needs;
    const two = [specificationOf(), specificationOf()];
    const cases: [Partial<Submit>, string, string | undefined][] = [
      [{}, "bad_request", "tasks"],
      [{ tasks: [[1, 0]], array: { id: 2, count: 1 } }, "bad_request", "tasks"],
      [{ tasks: [] }, "bad_request", "tasks"],
      [
        {
          tasks: [
            [1, 0],
            [1, 0],
          ],
        },
        "bad_request",
        "tasks",
      ],
      [{ tasks: [[1, 3]] }, "bad_request", "tasks"],
      [{ specifications: two, array: { id: 1, count: 1 } }, "bad_request", "specifications"],
      [{ specifications: [], array: { id: 1, count: 1 } }, "bad_request", "specifications"],
      [{ array: { id: 1 } }, "bad_request", "array.count"],
      [{ array: { id: 1, count: 0 } }, "bad_request", "array.count"],
      [{ array: { id: 1, inputs: [] } }, "bad_request", "array.count"],
      [{ array: { id: 1, inputs: ["a"], count: 2 } }, "bad_request", "array.count"],
      [{ array: { id: 1, count: 2, open: true } }, "bad_request", "array.count"],
      [{ specifications: [specificationOf({ argv: [] })], tasks: [[1, 0]] }, "bad_request", "argv"],
      [
        { specifications: [specificationOf({ needs: { ...needs, executor: "script" } })], tasks: [[1, 0]] },
        "bad_request",
        "script",
      ],
      [
        { specifications: [specificationOf({ argv: ["x".repeat(LIMITS.specification_bytes)] })], tasks: [[1, 0]] },
        "too_large",
        undefined,
      ],
    ];
    for (const [command, code, field] of cases) {
      const cluster = new Cluster();
      expect(refusalOf(() => submit(cluster, command))).toEqual([code, field]);
      expect(cluster.state.submissions.size).toBe(0);
    }
    const noop = specificationOf({ argv: [], needs: { ...needs, executor: "noop" } });
    expect(submit(new Cluster(), { specifications: [noop], tasks: [[1, 0]] })).toBe(1);
  });
});

describe("an extension", () => {
  function opened(): { cluster: Cluster; extend: (more: Partial<Extend>) => number } {
    const cluster = new Cluster();
    submit(cluster, { array: { id: 9, inputs: ["0", "1"], open: true } });
    const extend = (more: Partial<Extend>): number => {
      const command = { id: 9, nonce: NONCE, offset: 0, inputs: [], ...more };
      const { events, answer } = decideExtend(cluster.state, cluster.find, command, AT + 1);
      cluster.add(...events);
      cluster.check();
      return answer.total;
    };
    return { cluster, extend };
  }
  const inputsOf = (cluster: Cluster): string[] => {
    const all: string[] = [];
    for (const { offset, inputs } of cluster.touched.inputs) {
      expect(offset).toBe(all.length);
      all.push(...inputs);
    }
    return all;
  };

  test("goes on where the array ends; a repeat is answered, an overlap adds what is new, a gap is refused", () => {
    const { cluster, extend } = opened();
    expect(extend({ offset: 2, inputs: ["2", "3"] })).toBe(4);
    expect(extend({ offset: 2, inputs: ["2", "3"] })).toBe(4);
    expect(extend({ offset: 3, inputs: ["3", "4"] })).toBe(5);
    expect(extend({ offset: 0, inputs: ["0"] })).toBe(5);
    expect(refusalOf(() => extend({ offset: 6, inputs: ["6"] }))).toEqual(["gap", "offset"]);
    expect(inputsOf(cluster)).toEqual(["0", "1", "2", "3", "4"]);
  });

  test("closes with the total, and only with the right one; afterwards nothing grows", () => {
    const { cluster, extend } = opened();
    expect(refusalOf(() => extend({ offset: 2, inputs: ["2"], close: { total: 4 } }))).toEqual([
      "conflict",
      "close.total",
    ]);
    expect(cluster.state.submissions.get(1)!.open).toBe(true);
    expect(extend({ offset: 2, inputs: ["2"], close: { total: 3 } })).toBe(3);
    expect(cluster.state.submissions.get(1)!.open).toBe(false);
    expect(extend({ offset: 2, inputs: ["2"], close: { total: 3 } })).toBe(3);
    expect(extend({ offset: 3, inputs: [], close: { total: 3 } })).toBe(3);
    expect(refusalOf(() => extend({ offset: 3, inputs: ["3"] }))[0]).toBe("conflict");
    expect(refusalOf(() => extend({ offset: 3, close: { total: 4 } }))[0]).toBe("conflict");
    expect(inputsOf(cluster)).toEqual(["0", "1", "2"]);
  });

  test("of what is over and forgotten is answered as the repeat that it is", () => {
    const { cluster, extend } = opened();
    extend({ offset: 2, close: { total: 2 } });
    cluster.add({ t: "dropped", number: 1, from: 0, to: 2, outcome: outcomeOf("cancelled") });
    cluster.state.retire(1);
    const command = { id: 9, nonce: NONCE, offset: 2, inputs: [], close: { total: 2 } };
    const view: FindIds = () => new Map([[9, { number: 1, nonce: NONCE, count: 2 }]]);
    expect(decideExtend(cluster.state, view, command, AT)).toEqual({ events: [], answer: { total: 2 } });
    const more = { ...command, offset: 2, inputs: ["late"] };
    expect(refusalOf(() => decideExtend(cluster.state, view, more, AT))[0]).toBe("conflict");
  });

  test("of another's array, or of none, is refused; so is one that grows beyond what an array may have", () => {
    const { cluster, extend } = opened();
    expect(refusalOf(() => extend({ id: 8 }))[0]).toBe("not_found");
    expect(refusalOf(() => extend({ nonce: "b".repeat(32) }))[0]).toBe("conflict");
    cluster.submit(LIMITS.array_members, { open: true });
    const nonce = "2".padStart(32, "0");
    const more = { id: 2, nonce, offset: LIMITS.array_members, inputs: ["x"] };
    expect(refusalOf(() => extend(more))[0]).toBe("too_large");
  });

  test("with inputs of an array that was submitted by its count is refused: they would be dropped", () => {
    const { cluster } = opened();
    submit(cluster, { array: { id: 5, count: 2 } });
    const counted: FindIds = () => new Map([[5, { number: 2, nonce: NONCE, counted: true }]]);
    const repeat = { id: 5, nonce: NONCE, offset: 0, inputs: ["a", "b"], close: { total: 2 } };
    expect(refusalOf(() => decideExtend(cluster.state, counted, repeat, AT))).toEqual(["bad_request", "inputs"]);
    const { answer } = decideExtend(cluster.state, counted, { ...repeat, inputs: [] }, AT);
    expect(answer).toEqual({ total: 2 });
  });

  test("without inputs renews the array; one that nobody renews is closed as abandoned", () => {
    const { cluster, extend } = opened();
    expect(decideAbandoned(cluster.state, AT + 1_000, 1_000)).toEqual([]);
    extend({ offset: 2 });
    expect(decideAbandoned(cluster.state, AT + 1_001, 1_000)).toEqual([]);
    const events = decideAbandoned(cluster.state, AT + 1_002, 1_000);
    expect(events).toEqual([{ t: "closed", number: 1, at: AT + 1_002, abandoned: true }]);
    cluster.add(...events);
    expect(decideAbandoned(cluster.state, AT + 9_000, 1_000)).toEqual([]);
  });
});

describe("a cancel", () => {
  function mixed(): Cluster {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.register("n2");
    cluster.submit(10, { open: true });
    cluster.assign("n1", 1, 0, 4);
    cluster.start("n1", 1, 0, 2);
    cluster.assign("n2", 1, 4, 6);
    cluster.add({ t: "succeeded", node: "n1", runs: [[1, 0, 1, 1, AT, AT]] });
    return cluster;
  }

  test("drops what waits, stops what a node has, and says what was over", () => {
    const cluster = mixed();
    const { events, answer, stop } = decideCancel(cluster.state, 1, 0, undefined, AT);
    expect(answer).toEqual({ cancelled: 4, stopping: 5, finished: 1, closed: 1 });
    expect(stop).toEqual(
      new Map([
        [
          "n1",
          [
            [1, 1, 2, 1],
            [1, 2, 4, 1],
          ],
        ],
        ["n2", [[1, 4, 6, 1]]],
      ]),
    );
    cluster.add(...events);
    cluster.check();
    expect(cluster.members(1)).toBe("crsssscccc");
    expect(cluster.state.submissions.get(1)).toMatchObject({ open: false, cut_short: "cancelled" });
    // Again: the nodes are told again, since the message may have been lost, but nothing happens.
    const again = decideCancel(cluster.state, 1, 0, undefined, AT);
    expect(again.events).toEqual([]);
    expect(again.answer).toEqual({ cancelled: 0, stopping: 5, finished: 5 });
    expect(again.stop).toEqual(stop);
  });

  test("of what waits only leaves alone what a node has", () => {
    const cluster = mixed();
    const { events, answer, stop } = decideCancel(cluster.state, 1, 0, undefined, AT, ["pending"]);
    expect(answer).toEqual({ cancelled: 4, stopping: 0, finished: 1, closed: 1 });
    expect(stop.size).toBe(0);
    cluster.add(...events);
    cluster.check();
    expect(cluster.state.totals).toMatchObject({ running: 1, scheduled: 4, cancelled: 4, completed: 1 });
  });

  test("of some members leaves the others, and the array open", () => {
    const cluster = mixed();
    const { events, answer } = decideCancel(cluster.state, 1, 5, 8, AT);
    expect(answer).toEqual({ cancelled: 2, stopping: 1, finished: 0 });
    cluster.add(...events);
    cluster.check();
    expect(cluster.members(1)).toBe("crssssccpp");
    expect(cluster.state.submissions.get(1)!.open).toBe(true);
  });

  test("of what is over, or beyond the end, does nothing", () => {
    const cluster = mixed();
    expect(decideCancel(cluster.state, 1, 0, 1, AT)).toMatchObject({ events: [], answer: { finished: 1 } });
    expect(decideCancel(cluster.state, 1, 50, 60, AT)).toMatchObject({ events: [], answer: { finished: 0 } });
    expect(decideCancel(cluster.state, 7, 0, undefined, AT)).toMatchObject({ events: [], answer: { finished: 1 } });
    expect(decideCancel(cluster.state, 7, 2, 5, AT)).toMatchObject({ events: [], answer: { finished: 3 } });
  });
});

describe("lost attempts", () => {
  const held = (cluster: Cluster) =>
    cluster.state.submissions.get(1)!.segments.map((piece) => ({ number: 1, piece: { ...piece } }));

  test("wait again, until they were lost too often; what was to stop is cancelled", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.submit(3);
    for (let life = 1; life < LIMITS.lost_attempts; life++) {
      cluster.assign("n1", 1, 0, 3, life);
      const events = decideLost(cluster.state, "n1", held(cluster), AT);
      expect(events).toEqual([{ t: "requeued", node: "n1", runs: [[1, 0, 3, life]], reason: "lost", at: AT }]);
      cluster.add(...events);
      expect(cluster.members(1)).toBe("ppp");
    }
    cluster.assign("n1", 1, 0, 3, LIMITS.lost_attempts);
    cluster.add({ t: "stopping", node: "n1", runs: [[1, 1, 2, LIMITS.lost_attempts]], reason: "cancel", at: AT });
    cluster.add(...decideLost(cluster.state, "n1", held(cluster), AT));
    cluster.check();
    expect(cluster.members(1)).toBe("fcf");
    const outcomes = cluster.touched.results.map(({ outcome }) => outcome);
    expect(outcomes.map(({ reason }) => reason)).toEqual(["poison", "cancelled", "poison"]);
    expect(outcomes[0]!.message).toBe(`lost with its node ${LIMITS.lost_attempts} times`);
    expect(decideLost(cluster.state, "n1", [], AT)).toEqual([]);
  });
});

describe("an attempt that its node told the start of, and not the end", () => {
  const BEGAN = AT + 5;
  const ENDED = AT + 74_000;

  function lost(stopping: "cancel" | "deadline" | undefined, on_lost: "fail" | "retry") {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.submit(2, { spec: specificationOf({ on_lost }) });
    cluster.assign("n1", 1, 0, 2);
    cluster.add({ t: "started", node: "n1", runs: [[1, 0, 1, 1, BEGAN]], at: BEGAN });
    if (stopping !== undefined) {
      cluster.add({ t: "stopping", node: "n1", runs: [[1, 0, 2, 1]], reason: stopping, at: BEGAN });
    }
    const held = cluster.state.submissions.get(1)!.segments.map((piece) => ({ number: 1, piece: { ...piece } }));
    return { cluster, events: decideLost(cluster.state, "n1", held, ENDED) };
  }

  test.each([
    [undefined, "fail"],
    ["cancel", "retry"],
    ["deadline", "retry"],
  ] as const)("keeps its start in its result: stopping %p, on lost %s", (stopping, on_lost) => {
    const { cluster, events } = lost(stopping, on_lost);
    cluster.add(...events);
    const times = cluster.touched.results.map(({ outcome }) => [outcome.started_at, outcome.ended_at]);
    expect(times).toEqual([
      [BEGAN, ENDED],
      [ENDED, ENDED],
    ]);
  });

  test("keeps it in the history, too", () => {
    const { cluster, events } = lost(undefined, "retry");
    cluster.add(...events);
    expect(cluster.touched.attempts.map(({ from, started_at, at }) => [from, started_at, at])).toEqual([
      [0, BEGAN, ENDED],
      [1, undefined, ENDED],
    ]);
  });
});

describe("reports", () => {
  test("count for the parts whose current attempt they are of", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.register("n2");
    cluster.submit(6);
    cluster.assign("n1", 1, 0, 3);
    cluster.assign("n2", 1, 3, 5);
    cluster.add({ t: "requeued", node: "n1", runs: [[1, 1, 2, 1]], reason: "lost", at: AT });
    cluster.assign("n1", 1, 1, 2, 2);
    const ranges = (node: string, attempt: number): number[][] =>
      currentPieces(cluster.state, node, 1, 0, 6, attempt).map(({ from, to }) => [from, to]);
    expect(ranges("n1", 1)).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(ranges("n1", 2)).toEqual([[1, 2]]);
    expect(ranges("n2", 1)).toEqual([[3, 5]]);
    expect(ranges("n2", 2)).toEqual([]);
    expect(currentPieces(cluster.state, "n1", 9, 0, 6, 1)).toEqual([]);
  });
});

describe("the next that wait", () => {
  test("are taken in order, a run for each stretch, with the attempt after their last", () => {
    forSeeds(100, (chance) => {
      const cluster = new Cluster();
      cluster.register("n1");
      for (let number = 1; number <= 3; number++) {
        cluster.submit(chance.between(1, 10));
        const { count } = cluster.state.submissions.get(number)!;
        const from = chance.below(count);
        cluster.assign("n1", number, from, chance.between(from + 1, count));
        if (chance.once(2)) {
          cluster.add({ t: "requeued", node: "n1", runs: [[number, from, from + 1, 1]], reason: "released", at: AT });
        }
      }
      const { submissions, totals } = cluster.state;
      const wanted = [...submissions.values()].flatMap(({ number, segments }) =>
        segments
          .filter(({ status }) => status === "pending")
          .flatMap(({ from, to, attempt }) =>
            Array.from({ length: to - from }, (_, at) => `${number}.${from + at}.${attempt + 1}`),
          ),
      );
      const count = chance.between(0, totals.pending + 2);
      const runs = takeWaiting(submissions.values(), count);
      const taken = runs.flatMap(([number, from, to, attempt]) =>
        Array.from({ length: to - from }, (_, at) => `${number}.${from + at}.${attempt}`),
      );
      expect(taken).toEqual(wanted.slice(0, count));
      cluster.add({ t: "assigned", node: "n1", runs, at: AT });
      cluster.check();
    });
  });
});
