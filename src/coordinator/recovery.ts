// The view that a coordinator starts from. Its own, if it is sound and the log goes on from it; else the newest snapshot of
// this very log. A view is also the witness of what was acknowledged: one that is damaged or gone is replaced without
// asking only when another witness (witness.ts) says that the log still has all of it. The same is done in the middle of a
// coordinator's life, when the log was shortened beyond what it has followed.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ClawError, messageOf } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import type { Manifest } from "../common/snapshot.ts";
import { Identity } from "../communication/identity.ts";
import type { LogUpkeep } from "../communication/log.ts";
import type { SnapshotStore } from "../communication/snapshots.ts";
import { Batch } from "../core/event.ts";
import { Damaged } from "../storage/database.ts";
import { removeDatabase } from "../storage/snapshot.ts";
import type { SnapshotMaker } from "../storage/thread.ts";
import { View } from "../storage/view.ts";
import { batchHash } from "./committer.ts";
import { readWitness, type WitnessFile } from "./witness.ts";

export interface RecoveryOptions {
  /** The view's file, the second witness's, and a folder for what is on its way. */
  view: string;
  witness: string;
  folder: string;
  log: LogUpkeep;
  store: SnapshotStore;
  maker: SnapshotMaker;
  logger: Logger;
  /** The coordinator is stopping, and has closed its view. */
  stopped: () => boolean;
}

/** Opens the view and brings it to where the log can be read on. Throws what keeps it from being trusted. */
export async function openView(options: RecoveryOptions): Promise<View> {
  const { log, folder } = options;
  rmSync(folder, { recursive: true, force: true }); // what a crash left on the way
  const lost = lostView(options.view);
  const view = await soundView(options);
  try {
    const { sequence, stream_created } = view.witness();
    const { first, last } = await log.extent();
    const known = readWitness(options.witness, (why) => tellUnreadable(options, why, lost !== undefined));
    if (lost !== undefined && last >= first) {
      const level = known === undefined && lost === "gone" ? "info" : "warn";
      const what = lost === "gone" ? "there is no view in this folder" : "the view in this folder is an empty file";
      options.logger[level](`${what}: it is made from what the broker has`, { up_to: last });
    }
    // A machine that lost its power may have lost the end of both, the view's and the log's: the witness remembers.
    if (known?.stream_created === log.created && known.sequence > sequence) await requireWitnessed(log, known);
    if (sequence > 0 && stream_created === log.created && sequence + 1 >= first) return view;
    if (sequence > 0 && stream_created !== log.created) {
      const made = await fromSnapshots(options, view, (manifest) => descends(manifest, view));
      if (!made) await requireSameCluster(options, first, view);
      return view; // catching up says what is wrong with it
    }
    if (sequence === 0) await requireWitnessed(log, known);
    await goOn(options, view);
    return view;
  } catch (error) {
    view.close();
    throw error;
  }
}

/** For a coordinator that runs: the log does not go on from its view any more, or the view is not what was folded. */
export async function renewView(options: RecoveryOptions, view: View, why: ClawError): Promise<void> {
  if (why instanceof Damaged) {
    await requireReplaceable(why, options);
    requireRunning(options);
    view.replace(() => putAway(why, options));
  }
  await goOn(options, view);
}

/** The view as some snapshot has it; or as it is, if the log goes on from there. */
async function goOn(options: RecoveryOptions, view: View): Promise<void> {
  const { sequence } = view.witness();
  if (await fromSnapshots(options, view, (manifest) => manifest.sequence > sequence)) return;
  const { first } = await options.log.extent();
  if (sequence + 1 >= first) return;
  throw new ClawError(
    "log_lost",
    `the log begins at ${first}, the view ends at ${sequence}, and no snapshot is there to go on from`,
  );
}

/** What there is in the place of a view: nothing, or a file of nothing. */
function lostView(path: string): "gone" | "empty" | undefined {
  if (!existsSync(path)) return "gone";
  // With a log of its own beside it SQLite may know more.
  const empty = [path, `${path}-wal`].every((file) => !existsSync(file) || statSync(file).size === 0);
  return empty ? "empty" : undefined;
}

function tellUnreadable({ witness, logger }: RecoveryOptions, why: string, lost: boolean): void {
  const checks = lost
    ? "nothing tells whether the broker's log is whole"
    : "the view alone tells whether the broker's log is whole";
  logger.warn(`the second witness of what was acknowledged cannot be read: ${checks}, and it is written anew`, {
    ...{ file: witness, why },
  });
}

function requireRunning({ stopped }: RecoveryOptions): void {
  if (stopped()) throw new ClawError("not_leading", "the coordinator is stopping");
}

/** The view as it is, or an empty one in the place of a damaged one that can be made again. */
async function soundView(options: RecoveryOptions): Promise<View> {
  try {
    return openSound(options.view);
  } catch (error) {
    if (!(error instanceof Damaged)) throw error;
    await requireReplaceable(error, options);
    putAway(error, options);
    return openSound(options.view);
  }
}

/** Throws for a damaged view that may have known more than the log does. */
async function requireReplaceable(error: Damaged, { witness, log }: RecoveryOptions): Promise<void> {
  const known = readWitness(witness);
  if (known === undefined) {
    const none = existsSync(witness) ? `${witness} cannot be read` : `there is no ${witness}`;
    throw undecided(error, `${none} to check the log by`);
  }
  await requireWitnessed(log, known);
}

function putAway({ message: why, cause }: Damaged, { view, logger }: RecoveryOptions): void {
  const kept = setAside(view, "damaged");
  // What SQLite found, or threw; a stack says nothing about a file.
  const found = cause === undefined ? {} : { cause: messageOf(cause) };
  logger.warn("the view was damaged; the log has all that it had, so it is made again", { why, ...found, kept });
}

function openSound(path: string): View {
  const view = new View(path);
  try {
    view.check();
    return view;
  } catch (error) {
    view.close();
    throw error;
  }
}

function undecided(error: ClawError, why: string): ClawError {
  return new ClawError(error.code, `${error.message}, and ${why}`, {
    hint: "it was the witness of what was acknowledged: if you know that the broker lost nothing, move it away and start claw again; if not, `claw snapshot restore FILE`",
    cause: error,
  });
}

/** Of views that came to be damaged, or outdated, the newest so many are kept for who wonders. */
const KEPT = 2;

/** Moves a database away, beside what was moved there before, of which the newest `most` stay; gives its new path. */
export function setAside(path: string, why: string, most = KEPT): string {
  const nameOf = (number: number): string => `${path}.${why}${number === 1 ? "" : `-${number}`}`;
  const names = new Set(readdirSync(dirname(path)));
  const beginning = `${basename(nameOf(1))}-`;
  const later = [...names].filter((name) => name.startsWith(beginning)).map((name) => name.slice(beginning.length));
  const taken = later.filter((rest) => /^[1-9]\d{0,8}$/.test(rest)).map(Number);
  if (names.has(basename(nameOf(1)))) taken.push(1);
  const next = Math.max(0, ...taken) + 1;
  for (const number of taken) if (number <= next - most) removeDatabase(nameOf(number));
  const kept = nameOf(next);
  for (const suffix of ["", "-wal"]) if (existsSync(path + suffix)) renameSync(path + suffix, kept + suffix);
  removeDatabase(path);
  return kept;
}

/** Throws log_lost for a log that lacks something that was known to be acknowledged. */
async function requireWitnessed(log: LogUpkeep, known: WitnessFile | undefined): Promise<void> {
  if (known === undefined || known.sequence === 0) return;
  if (known.stream_created !== log.created) {
    throw new ClawError("log_lost", "the broker's log is not the one that this coordinator knew");
  }
  const { first, last } = await log.extent();
  if (last < known.sequence) {
    throw new ClawError(
      "log_lost",
      `the broker's log ends at ${last}, but ${known.sequence} was acknowledged: the broker lost data`,
    );
  }
  if (known.sequence < first) return;
  for await (const { payload } of log.read(known.sequence)) {
    if (batchHash(payload) === known.hash) return;
    break;
  }
  throw new ClawError("log_lost", `the broker's log has another batch ${known.sequence} than was acknowledged`);
}

/** Whether the view is of a log that this snapshot's took the place of, and no newer than what was taken over. */
function descends(manifest: Manifest, view: View): boolean {
  const { sequence, stream_created } = view.witness();
  const same = manifest.cluster_id === clusterOf(view);
  return same && manifest.ancestors.some((one) => one.stream_created === stream_created && one.sequence >= sequence);
}

function clusterOf(view: View): string {
  const { cluster_id } = JSON.parse(view.meta("state") ?? "{}") as { cluster_id?: string };
  return cluster_id ?? "";
}

async function requireSameCluster(options: RecoveryOptions, first: number, view: View): Promise<void> {
  const { log } = options;
  for await (const { payload } of log.read(first)) {
    const batch = Batch.safeParse(JSON.parse(new TextDecoder().decode(payload)));
    if (!batch.success || batch.data.cluster_id === clusterOf(view)) return;
    const { cluster_id } = batch.data;
    throw new ClawError("wrong_cluster", `the view is of cluster ${clusterOf(view)}, the log is of ${cluster_id}`, {
      hint: strayView(options, cluster_id),
    });
  }
}

/** Beside the keys that the log is read with, it is the view that does not belong here. */
function strayView({ view, witness, log }: RecoveryOptions, cluster_id: string): string {
  const folder = dirname(view);
  if (!Identity.exists(folder) || Identity.isOf(folder, cluster_id) === false) {
    return "this data folder belongs to another cluster: name that one's NATS and cluster, or another CLAW_HOME";
  }
  const known = readWitness(witness);
  const stray = known === undefined || known.stream_created === log.created ? [view] : [view, witness];
  return `the keys here are of the log's cluster, the view is not: move ${stray.join(" and ")} away and start claw again, and the view is made from the log`;
}

/** Puts the newest snapshot that the log goes on from into the view's place; false when there is none. */
async function fromSnapshots(
  options: RecoveryOptions,
  view: View,
  wanted: (manifest: Manifest) => boolean,
): Promise<boolean> {
  const { log, store } = options;
  const tried = new Set<string>();
  // Who leads meanwhile removes old ones under our hands, once there are newer ones.
  for (;;) {
    const listed = (await store.list()).filter(({ id }) => !tried.has(id));
    if (listed.length === 0) return false;
    const { first } = await log.extent();
    const made = await restored(
      options,
      view,
      listed.filter((one) => one.stream_created === log.created && one.sequence + 1 >= first && wanted(one)),
    );
    if (made) return true;
    for (const { id } of listed) tried.add(id);
  }
}

/** The newest of these that is sound, in the view's place; false when there is none. */
async function restored(options: RecoveryOptions, view: View, from: readonly Manifest[]): Promise<boolean> {
  const { view: path, folder, store, maker, logger } = options;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const packed = join(folder, "restored.zst");
  const to = join(folder, "restored.sqlite");
  try {
    for (const manifest of from) {
      const { id, sequence } = manifest;
      try {
        await store.download(manifest, packed);
        await maker.check({ manifest, path: packed, headed: false, to });
      } catch (error) {
        if (!(error instanceof ClawError) || error.code === "broker") throw error;
        logger.warn("a snapshot cannot be used", { id, why: error.message });
        continue;
      }
      requireRunning(options);
      const fresh = view.witness().sequence === 0;
      view.replace(() => {
        if (fresh) removeDatabase(path);
        else setAside(path, "outdated");
        renameSync(to, path);
      });
      logger.info("the view is made from a snapshot", { id, sequence });
      return true;
    }
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
