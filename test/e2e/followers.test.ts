// Coordinators that follow, and cannot: one that folds the log otherwise than who leads.

import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, machine, ownNats, until } from "./binary.ts";

afterEach(closeMachines);

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** claw from source with a known bug in it (src/core/canary.ts). */
function withBug(name: string, args: readonly string[]): string[] {
  return [process.execPath, "--define", `CLAW_CANARY="${name}"`, MAIN, ...args];
}

test("one that folds a batch otherwise ends with a dump, and says what to do; the others go on", async () => {
  const { url } = await ownNats();
  const [first, second, third] = [machine(), machine(), machine()];
  const leader = await first.start('"message":"leads"', ["--role", "coordinator", "--nats", url]);
  await leader.says("coordinator is up");
  const wrong = second.beginOther(withBug("follower_folds_wrong", ["--role", "coordinator", "--nats", url]));
  await wrong.says("coordinator is up");
  const worker = await third.worker(["--nats", url]);
  const env = { CLAW_NATS_URL: url };
  const id = (await third.claw(["submit", "--quiet", "--", "sleep", "600"], { env })).out.trim();
  await until("it runs", async () =>
    (await third.claw(["show", id], { env })).out.includes("running") ? true : undefined,
  );
  // What a worker held in its earlier life is lost: the bug folds that otherwise.
  await worker.kill();
  await third.worker(["--nats", url]);
  expect(await wrong.exited()).toBe(76);
  const line = wrong.log.split("\n").find((one) => one.includes("fold_differs"));
  const { message, hint } = JSON.parse(line ?? "{}") as { message: string; hint: string };
  const sequence = Number(/batch (\d+) by \S+ gives another state here/.exec(message)?.[1]);
  const path = join(second.home, "data", "coordinator", `fold-${sequence}.json`);
  expect(hint).toContain(path);
  expect(hint).toContain("move view.sqlite away");
  const dump = JSON.parse(readFileSync(path, "utf8")) as { batch: { events: { t: string }[] }; rows: object };
  expect(dump).toMatchObject({ sequence, theirs: { v: 1 }, ours: { v: 1 }, rows: { submissions: [{ number: 1 }] } });
  expect(dump.batch.events.map(({ t }) => t)).toContain("requeued");
  // Without the bug it goes on from where they agreed last.
  const right = await second.start("follows the log", ["--role", "coordinator", "--nats", url]);
  await right.says("coordinator is up");
  await until("both are there", async () => {
    const { coordinators } = await third.json<{ coordinators: { behind: number }[] }>(["status"], { env });
    return coordinators.length === 2 && coordinators[1]?.behind === 0 ? true : undefined;
  });
  expect((await third.claw(["cancel", id], { env })).code).toBe(0);
}, 60_000);
