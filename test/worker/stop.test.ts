// A worker that is told to stop says goodbye when nothing runs any more, however long its tasks may take to end: what it
// held begins elsewhere then. And what it stops without anybody who would miss it stands in its log.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { formatTaskId } from "../../src/core/ids.ts";
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

test("what the cluster does not have here any more is stopped, with a line in the log that names it", async () => {
  const worker = await cluster.addWorker();
  const { number, id } = await cluster.submit({ argv: ["sleep", "600"] });
  await cluster.started(number);
  const { nodes } = await cluster.client.query("node.list", {});
  const { id: node, incarnation } = nodes.find(({ status }) => status === "online")!;
  const { authenticator } = readCredentials(join(cluster.folder, "credentials", "coordinator.creds"));
  const url = cluster.coordinator.nats_url;
  const leader = await openConnection({ url, name: "test", authenticator, timeout_ms: 5_000 });
  const runs = [[number, 0, 1, (await cluster.show(number)).attempt]];
  const cancel = { type: "task.cancel", incarnation, runs, reason: "superseded" };
  leader.publish(subjects.down(cluster.client.cluster, node), JSON.stringify(cancel));
  expect(await cluster.logged("tasks that the cluster does not have here")).toMatchObject({
    ...{ level: "warn", count: 1, tasks: [formatTaskId(id)] },
  });
  await leader.close();
  await worker.stop();
  await cluster.runCli(["cancel", formatTaskId(id)]);
  await cluster.finished(number);
});

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
