// A worker that is told to stop says goodbye when nothing runs any more, however long its tasks may take to end: what it
// held begins elsewhere then.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, openCluster } from "../cluster.ts";
import { TestRuntime } from "../runtime.ts";
import { until, within } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster({ workers: 0 });
});
afterAll(() => cluster.close());

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("a task that ignores SIGTERM, and was promised ten minutes, is killed before the goodbye", async () => {
  const runtime = new TestRuntime();
  const worker = await cluster.addWorker({}, undefined, runtime);
  const file = join(cluster.home, "pid");
  const text = `trap '' TERM; echo $$ > ${file}; while :; do sleep 0.01; done`;
  const { number } = await cluster.submit({ argv: ["sh", "-c", text], grace_ms: 600_000 });
  const pid = await until(
    () => existsSync(file) && (Number(readFileSync(file, "utf8")) || undefined),
    "the task to run",
  );
  const stopped = worker.stop();
  expect(lives(pid)).toBe(true);
  runtime.skip(10_000);
  await within(stopped, "the worker's end");
  expect(lives(pid)).toBe(false);
  await until(async () => (await cluster.show(number)).status === "pending", "the task to wait for another node");
});
