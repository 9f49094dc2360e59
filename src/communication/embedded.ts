// The nats-server that the binary carries, packed; absent when claw runs from source.

import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { ClawError } from "../common/errors.ts";
import { checkServerVersion } from "./connection.ts";

declare const CLAW_NATS_VERSION: string | undefined;

function embedded(): { version: string; blob: Blob } | undefined {
  if (typeof CLAW_NATS_VERSION === "undefined") return undefined;
  const blob = Bun.embeddedFiles.find((file) => (file as File).name === "nats-server.zst");
  return blob === undefined ? undefined : { version: CLAW_NATS_VERSION, blob };
}

/** Unpacks once a version, whole or not at all. */
async function unpack(folder: string, version: string, blob: Blob): Promise<string> {
  const path = join(folder, `nats-server-${version}`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}.new`;
  await Bun.write(draft, await Bun.zstdDecompress(await blob.bytes()), { mode: 0o700 });
  renameSync(draft, path);
  return path;
}

/** Path of a nats-server to run: the one that was named, the binary's own, the environment's, or one on the PATH. */
export async function serverExecutable(folder: string, named: string | undefined): Promise<string> {
  const own = embedded();
  if (named === undefined && own !== undefined) return await unpack(folder, own.version, own.blob);
  const path = named ?? process.env["NATS_SERVER"] ?? Bun.which("nats-server");
  if (path === null || path === "" || !existsSync(path)) {
    throw new ClawError("broker", `there is no nats-server${path === null ? " on the PATH" : ` at ${path}`}`, {
      hint: "use the built claw, which carries one, or set nats.url to a NATS that runs",
      field: "nats.server",
    });
  }
  const version = Bun.spawnSync([path, "--version"]).stdout.toString();
  checkServerVersion(/v(\d+\.\d+\.\d+)/.exec(version)?.[1] ?? "");
  return path;
}
