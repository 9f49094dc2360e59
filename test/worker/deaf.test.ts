// A worker whose connection brings nothing any more, though what it says gets through: it is noticed, and helps itself.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../../src/common/config.ts";
import { createLogger } from "../../src/common/logging.ts";
import { resolvePaths } from "../../src/common/paths.ts";
import { type Runtime, systemRuntime } from "../../src/common/runtime.ts";
import { Worker } from "../../src/worker/worker.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { countingProxy, type Proxy as Wire } from "../communication/proxy.ts";
import { until } from "../until.ts";

let cluster: Cluster;
let proxy: Wire;
let worker: Worker;
const lines: string[] = [];

/** Each look at the machine's skills sets the one after it, a minute later: as many are to come as watch them. */
const LOOK_MS = 60_000;
const looks = new Set<object>();
const runtime: Runtime = {
  ...systemRuntime,
  after(delay_ms, action) {
    const timer = systemRuntime.after(delay_ms, action);
    if (delay_ms !== LOOK_MS) return timer;
    looks.add(timer);
    return {
      cancel: () => {
        looks.delete(timer);
        timer.cancel();
      },
    };
  },
};

beforeAll(async () => {
  cluster = await openCluster({ workers: 0, coordinator: { "heartbeat.interval": "400ms" } });
  proxy = await countingProxy(Number(new URL(cluster.coordinator.nats_url).port));
  const paths = resolvePaths({ CLAW_HOME: join(cluster.home, "behind") });
  const { creds } = await cluster.client.command("credentials.export", { v: 1, role: "worker" });
  mkdirSync(paths.data_dir, { recursive: true });
  const path = join(paths.data_dir, "worker.creds");
  writeFileSync(path, creds, { mode: 0o600 });
  const write = (line: string): void => void lines.push(line);
  worker = new Worker({
    runtime,
    config: loadConfig("worker", { paths, env: {}, flags: { name: "behind", metrics: false } }).config,
    paths,
    logger: createLogger({ role: "test", level: "debug", format: "json", runtime: systemRuntime, write }),
    url: `nats://127.0.0.1:${proxy.port}`,
    creds: path,
    onFailed: (error) => {
      throw error;
    },
    onShutdown: () => undefined,
  });
  await worker.start();
  await worker.welcomed;
});

afterAll(async () => {
  await worker.stop();
  proxy.close();
  await cluster.close();
});

const view = async () => (await cluster.client.query("node.list", {})).nodes[0]!;

test("it is in error as long as it does not hear, connects anew by itself, and runs what waited for it", async () => {
  const { number: before } = await cluster.submit();
  expect((await cluster.finished(before)).status).toBe("completed");
  proxy.deafenPresent();
  await until(async () => (await view()).status === "error", "the node in error");
  expect((await view()).reason).toContain("does not hear");
  const { number } = await cluster.submit();
  expect((await cluster.show(number)).waiting?.summary).toContain("behind is in error: it is heard and does not hear");
  await until(async () => (await view()).status === "online", "the node online");
  expect((await cluster.finished(number)).status).toBe("completed");
  const said = lines.filter((line) => line.includes("nothing comes")).map((line) => /(\w+) anew/.exec(line)?.[1]);
  expect(said.slice(0, 2)).toEqual(["subscribing", "connecting"]);
  expect(looks.size).toBe(1);
});
