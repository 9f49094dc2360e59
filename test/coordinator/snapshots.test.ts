// Snapshots in a whole cluster: what counts, what is kept, what is removed from the log, and what a coordinator starts from
// when its view is old, damaged or gone.

import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import type { Manifest } from "../../src/common/snapshot.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { type LogUpkeep, openLog } from "../../src/communication/log.ts";
import { openSnapshots, type SnapshotStore } from "../../src/communication/snapshots.ts";
import { View } from "../../src/storage/view.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { canonical } from "../sim/canonical.ts";
import { Chance } from "../sim/chance.ts";

const clusters: Cluster[] = [];

afterEach(async () => {
  for (const cluster of clusters.splice(0)) await cluster.close();
});

async function open(settings: Record<string, unknown> = {}): Promise<Cluster> {
  const cluster = await openCluster({ workers: 0, coordinator: settings });
  clusters.push(cluster);
  return cluster;
}

let asked = 0;

async function take(cluster: Cluster): Promise<Manifest> {
  asked += 1;
  const nonce = String(asked).padStart(32, "0");
  for (;;) {
    const { manifest } = await cluster.client.command("snapshot.take", { v: 1, nonce });
    if (manifest !== undefined) return manifest;
  }
}

async function list(cluster: Cluster): Promise<Manifest[]> {
  return (await cluster.client.query("snapshot.list", {})).snapshots;
}

const NOWHERE = { needs: { tags: ["nowhere"] } };

/** Ten megabytes of the log. */
async function muchWork(cluster: Cluster): Promise<number[]> {
  const numbers: number[] = [];
  for (let at = 0; at < 22; at++) {
    const inputs = [String(at).repeat(250_000), "x".repeat(250_000)].map((text) => text.slice(0, 250_000));
    numbers.push((await cluster.submit({ ...NOWHERE, argv: ["echo {}"], each: true }, { inputs })).number);
  }
  return numbers;
}

/** A second coordinator's doors to log and store. */
async function doors(cluster: Cluster, use: (log: LogUpkeep, store: SnapshotStore) => Promise<void>): Promise<void> {
  const { authenticator } = readCredentials(join(cluster.folder, "credentials", "coordinator.creds"));
  const url = cluster.coordinator.nats_url;
  const connection = await openConnection({ url, name: "test", authenticator, timeout_ms: 5_000 });
  try {
    const name = cluster.client.cluster;
    await use(
      await openLog(connection, systemRuntime, name, 1),
      await openSnapshots(connection, systemRuntime, name, 1),
    );
  } finally {
    await connection.close();
  }
}

function viewPath(cluster: Cluster): string {
  return join(cluster.folder, "view.sqlite");
}

function removeView(cluster: Cluster): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(viewPath(cluster) + suffix, { force: true });
}

/** A stopped coordinator's tables, but for what each term changes. */
function tables(cluster: Cluster): string[] {
  const view = new View(viewPath(cluster));
  try {
    return canonical(view)
      .split("\n")
      .filter((line) => !line.startsWith('["meta"'));
  } finally {
    view.close();
  }
}

async function refusal(start: Promise<void>): Promise<ClawError> {
  const error: unknown = await start.then(
    () => new Error("it started"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ClawError)) throw error;
  return error;
}

describe("taking them", () => {
  test("on demand: each counts once it was read back, so many are kept, and what was broken off is swept away", async () => {
    const cluster = await open({ "snapshot.keep": 2 });
    const first = await take(cluster);
    const path = join(cluster.home, "piece");
    writeFileSync(path, "half of it");
    await doors(cluster, async (_, store) => {
      await store.upload({ ...first, id: "1-00112233445566aa", bytes: 10 }, path);
      expect(await store.list()).toHaveLength(1);
      expect(await store.chunk("1-00112233445566aa", 0)).toHaveLength(10);
      // A manifest whose chunks are not all there does not count either.
      await store.confirm({ ...first, id: "1-00112233445566bb", bytes: 10 });
      expect(await store.list()).toHaveLength(1);
    });
    await cluster.submit(NOWHERE);
    const second = await take(cluster);
    await cluster.submit(NOWHERE);
    const third = await take(cluster);
    expect(third.sequence).toBeGreaterThan(second.sequence);
    expect((await list(cluster)).map(({ id }) => id)).toEqual([third.id, second.id]);
    await doors(cluster, async (_, store) => {
      const gone = await store.chunk("1-00112233445566aa", 0).catch((error: ClawError) => error.code);
      expect(gone).toBe("not_found");
    });
    expect(existsSync(join(cluster.folder, "snapshot"))).toBe(false);
  });

  test("one that gives another state than the log says does not count, and the log stays as it is", async () => {
    const cluster = await open();
    await cluster.submit(NOWHERE);
    const good = await take(cluster);
    await cluster.submit(NOWHERE);
    await cluster.client.query("task.list", { limit: 1 }); // brings the view's file up to the log
    const database = new Database(viewPath(cluster));
    database.run("UPDATE submissions SET extended_at = 7 WHERE number = 2");
    // As if another fold had made it: so only the log can tell.
    database.run("UPDATE meta SET value = json_set(value, '$.fold.v', 99) WHERE key = 'witness'");
    database.close();
    const refused = await take(cluster).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "io", message: expect.stringContaining("gives another state than batch 3") });
    expect((await list(cluster)).map(({ id }) => id)).toEqual([good.id]);
  });

  test("by themselves after so many batches, or after a time with anything in it", async () => {
    const cluster = await open({ "snapshot.batches": 5, "snapshot.interval": "10m" });
    expect(await list(cluster)).toEqual([]);
    for (let at = 0; at < 6; at++) await cluster.submit(NOWHERE);
    cluster.runtime.skip(6_000);
    await cluster.logged("took a snapshot");
    const [first] = await list(cluster);
    await cluster.submit(NOWHERE);
    cluster.runtime.skip(6_000);
    await doors(cluster, async (log) => expect((await log.extent()).last).toBeGreaterThan(first!.sequence));
    expect(await list(cluster)).toHaveLength(1);
    cluster.runtime.skip(11 * 60_000);
    await cluster.logged(`"sequence":${(await cluster.client.query("cluster.status", {})).status.sequence}`);
    expect((await list(cluster)).length).toBe(2);
  });
});

describe("the log", () => {
  test("is shortened a storage block below one that counts; a view that was lost is made from it and the tail, equal", async () => {
    const cluster = await open();
    const early = await take(cluster);
    await doors(cluster, async (log) => {
      await muchWork(cluster);
      expect((await log.extent()).first).toBe(1);
      const { id } = await take(cluster);
      const { first, last, bytes } = await log.extent();
      expect([first, bytes > 8 * 1024 * 1024]).toEqual([early.sequence + 1, true]);
      expect(last).toBeGreaterThan(first);
      expect((await list(cluster))[0]?.id).toBe(id);
    });
    const { number } = await cluster.submit(NOWHERE);
    await cluster.stopCoordinator();
    const before = tables(cluster);
    removeView(cluster);
    await cluster.startCoordinator();
    await cluster.logged("the view is made from a snapshot");
    expect((await cluster.show(number)).status).toBe("pending");
    await cluster.stopCoordinator();
    expect(tables(cluster)).toEqual(before);
    await cluster.startCoordinator();
  });

  test("that begins behind an old view is read on from a snapshot, and the old view is kept", async () => {
    const cluster = await open();
    await cluster.stopCoordinator();
    copyFileSync(viewPath(cluster), join(cluster.home, "old.sqlite"));
    await cluster.startCoordinator();
    const numbers = await muchWork(cluster);
    await take(cluster);
    await muchWork(cluster);
    await take(cluster);
    await cluster.stopCoordinator();
    removeView(cluster);
    copyFileSync(join(cluster.home, "old.sqlite"), viewPath(cluster));
    await cluster.startCoordinator();
    expect((await cluster.show(numbers[0]!)).status).toBe("pending");
    expect(existsSync(`${viewPath(cluster)}.outdated`)).toBe(true);
  });

  test("that is too short for a view, with no snapshot left to go on from, is lost, and that is said", async () => {
    const cluster = await open();
    await cluster.submit(NOWHERE);
    await doors(cluster, async (log) => log.truncate(1));
    await cluster.stopCoordinator();
    removeView(cluster);
    const error = await refusal(cluster.startCoordinator());
    expect(error).toMatchObject({ code: "log_lost", message: expect.stringContaining("no snapshot is there") });
    expect(error.hint).toContain("claw snapshot restore");
  });
});

describe("a view", () => {
  test("torn anywhere is made again from the log, which has all that was acknowledged, and that is said", async () => {
    const cluster = await open();
    for (let at = 0; at < 40; at++) await cluster.submit({ ...NOWHERE, name: "n".repeat(100) });
    await cluster.stopCoordinator();
    const before = tables(cluster);
    const chance = new Chance(3);
    for (let round = 0; round < 8; round++) {
      // At a page's end it is a smaller database to SQLite, until it looks for what is not there.
      const size = statSync(viewPath(cluster)).size;
      const cut = round % 2 === 0 ? chance.between(1, size - 1) : 4096 * chance.between(1, size / 4096 - 1);
      truncateSync(viewPath(cluster), cut);
      await cluster.startCoordinator();
      await cluster.stopCoordinator();
      expect(tables(cluster)).toEqual(before);
      const aside = round === 0 ? "damaged" : `damaged-${round + 1}`;
      expect(statSync(`${viewPath(cluster)}.${aside}`).size).toBe(cut);
    }
    await cluster.logged("the view was damaged");
    // A warning of a file says what is wrong with it, and not where in the code that was found.
    const told = cluster.log.filter((line) => line.includes("the view was damaged"));
    expect(told.map((line) => typeof (JSON.parse(line) as { cause: unknown }).cause)).toEqual(told.map(() => "string"));
    await cluster.startCoordinator();
  }, 60_000);

  test("with pages overwritten is, too; without the other witness it is not touched, and what to do is said", async () => {
    const cluster = await open();
    for (let at = 0; at < 40; at++) await cluster.submit({ ...NOWHERE, name: "n".repeat(100) });
    await cluster.stopCoordinator();
    const bytes = readFileSync(viewPath(cluster));
    bytes.fill(0xa5, 8192, 12_288);
    writeFileSync(viewPath(cluster), bytes);
    const witness = join(cluster.folder, "witness.json");
    const kept = readFileSync(witness);
    rmSync(witness);
    const error = await refusal(cluster.startCoordinator());
    expect(error).toMatchObject({ code: "io", message: expect.stringContaining("is damaged") });
    expect(error.hint).toContain("move it away");
    expect(readFileSync(viewPath(cluster)).equals(bytes)).toBe(true);
    writeFileSync(witness, kept, { mode: 0o600 });
    await cluster.startCoordinator();
    await cluster.logged("the view was damaged");
  });

  test("whose rows are not what was folded into it is, too", async () => {
    const cluster = await open();
    await cluster.submit(NOWHERE);
    await cluster.stopCoordinator();
    const before = tables(cluster);
    const database = new Database(viewPath(cluster));
    // Sound to SQLite, and another truth.
    database.run("UPDATE submissions SET segments = replace(segments, '\"attempt\":0', '\"attempt\":1')");
    database.close();
    expect(tables(cluster)).not.toEqual(before);
    await cluster.startCoordinator();
    await cluster.logged("its rows are not what batch 2 was folded to");
    await cluster.stopCoordinator();
    expect(tables(cluster)).toEqual(before);
    expect(existsSync(`${viewPath(cluster)}.damaged`)).toBe(true);
    await cluster.startCoordinator();
  });

  test("that is empty or gone is made again, unless the log lacks what was acknowledged", async () => {
    const cluster = await open();
    await cluster.submit(NOWHERE);
    await cluster.stopCoordinator();
    const saved = join(cluster.home, "saved-store");
    Bun.spawnSync(["cp", "-a", join(cluster.folder, "jetstream"), saved]);
    await cluster.startCoordinator();
    const { number } = await cluster.submit(NOWHERE);
    await cluster.stopCoordinator();
    removeView(cluster);
    writeFileSync(viewPath(cluster), "");
    await cluster.startCoordinator();
    expect((await cluster.show(number)).status).toBe("pending");
    expect(await cluster.logged("the view in this folder is an empty file")).toMatchObject({ level: "warn" });
    await cluster.stopCoordinator();
    removeView(cluster);
    rmSync(join(cluster.folder, "jetstream"), { recursive: true });
    Bun.spawnSync(["cp", "-a", saved, join(cluster.folder, "jetstream")]);
    const behind = await refusal(cluster.startCoordinator());
    expect(behind).toMatchObject({ code: "log_lost", message: expect.stringContaining("the broker lost data") });
  });

  test("whose other witness, or whose coordinator's id, cannot be read is used, and both are said and written anew", async () => {
    const cluster = await open();
    const { number } = await cluster.submit(NOWHERE);
    await cluster.stopCoordinator();
    const [witness, id] = ["witness.json", "id"].map((name) => join(cluster.folder, name));
    const before = readFileSync(id!, "utf8");
    for (const [of_witness, why] of [
      ["\u0000{", expect.any(String)],
      ["{}", "it has not the fields of a witness"],
    ] as const) {
      cluster.log.length = 0;
      writeFileSync(witness!, of_witness);
      writeFileSync(id!, "coordinator_?");
      await cluster.startCoordinator();
      const told = await cluster.logged("the second witness of what was acknowledged cannot be read: the view alone");
      expect(told).toMatchObject({ level: "warn", file: witness, why });
      const now = readFileSync(id!, "utf8").trim();
      expect(now).toMatch(/^coordinator_[0-9a-f]{8}$/);
      expect(now).not.toBe(before.trim());
      const line = `this coordinator's id cannot be read: to the others it is a new one, ${now}`;
      expect(await cluster.logged(line)).toMatchObject({ level: "warn", file: id, found: "coordinator_?" });
      expect((await cluster.show(number)).status).toBe("pending");
      await cluster.stopCoordinator();
      expect(JSON.parse(readFileSync(witness!, "utf8"))).toMatchObject({ v: 1 });
    }
    cluster.log.length = 0;
    await cluster.startCoordinator();
    expect(cluster.log.filter((line) => line.includes("cannot be read"))).toEqual([]);
  });

  test("that lost its end together with the log's is not taken for all that there was", async () => {
    const cluster = await open();
    await cluster.submit(NOWHERE);
    await cluster.stopCoordinator();
    const saved = (name: string): string => join(cluster.home, `saved-${name}`);
    for (const name of ["jetstream", "view.sqlite"]) {
      Bun.spawnSync(["cp", "-a", join(cluster.folder, name), saved(name)]);
    }
    await cluster.startCoordinator();
    await cluster.submit(NOWHERE);
    await cluster.stopCoordinator();
    const witness = readFileSync(join(cluster.folder, "witness.json"), "utf8");
    removeView(cluster);
    rmSync(join(cluster.folder, "jetstream"), { recursive: true });
    for (const name of ["jetstream", "view.sqlite"]) {
      Bun.spawnSync(["cp", "-a", saved(name), join(cluster.folder, name)]);
    }
    const lost = await refusal(cluster.startCoordinator());
    expect(lost).toMatchObject({ code: "log_lost", message: expect.stringContaining("the broker lost data") });
    expect(readFileSync(join(cluster.folder, "witness.json"), "utf8")).toBe(witness);
  });

  test("that a newer claw wrote is refused by its format, and left as it is", async () => {
    const cluster = await open();
    await cluster.stopCoordinator();
    const database = new Database(viewPath(cluster));
    database.run("PRAGMA user_version = 99");
    database.close();
    const before = readFileSync(viewPath(cluster));
    const error = await refusal(cluster.startCoordinator());
    expect([error.code, error.message]).toEqual(["io", expect.stringContaining("written by a newer claw (format 99")]);
    expect(error.hint).toStartWith("start the newer claw, or move it away");
    expect(readFileSync(viewPath(cluster)).equals(before)).toBe(true);
    removeView(cluster);
    await cluster.startCoordinator();
  });

  test("of another cluster beside the log's own keys: moved away, as is said, it is made from the log", async () => {
    const [one, other] = [await open(), await open()];
    const { number } = await other.submit(NOWHERE);
    await one.stopCoordinator();
    await other.stopCoordinator();
    const witness = (cluster: Cluster): string => join(cluster.folder, "witness.json");
    for (const alien of [[viewPath], [viewPath, witness]]) {
      for (const path of alien) copyFileSync(path(one), path(other));
      const wrong = await refusal(other.startCoordinator());
      const away = alien.map((path) => path(other));
      expect([wrong.code, wrong.hint]).toEqual([
        "wrong_cluster",
        expect.stringContaining(`move ${away.join(" and ")} away`),
      ]);
      for (const path of away) renameSync(path, `${path}.away`);
      await other.startCoordinator();
      expect((await other.show(number)).status).toBe("pending");
      await other.stopCoordinator();
    }
    // Keys of another cluster yet say nothing about whose the folder is.
    copyFileSync(viewPath(one), viewPath(other));
    const keys = join(other.folder, "identity.json");
    const seeds = JSON.parse(readFileSync(keys, "utf8")) as object;
    writeFileSync(keys, JSON.stringify({ ...seeds, cluster_id: "another" }));
    expect((await refusal(other.startCoordinator())).hint).toContain("this data folder belongs to another cluster");
  });

  test("of another cluster is refused by its name, a folder or a locked file in its place by its path", async () => {
    const [one, other] = [await open(), await open()];
    await one.stopCoordinator();
    await other.stopCoordinator();
    copyFileSync(viewPath(one), viewPath(other));
    const wrong = await refusal(other.startCoordinator());
    expect(wrong).toMatchObject({ code: "wrong_cluster", message: expect.stringContaining("the view is of cluster") });
    rmSync(viewPath(other));
    mkdirSync(viewPath(other));
    const folder = await refusal(other.startCoordinator());
    expect([folder.code, folder.message.includes(viewPath(other))]).toEqual(["io", true]);
    if (process.getuid?.() !== 0) {
      chmodSync(viewPath(one), 0o000);
      const locked = await refusal(one.startCoordinator());
      expect([locked.code, locked.message.includes(viewPath(one))]).toEqual(["io", true]);
      chmodSync(viewPath(one), 0o600);
    }
  });
});
