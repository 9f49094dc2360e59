// Where a coordinator on this machine is to be found: a file that only the same user can read. It is believed only while
// the process that wrote it lives.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ClawError } from "../common/errors.ts";
import { readPrivate, writePrivate } from "./private.ts";

const Endpoint = z.object({
  version: z.literal(1),
  cluster: z.string(),
  nats_url: z.string(),
  http_url: z.string().optional(),
  token_file: z.string().optional(),
  pid: z.int().min(1),
  /** The client's credentials file; empty where the NATS takes none. */
  creds: z.string(),
});
export type Endpoint = z.infer<typeof Endpoint>;

const Written = Endpoint.extend({ life: z.string() });

const pathOf = (data_dir: string): string => join(data_dir, "endpoint.json");

export function writeEndpoint(data_dir: string, endpoint: Endpoint): void {
  const written = { ...endpoint, life: lifeOf(endpoint.pid) ?? "" };
  writePrivate(pathOf(data_dir), `${JSON.stringify(written)}\n`);
}

/** Undefined when there is none, or when its coordinator is gone; throws when it is not ours to read. */
export function readEndpoint(data_dir: string): Endpoint | undefined {
  try {
    const { life, ...endpoint } = Written.parse(JSON.parse(readPrivate(pathOf(data_dir))));
    return lifeOf(endpoint.pid) === life ? endpoint : undefined;
  } catch (error) {
    if (error instanceof ClawError && error.code !== "not_found") throw error;
    return undefined;
  }
}

/** Removes the file of this process; another's is left. */
export function removeEndpoint(data_dir: string, pid: number): void {
  if (readEndpoint(data_dir)?.pid === pid) rmSync(pathOf(data_dir), { force: true });
}

/** What tells a living process from a later one with the same number, also after a reboot; undefined when it is gone. */
function lifeOf(pid: number): string | undefined {
  if (process.platform !== "linux") {
    const env = { PATH: "/usr/bin:/bin", LC_ALL: "C" };
    const started = Bun.spawnSync(["ps", "-o", "lstart=", "-p", String(pid)], { env })
      .stdout.toString()
      .trim();
    return started === "" ? undefined : started;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name may hold spaces and parentheses: fields are counted from the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}:${fields[19]}`;
  } catch {
    return undefined; // it is gone
  }
}
