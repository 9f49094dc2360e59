// A folder that one worker has and another has not, on one machine and with nothing faked: `/proc/self/cwd` is the folder
// that a process was started in, and so another one for each worker.

import { afterEach, expect, test } from "bun:test";
import { mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PlanView, TaskView } from "../../src/common/models.ts";
import { closeMachines, type Machine, machine } from "./binary.ts";

afterEach(closeMachines);

const FOLDER = "/proc/self/cwd/only";
const WANTS = ["--cwd", FOLDER] as const;

async function joined(first: Machine, name: string): Promise<Machine> {
  const other = machine();
  const { nats_url } = await first.json<{ nats_url: string }>(["status"]);
  const { out } = await first.claw(["credentials", "export", "--role", "worker"]);
  const creds = join(other.folder, "w.creds");
  writeFileSync(creds, out, { mode: 0o600 });
  await other.worker(["--nats", nats_url, "--creds", creds, "--name", name]);
  return other;
}

async function plan(on: Machine, ...options: string[]): Promise<PlanView> {
  return JSON.parse((await on.claw(["plan", "--json", ...options, "--", "true"])).out) as PlanView;
}

test.skipIf(process.platform !== "linux")("a task goes to the node that has its folder, and to no other", async () => {
  const first = machine();
  await first.coordinator();
  await joined(first, "without");
  const only = join((await joined(first, "having")).folder, "only");
  mkdirSync(only);
  // Nobody was asked before.
  const planned = await plan(first, ...WANTS);
  expect(planned).toMatchObject({ node_name: "having" });
  expect(planned.nodes.find(({ node }) => node === "without")?.reason).toBe(`has no folder ${FOLDER}`);

  expect(await first.claw(["run", ...WANTS, "--", "sh", "-c", "pwd -P; echo $CLAW_NODE"])).toMatchObject({
    code: 0,
    out: `${only}\nhaving\n`,
  });
  const each = await first.claw(["run", ...WANTS, "--each", "echo $CLAW_NODE; : {}"], { stdin: "1\n2\n3\n4\n5\n6\n" });
  expect([each.code, each.out]).toEqual([0, "having\n".repeat(6)]);

  rmdirSync(only);
  const missed = await first.claw(["run", "--json", ...WANTS, "--", "true"]);
  expect(JSON.parse(missed.out) as TaskView).toMatchObject({ status: "failed", node_name: "having" });
  expect((await plan(first, ...WANTS)).waiting?.summary).toBe(`needs the folder ${FOLDER}, which no node has`);
});
