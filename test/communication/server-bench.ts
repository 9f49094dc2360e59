// What the tests of this folder share: a real server of its own, in a temporary folder, and a check that nothing stays.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { systemRuntime } from "../../src/common/runtime.ts";
import { Identity } from "../../src/communication/identity.ts";
import { NatsServerChild, type NatsServerOptions, type ServerEvent } from "../../src/communication/server.ts";

export const CLUSTER = "test";
const DEADLINE_MS = 10_000;

/** scripts/test names one; else what scripts/build left; else the PATH. */
export function findServer(): string {
  const named = process.env["NATS_SERVER"] ?? "";
  if (named !== "") return named;
  const tools = resolve(import.meta.dir, "../../.tools");
  const [built] = [...new Bun.Glob("nats-server-*").scanSync({ cwd: tools, onlyFiles: false })];
  return built === undefined ? "nats-server" : join(tools, built);
}

export interface Bench {
  folder: string;
  identity: Identity;
  server: NatsServerChild;
  events: ServerEvent[];
  /** Resolves with the first event of that kind that was not asked for before. */
  event(kind: ServerEvent["kind"]): Promise<ServerEvent>;
  close(): Promise<void>;
}

export function openBench(more: Partial<NatsServerOptions> = {}): Bench {
  const folder = more.data_dir ?? mkdtempSync(join(tmpdir(), "claw-server-"));
  const identity = more.identity ?? Identity.open(folder, CLUSTER, systemRuntime);
  const events: ServerEvent[] = [];
  const taken = new Set<ServerEvent>();
  const server = new NatsServerChild({
    runtime: systemRuntime,
    data_dir: folder,
    host: "127.0.0.1",
    port: 0,
    identity,
    executable: findServer(),
    onEvent: (event) => void events.push(event),
    ...more,
  });
  return {
    folder,
    identity,
    server,
    events,
    async event(kind) {
      const found = await until(() => events.find((event) => event.kind === kind && !taken.has(event)), kind);
      taken.add(found);
      return found;
    },
    async close() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Asks until there is an answer; the deadline is an error that names what was waited for. */
export async function until<T>(ask: () => T | undefined | Promise<T | undefined>, what: string): Promise<T> {
  const end_ms = performance.now() + DEADLINE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end_ms) throw new Error(`waited too long: ${what}`);
    await Bun.sleep(2);
  }
}

/** Servers that run on the store of a folder: by their command line, not by what the code under test believes. */
export function serversOn(folder: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return argv.includes(join(folder, "nats-server.conf"));
      } catch {
        return false;
      }
    })
    .map(Number);
}
