// What a coordinator says keeps it from taking snapshots: only that, and only as long as it is so. And what it learns of the
// log while it looks.

import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { createLogger } from "../../src/common/logging.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import type { LogUpkeep } from "../../src/communication/log.ts";
import type { SnapshotStore } from "../../src/communication/snapshots.ts";
import { Snapshots } from "../../src/coordinator/snapshots.ts";
import type { SnapshotMaker } from "../../src/storage/thread.ts";
import { TestRuntime } from "../runtime.ts";
import { until } from "../until.ts";

test("a broker that is away is no trouble of snapshots, and trouble ends when none is due any more", async () => {
  const folder = mkdtempSync(join(tmpdir(), "claw-trouble-"));
  const runtime = new TestRuntime();
  const [lines, away]: [string[], { now: boolean; asked: number }] = [[], { now: false, asked: 0 }];
  const lead = { now: true };
  const log = { acknowledged: 9, shrunk: 0 };
  const extent = (): Promise<{ first: number; last: number; bytes: number }> => {
    away.asked += 1;
    return away.now
      ? Promise.reject(new ClawError("broker", "TIMEOUT"))
      : Promise.resolve({ first: 1, last: 9, bytes: 1 });
  };
  const snapshots = new Snapshots({
    runtime,
    log: { created: "then", extent } as LogUpkeep,
    store: { list: () => Promise.resolve([]) } as unknown as SnapshotStore,
    maker: {
      take: () => Promise.reject(new ClawError("disk_full", "no room")),
      stop: () => undefined,
    } as unknown as SnapshotMaker,
    view: join(folder, "view.sqlite"),
    folder: join(folder, "snapshot"),
    flush: () => undefined,
    leading: () => lead.now,
    acknowledged: () => log.acknowledged,
    shrunk: () => {
      log.shrunk += 1;
    },
    settings: { every_bytes: 1_000, every_batches: 5, every_ms: 1_000_000, keep: 3 },
    margin_bytes: 0,
    logger: createLogger({
      role: "test",
      level: "debug",
      format: "json",
      runtime: systemRuntime,
      write: (line) => void lines.push(line),
    }),
  });
  const look = async (): Promise<void> => {
    const before = away.asked;
    runtime.skip(5_000);
    await until(() => away.asked > before && runtime.waiting.length > 0, "a look that is over");
  };
  try {
    await snapshots.start();
    away.now = true;
    await look();
    expect([snapshots.trouble, lines]).toEqual([undefined, []]);
    away.now = false;
    await look();
    expect(snapshots.trouble).toBe("no snapshot could be taken: no room");
    // It is not tried at every look, and is not over for that.
    await look();
    expect([snapshots.trouble, lines.length]).toEqual(["no snapshot could be taken: no room", 1]);
    lead.now = false;
    await look();
    expect([snapshots.trouble, log.shrunk]).toEqual([undefined, 0]);
    log.acknowledged = 10;
    await look();
    expect(log.shrunk).toBe(1);
  } finally {
    await snapshots.stop();
    rmSync(folder, { recursive: true });
  }
});
