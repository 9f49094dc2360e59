// The nats-server to run: the one that the binary carries, packed, or, when claw runs from source, one of this machine.

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { ClawError, messageOf, writeProblem } from "../common/errors.ts";
import { checkServerVersion } from "./connection.ts";
import { discard } from "./private.ts";

declare const CLAW_NATS_VERSION: string | undefined;

function embedded(): { version: string; blob: Blob } | undefined {
  if (typeof CLAW_NATS_VERSION === "undefined") return undefined;
  const blob = Bun.embeddedFiles.find((file) => (file as File).name === "nats-server.zst");
  return blob === undefined ? undefined : { version: CLAW_NATS_VERSION, blob };
}

/**
 * Unpacks once a build, whole or not at all: synced before it gets its name. The packed size is part of the name, so that
 * another build of the same version is not taken for it. Those of earlier builds are removed.
 */
export async function unpack(folder: string, version: string, blob: Blob): Promise<string> {
  const name = `nats-server-${version}-${blob.size}`;
  const path = join(folder, name);
  if (existsSync(path)) return path;
  const draft = `${path}.${process.pid}.new`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const other of readdirSync(folder)) if (other !== name) rmSync(join(folder, other), { force: true });
    const program = await Bun.zstdDecompress(await blob.bytes());
    const fd = openSync(draft, "w", 0o700);
    try {
      for (let at = 0; at < program.length; ) at += writeSync(fd, program, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, path);
  } catch (error) {
    discard(draft);
    throw writeProblem(error, "unpack nats-server");
  }
  return path;
}

/** Path of a nats-server to run: the one that was named, the binary's own, the environment's, or one on the PATH. */
export async function serverExecutable(folder: string, named: string | undefined): Promise<string> {
  const own = embedded();
  if (named === undefined && own !== undefined) return await unpack(folder, own.version, own.blob);
  const wanted = named ?? process.env["NATS_SERVER"] ?? "nats-server";
  const path = Bun.which(wanted);
  if (path === null) {
    throw new ClawError("broker", `there is no program ${wanted}`, {
      hint: "use the built claw, which carries a nats-server, name one in nats.server, or set nats.url to a NATS that runs",
      field: "nats.server",
    });
  }
  checkServerVersion(versionOf(path));
  return path;
}

/** Asked before it runs: an older server must not touch a newer one's store. */
function versionOf(path: string): string {
  try {
    const said = Bun.spawnSync([path, "--version"], { stderr: "ignore" }).stdout.toString();
    return /v(\d+\.\d+\.\d+)/.exec(said)?.[1] ?? "";
  } catch (error) {
    throw new ClawError("broker", `cannot run ${path}: ${messageOf(error)}`, { field: "nats.server", cause: error });
  }
}
