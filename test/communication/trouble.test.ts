// A server that is not well: it hangs, or its disk is full.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findServer, openBench, serversOn, until } from "./server-bench.ts";
import { impatientRuntime } from "./trouble.ts";

const NAMESPACE = ["unshare", "--mount", "--map-root-user", "sh", "-c"];
const canMount =
  process.platform === "linux" &&
  Bun.which("unshare") !== null &&
  Bun.spawnSync([...NAMESPACE, 'mount -t tmpfs -o size=1m none "$0"', tmpdir()], { stderr: "ignore" }).exitCode === 0;

describe("a server in trouble", () => {
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
