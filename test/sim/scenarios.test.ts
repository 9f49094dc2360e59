// What the design was made for, each by itself: the same cluster that the seeds run, with nothing left to chance. Two of
// the design's stories need what is not simulated: two brokers on one store (communication/one-server.test.ts) and a
// recycled process id (worker/recycled.test.ts).

import { describe, expect, test } from "bun:test";
import type { ClawError } from "../../src/common/errors.ts";
import type { SimCoordinator } from "./coordinator.ts";
import { play, type Stage } from "./stage.ts";

const ONE = { coordinators: 1, workers: 1 };
const THREE = { coordinators: 3, workers: 2 };
const MINUTE_MS = 60_000;

const terms = (stage: Stage): number[] => stage.has("term").map(({ epoch }) => epoch);

/** Killed, and not heard of when it comes back. */
function gone(one: SimCoordinator): void {
  one.process.cutOff(MINUTE_MS);
  one.crash();
}

/** What the run ended with. */
async function ended(run: Promise<void>): Promise<ClawError> {
  const error = await run.then(
    () => new Error("nothing was wrong"),
    (reason: unknown) => reason,
  );
  return error as ClawError;
}

describe("a leader that slept", () => {
  test("says nothing that is not so any more, and follows the one that leads", () =>
    play(THREE, async (stage) => {
      const { world } = stage;
      const first = await stage.leads();
      const number = await stage.submit(40, { retry: { limit: 3, backoff_ms: 0, backoff_max_ms: 0 } });
      await stage.until(() => stage.has("ended").length > 0, "results");
      first.process.sleep(20_000);
      const second = await stage.leads(first);
      expect(terms(stage)).toEqual([1, 2]);
      // What it is asked while it sleeps, it answers when it wakes, if at all.
      await stage.submit(5);
      await stage.until(() => second.leader?.state.submissions.get(number)?.counts.running === 0, "the end of it");
      await stage.pass(20_000);
      expect(first.leader).toBeUndefined();
      expect(world.executions).toBeGreaterThanOrEqual(45);
      await stage.submit(5);
      expect(terms(stage)).toEqual([1, 2]);
    }));

  test("with reports under way makes no worker drop its only result", () =>
    play(THREE, async (stage) => {
      const first = await stage.leads();
      await stage.submit(30);
      // It falls asleep with every report on its way to it, and hears them all when it wakes.
      await stage.until(() => stage.has("assigned").length > 0, "the assignment");
      first.process.sleep(8_000);
      await stage.leads(first);
      await stage.pass(15_000);
      expect(stage.has("succeeded").length + stage.has("ended").length).toBeGreaterThan(0);
    }));
});

describe("an append of which nobody hears", () => {
  test("and that lands behind the next term is refused by the fence; sent again it is done once", () =>
    play(THREE, async (stage) => {
      const { world } = stage;
      await stage.leads();
      await stage.pass(2_000);
      const before = world.log.entries.length;
      world.log.late_ms = 30_000;
      const asked = stage.ask("task.submit", stage.submission(3));
      await stage.until(() => terms(stage).length === 2, "the next term");
      expect(stage.has("submitted")).toEqual([]);
      const { number } = await stage.until(() => asked.answer, "an answer");
      await stage.pass(30_000);
      expect(stage.has("submitted").map((event) => event.number)).toEqual([number as number]);
      expect(world.log.refused).toBeGreaterThan(0);
      expect(world.log.entries.length).toBeGreaterThan(before);
    }));

  test("and that lands before the next term counts, although its leader gave it up; sent again it gets the same answer", () =>
    play(ONE, async (stage) => {
      const { world } = stage;
      await stage.leads();
      await stage.pass(2_000);
      world.log.late_ms = 4_990;
      const asked = stage.ask("task.submit", stage.submission(3));
      const { number } = await stage.until(() => asked.answer, "an answer");
      expect(stage.has("submitted").map((event) => event.number)).toEqual([number as number]);
      expect(terms(stage)).toEqual([1]);
    }));
});

test("an assignment that was lost on its way is sent again, as the same attempt, and runs once", () =>
  play(ONE, async (stage) => {
    const { world } = stage;
    await stage.leads();
    let lost = 0;
    world.drops = (message) => message.type === "task.assign" && lost++ === 0;
    const number = await stage.submit(1);
    await stage.until(() => lost > 0, "the assignment");
    world.drops = () => false;
    await stage.until(() => world.leader?.state.submissions.get(number)?.counts.completed !== 0, "the end");
    expect(world.executions).toBe(1);
    expect(stage.has("assigned").flatMap(({ runs }) => runs)).toEqual([[number, 0, 1, 1]]);
  }));

test("that a worker is well again is heard, although the word of it was lost and an earlier one answered (seed 988)", () =>
  play(ONE, async (stage) => {
    const { world } = stage;
    const [worker] = world.workers;
    await stage.leads();
    const node = () => world.leader?.state.nodes.get(worker!.id);
    await stage.until(() => node()?.status === "online", "the node");
    worker!.full = true;
    await stage.until(() => node()?.status === "error", "its trouble");
    let lost = 0;
    world.dropsUp = (message) => {
      if (message.type !== "node.register" || message.trouble !== undefined || lost > 0) return false;
      lost += 1;
      const { cluster_id } = world.leader!.state;
      const action = { kind: "welcome" as const, cluster_id, heartbeat_ms: 1_000 };
      world.down(worker!.id, { type: "node.control", incarnation: worker!.incarnation!, action });
      return true;
    };
    worker!.full = false;
    await stage.until(() => lost > 0, "the word of it");
    await stage.until(() => node()?.status === "online", "the node again", 20_000);
    await stage.submit(3);
  }));

describe("an open array whose client died", () => {
  const open = async (stage: Stage): Promise<number> => {
    await stage.leads();
    const { array, ...rest } = stage.submission(0);
    const asked = stage.ask("task.submit", { ...rest, array: { id: array.id, open: true } });
    const { number } = await stage.until(() => asked.answer, "an answer");
    const more = stage.ask("task.extend", { id: array.id, nonce: rest.nonce, offset: 0, inputs: ["a", "b"] });
    await stage.until(() => more.answer, "an answer");
    return number as number;
  };

  test("is closed after ten minutes, with what it had done", () =>
    play(ONE, async (stage) => {
      const number = await open(stage);
      await stage.pass(9.5 * MINUTE_MS);
      expect(stage.has("closed")).toEqual([]);
      await stage.pass(MINUTE_MS);
      expect(stage.has("closed")).toMatchObject([{ number, abandoned: true }]);
      const ran = stage.has("succeeded").length + stage.has("ended").length;
      expect(ran).toBeGreaterThan(0);
    }));

  test("gets its full time from a leader that is new: nobody could extend it while nobody led", () =>
    play(THREE, async (stage) => {
      await open(stage);
      const first = await stage.leads();
      await stage.pass(9.5 * MINUTE_MS);
      gone(first);
      await stage.leads(first);
      await stage.pass(9.5 * MINUTE_MS);
      expect(stage.has("closed")).toEqual([]);
      await stage.pass(MINUTE_MS);
      expect(stage.has("closed")).toHaveLength(1);
    }));
});

describe("a cluster that was made anew under the same name", () => {
  test("refuses the workers of the one before: their reports are not its own", async () => {
    const error = await ended(
      play(ONE, async (stage) => {
        const { world } = stage;
        const [coordinator] = world.coordinators;
        await stage.leads();
        await stage.submit(3);
        await stage.until(() => world.workers[0]?.told === 0 && stage.has("ended").length > 0, "results");
        await stage.pass(1_000);
        coordinator?.wipe();
        world.recreate();
        await stage.pass(MINUTE_MS);
      }),
    );
    expect(error.message).toContain("the cluster refused the worker: wrong_cluster");
  });

  test("is not led by a coordinator that has the view of the one before", async () => {
    const error = await ended(
      play(ONE, async (stage) => {
        const { world } = stage;
        await stage.leads();
        await stage.submit(3);
        await stage.until(() => world.workers[0]?.told === 0 && stage.has("ended").length > 0, "results");
        await stage.pass(1_000);
        world.coordinators[0]?.crash();
        world.recreate();
        await stage.pass(MINUTE_MS);
      }),
    );
    expect(error.code).toBe("log_lost");
  });
});

describe("a witness", () => {
  test("that lags leads only when it knows all that was acknowledged", () =>
    play(THREE, async (stage) => {
      const { world } = stage;
      const first = await stage.leads();
      const others = world.coordinators.filter((one) => one !== first);
      for (const one of others) one.process.cutOff(20_000);
      const numbers: number[] = [];
      while (numbers.length < 12) {
        numbers.push(await stage.submit(2));
        await stage.pass(300);
      }
      await stage.pass(15_000);
      gone(first);
      const second = await stage.leads(first);
      for (const number of numbers) expect(second.knows(number)).toBe(true);
    }));

  test("that is ahead of the log stops its coordinator: the broker lost what it had acknowledged", async () => {
    const error = await ended(
      play(ONE, async (stage) => {
        const { world } = stage;
        await stage.leads();
        await stage.submit(3);
        await stage.pass(5_000);
        world.log.entries.pop();
        world.coordinators[0]?.crash();
        await stage.pass(MINUTE_MS);
      }),
    );
    expect([error.code, error.message]).toEqual(["log_lost", expect.stringContaining("was acknowledged")]);
  });
});

test("a clock that is an hour ahead at a failover: nothing starts early, nothing is ended early", () =>
  play(THREE, async (stage) => {
    const { world } = stage;
    const first = await stage.leads();
    for (const one of world.coordinators) if (one !== first) one.process.skew_ms = 60 * MINUTE_MS;
    const later = await stage.submit(1, { start_after_ms: 5 * MINUTE_MS });
    const limited = await stage.submit(1, { start_after_ms: 5 * MINUTE_MS, deadline_ms: 30 * MINUTE_MS });
    await stage.pass(MINUTE_MS);
    gone(first);
    await stage.leads(first);
    await stage.pass(2 * MINUTE_MS);
    expect([world.executions, stage.has("dropped")]).toEqual([0, []]);
    await stage.pass(3 * MINUTE_MS);
    const over = stage.has("succeeded").flatMap(({ runs }) => runs.map(([number]) => number));
    expect(
      new Set([...over, ...stage.has("ended").flatMap(({ results }) => results.map(({ task }) => task[0]))]),
    ).toEqual(new Set([later, limited]));
    expect(stage.has("dropped")).toEqual([]);
  }));
