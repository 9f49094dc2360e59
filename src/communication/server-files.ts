// The files of the nats-server child: the configuration that it gets, what it said, the port that it had.

import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { writePrivate } from "./private.ts";

const LAST_LINES = 5;
const TAIL_BYTES = 16 * 1024;

export interface ListenAddress {
  host: string;
  port: number;
}

/**
 * Every acknowledged write is on the disk. The disk is the limit of the store: the server's own default, three quarters
 * of what was free when it started, refuses all writes as soon as the store is larger than what is left beside it. A
 * CONNECT carries the JWT and counts as a control line. There is no monitoring port: it would answer everybody.
 */
function configText(data_dir: string, { host, port }: ListenAddress, identity_config: string): string {
  return `# Written by claw at each start: changes are lost.
server_name: claw
listen: ${JSON.stringify(`${host.includes(":") ? `[${host}]` : host}:${port}`)}
jetstream {
  store_dir: ${JSON.stringify(join(data_dir, "jetstream"))}
  sync_interval: always
  max_file_store: 1PB
}
log_file: ${JSON.stringify(join(data_dir, "nats-server.log"))}
logfile_size_limit: 16MB
logfile_max_num: 3
max_control_line: 8KB
${identity_config}`;
}

export class ServerFiles {
  readonly #data_dir: string;
  readonly #log: string;
  readonly #output: string;
  #log_begin = 0;

  constructor(data_dir: string) {
    this.#data_dir = data_dir;
    this.#log = join(data_dir, "nats-server.log");
    this.#output = join(data_dir, "nats-server.out");
  }

  /** For the next launch; gives the path of the configuration and a descriptor for what the child prints. */
  prepare(address: ListenAddress, identity_config: string): { config: string; output: number } {
    const config = join(this.#data_dir, "nats-server.conf");
    writePrivate(config, configText(this.#data_dir, address, identity_config));
    this.#log_begin = sizeOf(this.#log);
    return { config, output: openSync(this.#output, "w", 0o600) };
  }

  /** The last lines that the child has logged or printed since its launch. */
  lastLines(): string {
    const rotated = sizeOf(this.#log) < this.#log_begin;
    const text = tail(this.#log, rotated ? 0 : this.#log_begin) + tail(this.#output, 0);
    return text.trim().split("\n").slice(-LAST_LINES).join("\n");
  }

  /** The port of the last start, if the same one was wanted then: clients elsewhere know it. */
  lastPort(wanted: number): number | undefined {
    try {
      const [before, port] = readFileSync(this.#portPath(), "utf8").trim().split(" ").map(Number);
      return before === wanted && port !== undefined && port > 0 && port < 65536 ? port : undefined;
    } catch {
      return undefined; // the first start
    }
  }

  rememberPort(wanted: number, port: number): void {
    if (this.lastPort(wanted) !== port) writePrivate(this.#portPath(), `${wanted} ${port}\n`);
  }

  #portPath(): string {
    return join(this.#data_dir, "nats-port");
  }
}

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}

function tail(path: string, begin: number): string {
  const size = sizeOf(path);
  const bytes = Buffer.alloc(Math.min(TAIL_BYTES, Math.max(0, size - begin)));
  if (bytes.length === 0) return "";
  const fd = openSync(path, "r");
  try {
    return bytes.toString("utf8", 0, readSync(fd, bytes, 0, bytes.length, size - bytes.length));
  } finally {
    closeSync(fd);
  }
}

/** The port if it is free (0: any free one), else 0. */
export function freePort(host: string, port: number): number {
  try {
    const probe = Bun.listen({ hostname: host, port, socket: { data: () => undefined } });
    const free = probe.port;
    probe.stop(true);
    return free;
  } catch {
    return 0;
  }
}
