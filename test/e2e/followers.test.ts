// Coordinators that follow, and cannot: one that folds the log otherwise than who leads, and one that slept too long.

import { afterEach, expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { connectClient } from "../../src/client/connect.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { openLog } from "../../src/communication/log.ts";
import { FOLD_VERSION } from "../../src/core/fold.ts";
import { testIo } from "../cli.ts";
import { submission } from "../cluster.ts";
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
  const sequence = Number(/batch (\d+) gives another state here than it gave \S+/.exec(message)?.[1]);
  const path = join(second.home, "data", "coordinator", `fold-${sequence}.json`);
  expect(hint).toContain(path);
  expect(hint).toContain("move view.sqlite away");
  const dump = JSON.parse(readFileSync(path, "utf8")) as { batch: { events: { t: string }[] }; rows: object };
  expect(dump).toMatchObject({
    sequence,
    theirs: { v: FOLD_VERSION },
    ours: { v: FOLD_VERSION },
    rows: { submissions: [{ number: 1 }] },
  });
  expect(dump.batch.events.map(({ t }) => t)).toContain("requeued");
  // It may be told to go on with what it has: then it says so, once.
  const warns = second.beginOther(withBug("follower_folds_wrong", ["--role", "coordinator", "--nats", url]), {
    CLAW_ON_DIFFERENCE: "warn",
  });
  await warns.says("coordinator is up");
  expect(warns.log.split("\n").filter((one) => one.includes("gives another state here"))).toHaveLength(1);
  expect(await warns.stop()).toBe(0);
  rmSync(join(second.home, "data", "coordinator", "view.sqlite"));
  // Without the bug it goes on from where they agreed last.
  const right = await second.start("follows the log", ["--role", "coordinator", "--nats", url]);
  await right.says("coordinator is up");
  await until("both are there", async () => {
    const { coordinators } = await third.json<{ coordinators: { behind: number }[] }>(["status"], { env });
    return coordinators.length === 2 && coordinators[1]?.behind === 0 ? true : undefined;
  });
  expect((await third.claw(["cancel", id], { env })).code).toBe(0);
}, 60_000);

/** More batches than the broker has sent ahead to somebody who sleeps. */
const MANY = 600;

test("one that slept while the log was shortened begins anew with a snapshot, in the same process, and may lead", async () => {
  const { url, machine: here } = await ownNats();
  const env = { CLAW_NATS_URL: url };
  const leader = await machine().start('"message":"leads"', ["--role", "coordinator", "--nats", url]);
  await leader.says("coordinator is up");
  const sleeper = await machine().start("follows the log", ["--role", "coordinator", "--nats", url]);
  await sleeper.says("coordinator is up");
  process.kill(sleeper.pid, "SIGSTOP");
  const connection = await openConnection({ url, name: "test", timeout_ms: 5_000 });
  const client = await connectClient(testIo({ env: here.env(env) }), {});
  let number = 0;
  for (let at = 0; at < MANY; at++) {
    const { request } = submission({ needs: { tags: ["nowhere"] } });
    number = (await client.command("task.submit", request)).number;
  }
  expect((await here.claw(["snapshot", "save", join(here.folder, "saved")], { env })).code).toBe(0);
  const [saved] = (await client.query("snapshot.list", {})).snapshots;
  await (await openLog(connection, systemRuntime, client.cluster, 1)).truncate(saved!.sequence);
  await client.command("task.submit", submission({ needs: { tags: ["nowhere"] } }).request);
  process.kill(sleeper.pid, "SIGCONT");
  await sleeper.says("the view is made from a snapshot");
  expect(sleeper.log).toContain("begins anew with another view");
  // Who joins now has no other way to what was before.
  const joiner = await machine().start("follows the log", ["--role", "coordinator", "--nats", url]);
  await joiner.says("coordinator is up");
  expect(joiner.log).toContain("the view is made from a snapshot");
  expect(await joiner.stop()).toBe(0);
  await leader.kill();
  await sleeper.says('"message":"leads"');
  expect((await client.query("task.show", { number })).task.status).toBe("pending");
  await client.close();
  await connection.close();
}, 60_000);
