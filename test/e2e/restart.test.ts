// Stopping, killing and starting again: the log is the truth, the view is disposable, one claw has a data folder.

import { afterEach, expect, test } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, type Machine, machine } from "./binary.ts";

afterEach(closeMachines);

/** Everything that a person sees of the tasks. */
async function tasks(here: Machine): Promise<unknown> {
  const list = await here.json<{ id: string }[]>(["ls", "--limit", "1000"]);
  const shown = await here.json<unknown>(["show", ...list.map(({ id }) => id)]);
  return { list, shown };
}

/** Tasks that ended in each way, an array among them. */
async function history(here: Machine): Promise<void> {
  const codes = await Promise.all([
    here.claw(["run", "--", "sh", "-c", "echo out; echo err >&2"]),
    here.claw(["run", "--name", "named", "--label", "a=b", "--", "sh", "-c", "exit 3"]),
    here.claw(["run", "--timeout", "200ms", "--grace", "100ms", "--", "sleep", "60"]),
    here.claw(["run", "--each", "echo {}; exit {}"], { stdin: "0\n1\n0\n0\n2\n" }),
    here.claw(["run", "--", "sh", "-c", "yes | head -c 300000"]),
  ]);
  expect(codes.map(({ code }) => code)).toEqual([0, 3, 124, 1, 0]);
  const id = (await here.claw(["submit", "--quiet", "--node", "no-such-node", "--", "true"])).out.trim();
  expect((await here.claw(["cancel", id])).code).toBe(0);
}

const viewFiles = (here: Machine): string[] => {
  const folder = join(here.home, "data/coordinator");
  return readdirSync(folder)
    .filter((name) => name.startsWith("view.sqlite"))
    .map((name) => join(folder, name));
};

test("the same tasks after a stop, after kill -9, and from the log alone", async () => {
  const here = machine();
  let claw = await here.up();
  await history(here);
  const before = await tasks(here);
  expect(await claw.stop()).toBe(0);
  expect(here.natsPids()).toEqual([]);

  claw = await here.up();
  expect(await tasks(here)).toEqual(before);
  await claw.kill();
  const orphans = here.natsPids();
  expect(orphans.length).toBe(1);

  claw = await here.up();
  expect(here.natsPids().length).toBe(1);
  expect(here.natsPids()).not.toEqual(orphans);
  expect(await tasks(here)).toEqual(before);
  expect(await claw.stop()).toBe(0);

  expect(viewFiles(here).length).toBeGreaterThan(0);
  for (const path of viewFiles(here)) rmSync(path);
  claw = await here.up();
  expect(await tasks(here)).toEqual(before);
  expect((await here.claw(["run", "--", "echo", "on"])).out).toBe("on\n");
});

test("a second claw on the same folder says so and leaves the first alone", async () => {
  const here = machine();
  const first = await here.up();
  for (const args of [["up"], ["--role", "coordinator"]]) {
    const second = here.begin(args);
    expect(await second.exited(10_000)).toBe(75);
    expect(second.log).toMatch(new RegExp(`a coordinator \\(pid ${first.pid}\\) already uses`));
    expect(second.log).toContain("`claw status`");
  }
  const worker = here.begin(["--role", "worker"]);
  expect(await worker.exited(10_000)).toBe(75);
  expect(worker.log).toMatch(new RegExp(`a worker \\(pid ${first.pid}\\) already uses .*CLAW_HOME`, "s"));
  expect((await here.claw(["run", "--", "echo", "fine"])).out).toBe("fine\n");
  expect(here.natsPids().length).toBe(1);
});

test("two machines' folders side by side know nothing of each other", async () => {
  const [one, other] = [machine(), machine()];
  await Promise.all([one.up(), other.up()]);
  const id = (await one.claw(["submit", "--quiet", "--", "true"])).out.trim();
  expect((await one.claw(["wait", id])).code).toBe(0);
  expect((await other.claw(["wait", id])).code).toBe(66);
  expect(await other.json<unknown[]>(["ls"])).toEqual([]);
});

test("stopped or killed at any moment of its start, the next one works", async () => {
  const here = machine();
  for (const [round, delay_ms] of [0, 20, 60, 100, 150, 200, 300].entries()) {
    const claw = here.begin(["up"]);
    // No signal tells where it is: that it can be anywhere is the point.
    await Bun.sleep(delay_ms);
    if (round % 2 === 0) {
      // Before its handlers stand, SIGTERM ends it as any process.
      expect([0, 143]).toContain(await claw.stop());
    } else await claw.kill();
  }
  await here.up();
  expect((await here.claw(["run", "--", "echo", "works"])).out).toBe("works\n");
  expect(here.natsPids().length).toBe(1);
});

test("clients say that nobody is there, before, between and after", async () => {
  const here = machine();
  const nobody = async () => {
    for (const [args, code] of [
      [["ls"], 69],
      [["submit", "--", "true"], 69],
      [["run", "--", "true"], 125],
      [["run", "--each", "echo {}"], 125],
    ] as const) {
      const began = performance.now();
      const finished = await here.claw(args);
      expect(finished).toMatchObject({ code, out: "" });
      expect(finished.err).toContain("claw up");
      expect(performance.now() - began).toBeLessThan(5_000);
    }
  };
  await nobody();
  const claw = await here.up();
  expect((await here.claw(["ls"])).code).toBe(0);
  await claw.kill();
  await nobody();
  const again = await here.up();
  await again.stop();
  await nobody();
});
