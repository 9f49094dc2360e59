// Where a coordinator on this machine is to be found: a file that only the same user can read.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { writePrivate } from "./credentials.ts";

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

const pathOf = (data_dir: string): string => join(data_dir, "endpoint.json");

export function writeEndpoint(data_dir: string, endpoint: Endpoint): void {
  writePrivate(pathOf(data_dir), `${JSON.stringify(endpoint)}\n`);
}

/** Undefined when there is none, or when its coordinator is gone. */
export function readEndpoint(data_dir: string): Endpoint | undefined {
  try {
    const endpoint = Endpoint.parse(JSON.parse(readFileSync(pathOf(data_dir), "utf8")));
    process.kill(endpoint.pid, 0);
    return endpoint;
  } catch {
    return undefined;
  }
}

/** Removes the file of this process; another's is left. */
export function removeEndpoint(data_dir: string, pid: number): void {
  if (readEndpoint(data_dir)?.pid === pid) rmSync(pathOf(data_dir), { force: true });
}
