// The coordinator comes again: from its view and the log behind it, from the log alone, over a NATS that was killed, and
// not at all over a log that lost what it had acknowledged.

import { afterEach, expect, test } from "bun:test";
import { copyFileSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { openLog } from "../../src/communication/log.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { batchHash } from "../../src/coordinator/committer.ts";
import { Batch } from "../../src/core/event.ts";
import { View } from "../../src/storage/view.ts";
import { type Cluster, type ClusterOptions, openCluster, submission } from "../cluster.ts";
import { canonical } from "../sim/canonical.ts";
import { until } from "../until.ts";
import { Notes } from "./notes.ts";

const clusters: Cluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

async function open(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = await openCluster({ worker: { "resources.cpus": 2 }, ...options });
  clusters.push(cluster);
  return cluster;
}

const VIEW_FILES = ["view.sqlite", "view.sqlite-wal", "view.sqlite-shm"];
const NOOP = { argv: [], needs: { executor: "noop" as const } };

function removeView(cluster: Cluster): void {
  for (const name of VIEW_FILES) rmSync(join(cluster.folder, name), { force: true });
}

/** A stopped coordinator's view as text. */
function viewText(cluster: Cluster): string {
  const view = new View(join(cluster.folder, "view.sqlite"));
  try {
    return canonical(view);
  } finally {
    view.close();
  }
}

async function status(cluster: Cluster) {
  return (await cluster.client.query("cluster.status", {})).status;
}

async function refusal(start: Promise<void>): Promise<ClawError> {
  const error: unknown = await start.then(
    () => new Error("it started"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ClawError)) throw error;
  return error;
}

/** What a cluster has after a day: results of every kind, an array, inputs, and tasks that wait. */
async function work(cluster: Cluster): Promise<number[]> {
  const done = [
    await cluster.submit({ argv: ["echo ok"], needs: { executor: "shell" } }),
    await cluster.submit({ argv: ["exit 3"], needs: { executor: "shell" } }),
    await cluster.submit(NOOP, { count: 1000 }),
    await cluster.submit({ argv: ["echo {}"], each: true, needs: { executor: "shell" } }, { inputs: ["a", "b"] }),
  ];
  for (const { number } of done) await cluster.finished(number);
  const waiting = await cluster.submit({ needs: { tags: ["nowhere"] } }, { count: 7 });
  await cluster.client.command("task.cancel", { v: 1, targets: [{ number: waiting.number, from: 2, to: 4 }] });
  return [...done, waiting].map(({ number }) => number);
}

test("from view and log: the same tasks, a higher epoch, and what ran goes on and is recorded once", async () => {
  const cluster = await open();
  const numbers = await work(cluster);
  const notes = new Notes(cluster, "notes");
  const running = await cluster.submit(notes.held("long"));
  await notes.written(1);
  const before = await Promise.all(numbers.map((number) => cluster.show(number)));
  const { epoch, cluster_id } = await status(cluster);
  await cluster.stopCoordinator();
  await notes.release("long");
  await cluster.startCoordinator();
  const after = await Promise.all(numbers.map((number) => cluster.show(number)));
  expect(after.map(({ waiting: _, ...task }) => task)).toEqual(before.map(({ waiting: _, ...task }) => task));
  expect(await status(cluster)).toMatchObject({ epoch: epoch + 1, cluster_id });
  expect(await cluster.finished(running.number)).toMatchObject({ status: "completed", attempt: 1 });
  expect(notes.lines).toEqual(["long"]);
  const { number } = await cluster.submit(NOOP);
  expect(number).toBeGreaterThan(running.number);
});

test("from the log alone: the view is rebuilt equal, and ids stay taken", async () => {
  const cluster = await open();
  await work(cluster);
  const { request } = submission(NOOP);
  const { number } = await cluster.client.command("task.submit", request);
  await cluster.finished(number);
  await cluster.workers[0]?.stop();
  const gone = async (): Promise<boolean> =>
    (await cluster.client.query("node.list", {})).nodes.every((node) => node.status === "offline");
  await until(gone, "the worker's goodbye");
  // Answered behind it: then it is in the log.
  await cluster.client.command("task.submit", request);
  await cluster.stopCoordinator();
  // The folds of the whole log and of its tail behind the view are compared where both end: at the next term's barrier.
  const kept = viewText(cluster);
  const copies = VIEW_FILES.filter((name) => existsSync(join(cluster.folder, name)));
  for (const name of copies) copyFileSync(join(cluster.folder, name), join(cluster.home, name));
  removeView(cluster);
  await cluster.startCoordinator();
  expect(await cluster.logged("there is no view in this folder")).toMatchObject({ level: "warn" });
  await cluster.stopCoordinator();
  const rebuilt = viewText(cluster);
  removeView(cluster);
  for (const name of copies) copyFileSync(join(cluster.home, name), join(cluster.folder, name));
  expect(viewText(cluster)).toBe(kept);
  await cluster.startCoordinator();
  await cluster.stopCoordinator();
  const followed = viewText(cluster);
  removeView(cluster);
  await cluster.startCoordinator();
  expect((await cluster.client.command("task.submit", request)).number).toBe(number);
  await cluster.stopCoordinator();
  expect(tables(rebuilt)).toEqual(tables(kept));
  expect(tables(followed)).toEqual(tables(kept));
  expect(tables(viewText(cluster))).toEqual(tables(kept));
  await cluster.startCoordinator();
});

/** Everything but what each term changes: epoch, leader, times and the witness of where the log ends. */
function tables(text: string): string[] {
  return text.split("\n").filter((line) => !line.startsWith('["meta"'));
}

test("NATS that is killed under it: what runs goes on, and requests go through again by themselves", async () => {
  const cluster = await open();
  const notes = new Notes(cluster, "notes");
  const running = await cluster.submit(notes.held("long"));
  await notes.written(1);
  const [server] = cluster.processes().filter(({ command }) => command.includes("nats-server.conf"));
  process.kill(server!.pid, "SIGKILL");
  const { request } = submission(NOOP);
  const { number } = await cluster.client.command("task.submit", request);
  expect((await cluster.finished(number)).status).toBe("completed");
  await notes.release("long");
  expect(await cluster.finished(running.number)).toMatchObject({ status: "completed", attempt: 1 });
  expect((await cluster.client.command("task.submit", request)).number).toBe(number);
  expect(notes.lines).toEqual(["long"]);
  await cluster.logged("is up again");
});

test("a log that is not the view's, or ends before it, is refused in clear words, and nothing is served", async () => {
  const cluster = await open({ workers: 0 });
  await cluster.submit(NOOP, { count: 3 });
  await cluster.stopCoordinator();
  const saved = join(cluster.home, "saved-store");
  Bun.spawnSync(["cp", "-a", join(cluster.folder, "jetstream"), saved]);
  await cluster.startCoordinator();
  await cluster.submit(NOOP, { count: 3 });
  await cluster.stopCoordinator();
  // The broker's disk comes back as it was an hour ago.
  rmSync(join(cluster.folder, "jetstream"), { recursive: true });
  Bun.spawnSync(["cp", "-a", saved, join(cluster.folder, "jetstream")]);
  const behind = await refusal(cluster.startCoordinator());
  expect(behind).toMatchObject({ code: "log_lost", message: expect.stringContaining("the broker lost data") });
  expect(behind.hint).toContain("restore");
  // The broker lost everything and made a new log of the same name.
  rmSync(join(cluster.folder, "jetstream"), { recursive: true });
  const other = await refusal(cluster.startCoordinator());
  expect(other).toMatchObject({ code: "log_lost", message: expect.stringContaining("not the one") });
  expect((await cluster.runCli(["ls"], { env: { CLAW_HOME: cluster.home } })).code).toBe(69);
});

/** Another coordinator opens a term: its barrier is behind what the log has. Gives its epoch. */
async function openAnotherTerm(cluster: Cluster): Promise<number> {
  const { authenticator } = readCredentials(join(cluster.folder, "credentials", "coordinator.creds"));
  const url = cluster.coordinator.nats_url;
  const connection = await openConnection({ url, name: "another", authenticator, timeout_ms: 5_000 });
  try {
    const log = await openLog(connection, systemRuntime, cluster.client.cluster, 1);
    const last = await log.last();
    const [entry] = await Array.fromAsync(log.read(last));
    const { at, epoch: before, fold: _, ...rest } = Batch.parse(JSON.parse(new TextDecoder().decode(entry!.payload)));
    const epoch = before + 1;
    const events = [{ t: "term", epoch, leader: "another machine", at }];
    const batch = { ...rest, epoch, prev: batchHash(entry!.payload), at, events };
    expect(await log.append(last + 1, "another", new TextEncoder().encode(JSON.stringify(batch)))).toBe("stored");
    return epoch;
  } finally {
    await connection.close();
  }
}

test("deposed by another coordinator: what it was asked is in doubt, not refused, and sent again it is done once", async () => {
  const cluster = await open({ workers: 0 });
  const { request } = submission({ needs: { tags: ["nowhere"] } });
  const epoch = await openAnotherTerm(cluster);
  const subject = subjects.command(cluster.client.cluster, readClientId(cluster), "task.submit");
  const answer = await cluster.client.connection.request(subject, JSON.stringify(request), { timeout: 10_000 });
  expect(answer.json<object>()).toMatchObject({
    ok: false,
    error: { code: "unknown_outcome", hint: expect.stringContaining("same id") },
  });
  const { number } = await cluster.client.command("task.submit", request);
  expect((await cluster.client.command("task.submit", request)).number).toBe(number);
  expect((await cluster.client.query("task.list", { limit: 10 })).tasks).toHaveLength(1);
  expect((await status(cluster)).epoch).toBe(epoch + 1);
  await cluster.logged("stepping down: another coordinator leads");
});

function readClientId(cluster: Cluster): string {
  return readCredentials(join(cluster.folder, "credentials", "client.creds")).id;
}
