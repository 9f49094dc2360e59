// A server that is not well: it hangs, or its disk is full.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "nats";
import { systemRuntime } from "../../src/common/runtime.ts";
import { authenticatorOf } from "../../src/communication/credentials.ts";
import { userJwt } from "../../src/communication/jwt.ts";
import { createKey, keyOfSeed } from "../../src/communication/nkey.ts";
import { findServer, openBench, serversOn, until } from "./server-bench.ts";
import { impatientRuntime } from "./trouble.ts";

const NAMESPACE = ["unshare", "--mount", "--map-root-user", "sh", "-c"];
const canMount =
  process.platform === "linux" &&
  Bun.which("unshare") !== null &&
  Bun.spawnSync([...NAMESPACE, 'mount -t tmpfs -o size=1m none "$0"', tmpdir()], { stderr: "ignore" }).exitCode === 0;

/** A connection that may do everything that the system account may: for the tests to do what goes wrong by itself. */
async function operator({ folder, server }: ReturnType<typeof openBench>) {
  const seeds = JSON.parse(readFileSync(join(folder, "identity.json"), "utf8")) as { system: string };
  const user = createKey("user");
  const everything = { pub: {}, sub: {} };
  const jwt = userJwt(
    keyOfSeed("account", seeds.system)!,
    user.public_key,
    "test",
    everything,
    systemRuntime.wall_ms(),
  );
  return await connect({ servers: server.url, authenticator: authenticatorOf(jwt, user), reconnect: false });
}

describe("a server in trouble", () => {
  test("whose watcher lost its connection is asked anew, and not restarted", async () => {
    const bench = openBench({ runtime: impatientRuntime });
    await bench.server.start();
    const system = await operator(bench);
    try {
      const id = system.info!.server_id;
      const watcher = async (): Promise<number | undefined> => {
        const answer = await system.request(`$SYS.REQ.SERVER.${id}.CONNZ`, "{}", { timeout: 5_000 });
        const { data } = answer.json<{ data: { connections: { cid: number; name?: string }[] } }>();
        return data.connections.find(({ name }) => name === "claw watcher")?.cid;
      };
      const { pid } = bench.server;
      for (let round = 0; round < 4; round++) {
        const cid = await until(watcher, "the watcher");
        await system.request(`$SYS.REQ.SERVER.${id}.KICK`, JSON.stringify({ cid }), { timeout: 5_000 });
        await until(async () => {
          const now = await watcher();
          return now !== undefined && now !== cid ? true : undefined;
        }, "a new watcher");
      }
      expect(bench.events).toEqual([]);
      expect(bench.server.pid).toBe(pid!);
    } finally {
      await system.close();
      await bench.close();
    }
  }, 30_000);

  test("that hangs is ended and replaced", async () => {
    const bench = openBench({ runtime: impatientRuntime });
    try {
      await bench.server.start();
      const { pid, port } = bench.server;
      const stopped_ms = performance.now();
      process.kill(pid!, "SIGSTOP");
      expect((await bench.event("store_error")).message).toContain("no answer");
      // Not after the first answer that did not come, each of which is waited for two seconds.
      expect(performance.now() - stopped_ms).toBeGreaterThan(4_000);
      expect((await bench.event("down")).message).toContain("SIGKILL");
      await bench.event("up");
      expect(bench.server.pid).not.toBe(pid!);
      expect(bench.server.port).toBe(port);
      expect(serversOn(bench.folder)).toEqual([bench.server.pid!]);
    } finally {
      await bench.close();
    }
  }, 30_000);

  test.skipIf(!canMount)(
    "whose disk is full says so once, loses nothing, and goes on when there is room",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "claw-full-"));
      try {
        const script = 'mount -t tmpfs -o size=64m none "$1" && exec "$0" "$2" "$1"';
        const argv = [...NAMESPACE, script, process.execPath, folder, join(import.meta.dir, "full-disk.ts")];
        const child = Bun.spawn(argv, {
          stdin: "ignore",
          stdout: "pipe",
          stderr: "inherit",
          env: { ...process.env, NATS_SERVER: findServer() },
        });
        const said = JSON.parse(await child.stdout.text()) as Record<string, number | string>;
        expect(await child.exited).toBe(0);
        expect(said["full"]).toContain("no space left");
        expect(said["filled"]).toBeGreaterThan(100);
        expect(said["messages"]).toBe(said["last"]!);
        expect(said["last"]).toBe(said["acknowledged"]!);
        expect(said["acknowledged"]).toBeGreaterThan(said["filled"] as number);
        await until(() => (serversOn(join(folder, "data")).length === 0 ? true : undefined), "the server's end");
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    60_000,
  );
});
