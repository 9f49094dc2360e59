import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type NatsConnection, StorageType } from "nats";
import { ClawError } from "../../src/common/errors.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { type Bench, openBench, serversOn, until } from "./server-bench.ts";

const benches: Bench[] = [];
const connections: NatsConnection[] = [];

afterEach(async () => {
  for (const connection of connections.splice(0)) await connection.close();
  const ended = benches.splice(0).reverse();
  for (const bench of ended) await bench.close();
  for (const bench of ended) expect(serversOn(bench.folder)).toEqual([]);
});

function bench(more: Parameters<typeof openBench>[0] = {}): Bench {
  const opened = openBench(more);
  benches.push(opened);
  return opened;
}

async function login({ identity, server }: Bench): Promise<NatsConnection> {
  const { authenticator, inbox_prefix } = readCredentials(identity.localCredentials("coordinator"));
  const connection = await openConnection({
    url: server.url,
    name: "test",
    authenticator,
    inbox_prefix,
    timeout_ms: 5_000,
  });
  connections.push(connection);
  return connection;
}

async function failureOf(promise: Promise<unknown>): Promise<ClawError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ClawError)) throw new Error(`no ClawError: ${error}`);
  return error;
}

async function store(connection: NatsConnection, texts: string[]): Promise<void> {
  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name: "KEPT", subjects: ["kept"], storage: StorageType.File });
  for (const text of texts) await connection.jetstream().publish("kept", text);
}

describe("a server of claw's own", () => {
  test("serves those with credentials, and nobody else", async () => {
    const opened = bench();
    await opened.server.start();
    const { server } = opened;
    expect(server.version).toMatch(/^2\.\d+\.\d+$/);
    expect(serversOn(opened.folder)).toEqual([server.pid as number]);
    const connection = await login(opened);
    expect(connection.info?.jetstream).toBe(true);
    expect(statSync(join(opened.folder, "nats-server.conf")).mode & 0o777).toBe(0o600);
    const refused = await connect({ servers: server.url, reconnect: false }).catch((error: { code: string }) => error);
    expect((refused as { code: string }).code).toBe("AUTHORIZATION_VIOLATION");
    const foreign = bench();
    const { authenticator } = readCredentials(foreign.identity.localCredentials("coordinator"));
    const other = await failureOf(openConnection({ url: server.url, name: "x", authenticator, timeout_ms: 2_000 }));
    expect(other.code).toBe("refused");
  });

  test("syncs what it acknowledges", async () => {
    const opened = bench();
    await opened.server.start();
    expect(readFileSync(join(opened.folder, "nats-server.conf"), "utf8")).toMatch(/sync_interval: "?always/);
  });

  test("a stopped one starts again with its data, on the same port", async () => {
    const first = bench();
    await first.server.start();
    const { port } = first.server;
    const connection = await login(first);
    await store(connection, ["a", "b"]);
    await connection.close();
    await first.server.stop();
    await first.server.stop();
    expect(serversOn(first.folder)).toEqual([]);
    const second = bench({ data_dir: first.folder });
    await second.server.start();
    expect(second.server.port).toBe(port);
    const info = await (await (await login(second)).jetstreamManager()).streams.info("KEPT");
    expect(info.state.messages).toBe(2);
  });

  test("a killed one is back at once, on the same port, with its data, and connections find it again", async () => {
    const opened = bench();
    await opened.server.start();
    const { pid, port } = opened.server;
    const connection = await login(opened);
    await store(connection, ["a", "b", "c"]);
    process.kill(pid as number, "SIGKILL");
    expect((await opened.event("down")).message).toContain("SIGKILL");
    await opened.event("up");
    expect(opened.server.pid).not.toBe(pid as number);
    expect(opened.server.port).toBe(port);
    const messages = await until(async () => {
      const manager = await connection.jetstreamManager({ timeout: 500 }).catch(() => undefined);
      return (await manager?.streams.info("KEPT").catch(() => undefined))?.state.messages;
    }, "the stream");
    expect(messages).toBe(3);
  });

  test("stopping while it comes back leaves nothing", async () => {
    const opened = bench();
    await opened.server.start();
    process.kill(opened.server.pid as number, "SIGKILL");
    await opened.event("down");
    await opened.server.stop();
    expect(serversOn(opened.folder)).toEqual([]);
    const again = bench({ data_dir: opened.folder });
    await again.server.start();
  });

  test("stopping while it starts leaves nothing", async () => {
    const opened = bench();
    const starting = opened.server.start().catch((error: unknown) => error);
    await opened.server.stop();
    await starting;
    await opened.server.stop();
    expect(serversOn(opened.folder)).toEqual([]);
  });

  test("another port when the wanted one is taken", async () => {
    const taker = createServer();
    await new Promise<void>((resolve) => {
      taker.listen(0, "127.0.0.1", resolve);
    });
    const { port } = taker.address() as { port: number };
    try {
      const opened = bench({ port });
      await opened.server.start();
      expect(opened.server.port).not.toBe(port);
      expect(opened.server.url).toBe(`nats://127.0.0.1:${opened.server.port}`);
    } finally {
      taker.close();
    }
  });

  test("an address that this machine does not have is refused by its setting, before a server is started", async () => {
    // For documentation: nobody has it.
    const error = await failureOf(bench({ host: "192.0.2.1" }).server.start());
    expect([error.code, error.field]).toEqual(["bad_config", "listen"]);
    expect(error.message).toContain("cannot listen on 192.0.2.1");
  });

  test("one that cannot start says why, and leaves neither child nor lock", async () => {
    const opened = bench();
    writeFileSync(join(opened.folder, "jetstream"), "a file where a folder should be");
    const error = await failureOf(opened.server.start());
    expect(error.code).toBe("broker");
    expect(error.message).toMatch(/jetstream|storage|director/i);
    rmSync(join(opened.folder, "jetstream"));
    expect(serversOn(opened.folder)).toEqual([]);
    await bench({ data_dir: opened.folder }).server.start();
  });

  test("one that dies again and again is restarted more and more slowly, and told as failing", async () => {
    const opened = bench();
    await opened.server.start();
    const config = join(opened.folder, "jetstream");
    process.kill(opened.server.pid as number, "SIGKILL");
    rmSync(config, { recursive: true, force: true });
    writeFileSync(config, "in the way");
    const failing = await opened.event("failing");
    expect(failing.message).toContain("did not start");
    rmSync(config);
    await opened.event("up");
  });
});

describe("one server a store", () => {
  test("a second coordinator is refused and told who is there", async () => {
    const first = bench();
    await first.server.start();
    const second = bench({ data_dir: first.folder });
    const error = await failureOf(second.server.start());
    expect(error.code).toBe("already_running");
    expect(error.message).toContain(String(process.pid));
    expect(serversOn(first.folder)).toEqual([first.server.pid as number]);
  });

  test("who reads the lock file is left alone while the server that holds it is ended", async () => {
    const opened = bench();
    await opened.server.start();
    const orphan = await orphanOf(opened);
    const reader = Bun.spawn(["sleep", "60"], {
      stdio: [Bun.file(join(opened.folder, "jetstream.lock")), "ignore", "ignore"],
    });
    try {
      const next = bench({ data_dir: opened.folder });
      await next.server.start();
      expect(next.server.pid).not.toBe(orphan);
      expect(serversOn(opened.folder)).toEqual([next.server.pid as number]);
      expect(reader.exitCode).toBeNull();
    } finally {
      reader.kill();
      await reader.exited;
    }
  });
});

/** A server as a killed coordinator leaves it: the same configuration and the store's lock in a descriptor of its own. */
async function orphanOf(opened: Bench): Promise<number> {
  await opened.server.stop();
  const script = `
    const { NatsServerChild } = await import(${JSON.stringify(join(import.meta.dir, "../../src/communication/server.ts"))});
    const { Identity } = await import(${JSON.stringify(join(import.meta.dir, "../../src/communication/identity.ts"))});
    const { systemRuntime } = await import(${JSON.stringify(join(import.meta.dir, "../../src/common/runtime.ts"))});
    const [data_dir, executable] = process.argv.slice(-2);
    const identity = await Identity.open(data_dir, "test", systemRuntime);
    const child = new NatsServerChild({ runtime: systemRuntime, data_dir, host: "127.0.0.1", port: 0, identity, executable });
    await child.start();
    console.log(child.pid);`;
  const { findServer } = await import("./server-bench.ts");
  const coordinator = Bun.spawn([process.execPath, "-e", script, opened.folder, findServer()], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await coordinator.stdout.getReader().read();
  const pid = Number(new TextDecoder().decode(value));
  coordinator.kill("SIGKILL");
  await coordinator.exited;
  expect(serversOn(opened.folder)).toEqual([pid]);
  return pid;
}

describe("which server", () => {
  test("an old one, or none, is refused with what to do", async () => {
    const folder = mkdtempSync(join(tmpdir(), "claw-server-"));
    const fake = join(folder, "nats-server");
    try {
      writeFileSync(fake, "#!/bin/sh\necho nats-server: v2.10.1\n");
      chmodSync(fake, 0o755);
      expect((await failureOf(bench({ executable: fake }).server.start())).code).toBe("broker_version");
      const missing = await failureOf(bench({ executable: join(folder, "none") }).server.start());
      expect(missing.code).toBe("broker");
      expect(missing.hint).toContain("nats.url");
      expect(existsSync(join(folder, "none"))).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
