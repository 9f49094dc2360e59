// Snapshots of a view: consistent while it is written to, packed so that any zstd unpacks them, and believed only when
// every byte and row is what the manifest says.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { checkSnapshot, type Taken, takeSnapshot } from "../../src/storage/snapshot.ts";
import { ThreadedMaker } from "../../src/storage/thread.ts";
import { View } from "../../src/storage/view.ts";
import { canonical } from "../sim/canonical.ts";
import { Chance } from "../sim/chance.ts";
import { Fold, fittingEvent, temporaryFolders } from "./fold.ts";

const folders = temporaryFolders();
const views: View[] = [];

afterEach(() => {
  for (const view of views.splice(0)) view.close();
  folders.remove();
});

interface Bench {
  folder: string;
  path: string;
  view: View;
  fold: Fold;
}

function bench(batches = 60): Bench {
  const folder = folders.make();
  const path = join(folder, "view.sqlite");
  const view = new View(path);
  views.push(view);
  const fold = new Fold();
  const chance = new Chance(batches);
  fold.found(view);
  for (let batch = 0; batch < batches; batch++) fold.batch([view], 3, () => fittingEvent(chance, fold));
  view.flush();
  return { folder, path, view, fold };
}

const NONCE = "00112233445566aa";

function take({ path: view, folder }: Bench): Taken {
  return takeSnapshot({ view, folder, nonce: NONCE, now: 7 });
}

function unpacked(here: Bench, { manifest, path }: Taken): View {
  const to = join(here.folder, "restored.sqlite");
  checkSnapshot({ manifest, path, headed: false, to });
  const view = new View(to);
  views.push(view);
  return view;
}

function refusal(here: Bench, taken: Taken): string {
  try {
    unpacked(here, taken);
  } catch (error) {
    if (error instanceof ClawError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error("it was taken");
}

describe("a snapshot", () => {
  test("has the view as it was, and leaves nothing else behind", () => {
    const here = bench();
    const taken = take(here);
    const before = canonical(here.view);
    expect(taken.manifest).toMatchObject({ v: 1, id: `61-${NONCE}`, cluster: "test", cluster_id: "c", sequence: 61 });
    expect(taken.manifest).toMatchObject({ hash: "hash 61", stream_created: "then", created_at: 7 });
    expect(canonical(unpacked(here, taken))).toBe(before);
    expect(readdirSync(here.folder).filter((name) => name.startsWith(NONCE))).toEqual([`${NONCE}.zst`]);
  });

  test("is the same rows whatever transactions wrote them", () => {
    const [one, other] = [bench(), bench()];
    other.view.database.run("VACUUM");
    expect(take(other).manifest.rows_sha256).toBe(take(one).manifest.rows_sha256);
  });

  test("taken in a thread while the view is written to is one of its states, whole", async () => {
    const here = bench();
    const chance = new Chance(5);
    const maker = new ThreadedMaker();
    let over = false;
    const taking = maker.take({ view: here.path, folder: here.folder, nonce: NONCE, now: 7 }).finally(() => {
      over = true;
    });
    const states = new Map([[here.fold.sequence, canonical(here.view)]]);
    while (!over) {
      here.fold.batch([here.view], 3, () => fittingEvent(chance, here.fold));
      here.view.flush();
      states.set(here.fold.sequence, canonical(here.view));
      await Bun.sleep(0);
    }
    const taken = await taking;
    expect(states.size).toBeGreaterThan(1);
    expect(canonical(unpacked(here, taken))).toBe(states.get(taken.manifest.sequence) as string);
  });

  test("that is broken off says so, and the thread is gone", async () => {
    const here = bench();
    const maker = new ThreadedMaker();
    const taking = maker.take({ view: here.path, folder: here.folder, nonce: NONCE, now: 7 });
    maker.stop();
    expect(await taking.catch((error: ClawError) => error.code)).toBe("not_leading");
  });

  test.skipIf(Bun.which("zstd") === null)("is unpacked by any zstd", () => {
    const here = bench();
    const { path } = take(here);
    const out = Bun.spawnSync(["zstd", "-dc", path]);
    expect(out.stdout.subarray(0, 15).toString()).toBe("SQLite format 3");
  });
});

describe("one that is not what it was", () => {
  test("by a single byte anywhere, or cut short anywhere, is refused, and nothing of it stays", () => {
    const here = bench();
    const taken = take(here);
    const whole = readFileSync(taken.path);
    const chance = new Chance(9);
    for (let round = 0; round < 60; round++) {
      if (round % 2 === 0) {
        const flipped = Buffer.from(whole);
        const at = chance.below(whole.length);
        flipped[at] = (flipped[at] as number) ^ (1 << chance.below(8));
        writeFileSync(taken.path, flipped);
      } else {
        writeFileSync(taken.path, whole);
        truncateSync(taken.path, chance.below(whole.length));
      }
      expect(refusal(here, taken)).toContain("io: ");
      expect(existsSync(join(here.folder, "restored.sqlite"))).toBe(false);
    }
  });

  test.each(["sequence", "hash", "stream_created", "cluster_id", "rows", "rows_sha256", "epoch", "format"] as const)(
    "whose manifest lies about its %s is refused",
    (name) => {
      const here = bench();
      const { manifest, path } = take(here);
      const value = manifest[name];
      const lie = typeof value === "number" ? value + 1 : `${value.slice(0, -1)}${value.endsWith("0") ? "1" : "0"}`;
      expect(refusal(here, { manifest: { ...manifest, [name]: lie }, path })).toContain(`(${name})`);
    },
  );
});

test("a view whose rows are not what was folded into it gives none that is taken back", () => {
  const here = bench();
  here.fold.commit([here.view], here.fold.array());
  here.view.flush();
  here.view.database.run("UPDATE submissions SET extended_at = extended_at + 1 WHERE live = 1");
  const wrong = take(here);
  expect(refusal(here, wrong)).toContain("its rows are not what batch 62 was folded to");
  rmSync(wrong.path);
  // Nobody can say so of a view that an earlier claw wrote.
  here.view.database.run("UPDATE meta SET value = json_remove(value, '$.fold') WHERE key = 'witness'");
  expect(canonical(unpacked(here, take(here)))).toBe(canonical(here.view));
});

test("a view that is damaged is no snapshot", () => {
  const here = bench();
  here.view.close();
  views.length = 0;
  const bytes = readFileSync(here.path);
  bytes.fill(0xa5, 8192, 12_288);
  writeFileSync(here.path, bytes);
  expect(() => take(here)).toThrow(/damaged|malformed/);
});
