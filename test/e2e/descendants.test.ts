// A task whose children spawn grandchildren (in sessions of their own, double-forked, deaf to hang-ups and to SIGTERM)
// leaves none of them behind, however it ends.

import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, type Machine, machine, until } from "./binary.ts";

afterEach(closeMachines);

const FAMILY = `
setsid sleep 7001 &
(setsid sh -c 'nohup sleep 7002 >/dev/null 2>&1 &' &)
nohup sleep 7003 >/dev/null 2>&1 &
(trap '' TERM; sleep 7004 & wait) &
setsid sh -c "trap '' TERM HUP; cd /; exec sleep 7005" </dev/null >/dev/null 2>&1 &
touch begun-$CLAW_TASK_INDEX
`;
const SIZE = 5;
/** Not the shells in between, which come and go; whoever is left of those fails the test at its end. */
const SLEEPERS = /^sleep 700\d$/;

async function family(here: Machine, before: readonly number[] = []): Promise<number[]> {
  return await until("the whole family lives", () => {
    const pids = here.taskPids(SLEEPERS).filter((pid) => !before.includes(pid));
    return pids.length >= SIZE && existsSync(join(here.work, "begun-0")) ? pids : undefined;
  });
}

const living = (here: Machine): number[] => here.taskPids(SLEEPERS);

async function submitted(here: Machine, args: readonly string[] = []): Promise<string> {
  const { out } = await here.claw([
    "submit",
    "--quiet",
    ...args,
    "--grace",
    "200ms",
    "--",
    "sh",
    "-c",
    `${FAMILY} wait`,
  ]);
  return out.trim();
}

test("it ends by itself", async () => {
  const here = machine();
  await here.up();
  expect(await here.claw(["run", "--", "sh", "-c", `${FAMILY} echo done`])).toMatchObject({ code: 0, out: "done\n" });
  expect(living(here)).toEqual([]);
});

test("cancel, timeout, and a worker that is asked to stop", async () => {
  const here = machine();
  await here.coordinator();
  const worker = await here.worker();

  const id = await submitted(here);
  await family(here);
  expect((await here.claw(["cancel", id])).code).toBe(0);
  expect((await here.claw(["wait", id])).code).toBe(1);
  expect(living(here)).toEqual([]);
  expect(await here.json<object>(["show", id])).toMatchObject({ status: "cancelled" });

  const late = here.claw(["run", "--timeout", "3s", "--grace", "200ms", "--", "sh", "-c", `${FAMILY} wait`]);
  await family(here);
  expect((await late).code).toBe(124);
  expect(living(here)).toEqual([]);

  await submitted(here);
  await family(here);
  expect(await worker.stop()).toBe(0);
  expect(living(here)).toEqual([]);
});

test("kill -9 of the worker, and of everything, and a new start", async () => {
  const here = machine();
  const grace = { CLAW_STOP_GRACE: "300ms" };
  let claw = await here.up(grace);
  const id = await submitted(here);
  const first = await family(here);
  await claw.kill();
  // Nobody was there to end them.
  expect(living(here).sort()).toEqual(first.sort());
  claw = await here.up(grace);
  expect(living(here).filter((pid) => first.includes(pid))).toEqual([]);
  // The task itself was lost with its worker: it runs again, as another attempt.
  const second = await family(here, first);
  expect(await here.json<object>(["show", id])).toMatchObject({ attempt: 2 });
  expect((await here.claw(["cancel", id])).code).toBe(0);
  expect((await here.claw(["wait", id])).code).toBe(1);
  expect(living(here)).toEqual([]);
  expect(second.length).toBeGreaterThanOrEqual(SIZE);
});
