// Views of a cluster that was restored since: an older one takes the restored state over, a newer one is a witness of what
// was lost by it, and says so. What a restore keeps, and whose credentials are good behind it.

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/common/config.ts";
import { ClawError } from "../../src/common/errors.ts";
import { createLogger } from "../../src/common/logging.ts";
import { resolvePaths } from "../../src/common/paths.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { setAside } from "../../src/coordinator/recovery.ts";
import { restoreCluster } from "../../src/operations/restore.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { findServer } from "../communication/server-bench.ts";

let cluster: Cluster | undefined;

afterEach(async () => {
  await cluster?.close();
  cluster = undefined;
});

const NOWHERE = { needs: { tags: ["nowhere"] } };

function view(here: Cluster): string {
  return join(here.folder, "view.sqlite");
}

/** From the stopped coordinator's own view, unless there is a file. */
async function restore({ paths }: Pick<Cluster, "paths">, force: boolean, file?: string) {
  const { config } = loadConfig("coordinator", { paths, env: {}, flags: { "nats.server": findServer() } });
  config.nats.port = 0;
  const logger = createLogger({ role: "test", level: "error", format: "json", runtime: systemRuntime });
  return await restoreCluster({ runtime: systemRuntime, config, paths, logger, file, force, forced: "" });
}

/** The view as another coordinator has it that stopped at this moment. */
function keep(here: Cluster, name: string): () => void {
  const kept = join(here.home, name);
  copyFileSync(view(here), kept);
  return () => {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(view(here) + suffix, { force: true });
    copyFileSync(kept, view(here));
  };
}

async function opened(): Promise<Cluster> {
  cluster = await openCluster({ workers: 0 });
  return cluster;
}

test("an older view goes on from what was restored, twice over, with numbers that were never used", async () => {
  const here = await opened();
  const first = await here.submit(NOWHERE);
  await here.stopCoordinator();
  const putOld = keep(here, "old");
  await here.startCoordinator();
  const second = await here.submit(NOWHERE);
  await here.stopCoordinator();
  const refused = await restore(here, false).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "conflict", message: expect.stringContaining("a log that is sound") });
  await restore(here, true);
  await here.startCoordinator();
  const third = await here.submit(NOWHERE);
  expect(third.number).toBeGreaterThan(1_000_000_000);
  await here.stopCoordinator();
  await restore(here, true);

  putOld();
  await here.startCoordinator();
  for (const { number } of [first, second, third]) expect((await here.show(number)).status).toBe("pending");
  const fourth = await here.submit(NOWHERE);
  expect(fourth.number).toBeGreaterThan(third.number + 999_999_999);
});

test("a view that is newer than what was restored is not thrown away: it says that the log lacks what it knows", async () => {
  const here = await opened();
  await here.stopCoordinator();
  const putEarly = keep(here, "early");
  await here.startCoordinator();
  await here.submit(NOWHERE);
  await here.stopCoordinator();
  const putLate = keep(here, "late");
  rmSync(join(here.folder, "jetstream"), { recursive: true });
  putEarly();
  await restore(here, false);
  putLate();
  const refused: unknown = await here.startCoordinator().catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(ClawError);
  expect(refused).toMatchObject({ code: "log_lost", hint: expect.stringContaining("--from-view") });
});

test("each restore keeps the view that was there, beside those of earlier ones", async () => {
  const here = await opened();
  const file = join(here.cwd, "cluster.snap");
  expect((await here.runCli(["snapshot", "save", file])).code).toBe(0);
  const { number } = await here.submit(NOWHERE);
  await here.stopCoordinator();
  const first = await restore(here, true, file);
  const second = await restore(here, true, file);
  expect([first.kept, second.kept]).toEqual([`${view(here)}.before`, `${view(here)}.before-2`]);
  const kept = new Database(`${view(here)}.before`, { readonly: true });
  expect(kept.query<{ number: number }, []>("SELECT number FROM submissions").get()).toEqual({ number });
  kept.close(true);
});

test("of views that came to be damaged the newest two are kept, and those of restores stay", () => {
  const folder = mkdtempSync(join(tmpdir(), "claw-aside-"));
  try {
    const path = join(folder, "view.sqlite");
    writeFileSync(`${path}.before`, "safe");
    for (const text of ["1", "2", "3"]) {
      writeFileSync(path, text);
      setAside(path, "damaged");
    }
    expect(readdirSync(folder).sort()).toEqual([
      "view.sqlite.before",
      "view.sqlite.damaged-2",
      "view.sqlite.damaged-3",
    ]);
    expect(readFileSync(`${path}.damaged-3`, "utf8")).toBe("3");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a folder is no snapshot, and nothing is made for it", async () => {
  const here = await opened();
  await here.stopCoordinator();
  const paths = resolvePaths({ CLAW_HOME: join(here.home, "fresh") });
  const refused = await restore({ paths }, false, here.cwd).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "io", hint: expect.stringContaining("--from-view") });
  expect(existsSync(paths.coordinator_dir)).toBe(false);
});

test("on another machine credentials are good only where the cluster's keys are, which it says", async () => {
  const here = await opened();
  const file = join(here.cwd, "cluster.snap");
  expect((await here.runCli(["snapshot", "save", file])).code).toBe(0);
  const exported = ["credentials", "export", "--role", "client", "--out", "old.creds"];
  expect((await here.runCli(exported)).code).toBe(0);
  await here.stopCoordinator();
  expect((await restore(here, true, file)).credentials).toBe(true);

  const home = join(here.home, "there");
  const paths = resolvePaths({ CLAW_HOME: home });
  expect((await restore({ paths }, false, file)).credentials).toBe(false);
  // The keys that this made are nobody's yet.
  expect((await restore({ paths }, true, file)).credentials).toBe(false);
  rmSync(join(paths.coordinator_dir, "jetstream"), { recursive: true });
  copyFileSync(join(here.folder, "identity.json"), join(paths.coordinator_dir, "identity.json"));
  expect((await restore({ paths }, false, file)).credentials).toBe(true);
  const there = await openCluster({ workers: 0, home });
  try {
    const { nats_url } = there.coordinator;
    const { code, stderr } = await here.runCli(["--nats", nats_url, "--creds", join(here.cwd, "old.creds"), "status"]);
    expect([code, stderr]).toEqual([0, ""]);
  } finally {
    await there.close();
  }
});

test("where view and log are gone, what their witness or a newer snapshot knows of is named", async () => {
  const here = await opened();
  const file = join(here.cwd, "cluster.snap");
  expect((await here.runCli(["snapshot", "save", file])).code).toBe(0);
  await here.submit(NOWHERE);
  await here.stopCoordinator();
  const refusal = (): Promise<unknown> => restore(here, false, file).catch((error: unknown) => error);
  rmSync(join(here.folder, "jetstream"), { recursive: true });
  for (const name of readdirSync(here.folder)) if (name.startsWith("view.sqlite")) rmSync(join(here.folder, name));
  expect(await refusal()).toMatchObject({ code: "conflict", message: expect.stringContaining("by witness.json") });
  rmSync(join(here.folder, "witness.json"));
  expect(await restore(here, false, file)).toMatchObject({ kept: undefined });
});

test("a view that is empty is none: a start without view and log made it", async () => {
  const here = await opened();
  await here.submit(NOWHERE);
  await here.stopCoordinator();
  rmSync(join(here.folder, "jetstream"), { recursive: true });
  for (const name of readdirSync(here.folder)) if (name.startsWith("view.sqlite")) rmSync(join(here.folder, name));
  const started = await here.startCoordinator().catch((error: unknown) => error);
  expect(started).toMatchObject({ code: "log_lost" });
  const refused = await restore(here, true).catch((error: unknown) => error);
  expect(refused).toMatchObject({
    code: "not_found",
    message: expect.stringContaining("is empty"),
    hint: expect.stringContaining("claw snapshot restore FILE"),
  });
});

test("a snapshot that is newer than the file, in a log that begins behind it", async () => {
  const here = await opened();
  const file = join(here.cwd, "cluster.snap");
  expect((await here.runCli(["snapshot", "save", file])).code).toBe(0);
  await here.submit(NOWHERE);
  await here.stopCoordinator();
  rmSync(join(here.folder, "jetstream"), { recursive: true });
  await restore(here, true, undefined);
  for (const name of readdirSync(here.folder))
    if (/^(view\.sqlite|witness)/.test(name)) rmSync(join(here.folder, name));
  const refused = await restore(here, false, file).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: "conflict", message: expect.stringContaining("what the snapshot of ") });
});
