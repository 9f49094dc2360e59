// The fold: what it takes, what it refuses, and that its books are right after anything that it took.

import { describe, expect, test } from "bun:test";
import type { Event } from "../../src/core/event.ts";
import { isOver, memberId } from "../../src/core/state.ts";
import type { Chance } from "../sim/chance.ts";
import { AT, Cluster, INFO, outcomeOf, specificationOf } from "./cluster.ts";
import { forSeeds } from "./seeds.ts";

/** An event that may or may not fit: about things that exist, mostly. */
function randomEvent(chance: Chance, { state }: Cluster): Event {
  const number = chance.between(1, Math.max(1, state.next_number - 1));
  const submission = state.submissions.get(number);
  const segment = submission?.segments[chance.below(Math.max(1, submission.segments.length))];
  const from = segment === undefined ? 0 : chance.between(segment.from, segment.to - 1);
  const to = segment === undefined ? 1 : chance.between(from + 1, segment.to);
  const node = segment?.node !== undefined && !chance.once(8) ? segment.node : `n${chance.below(4)}`;
  const current = segment?.attempt ?? 0;
  const attempt = chance.once(8) ? current + 1 : Math.max(1, current);
  const at = AT;
  switch (chance.below(14)) {
    case 0:
    case 1: {
      const late = chance.once(3) ? { start_after_ms: 1_000 } : {};
      const spec = specificationOf({ priority: chance.once(2) ? "high" : "low", ...late });
      const open = chance.once(2);
      const base = { nonce: "n", by: "c", at, spec, array: true, ids: [chance.u32()], open };
      return {
        t: "submitted",
        number: state.next_number,
        count: open ? chance.below(10) : chance.between(1, 20),
        ...base,
      };
    }
    case 2: {
      const inputs = Array.from({ length: chance.below(4) }, (_, input) => String(input));
      return { t: "extended", number, offset: submission?.count ?? 0, inputs, at };
    }
    case 3:
      return chance.once(3)
        ? { t: "closed", number, at }
        : { t: "registered", node: `n${chance.below(3)}`, incarnation: "1", info: INFO, at };
    case 4:
    case 5:
    case 6:
      return { t: "assigned", node: `n${chance.below(3)}`, runs: [[number, from, to, current + 1]], at };
    case 7:
      return { t: "started", node, runs: [[number, from, to, attempt, at]], at };
    case 8:
      return { t: "succeeded", node, runs: [[number, from, to, attempt, at, at]] };
    case 9:
      return { t: "ended", node, results: [{ task: [number, from, attempt], outcome: outcomeOf("timeout") }] };
    case 10: {
      const result = { task: [number, from, attempt] as [number, number, number], outcome: outcomeOf("failed") };
      return { t: "retried", node, results: [{ ...result, not_before: at + chance.below(3), failures: 1 }], at };
    }
    case 11:
      return { t: "due", runs: [[number, from, to]], at };
    case 12: {
      const reason = chance.once(2) ? "lost" : "released";
      return { t: "requeued", node, runs: [[number, from, to, attempt]], reason, at };
    }
    default:
      if (chance.once(2)) return { t: "stopping", node, runs: [[number, from, to, attempt]], reason: "cancel", at };
      return { t: "dropped", number, from, to, outcome: outcomeOf("cancelled") };
  }
}

/** What the event asks of the piece that it is about, said again in other words. */
function fitsTo(event: Event, { state }: Cluster): boolean {
  const piece = (number: number, index: number) =>
    state.submissions.get(number)?.segments.find(({ from, to }) => from <= index && index < to);
  const current = (node: string, number: number, index: number, attempt: number): boolean => {
    const found = piece(number, index);
    return found !== undefined && found.node === node && found.attempt === attempt;
  };
  switch (event.t) {
    case "extended":
    case "closed":
      return state.submissions.get(event.number)?.open === true;
    case "assigned":
      return (
        state.nodes.has(event.node) &&
        event.runs.every(([number, from]) => {
          const found = piece(number, from);
          return found?.status === "pending" && found.not_before === undefined;
        })
      );
    case "started":
      return event.runs.every(
        ([n, from, , attempt]) => current(event.node, n, from, attempt) && piece(n, from)?.status === "scheduled",
      );
    case "succeeded":
    case "requeued":
    case "stopping":
      return event.runs.every(([n, from, , attempt]) => current(event.node, n, from, attempt));
    case "due":
      return event.runs.every(([n, from]) => piece(n, from)?.not_before !== undefined);
    case "ended":
    case "retried":
      return event.results.every(({ task: [n, index, attempt] }) => current(event.node, n, index, attempt));
    case "dropped":
      return piece(event.number, event.from)?.status === "pending";
    default:
      return true;
  }
}

describe("whatever comes", () => {
  test("an event that fits is taken and the books are right; one that does not throws", () => {
    const taken = new Map<string, number>();
    const refused = new Map<string, number>();
    forSeeds(80, (chance) => {
      let cluster = new Cluster();
      const events: Event[] = [];
      for (let step = 0; step < 120; step++) {
        const event = randomEvent(chance, cluster);
        const fits = fitsTo(event, cluster);
        try {
          cluster.add(event);
        } catch (error) {
          if (fits) throw error;
          refused.set(event.t, (refused.get(event.t) ?? 0) + 1);
          // A throw ends the process, so what is half done does not count: what follows is a process anew.
          cluster = new Cluster();
          cluster.add(...events);
          continue;
        }
        if (!fits) throw new Error(`taken: ${JSON.stringify(event)}`);
        events.push(event);
        taken.set(event.t, (taken.get(event.t) ?? 0) + 1);
        if (step % 10 === 0) cluster.check();
      }
      cluster.check();
      const again = new Cluster();
      again.add(...events);
      expect(JSON.stringify([...again.state.submissions])).toBe(JSON.stringify([...cluster.state.submissions]));
    });
    const kinds = ["submitted", "extended", "closed", "registered", "assigned", "started", "succeeded", "ended"];
    for (const kind of [...kinds, "retried", "due", "requeued", "stopping", "dropped"])
      expect(taken.get(kind) ?? 0).toBeGreaterThan(10);
    for (const kind of [
      "extended",
      "assigned",
      "started",
      "succeeded",
      "ended",
      "retried",
      "due",
      "requeued",
      "stopping",
      "dropped",
    ]) {
      expect(refused.get(kind) ?? 0).toBeGreaterThan(10);
    }
  });
});

describe("a task's way", () => {
  function running(): Cluster {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.register("n2");
    cluster.submit(4);
    cluster.assign("n1", 1, 0, 2);
    cluster.start("n1", 1, 0, 1);
    return cluster;
  }

  test("leads from waiting over a node to its end", () => {
    const cluster = running();
    expect(cluster.members(1)).toBe("rspp");
    cluster.add({ t: "succeeded", node: "n1", runs: [[1, 0, 2, 1, AT, AT + 1]] });
    cluster.assign("n2", 1, 2, 4);
    cluster.add({ t: "ended", node: "n2", results: [{ task: [1, 3, 1], outcome: outcomeOf() }] });
    cluster.add({ t: "ended", node: "n2", results: [{ task: [1, 2, 1], outcome: outcomeOf("timeout") }] });
    expect(cluster.members(1)).toBe("cctf");
    cluster.check();
    const [n1, n2] = ["n1", "n2"].map((id) => cluster.state.nodes.get(id)!);
    expect([n1!.completed, n1!.failed, n2!.completed, n2!.failed]).toEqual([2, 0, 0, 2]);
    expect(isOver(cluster.state.submissions.get(1)!)).toBe(true);
    cluster.state.retire(1);
    expect(() => cluster.state.retire(1)).toThrow("is not over");
  });

  test("a lost attempt waits again and is counted; a released one is not", () => {
    const cluster = running();
    cluster.add({ t: "requeued", node: "n1", runs: [[1, 0, 1, 1]], reason: "lost", at: AT });
    cluster.add({ t: "requeued", node: "n1", runs: [[1, 1, 2, 1]], reason: "released", at: AT });
    expect(cluster.members(1)).toBe("pppp");
    const [lost, released, fresh] = cluster.state.submissions.get(1)!.segments;
    expect([lost!.lost, released!.lost, fresh!.attempt]).toEqual([1, undefined, 0]);
    expect(cluster.touched.attempts).toEqual([
      { number: 1, from: 0, to: 1, attempt: 1, node: "n1", reason: "lost", at: AT },
    ]);
    expect(() => cluster.assign("n2", 1, 0, 1, 1)).toThrow("is not to be assigned");
    cluster.assign("n2", 1, 0, 2, 2);
    cluster.check();
  });

  test("nothing of a superseded attempt, or of another node, is taken", () => {
    const refused: [string, Event][] = [
      ["another node's success", { t: "succeeded", node: "n2", runs: [[1, 0, 1, 1, AT, AT]] }],
      ["a later attempt's success", { t: "succeeded", node: "n1", runs: [[1, 0, 1, 2, AT, AT]] }],
      ["a success of what waits", { t: "succeeded", node: "n1", runs: [[1, 1, 3, 1, AT, AT]] }],
      ["a success beyond the end", { t: "succeeded", node: "n1", runs: [[1, 0, 9, 1, AT, AT]] }],
      ["a start of what runs", { t: "started", node: "n1", runs: [[1, 0, 1, 1, AT]], at: AT }],
      ["another attempt's end", { t: "ended", node: "n1", results: [{ task: [1, 0, 7], outcome: outcomeOf() }] }],
      ["another node's loss", { t: "requeued", node: "n2", runs: [[1, 0, 1, 1]], reason: "lost", at: AT }],
      ["a stop of what waits", { t: "stopping", node: "n1", runs: [[1, 2, 3, 1]], reason: "cancel", at: AT }],
      ["a drop of what is assigned", { t: "dropped", number: 1, from: 1, to: 2, outcome: outcomeOf("cancelled") }],
      ["a second holder", { t: "assigned", node: "n2", runs: [[1, 0, 1, 2]], at: AT }],
      ["an unknown holder", { t: "assigned", node: "n9", runs: [[1, 2, 3, 1]], at: AT }],
      ["an unknown node's status", { t: "node", node: "n9", status: "offline", reason: "", at: AT }],
      ["an unknown submission", { t: "closed", number: 9, at: AT }],
      ["a closed array's end", { t: "closed", number: 1, at: AT }],
      ["inputs of a closed array", { t: "extended", number: 1, offset: 4, inputs: ["x"], at: AT }],
      ["an epoch again", { t: "term", epoch: 1, leader: "x", at: AT }],
      ["an earlier epoch", { t: "term", epoch: 0, leader: "x", at: AT }],
    ];
    for (const [what, event] of refused) {
      const thrown = (() => {
        try {
          running().add(event);
          return undefined;
        } catch (error) {
          return error;
        }
      })();
      expect([what, thrown instanceof Error]).toEqual([what, true]);
    }
    const over = running();
    over.add({ t: "succeeded", node: "n1", runs: [[1, 0, 1, 1, AT, AT]] });
    expect(() => over.add({ t: "succeeded", node: "n1", runs: [[1, 0, 1, 1, AT, AT]] })).toThrow("is over already");
  });

  test("a submission's number is the next one, and an array grows where it ends", () => {
    const cluster = running();
    const spec = specificationOf();
    const event = { t: "submitted" as const, nonce: "n", by: "c", at: AT, spec, array: true, ids: [9], count: 1 };
    expect(() => cluster.add({ ...event, number: 7 })).toThrow("submission 7, not 2");
    cluster.submit(2, { open: true });
    expect(() => cluster.add({ t: "extended", number: 2, offset: 3, inputs: ["x"], at: AT })).toThrow(
      "inputs at 3, not 2",
    );
    cluster.add({ t: "extended", number: 2, offset: 2, inputs: ["x", "y"], at: AT + 5 });
    cluster.add({ t: "extended", number: 2, offset: 4, inputs: [], at: AT + 9 });
    const submission = cluster.state.submissions.get(2)!;
    expect([submission.count, submission.segments.length, submission.extended_at]).toEqual([4, 1, AT + 9]);
    expect(isOver(submission)).toBe(false);
    cluster.add({ t: "dropped", number: 2, from: 0, to: 4, outcome: outcomeOf("cancelled") });
    expect(isOver(submission)).toBe(false);
    cluster.add({ t: "closed", number: 2, at: AT });
    expect(isOver(submission)).toBe(true);
    cluster.check();
  });

  test("a node that registers anew keeps its books, and its maintenance", () => {
    const cluster = running();
    cluster.add({ t: "succeeded", node: "n1", runs: [[1, 0, 1, 1, AT, AT]] });
    cluster.add({ t: "node", node: "n1", status: "offline", reason: "silent", at: AT });
    cluster.register("n1", "2");
    cluster.add({ t: "cordoned", node: "n2", reason: "by hand", by: "c", at: AT });
    cluster.register("n2", "2");
    const [n1, n2] = ["n1", "n2"].map((id) => cluster.state.nodes.get(id)!);
    expect([n1!.status, n1!.reason, n1!.incarnation, n1!.completed, n1!.held.count]).toEqual(["online", "", "2", 1, 1]);
    expect(n2!.cordon).toEqual({ reason: "by hand", by: "c", at: AT });
    cluster.check();
  });
});

describe("what a batch changed", () => {
  test("is told as rows of the state at its end, however it changes afterwards", () => {
    const cluster = new Cluster();
    cluster.register("n1");
    cluster.submit(3, { open: true });
    cluster.add({ t: "extended", number: 1, offset: 3, inputs: ["x"], at: AT + 1 });
    cluster.assign("n1", 1, 0, 2);
    const changes = cluster.touched.seal(cluster.state);
    const row = changes.submissions.get(1)!;
    cluster.add({ t: "closed", number: 1, at: AT }, { t: "succeeded", node: "n1", runs: [[1, 0, 2, 1, AT, AT]] });
    cluster.add({ t: "dropped", number: 1, from: 2, to: 4, outcome: outcomeOf("cancelled") });
    expect(row).toEqual({
      number: 1,
      count: 4,
      open: true,
      extended_at: AT + 1,
      live: true,
      segments: [
        { from: 0, to: 2, status: "scheduled", attempt: 1, node: "n1", since: AT },
        { from: 2, to: 4, status: "pending", attempt: 0 },
      ],
      counts: { total: 4, pending: 2, scheduled: 2, running: 0, completed: 0, failed: 0, cancelled: 0, timeout: 0 },
    });
    expect(changes.meta).toMatchObject({
      cluster_id: "c",
      name: "test",
      epoch: 1,
      leader: "l",
      next_number: 2,
      results: 0,
    });
    expect(changes.meta.totals.scheduled).toBe(2);
    expect([...changes.nodes.keys()]).toEqual(["n1"]);
    expect(changes.inputs).toEqual([{ number: 1, offset: 3, inputs: ["x"] }]);
    expect(changes.submitted.map(({ number, ids }) => [number, ids])).toEqual([[1, [1]]]);
    const after = cluster.touched.seal(cluster.state);
    expect(after.submissions.get(1)!.live).toBe(false);
    expect(after.nodes.get("n1")).toMatchObject({ completed: 2, failed: 0, status: "online" });
    expect(after.results.map(({ position, from, to, node }) => [position, from, to, node])).toEqual([
      [1, 0, 2, "n1"],
      [2, 2, 4, ""],
    ]);
  });

  test("a member has the array's id and its index, or an id of its own", () => {
    expect(memberId({ array: true, ids: [7] }, 3)).toEqual({ id: 7, index: 3 });
    expect(memberId({ array: false, ids: [7, 8] }, 1)).toEqual({ id: 8 });
  });
});

test("tasks that keep apart are counted, whatever they are called", () => {
  for (const name of ["constructor", "__proto__", "toString", "web"]) {
    const cluster = new Cluster();
    const needs = { ...specificationOf().needs, spread: { by: "node" } };
    cluster.add({ t: "registered", node: "n1", incarnation: "1", info: INFO, at: AT });
    cluster.add({
      ...{ t: "submitted", number: 1, nonce: "n", by: "b", at: AT, array: true, ids: [7], count: 2 },
      spec: specificationOf({ name, needs }),
    } as Event);
    cluster.add({ t: "assigned", node: "n1", runs: [[1, 0, 2, 1]], at: AT });
    const { used } = cluster.state.nodes.get("n1")!;
    expect(Object.entries(used.spread)).toEqual([[`=${name}`, 2]]);
    cluster.add({ t: "requeued", node: "n1", runs: [[1, 0, 2, 1]], reason: "lost", at: AT });
    expect(Object.entries(used.spread)).toEqual([]);
  }
});

test("what submissions say alike is kept as long as one of them is there, and made again for a retry", () => {
  const cluster = new Cluster();
  const { state } = cluster;
  const apart = specificationOf({ needs: { ...specificationOf().needs, spread: { by: "node" } } });
  const patient = specificationOf({ retry: { limit: 3, backoff_ms: 1, backoff_max_ms: 2 } });
  const sizes = (): number[] => [state.groups.size, state.policies.size];
  const drop = (number: number): void =>
    cluster.add({ t: "dropped", number, from: 0, to: 1, outcome: outcomeOf("cancelled") });
  for (const spec of [apart, apart, patient, patient]) cluster.submit(1, { spec });
  expect(state.submissions.get(3)!.policy).toBe(state.submissions.get(4)!.policy);
  // Without a name each of those that keep apart does so from itself.
  expect(sizes()).toEqual([3, 2]);
  for (const number of [1, 2, 3]) drop(number);
  cluster.check();
  state.retire(1);
  state.retire(3);
  expect(sizes()).toEqual([2, 2]);
  cluster.add({
    ...{ t: "pruned", numbers: [1, 2, 3], at: AT },
    counts: { completed: 0, failed: 0, cancelled: 3, timeout: 0 },
  });
  expect(sizes()).toEqual([1, 1]);
  const again = cluster.submit(1, { spec: apart });
  expect(state.needsOf(state.submissions.get(again)!)).toMatchObject({ spread: { by: "node" } });
  for (const number of [4, again]) drop(number);
  for (const number of [4, again]) state.retire(number);
  expect(sizes()).toEqual([0, 0]);
});
