// A whole cluster put back from a saved snapshot, or from the view of this machine when the broker lost the log: on the
// coordinator's machine, while none runs. The log is replaced by a new stream that begins where the restored state ends, so
// that cluster id, sequences and tasks stay what they were; workers are reconciled as after any other absence.

import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { CoordinatorConfig } from "../common/config.ts";
import { ClawError, messageOf } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import type { TaskCounts } from "../common/models.ts";
import type { Paths } from "../common/paths.ts";
import { isoTime, type Runtime, randomHex } from "../common/runtime.ts";
import type { Manifest } from "../common/snapshot.ts";
import { plural } from "../common/units.ts";
import { openBroker } from "../communication/broker.ts";
import type { NatsConnection } from "../communication/connection.ts";
import { Identity } from "../communication/identity.ts";
import { type LogUpkeep, openLog, renewLog } from "../communication/log.ts";
import { openSnapshots, type SnapshotStore } from "../communication/snapshots.ts";
import { subjects } from "../communication/subjects.ts";
import { setAside } from "../coordinator/recovery.ts";
import { readWitness } from "../coordinator/witness.ts";
import { readManifest } from "../storage/packed.ts";
import { type Content, checkSnapshot, newerThan, readContent, takeSnapshot } from "../storage/snapshot.ts";
import { View } from "../storage/view.ts";

export interface RestoreOptions {
  runtime: Runtime;
  config: CoordinatorConfig;
  paths: Paths;
  logger: Logger;
  /** A file that `claw snapshot save` wrote; undefined: this machine's own view. */
  file: string | undefined;
  /** Although something that is there would be lost. */
  force: boolean;
  /** The command that does the same with force, for whoever is refused. */
  forced: string;
}

interface Restored {
  manifest: Manifest;
  tasks: TaskCounts;
  /** Where the view that was there before is now. */
  kept: string | undefined;
  /** The cluster's keys are here (or its NATS is somebody else's), so that credentials are still good. */
  credentials: boolean;
}

const LED_MS = 2_000;
/** Of NATS: no one listens there; somebody does, and said nothing. */
const [NOBODY, LATE] = ["503", "TIMEOUT"];

interface Places {
  view: string;
  witness: string;
  folder: string;
  /** The restored view on its way. */
  made: string;
}

/** Throws `already_running` beside a coordinator, `conflict` where something would be lost, and `io` for a damaged source. */
export async function restoreCluster(options: RestoreOptions): Promise<Restored> {
  const { paths, config, runtime } = options;
  const folder = join(paths.coordinator_dir, "restore");
  const places: Places = {
    view: join(paths.coordinator_dir, "view.sqlite"),
    witness: join(paths.coordinator_dir, "witness.json"),
    folder,
    made: join(folder, "view.sqlite"),
  };
  if (options.file !== undefined) readManifest(options.file); // before anything is made here
  const own = config.nats.url === undefined;
  const keyless = own && !Identity.exists(paths.coordinator_dir); // before any are made here
  const broker = await openBroker({ ...options, onFailed: (error) => options.logger.error(error.message) });
  let connection: NatsConnection | undefined;
  try {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const manifest = prepare(options, places);
    const there = contentOf(places.view);
    const noted = own ? Identity.isOf(paths.coordinator_dir, manifest.cluster_id) : true;
    const alike = noted ?? (there === undefined || there.cluster_id === manifest.cluster_id);
    const credentials = alike && !keyless;
    connection = await broker.connect("claw restore");
    const { cluster } = config;
    const { replicas, domain, url } = config.nats;
    const hidden = url === undefined;
    if (!own) await refuseLed(connection, cluster, broker.identity ?? "coordinator");
    const log = await openLog(connection, runtime, cluster, replicas, domain, undefined, hidden);
    // Before the log goes: nats-server removes the folder of an account that has no stream left a moment later, when the
    // next one may be made in it just now.
    const store = await openSnapshots(connection, runtime, cluster, replicas, domain, hidden);
    if (!options.force) await refuseLoss(manifest, log, store, places, options);
    const renewed = await renewLog(connection, runtime, cluster, replicas, domain, manifest.sequence, hidden);
    const tasks = adopt(places.made, manifest, renewed.created);
    const kept = existsSync(places.view) ? setAside(places.view, "before", Number.POSITIVE_INFINITY) : undefined;
    rmSync(places.witness, { force: true });
    renameSync(places.made, places.view);
    return { manifest: await publish(store, places, runtime), tasks, kept, credentials };
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await connection?.close();
    await broker.close();
  }
}

/** The state to be restored as a checked view of its own; gives what it is. */
function prepare({ file, runtime }: RestoreOptions, { view, folder, made }: Places): Manifest {
  if (file !== undefined) {
    const manifest = readManifest(file);
    checkSnapshot({ manifest, path: file, headed: true, to: made });
    return manifest;
  }
  const hint = "restore a saved snapshot: claw snapshot restore FILE";
  if (!existsSync(view)) throw new ClawError("not_found", `there is no view at ${view}`, { hint });
  // Opened first, so that one of an earlier format is brought up to this one, and a damaged one is said to be.
  new View(view).close();
  if (contentOf(view) === undefined) throw new ClawError("not_found", `the view at ${view} is empty`, { hint });
  const taken = takeSnapshot({ view, folder, nonce: randomHex(runtime, 8), now: runtime.wall_ms() });
  checkSnapshot({ manifest: taken.manifest, path: taken.path, headed: false, to: made });
  return taken.manifest;
}

/** Another coordinator would go on with what it has, and end at a log that is none of its. */
async function refuseLed(connection: NatsConnection, cluster: string, who: string): Promise<void> {
  try {
    await connection.request(subjects.query(cluster, who, "cluster.status"), "{}", { timeout: LED_MS });
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === NOBODY) return;
    // One that sleeps hears, and does not answer.
    if (code !== LATE)
      throw new ClawError("broker", `nobody could be asked who leads: ${messageOf(error)}`, { cause: error });
  }
  throw new ClawError("already_running", "a coordinator leads this cluster, on another machine", {
    hint: "stop all of them (claw status names them), then restore; afterwards start this one first",
  });
}

/** Names what would be lost; nothing is restored over it unasked. */
async function refuseLoss(
  manifest: Manifest,
  log: LogUpkeep,
  store: SnapshotStore,
  places: Places,
  options: RestoreOptions,
): Promise<void> {
  const losses = [...viewLosses(manifest, places), ...(await logLosses(manifest, log, options.file !== undefined))];
  // Where view and log are gone, others may still know of more.
  if (losses.length === 0) losses.push(...witnessLosses(manifest, places), ...(await storeLosses(manifest, store)));
  if (losses.length === 0) return;
  throw new ClawError("conflict", `restoring sequence ${manifest.sequence} would lose ${losses.join("; ")}`, {
    hint: `if that is what you want: ${options.forced}`,
  });
}

function batches(count: number): string {
  return `${count} ${count === 1 ? "batch" : "batches"}`;
}

function viewLosses(manifest: Manifest, { view, made }: Places): string[] {
  const there = contentOf(view);
  if (there === undefined) return [];
  if (there.cluster_id !== manifest.cluster_id) {
    return [`the cluster ${there.cluster} (${there.cluster_id.slice(0, 8)}) that is in this folder`];
  }
  const newer = there.sequence - manifest.sequence;
  if (newer <= 0) return [];
  const { submitted, ended } = newerThan(view, made);
  const what = `${plural(submitted, "task")} submitted and the ends of ${plural(ended, "earlier task")}`;
  return [`${what}, which this machine's view has (${batches(newer)}, up to ${there.sequence})`];
}

function witnessLosses(manifest: Manifest, { view, witness }: Places): string[] {
  const there = readWitness(witness);
  if (there === undefined || contentOf(view) !== undefined) return [];
  if (there.cluster_id !== "" && there.cluster_id !== manifest.cluster_id)
    return [`the cluster ${there.cluster_id.slice(0, 8)} of this folder`];
  const newer = there.sequence - manifest.sequence;
  return newer > 0 ? [`${batches(newer)} that were acknowledged (up to ${there.sequence}, by witness.json)`] : [];
}

async function storeLosses(manifest: Manifest, store: SnapshotStore): Promise<string[]> {
  const [newest] = await store.list();
  if (newest === undefined || newest.sequence <= manifest.sequence) return [];
  const { sequence, created_at } = newest;
  return [
    `what the snapshot of ${isoTime(created_at)} has (${batches(sequence - manifest.sequence)}, up to ${sequence})`,
  ];
}

/** What a view has; undefined where there is none, or none that can be read: it is kept aside, so nothing of it is lost. */
function contentOf(path: string): Content | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return readContent(path);
  } catch (error) {
    if (!(error instanceof ClawError)) throw error;
    return undefined;
  }
}

async function logLosses(manifest: Manifest, log: LogUpkeep, saved: boolean): Promise<string[]> {
  const { first, last } = await log.extent();
  const there = last - first + 1;
  if (there <= 0) return [];
  if (log.created !== manifest.stream_created) return [`${there} batches of another log (up to ${last})`];
  const newer = last - manifest.sequence;
  const since = saved ? `, since ${isoTime(manifest.created_at)}` : "";
  if (newer > 0) return [`the last ${batches(newer)} of the log (up to ${last}${since})`];
  return newer === 0 ? ["a log that is sound and ends where this does"] : [];
}

/**
 * Tasks of a future that is lost may have had the next numbers, and workers may still report them: so numbers go on far
 * beyond. No power of two: the hash of what a node holds (core/held.ts) knows a number's lower 32 bits.
 */
const NUMBERS_APART = 1_000_000_000;

/** Makes it the new log's view: its identity, the old one's among its ancestors, and numbers that were never used. */
function adopt(path: string, manifest: Manifest, stream_created: string): TaskCounts {
  const view = new View(path);
  try {
    const ancestors = [...manifest.ancestors, { stream_created: manifest.stream_created, sequence: manifest.sequence }];
    return view.adopt(stream_created, ancestors, NUMBERS_APART);
  } finally {
    view.close();
  }
}

/** So that coordinators elsewhere can go on from the same state. */
async function publish(store: SnapshotStore, { view, folder }: Places, runtime: Runtime): Promise<Manifest> {
  const nonce = randomHex(runtime, 8);
  const { manifest, path } = takeSnapshot({ view, folder, nonce, now: runtime.wall_ms() });
  await store.upload(manifest, path);
  await store.confirm(manifest);
  return manifest;
}
