// Terms of leadership over a log that the test holds: what is answered when, what becomes of commands in doubt, and what a
// log that changed does to them.

import { afterEach, describe, expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { randomHex, systemRuntime } from "../../src/common/runtime.ts";
import type { TaskExtend, TaskSubmit } from "../../src/communication/messages.ts";
import { submission } from "../cluster.ts";
import { INFO } from "../core/cluster.ts";
import { canonical } from "../sim/canonical.ts";
import { until, within } from "../until.ts";
import {
  type Asked,
  type Coordinator,
  codeOf,
  coordinator,
  endCoordinators,
  numberOf,
  serving,
} from "./lone-coordinator.ts";
import { ScriptedLog } from "./scripted-log.ts";

afterEach(endCoordinators);

/** What made a coordinator give up; taken, so that the check at the end does not find it. */
function failure({ failures }: Coordinator): Promise<unknown> {
  return until(() => failures.shift(), "a failure");
}

async function refusal(promise: Promise<unknown>): Promise<ClawError> {
  const error: unknown = await promise.catch((reason: unknown) => reason);
  if (error instanceof ClawError) return error;
  throw new Error(`no refusal: ${String(error)}`);
}

const NOOP = { needs: { executor: "noop" as const }, argv: [] };
const noop = (): TaskSubmit => submission(NOOP).request;

describe("a term", () => {
  test("is opened by a barrier in the log, each with a higher epoch, and keeps the cluster's id", async () => {
    const log = new ScriptedLog();
    const first = await serving(log);
    const { cluster_id } = first.terms.leader!.state;
    expect(log.told).toEqual(["cluster term 1"]);
    first.terms.stop();
    const second = await serving(log, "two");
    expect(log.told).toEqual(["cluster term 1", "term 2"]);
    expect(second.terms.leader!.state).toMatchObject({ cluster_id, epoch: 2, leader: "two" });
    expect(log.batch(2)).toMatchObject({ cluster_id, epoch: 2 });
  });

  test("serves nobody before the barrier is in the log", async () => {
    const log = new ScriptedLog();
    log.hold();
    const one = coordinator(log);
    expect(codeOf(one.ask("task.submit", noop()).answer)).toBe("not_leading");
    await one.begin();
    expect(one.terms.leader).toBeUndefined();
    expect(codeOf(one.ask("task.submit", noop()).answer)).toBe("not_leading");
    log.release();
    await one.terms.serving;
    expect(numberOf(await one.ask("task.submit", noop()).answered())).toBe(1);
  });

  test("that never served is over for who waits for it: it follows, and leads another time", async () => {
    const log = new ScriptedLog();
    log.hold();
    const one = coordinator(log);
    await one.begin();
    await log.unknown(false);
    one.terms.depose("another coordinator leads");
    expect(await within(one.terms.serving, "the end of the wait")).toBe(false);
    await until(() => one.terms.ready, "its following");
    one.terms.elect();
    await one.leads(1);
    const two = coordinator(new ScriptedLog());
    await two.terms.start();
    two.terms.stop();
    expect(await within(two.terms.serving, "the end of the wait")).toBe(false);
  });

  test("answers a command only when the log has it, with the sequence that a query has to have seen", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    log.hold();
    const asked = one.ask("task.submit", noop());
    await log.arrived();
    expect([asked.answer, one.terms.sequence]).toEqual([undefined, 1]);
    log.release();
    expect(await asked.answered()).toEqual({ number: 1, sequence: 2 });
  });

  test("takes more than a batch has room for in its turn, and refuses what nobody could keep", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    log.hold();
    const large = LIMITS.message_bytes;
    const asked: Asked[] = [];
    while (asked.length < 2 || asked.at(-1)!.answer === undefined) asked.push(one.ask("task.submit", noop(), large));
    const refused = asked.pop()!;
    expect([codeOf(refused.answer), (refused.answer as ClawError).hint?.includes("again")]).toEqual(["too_many", true]);
    expect(asked.length * large).toBeGreaterThan(LIMITS.deferred_bytes / 2);
    expect(asked.every(({ answer }) => answer === undefined)).toBe(true);
    log.release();
    const numbers = (await Promise.all(asked.map((each) => each.answered()))).map(numberOf);
    expect(numbers).toEqual(numbers.map((_, at) => at + 1));
    expect(numberOf(await one.ask("task.submit", noop(), large).answered())).toBe(numbers.length + 1);
  });

  test("asks the nodes that it knows to register again, so that they send what they could not report", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    one.up("node_1", { type: "node.register", v: 1, incarnation: "a".repeat(16), info: INFO, held: [] });
    await until(() => one.sent.length > 0, "the welcome");
    one.terms.stop();
    const two = await serving(log);
    expect(two.sent).toEqual([
      ["node_1", { type: "node.control", incarnation: "a".repeat(16), action: { kind: "register" } }],
    ]);
  });

  test("ends with its coordinator: open requests are in doubt, and nothing is told afterwards", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    log.hold();
    const asked = one.ask("task.submit", noop());
    await log.arrived();
    one.terms.stop();
    one.terms.stop();
    expect(codeOf(asked.answer)).toBe("unknown_outcome");
    log.release();
    expect(codeOf(one.ask("task.submit", noop()).answer)).toBe("not_leading");
  });
});

describe("an append of which nobody knows what became", () => {
  test.each([true, false])(
    "(stored: %p) leaves its commands in doubt; sent again they are done once",
    async (stored) => {
      const log = new ScriptedLog();
      const one = await serving(log);
      const [before] = [noop()];
      await one.ask("task.submit", before).answered();
      log.hold();
      const requests = [noop(), noop()];
      const asked = requests.map((request) => one.ask("task.submit", request));
      await log.unknown(stored);
      const answers = await Promise.all(asked.map((one_asked) => one_asked.answered()));
      expect(answers.map(codeOf)).toEqual(["unknown_outcome", "unknown_outcome"]);
      expect((answers[0] as ClawError).hint).toContain("same id");
      await one.leads(2);
      const again = [...requests, before].map((request) => one.ask("task.submit", request));
      const numbers = (await Promise.all(again.map((one_asked) => one_asked.answered()))).map(numberOf);
      expect(numbers).toEqual([2, 3, 1]);
      const submitted = log.entries.flatMap(({ sequence }) =>
        log.batch(sequence).events.filter(({ t }) => t === "submitted"),
      );
      expect(submitted).toHaveLength(3);
      expect(one.lines.some((line) => line.includes("stepping down: the log does not answer"))).toBe(true);
      const fresh = await serving(log);
      one.terms.stop();
      expect(fresh.terms.leader?.state.next_number).toBe(4);
    },
  );

  test("is waited for while the broker is silent, and leading goes on when it is back", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    log.hold();
    const asked = one.ask("task.submit", noop());
    log.failing.push(new ClawError("broker", "timeout"), new ClawError("broker", "timeout"));
    await log.unknown(false);
    expect(codeOf(await asked.answered())).toBe("unknown_outcome");
    expect(codeOf(one.ask("task.submit", noop()).answer)).toBe("not_leading");
    await one.leads(2);
    expect(one.lines.filter((line) => line.includes("cannot follow the log yet"))).toHaveLength(2);
    expect(numberOf(await one.ask("task.submit", noop()).answered())).toBe(1);
  });

  const ends: [string, Error][] = [
    ["a bug", new Error("a bug")],
    ["a full disk", new ClawError("disk_full", "no room")],
  ];
  test.each(ends)("ends the coordinator when what comes then is no silence but %s", async (_, error) => {
    const log = new ScriptedLog();
    const one = await serving(log);
    log.hold();
    one.ask("task.submit", noop());
    log.failing.push(error);
    await log.unknown(false);
    expect(await failure(one)).toBe(error);
    one.runtime.skip(60_000);
    expect(one.runtime.waiting).toEqual([]);
  });

  test("nothing begins anew after a stop", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    log.hold();
    one.ask("task.submit", noop());
    await log.unknown(false);
    await until(() => one.terms.leader === undefined, "the step down");
    one.terms.stop();
    one.runtime.skip(60_000);
    expect(one.runtime.waiting).toEqual([]);
    expect(log.entries).toHaveLength(1);
  });
});

describe("a log that is not what the view was made from", () => {
  async function behind(): Promise<{ log: ScriptedLog; one: Coordinator }> {
    const log = new ScriptedLog();
    const one = await serving(log);
    await one.ask("task.submit", noop()).answered();
    await one.ask("task.submit", noop()).answered();
    one.terms.flush();
    return { log, one };
  }

  const cases: [string, (log: ScriptedLog) => void, RegExp][] = [
    ["another one of the same name", (log) => log.replace(), /is not the one/],
    ["one that lost its end", (log) => void log.entries.pop(), /ends at 2, but 3 was acknowledged/],
  ];
  test.each(cases)("(%s) is refused", async (_, change, message) => {
    const { log, one } = await behind();
    change(log);
    const refused = await refusal(one.begin());
    expect([refused.code, message.test(refused.message)]).toEqual(["log_lost", true]);
    expect(refused.hint).toContain("restore");
  });

  const inside: [string, (log: ScriptedLog) => void, RegExp][] = [
    [
      "changed in the middle",
      (log) => log.rewrite(2, ({ fold: _, ...batch }) => ({ ...batch, at: batch.at + 1 })),
      /batch 3 does not follow/,
    ],
    ["of a version to come", (log) => log.rewrite(2, (batch) => ({ ...batch, v: 2 })), /batch 2 cannot be read/],
    [
      "of an earlier term",
      (log) => log.rewrite(3, (batch) => ({ ...batch, epoch: 0 })),
      /batch 3 is of an earlier term/,
    ],
  ];
  test.each(inside)("(%s) is refused by a coordinator that has no view", async (_, change, message) => {
    const { log } = await behind();
    change(log);
    const refused = await refusal(coordinator(log).begin());
    expect([refused.code, refused.message]).toEqual(["log_lost", expect.stringMatching(message)]);
  });

  test("that lost its end under a leader ends it when it is told, although nobody writes anything", async () => {
    const { log, one } = await behind();
    one.terms.prove();
    await until(() => log.told.at(-1) === "", "a proof");
    log.entries.splice(2);
    one.terms.prove();
    expect(await failure(one)).toMatchObject({ code: "log_lost", message: expect.stringContaining("ends at 2") });
  });

  test("ends the coordinator that finds it out between two terms", async () => {
    const { log, one } = await behind();
    log.hold();
    const asked = one.ask("task.submit", noop());
    log.replace();
    await log.unknown(false);
    expect(codeOf(await asked.answered())).toBe("unknown_outcome");
    expect(await failure(one)).toMatchObject({ code: "log_lost" });
    one.runtime.skip(10_000);
    expect(one.terms.leader).toBeUndefined();
  });
});

describe("the view", () => {
  test("follows by itself, equals the fold of the log, and what is over leaves the memory", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    const incarnation = "c".repeat(16);
    one.up("node_1", { type: "node.register", v: 1, incarnation, info: INFO, held: [] });
    const answer = await one.ask("task.submit", submission(NOOP, { count: 3 }).request).answered();
    const number = numberOf(answer);
    expect(one.terms.leader!.state.submissions.has(number)).toBe(true);
    one.up("node_1", { type: "task.complete", incarnation, seq: 1, runs: [[number, 0, 3, 1, 1, 2]], results: [] });
    await until(() => !one.terms.leader!.state.submissions.has(number), "its leaving");
    expect(one.view.witness().sequence).toBe(log.entries.length);
    const rows = one.rows;
    one.terms.stop();
    const fresh = coordinator(log);
    log.hold();
    await fresh.begin();
    expect(canonical(fresh.view)).toBe(rows);
    log.release();
    await fresh.terms.serving;
  });

  test("that cannot be written ends the coordinator", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    one.terms.flush();
    const { pages } = one.view.database
      .query<{ pages: number }, []>("SELECT page_count AS pages FROM pragma_page_count")
      .get()!;
    one.view.database.run(`PRAGMA max_page_count = ${pages}`);
    const spec = submission({ ...NOOP, labels: { text: randomHex(systemRuntime, 64) } });
    for (let at = 0; at < 50; at++)
      one.ask("task.submit", { ...spec.request, nonce: randomHex(systemRuntime, 16), tasks: [[at, 0]] });
    expect(await failure(one)).toMatchObject({ code: "disk_full" });
    one.view.database.run("PRAGMA max_page_count = 100000");
    one.terms.stop();
  });
});

describe("time", () => {
  test("in the log does not go back with the wall clock, and jumps forward by a bounded step only", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    const { runtime } = one;
    const honest = runtime.wall_ms.bind(runtime);
    const at = async (shift_ms: number): Promise<number> => {
      runtime.wall_ms = () => honest() + shift_ms;
      await one.ask("task.submit", noop()).answered();
      return log.batch(log.entries.length).at;
    };
    const first = await at(0);
    expect(await at(-3_600_000)).toBeGreaterThanOrEqual(first);
    for (let again = 0; again < 5; again++) expect(await at(3_600_000)).toBeLessThan(first + 70_000);
    expect(await at(-3_600_000)).toBeGreaterThanOrEqual(first);
  });

  test("in the log is what an alarm is set by: a wall clock that jumped ahead of it makes no busy loop", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    const { runtime } = one;
    const [honest, after] = [runtime.wall_ms.bind(runtime), runtime.after.bind(runtime)];
    const delays: number[] = [];
    runtime.after = (ms, action) => {
      delays.push(ms);
      return after(ms, action);
    };
    const later = (start_after_ms: number): TaskSubmit => submission({ ...NOOP, start_after_ms }).request;
    await one.ask("task.submit", later(600_000)).answered();
    runtime.wall_ms = () => honest() + 3_600_000;
    await one.ask("task.submit", noop()).answered();
    // What is set is the view's flush and the next tick.
    expect(delays.filter((ms) => ms < 50)).toEqual([]);
    const soon = await one.ask("task.submit", later(900)).answered();
    expect(delays.filter((ms) => ms > 50 && ms <= 900)).toHaveLength(1);
    runtime.skip(900);
    await until(() => one.terms.leader?.state.submissions.get(numberOf(soon))?.ready === 1, "its start");
  });

  test("while nobody led does not count against an open array", async () => {
    const log = new ScriptedLog();
    const one = await serving(log);
    const { request, id } = submission(NOOP, { inputs: [], open: true });
    const number = numberOf(await one.ask("task.submit", request).answered());
    one.terms.stop();
    const two = coordinator(log);
    two.runtime.skip(3_600_000);
    await two.serve();
    two.runtime.skip(1_000);
    // Behind the tick that was due by then.
    await new Promise<void>((resolve) => void two.runtime.after(0, resolve));
    const extend: TaskExtend = { v: 1, id, nonce: request.nonce, offset: 0, inputs: [] };
    expect(await two.ask("task.extend", extend).answered()).toMatchObject({ total: 0 });
    expect(two.terms.leader!.state.submissions.get(number)?.open).toBe(true);
    two.runtime.skip(601_000);
    await until(() => two.terms.leader?.state.submissions.get(number)?.open !== true, "its end");
  });
});
