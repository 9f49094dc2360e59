// kill -9 of each part in the middle of `run --each` over 5,000 tasks: the run goes on by itself, every task has exactly
// one recorded result, and nothing that was acknowledged is missing.

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, closeMachines, type Machine, machine, type Service, until } from "./binary.ts";

afterEach(closeMachines);

const COUNT = 5_000;
/** A killed worker has run some tasks whose reports it had not written yet: as many as run at once, and a few. */
const MOST_REPEATED = 100;
const RUN_MS = 120_000;
const LINES = Array.from({ length: COUNT }, (_, index) => `${index + 1}\n`).join("");

interface ArrayTask {
  id: string;
  array: boolean;
  open: boolean;
  status: string;
  counts: Record<string, number>;
}

interface Cluster {
  machine: Machine;
  coordinator: Service;
  worker: Service;
}

async function cluster(): Promise<Cluster> {
  const here = machine();
  const coordinator = await here.coordinator();
  return { machine: here, coordinator, worker: await here.worker() };
}

/** Each task leaves a line in a file of its own, and its number on standard output. */
function begin(here: Machine, args: readonly string[] = []): Client {
  mkdirSync(join(here.work, "done"));
  return here.client(["run", ...args, "--each", "echo x >> done/{}; echo {}"], {
    stdin: LINES,
    deadline_ms: RUN_MS,
  });
}

const sorted = (text: string): string => text.split("\n").sort().join("\n");

const finished = (here: Machine): number => readdirSync(join(here.work, "done")).length;

async function reached(here: Machine, count: number): Promise<void> {
  await until(`${count} tasks are done`, () => (finished(here) >= count ? true : undefined), RUN_MS);
}

/** How often each task ran, by the lines that it left. */
function runs(here: Machine): { missing: number; more_than_once: number } {
  let missing = 0;
  let more_than_once = 0;
  const done = new Set(readdirSync(join(here.work, "done")));
  for (let task = 1; task <= COUNT; task++) {
    if (!done.has(String(task))) missing += 1;
    else if (readFileSync(join(here.work, `done/${task}`), "utf8") !== "x\n") more_than_once += 1;
  }
  return { missing, more_than_once };
}

async function expectAllRecorded(here: Machine, others: readonly string[] = []): Promise<void> {
  if (others.length > 0) expect((await here.claw(["wait", ...others])).code).toBe(0);
  const tasks = await here.json<ArrayTask[]>(["ls", "--limit", "1000"]);
  const arrays = tasks.filter((task) => task.array);
  expect(tasks.filter((task) => !task.array).map(({ id }) => id)).toEqual(expect.arrayContaining([...others]));
  expect(arrays.length).toBe(1);
  const [array] = arrays;
  expect(array).toMatchObject({ open: false, status: "completed" });
  expect(array!.counts).toMatchObject({ total: COUNT, completed: COUNT, pending: 0, scheduled: 0, running: 0 });
}

/** Submits one task after another until it is told to stop. */
function submitting(here: Machine): { acknowledged: string[]; stop(): Promise<void> } {
  const acknowledged: string[] = [];
  let over = false;
  const loop = (async () => {
    while (!over) {
      const { code, out } = await here.claw(["submit", "--quiet", "--", "true"]);
      if (code === 0) acknowledged.push(out.trim());
    }
  })();
  return {
    acknowledged,
    async stop() {
      over = true;
      await loop;
    },
  };
}

test(
  "the coordinator, twice: nothing runs twice, and what was submitted meanwhile is there",
  async () => {
    const { machine: here, coordinator } = await cluster();
    const run = begin(here, ["--keep-order"]);
    await reached(here, 500);
    const submitter = submitting(here);
    await until("a submission was acknowledged", () => submitter.acknowledged[0]);
    await coordinator.kill();
    const second = await here.coordinator();
    await submitter.stop();
    await reached(here, 2_000);
    await second.kill();
    await here.coordinator();
    const { code, out, err } = await run.done;
    expect(out).toBe(LINES);
    expect(err).toContain(`${COUNT} succeeded`);
    expect(code).toBe(0);
    await expectAllRecorded(here, submitter.acknowledged);
    // The worker lived: what it was running went on.
    expect(runs(here)).toEqual({ missing: 0, more_than_once: 0 });
  },
  RUN_MS,
);

test(
  "the worker, twice: what it held is run again, and recorded once",
  async () => {
    const { machine: here, worker } = await cluster();
    const run = begin(here);
    await reached(here, 500);
    await worker.kill();
    const second = await here.worker();
    await reached(here, 2_000);
    await second.kill();
    await here.worker();
    const { code, out } = await run.done;
    expect(sorted(out)).toBe(sorted(LINES));
    expect(code).toBe(0);
    await expectAllRecorded(here);
    const { missing, more_than_once } = runs(here);
    expect(missing).toBe(0);
    expect(more_than_once).toBeLessThan(MOST_REPEATED);
  },
  RUN_MS,
);

test(
  "the nats-server, twice: it comes back by itself, and nothing runs twice",
  async () => {
    const { machine: here, coordinator, worker } = await cluster();
    const run = begin(here, ["--keep-order"]);
    for (const count of [500, 2_000]) {
      await reached(here, count);
      const pid = here.natsPid();
      process.kill(pid!, "SIGKILL");
      await until("another nats-server", () => (here.natsPid() === pid ? undefined : here.natsPid()));
    }
    const { code, out } = await run.done;
    expect(out).toBe(LINES);
    expect(code).toBe(0);
    await expectAllRecorded(here);
    expect(runs(here)).toEqual({ missing: 0, more_than_once: 0 });
    expect([coordinator.running, worker.running]).toEqual([true, true]);
  },
  RUN_MS,
);
