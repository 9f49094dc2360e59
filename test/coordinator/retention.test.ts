// What is over is forgotten: with its results and output, its ids taken for another day, and what a retry stands on not.

import { afterEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { LIMITS } from "../../src/common/limits.ts";
import { FileStore } from "../../src/communication/files.ts";
import { formatTaskId } from "../../src/core/ids.ts";
import { View } from "../../src/storage/view.ts";
import { type Cluster, openCluster, submission } from "../cluster.ts";
import { canonical } from "../sim/canonical.ts";
import { until } from "../until.ts";
import { rejection } from "./rejection.ts";

let cluster: Cluster | undefined;

afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
});

const noop = { needs: { executor: "noop" as const }, argv: [] };

async function there(on: Cluster): Promise<string[]> {
  const { tasks } = await on.client.query("task.list", { limit: LIMITS.list_rows });
  return tasks.map(({ id }) => id);
}

test("the oldest go where there are more than are kept; the counts, the lists and the view agree", async () => {
  const on = await openCluster({ coordinator: { "retention.tasks": 3, "retention.keep": "1s" } });
  cluster = on;
  const ids: number[] = [];
  for (let at = 0; at < 6; at++) {
    const { id, number } = await on.submit({ ...noop, name: `task ${at}` });
    await on.finished(number);
    ids.push(id);
  }
  await until(async () => (await there(on)).length === 3, "three that are left");
  expect(new Set(await there(on))).toEqual(new Set(ids.slice(3).map((id) => formatTaskId(id))));
  const { status } = await on.client.query("cluster.status", {});
  expect(status.tasks).toMatchObject({ total: 3, completed: 3 });
  const gone = await rejection(on.client.query("task.resolve", { refs: [formatTaskId(ids[0]!)] }));
  expect(gone).toMatchObject({ code: "not_found", message: expect.stringContaining("forgotten since 2") });
  const { request } = submission(noop);
  const again = { ...request, tasks: [[ids[0]!, 0]] as [number, number][] };
  expect((await rejection(on.client.command("task.submit", again))).code).toBe("id_taken");
  await on.stopCoordinator();
  const kept = canonicalOf(on);
  await on.startCoordinator();
  await on.stopCoordinator();
  expect(canonicalOf(on).filter((line) => !line.startsWith('["meta"'))).toEqual(
    kept.filter((line) => !line.startsWith('["meta"')),
  );
  await on.startCoordinator();
});

function canonicalOf(on: Cluster): string[] {
  const view = new View(`${on.folder}/view.sqlite`);
  try {
    return canonical(view).split("\n");
  } finally {
    view.close();
  }
}

test("an array of many is forgotten as one, its rows bit by bit, its output with it", async () => {
  const on = await openCluster({ coordinator: { "retention.age": "1m" } });
  cluster = on;
  const lines = Array.from({ length: 300 }, (_, at) => `${at}`);
  // Three hundred processes may take their time.
  const run = on.startCli(["run", "--each", "head -c 3000 /dev/zero; exit $(({} % 2))"], { stdin: lines.join("\n") });
  expect((await run.done).code).toBe(1);
  on.runtime.skip(60_000);
  await until(async () => (await there(on)).length === 0, "nothing left");
  await on.stopCoordinator();
  const view = new View(`${on.folder}/view.sqlite`);
  const count = (table: string): number =>
    view.database.query<{ n: number }, []>(`SELECT count(*) AS n FROM ${table}`).get()?.n ?? -1;
  while (view.sweep(10_000)) {
    // what the coordinator had not come to
  }
  expect(["submissions", "ids", "results", "attempts", "inputs", "garbage"].map(count)).toEqual([0, 0, 0, 0, 0, 0]);
  expect(count("pruned")).toBe(1);
  view.close();
  await on.startCoordinator();
});

test("an array of many that say nothing counts as what it costs, and what ended just now is kept", async () => {
  const on = await openCluster({ coordinator: { "retention.tasks": 20 } });
  cluster = on;
  const first = await on.submit(noop);
  await on.finished(first.number);
  const array = await on.runCli(["submit", "--quiet", "--array", "5000", "--noop"]);
  expect((await on.runCli(["wait", array.stdout.trim()])).code).toBe(0);
  // Thirty lone ones, over a result's number: an hour has to pass before the oldest go.
  for (let more = 0; more < 30; more++) await on.finished((await on.submit(noop)).number);
  for (let looked = 0; looked < 3; looked++) {
    on.runtime.skip(1_000);
    await on.finished((await on.submit(noop)).number);
  }
  expect(await there(on)).toHaveLength(35);
  on.runtime.skip(3_600_000);
  await until(async () => (await there(on)).length < 35, "the oldest to be forgotten");
  expect(await there(on)).not.toContain(formatTaskId(first.id));
});

test("what a retry stands on stays until the retry is forgotten", async () => {
  const on = await openCluster({ coordinator: { "retention.tasks": 1, "retention.keep": "1s" } });
  cluster = on;
  const first = await on.runCli(["submit", "--quiet", "--", "sh", "-c", "exit 3"]);
  const id = first.stdout.trim();
  expect((await on.runCli(["wait", id])).code).toBe(1);
  const retried = (await on.runCli(["retry", "--quiet", id])).stdout.trim();
  expect((await on.runCli(["wait", retried])).code).toBe(1);
  const shown = JSON.parse((await on.runCli(["show", retried, "--json"])).stdout) as { retry_of: string };
  expect(shown.retry_of).toBe(id);
  // Two more than are kept: now both go, the retry first.
  for (let more = 0; more < 2; more++) expect((await on.runCli(["run", "--noop"])).code).toBe(0);
  await until(async () => (await there(on)).length === 1, "one that is left");
  expect(await there(on)).not.toContain(id);
});

test("a script goes when no task needs it any more, but for one that was just sent", async () => {
  const retention = { "retention.tasks": 1, "retention.keep": "1s" };
  // A clock that jumps makes a node offline until its next heartbeat.
  const on = await openCluster({ coordinator: { ...retention, "heartbeat.interval": "1s" } });
  cluster = on;
  const hashes: string[] = [];
  for (const word of ["first", "second"]) {
    writeFileSync(join(on.cwd, `${word}.ts`), `console.log(${JSON.stringify(word)});\n`);
    const { code, stdout } = await on.runCli(["run", "--json", `${word}.ts`]);
    expect(code).toBe(0);
    hashes.push((JSON.parse(stdout) as { specification: { script: { sha256: string } } }).specification.script.sha256);
  }
  const store = new FileStore(on.client.connection, on.client.cluster);
  await until(async () => (await there(on)).length === 1, "the first to be forgotten");
  expect(await store.storedAt(hashes[0]!)).toBeNumber();
  on.runtime.skip(LIMITS.script_unused_ms + 1_000);
  // A clock that jumps costs the lease for a moment, so it may be the next prune that finds it.
  await until(async () => {
    await on.runCli(["run", "second.ts"]);
    return (await store.storedAt(hashes[0]!)) === undefined;
  }, "its script to go");
  expect(await store.storedAt(hashes[1]!)).toBeNumber();
  expect((await on.runCli(["run", "first.ts"])).stdout).toBe("first\n");
});
