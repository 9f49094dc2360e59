// Data folders that claws of earlier formats left, killed in the middle of their work (test/fixtures/make tells what is in
// them): the current claw opens each and goes on where it was.

import { afterEach, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TaskView } from "../../src/common/models.ts";
import { View } from "../../src/storage/view.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { canonical } from "../sim/canonical.ts";

const FIXTURES = join(import.meta.dir, "../fixtures");
const ARCHIVES = readdirSync(FIXTURES).filter((name) => name.endsWith(".tar.gz"));

const homes: string[] = [];
let cluster: Cluster | undefined;

afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
  for (const home of homes.splice(0)) rmSync(home, { recursive: true, force: true });
});

async function open(archive: string): Promise<Cluster> {
  const home = mkdtempSync(join(tmpdir(), "claw-fixture-"));
  homes.push(home);
  const { exitCode } = Bun.spawnSync(["tar", "-xzf", join(FIXTURES, archive), "-C", home], { stderr: "inherit" });
  expect(exitCode).toBe(0);
  // An earlier format notes no lives of a worker: it is waited for until the one before is silent.
  cluster = await openCluster({ home, workers: 0, coordinator: { "heartbeat.interval": "1s" } });
  return cluster;
}

async function tasks(of: Cluster): Promise<Map<string, TaskView>> {
  const { tasks: all } = await of.client.query("task.list", { limit: 100 });
  return new Map(all.map((task) => [task.name ?? task.specification.argv.join(" "), task]));
}

/** The tables of a stopped coordinator's view, but for what each term changes. */
function tables(of: Cluster): string[] {
  const view = new View(join(of.folder, "view.sqlite"));
  try {
    return (
      canonical(view)
        .split("\n")
        .filter((line) => !line.startsWith('["meta"'))
        // Old formats did not keep when something was over: the migration takes another time for it.
        .map((line) => line.replaceAll(/"over_at":\d+/g, '"over_at":"then"'))
    );
  } finally {
    view.close();
  }
}

/** Tables and their columns, in the order by which rows are inserted. */
function columns(path: string): unknown[] {
  const view = new View(path);
  try {
    const query = `SELECT t.name AS t, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM pragma_table_list t
      JOIN pragma_table_xinfo(t.name) c WHERE t.schema = 'main' ORDER BY t.name, c.cid`;
    return view.database.query(query).all();
  } finally {
    view.close();
  }
}

test("there are archives", () => {
  expect(ARCHIVES).toContain("format-1.tar.gz");
  // The first one whose log says what its batches were folded to: a fold that is changed, and kept its version, ends at it.
  expect(ARCHIVES).toContain("format-6.tar.gz");
  expect(ARCHIVES).toContain("format-7.tar.gz");
});

describe.each(ARCHIVES)("%s", (archive) => {
  test("every task is what it was, and the view equals one that is made from its log", async () => {
    const here = await open(archive);
    const found = await tasks(here);
    const statuses = [...found].map(([name, { status }]) => [name, status]);
    expect(Object.fromEntries(statuses)).toEqual({
      "echo hello": "completed",
      "1 2 3": "completed",
      "ends-badly": "failed",
      sevens: "failed",
      waits: "pending",
      half: "running",
      stopped: "cancelled",
      survivor: "running",
      open: "pending",
      lost: "running",
    });
    expect(found.get("sevens")?.counts).toMatchObject({ total: 40, completed: 35, failed: 5 });
    expect(found.get("half")?.counts).toMatchObject({ total: 6, completed: 3, running: 3 });
    expect(found.get("open")).toMatchObject({ open: true, counts: { total: 5 } });
    const { number } = found.get("ends-badly") as TaskView;
    expect((await here.show(number)).outcome).toMatchObject({ exit_code: 3, stderr_tail: "oops\n" });
    const lost = await here.show(found.get("lost")?.number as number);
    expect(lost.attempts).toMatchObject([{ attempt: 1, reason: "lost" }]);
    await here.stopCoordinator();
    const migrated = tables(here);
    // Who changes a table adds a migration: src/storage/migrations.ts says how.
    expect(columns(join(here.folder, "view.sqlite"))).toEqual(columns(":memory:"));
    for (const suffix of ["", "-wal", "-shm"]) rmSync(join(here.folder, `view.sqlite${suffix}`), { force: true });
    await here.startCoordinator();
    await here.stopCoordinator();
    expect(tables(here)).toEqual(migrated);
  });

  test("its worker tells what it had not reported, runs again what died with it, and everything finishes", async () => {
    const here = await open(archive);
    const { data_dir, coordinator_dir } = here.paths;
    copyFileSync(join(coordinator_dir, "credentials/worker.creds"), join(data_dir, "worker.creds"));
    await here.addWorker({ "resources.cpus": 2 }, here.home);
    const found = await tasks(here);
    const numberOf = (name: string): number => found.get(name)?.number as number;
    expect(await here.finished(numberOf("survivor"))).toMatchObject({ status: "completed", outcome: { exit_code: 0 } });
    await here.started(numberOf("lost"));
    expect((await here.show(numberOf("lost"))).attempts).toHaveLength(2);
    const targets = ["lost", "half", "waits"].map((name) => ({ number: numberOf(name), from: 0 }));
    await here.client.command("task.cancel", { v: 1, targets });
    for (const { number } of targets) expect((await here.finished(number)).status).toBe("cancelled");
    const { id = "", number, nonce } = await record(here, numberOf("open"));
    await here.client.command("task.extend", {
      v: 1,
      id: Number(id),
      nonce,
      offset: 5,
      inputs: ["6"],
      close: { total: 6 },
    });
    expect(await here.finished(number)).toMatchObject({ status: "completed", counts: { total: 6 } });
  });
});

/** The nonce, which only whoever streams into an array knows. */
async function record(here: Cluster, number: number): Promise<{ id: string; number: number; nonce: string }> {
  const view = new View(join(here.folder, "view.sqlite"));
  try {
    const query = "SELECT ids ->> 0 AS id, number, nonce FROM submissions WHERE number = ?";
    return view.database.query<{ id: string; number: number; nonce: string }, [number]>(query).get(number)!;
  } finally {
    view.close();
  }
}
