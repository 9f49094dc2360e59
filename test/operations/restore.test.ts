// Views of a cluster that was restored since: an older one takes the restored state over, a newer one is a witness of what
// was lost by it, and says so.

import { afterEach, expect, test } from "bun:test";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../../src/common/config.ts";
import { ClawError } from "../../src/common/errors.ts";
import { createLogger } from "../../src/common/logging.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
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

/** From the stopped coordinator's own view. */
async function restore(here: Cluster, force: boolean): Promise<void> {
  const { config } = loadConfig("coordinator", { paths: here.paths, env: {}, flags: { "nats.server": findServer() } });
  config.nats.port = 0;
  const logger = createLogger({ role: "test", level: "error", format: "json", runtime: systemRuntime });
  await restoreCluster({ runtime: systemRuntime, config, paths: here.paths, logger, file: undefined, force });
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
