// A leader that was deposed, or may have been, without noticing finds out before it has said or ordered anything false.

import { afterEach, describe, expect, test } from "bun:test";
import type { ClawError } from "../../src/common/errors.ts";
import type { TaskExtend, TaskSubmit, UpMessage } from "../../src/communication/messages.ts";
import { submission } from "../cluster.ts";
import { INFO } from "../core/cluster.ts";
import { until } from "../until.ts";
import { type Coordinator, codeOf, coordinator, endCoordinators, numberOf, serving } from "./lone-coordinator.ts";
import { ScriptedLog } from "./scripted-log.ts";

afterEach(endCoordinators);

const NOOP = { needs: { executor: "noop" as const }, argv: [] };
const noop = (): TaskSubmit => submission(NOOP).request;

describe("a leader that was deposed without noticing", () => {
  const ARRAY = { inputs: [], open: true };

  test("learns it from its next append, steps down, and leads again with what the other one wrote", async () => {
    const log = new ScriptedLog();
    const [one, two] = [await serving(log, "one"), coordinator(log, "two")];
    await two.serve();
    const theirs = noop();
    expect(numberOf(await two.ask("task.submit", theirs).answered())).toBe(1);
    const mine = noop();
    const answer = await one.ask("task.submit", mine).answered();
    expect([codeOf(answer), (answer as ClawError).message.includes("another coordinator leads")]).toEqual([
      "unknown_outcome",
      true,
    ]);
    await one.leads(3);
    expect(log.told).toEqual(["cluster term 1", "term 2", "submitted", "term 3"]);
    expect(numberOf(await one.ask("task.submit", theirs).answered())).toBe(1);
    expect(numberOf(await one.ask("task.submit", mine).answered())).toBe(2);
    expect(codeOf(await two.ask("task.submit", noop()).answered())).toBe("unknown_outcome");
    await two.leads(4);
    expect(codeOf(await one.ask("task.submit", noop()).answered())).toBe("unknown_outcome");
    await one.leads(5);
    const fresh = await serving(log);
    two.terms.stop();
    one.terms.stop();
    expect(log.told.slice(3)).toEqual(["term 3", "submitted", "term 4", "term 5", "term 6"]);
    expect(fresh.terms.leader!.state.next_number).toBe(3);
  });

  test("refuses nothing on what it knows: the log may know more", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    const { request, id } = submission(NOOP, ARRAY);
    await one.ask("task.submit", request).answered();
    const two = await serving(log);
    const extend = (offset: number, inputs: string[]): TaskExtend => ({
      v: 1,
      id,
      nonce: request.nonce,
      offset,
      inputs,
    });
    expect(await two.ask("task.extend", extend(0, ["a", "b"])).answered()).toMatchObject({ total: 2 });
    const other = submission(NOOP, ARRAY);
    await two.ask("task.submit", other.request).answered();
    // By what the first one knows, the one leaves a gap and the other extends an array that does not exist.
    const gap = one.ask("task.extend", extend(2, ["c"]));
    const unknown = one.ask("task.extend", { ...extend(0, ["x"]), id: other.id, nonce: other.request.nonce });
    expect([codeOf(await gap.answered()), codeOf(await unknown.answered())]).toEqual([
      "unknown_outcome",
      "unknown_outcome",
    ]);
    await one.leads(3);
    expect(await one.ask("task.extend", extend(2, ["c"])).answered()).toMatchObject({ total: 3 });
    // One that leads does refuse.
    expect(codeOf(await one.ask("task.extend", extend(9, ["z"])).answered())).toBe("gap");
    two.terms.stop();
  });

  test.each([true, false])(
    "or may have been, orders nothing of what is in the log until it knows that it leads (deposed: %p)",
    async (deposed) => {
      const log = new ScriptedLog();
      const one = await serving(log, "one");
      one.up("node_1", { type: "node.register", v: 1, incarnation: "b".repeat(16), info: INFO, held: [] });
      await until(() => one.sent.length > 0, "the welcome");
      const orders = (): unknown[] => one.sent.filter(([, { type }]) => type === "task.assign");
      log.hold();
      const asked = one.ask("task.submit", noop());
      const acknowledge = await log.stored();
      expect(log.told.at(-1)).toBe("submitted assigned");
      // It sleeps, and its lease is over when it hears of that.
      one.trusted = false;
      const two = deposed ? await serving(log, "two") : undefined;
      log.hold();
      acknowledge();
      expect(numberOf(await asked.answered())).toBe(1);
      await log.arrived();
      expect(orders()).toEqual([]);
      log.release();
      one.trusted = true;
      if (two === undefined) {
        await until(() => orders().length > 0, "the order");
        expect(log.told.slice(-2)).toEqual(["submitted assigned", ""]);
      } else {
        await one.leads(3);
        expect(orders()).toEqual([]);
        two.terms.stop();
      }
    },
  );

  test("for a moment, stops nothing before it has ordered it to be started", async () => {
    const log = new ScriptedLog();
    const one = await serving(log, "one");
    one.up("node_1", { type: "node.register", v: 1, incarnation: "b".repeat(16), info: INFO, held: [] });
    await until(() => one.sent.length > 0, "the welcome");
    log.hold();
    const asked = one.ask("task.submit", noop());
    const acknowledge = await log.stored();
    const cancelled = one.ask("task.cancel", { v: 1, targets: [{ number: 1, from: 0, to: 1 }] });
    log.hold();
    one.trusted = false;
    acknowledge();
    await asked.answered();
    await log.arrived();
    // Renewed, as if nothing had been.
    one.trusted = true;
    log.release();
    await cancelled.answered();
    const orders = (): string[] => one.sent.map(([, { type }]) => type).filter((type) => type.startsWith("task."));
    await until(() => orders().length === 2, "both orders");
    expect(orders()).toEqual(["task.assign", "task.cancel"]);
  });

  test("makes no worker forget a report that it takes for superseded", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    const incarnation = "b".repeat(16);
    const register: UpMessage = { type: "node.register", v: 1, incarnation, info: INFO, held: [] };
    one.up("node_1", register);
    await until(() => one.sent.length > 0, "the welcome");
    const two = await serving(log);
    two.up("node_1", register);
    await two.ask("task.submit", noop()).answered();
    const assigned = await until(
      () =>
        two.sent.find(([, message]) => message.type === "task.assign")?.[1] as
          | { items: { run: number[] }[] }
          | undefined,
      "the assignment",
    );
    const [number, from, to, attempt] = assigned.items[0]!.run as [number, number, number, number];
    const runs: [number, number, number, number, number, number][] = [[number, from, to, attempt, 1, 2]];
    const report: UpMessage = { type: "task.complete", incarnation, seq: 7, runs, results: [] };
    const acks = (from_one: Coordinator): unknown[] => from_one.sent.filter(([, { type }]) => type === "report.ack");
    one.up("node_1", report);
    await one.leads(3);
    expect(acks(one)).toEqual([]);
    one.up("node_1", report);
    await until(() => acks(one).length === 1, "the acknowledgement");
    expect(one.terms.leader!.state.totals.completed).toBe(1);
    // Sent again it is refused by one that leads, and may be forgotten.
    one.up("node_1", report);
    await until(() => acks(one).length === 2, "the second acknowledgement");
    expect(one.terms.leader!.state.results).toBe(1);
    two.terms.stop();
  });
});
