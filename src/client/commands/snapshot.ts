// `snapshot save` and `snapshot ls`: a cluster's whole state into a file, and what copies it has. (`restore` works without a
// coordinator: operations/restore.ts.)

import {
  accessSync,
  constants,
  createWriteStream,
  lstatSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { ClawError, messageOf } from "../../common/errors.ts";
import { isoTime, randomHex } from "../../common/runtime.ts";
import { chunksOf, headOf, type Manifest } from "../../common/snapshot.ts";
import { formatSize } from "../../common/units.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { type Column, modeOf, printRows } from "../output.ts";
import { agreed } from "../select.ts";
import { ageOf } from "../show.ts";

export async function listSnapshots(
  io: Io,
  client: RequestClient,
  options: { json?: boolean; quiet?: boolean; color?: string },
): Promise<number> {
  const { snapshots } = await client.query("snapshot.list", {});
  const now = io.runtime.wall_ms();
  const columns: Column<Manifest>[] = [
    { title: "SNAPSHOT", value: ({ id }) => id },
    { title: "SEQUENCE", value: ({ sequence }) => String(sequence), right: true },
    { title: "AGE", value: ({ created_at }) => ageOf(created_at, now), right: true },
    { title: "ROWS", value: ({ rows }) => String(rows), right: true },
    { title: "SIZE", value: ({ bytes }) => formatSize(bytes), right: true },
  ];
  await printRows(io, modeOf(options), snapshots, columns, {
    id: ({ id }) => id,
    json: readable,
    empty: "none yet; one is taken now and then, and by: claw snapshot save FILE",
    color: options.color,
  });
  return 0;
}

function readable(manifest: Manifest): object {
  return { ...manifest, created_at: isoTime(manifest.created_at) };
}

export async function saveSnapshot(
  io: Io,
  client: RequestClient,
  target: string,
  options: { json?: boolean; force?: boolean; yes?: boolean },
): Promise<number> {
  if (target === "-" && options.json === true) {
    throw new ClawError("usage", "standard output takes the snapshot or the JSON, not both", { field: "--json" });
  }
  if (target === "-" && io.terminal.out) {
    throw new ClawError("usage", "a snapshot is no text for a terminal", { hint: "claw snapshot save FILE" });
  }
  const place = target === "-" ? undefined : placeOf(resolve(io.cwd, target));
  // Asked before the work begins.
  if (place?.there === "file" && options.force !== true && options.yes !== true && !(await mayReplace(io, target))) {
    return 1;
  }
  const manifest = await take(io, client);
  if (place === undefined) await send(client, manifest, (bytes) => io.out(bytes));
  else if (place.there === "other") await write(client, manifest, place.path, place.path);
  else await replace(client, manifest, place.path);
  if (options.json === true) await io.out(`${JSON.stringify(readable(manifest))}\n`);
  else {
    const { sequence, rows, bytes } = manifest;
    const where = target === "-" ? "" : ` in ${join(target)}`;
    io.err(`claw: saved everything up to sequence ${sequence} (${rows} rows, ${formatSize(bytes)})${where}\n`);
  }
  return 0;
}

interface Place {
  path: string;
  there: "nothing" | "file" | "other";
}

/**
 * Links are followed. What is no file (a device, a pipe) is written into, as standard output is, and never replaced. Throws
 * for one that cannot be written: a snapshot that is taken for nothing takes its time, and the place of an older one.
 */
function placeOf(path: string): Place {
  const place = found(path);
  try {
    // A file takes its place whole, as a new one in the same folder.
    if (place.there === "other") accessSync(place.path, constants.W_OK);
    else accessSync(dirname(place.path), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unwritable(path, error);
  }
  return place;
}

function found(path: string): Place {
  try {
    const entry = statSync(path, { throwIfNoEntry: false });
    if (entry?.isDirectory() === true) {
      throw new ClawError("io", `cannot write ${path}: it is a folder`, { hint: "name a file in it", field: path });
    }
    if (entry !== undefined && !entry.isFile()) return { path, there: "other" };
    if (entry !== undefined) return { path: realpathSync(path), there: "file" };
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return { path, there: "nothing" };
  } catch (error) {
    throw unwritable(path, error);
  }
  throw new ClawError("conflict", `${path} is a link to what is not there`, {
    hint: "remove the link, or name the file itself",
    field: path,
  });
}

function unwritable(path: string, error: unknown): ClawError {
  if (error instanceof ClawError) return error;
  return new ClawError("io", `cannot write ${path}: ${messageOf(error)}`, { cause: error });
}

/** It may be the only copy that there is of something. */
async function mayReplace(io: Io, target: string): Promise<boolean> {
  if (io.terminal.in && io.terminal.err) return await agreed(io, `write over ${target}`, false);
  throw new ClawError("conflict", `${target} is there already`, {
    hint: "add --force to write over it",
    field: target,
  });
}

async function take(io: Io, client: RequestClient): Promise<Manifest> {
  const nonce = randomHex(io.runtime, 16);
  for (;;) {
    const { manifest } = await client.command("snapshot.take", { v: 1, nonce });
    if (manifest !== undefined) return manifest;
  }
}

async function send(
  client: RequestClient,
  manifest: Manifest,
  put: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const hash = new Bun.CryptoHasher("sha256");
  await put(headOf(manifest));
  for (let at = 0; at < chunksOf(manifest); at++) {
    const bytes = Buffer.from((await client.query("snapshot.chunk", { id: manifest.id, at })).data, "base64");
    hash.update(bytes);
    await put(bytes);
  }
  if (hash.digest("hex") !== manifest.sha256) throw new ClawError("io", "the snapshot came damaged: save it again");
}

/** Whole or not at all. */
async function replace(client: RequestClient, manifest: Manifest, path: string): Promise<void> {
  const draft = `${path}.${process.pid}.new`;
  try {
    await write(client, manifest, draft, path);
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    // One that may not be written.
    throw error instanceof Error && "syscall" in error ? unwritable(path, error) : error;
  }
}

/** `named` is what people know it by. */
async function write(client: RequestClient, manifest: Manifest, path: string, named: string): Promise<void> {
  const file = createWriteStream(path, { mode: 0o600 });
  const failed = new Promise<never>((_, reject) => {
    file.on("error", (error) => reject(unwritable(named, error)));
  });
  failed.catch(() => undefined);
  try {
    const put = (bytes: Uint8Array): Promise<void> => new Promise((done) => void file.write(bytes, () => done()));
    await Promise.race([send(client, manifest, put), failed]);
    await Promise.race([new Promise<void>((done) => file.end(done)), failed]);
  } catch (error) {
    file.destroy();
    throw error;
  }
}
