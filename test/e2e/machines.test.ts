// Several machines: a worker elsewhere with exported credentials, what happens with wrong ones or none, and a NATS of the
// user's own in place of the built-in one.

import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { openConnection } from "../../src/communication/connection.ts";
import { findServer } from "../communication/server-bench.ts";
import { closeMachines, type Machine, machine, ownNats, type Service, until } from "./binary.ts";

afterEach(closeMachines);

interface Status {
  nats_url: string;
  broker: { version: string };
}

/** Credentials from one machine, as a file on another. */
async function carry(from: Machine, role: "worker" | "client", to: Machine): Promise<string> {
  const { code, out } = await from.claw(["credentials", "export", "--role", role]);
  expect(code).toBe(0);
  const path = join(to.folder, `${role}.creds`);
  writeFileSync(path, out, { mode: 0o600 });
  return path;
}

async function freePort(): Promise<number> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", resolve);
  await promise;
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}

test("a worker and a client on other machines, with credentials that were carried there", async () => {
  const [first, second, third] = [machine(), machine(), machine()];
  await first.coordinator(["--listen", "0.0.0.0"]);
  const { nats_url } = await first.json<Status>(["status"]);
  const creds = await carry(first, "worker", second);
  await second.worker(["--nats", nats_url, "--creds", creds, "--name", "second"]);
  expect((await first.claw(["run", "--", "sh", "-c", "echo $CLAW_NODE"])).out).toBe("second\n");

  const client = ["--nats", nats_url, "--creds", await carry(first, "client", third)];
  expect(await third.claw(["run", ...client, "--", "echo", "from afar"])).toMatchObject({
    code: 0,
    out: "from afar\n",
  });
  writeFileSync(join(third.work, "hello.ts"), "const who: string = 'script';\nconsole.log(`hello`, who);\n");
  expect((await third.claw(["run", ...client, "hello.ts"])).out).toBe("hello script\n");
  // Nothing of claw's is on the client's machine.
  expect(await third.claw(["ls"])).toMatchObject({ code: 69, out: "" });
});

describe("credentials", () => {
  async function refused(args: readonly string[], says: RegExp, code = 77): Promise<void> {
    const elsewhere = machine();
    const worker = elsewhere.begin(["--role", "worker", ...args]);
    expect({ code: await worker.exited(10_000), log: worker.log }).toEqual({
      code,
      log: expect.stringMatching(says),
    });
    expect(worker.log).not.toMatch(/ at .*\.ts:/);
  }

  test("wrong, none, another role's, or for all to read: exit code 77 and why", async () => {
    const [here, other] = [machine(), machine()];
    await Promise.all([here.coordinator(), other.coordinator()]);
    const { nats_url } = await here.json<Status>(["status"]);
    await refused(["--nats", nats_url], /wants credentials/);
    await refused(["--nats", nats_url, "--creds", await carry(other, "worker", here)], /refused these credentials/);
    const client = await carry(here, "client", here);
    await refused(["--nats", nats_url, "--creds", client], /credentials of a client/);
    const worker = await carry(here, "worker", here);
    chmodSync(worker, 0o644);
    await refused(["--nats", nats_url, "--creds", worker], /chmod 600/);
    await refused(["--nats", nats_url, "--creds", "/no/such.creds"], /there is no \/no\/such.creds/, 66);

    const call = ["ls", "--nats", nats_url];
    expect(await here.claw(call, { env: { CLAW_HOME: join(here.folder, "empty") } })).toMatchObject({
      code: 77,
      err: expect.stringContaining("wants credentials"),
    });
    expect((await here.claw([...call, "--creds", await carry(other, "client", here)])).code).toBe(77);
  });

  test("of another cluster: exit code 77, and which one they are for", async () => {
    const here = machine();
    await here.coordinator();
    const { nats_url } = await here.json<Status>(["status"]);
    const worker = await carry(here, "worker", here);
    const says = /these credentials are for the cluster default, not other/;
    await refused(["--nats", nats_url, "--creds", worker, "--cluster", "other"], says);
    const client = await carry(here, "client", here);
    const ls = ["ls", "--nats", nats_url, "--creds", client, "--cluster", "other"];
    expect(await here.claw(ls)).toMatchObject({ code: 77, err: expect.stringMatching(says) });
  });

  test("of a foreign NATS that lets nothing of this cluster through: the same exit code", async () => {
    const rights = 'permissions: { publish: ">", subscribe: "claw.mine.>" }';
    const { url } = await ownNats(`authorization: { users: [{ user: u, password: p, ${rights} }] }\n`);
    const login = url.replace("//", "//u:p@");
    await refused(["--nats", login, "--cluster", "other"], /these credentials may do nothing in the cluster other/);
  });

  test("a name given to both roles at once is the worker's, a cluster both's", async () => {
    const here = machine();
    const both = await here.up({}, ["--name", "alpha", "--cluster", "lab"]);
    expect((await here.json<{ name: string }[]>(["nodes"])).map(({ name }) => name)).toEqual(["alpha"]);
    expect(await both.stop()).toBe(0);
  });

  test("a worker waits for its coordinator, and can be asked to stop meanwhile", async () => {
    const here = machine();
    const port = await freePort();
    const waiting = here.begin(["--role", "worker", "--nats", `nats://127.0.0.1:${port}`]);
    await waiting.says("NATS is not there yet");
    expect(waiting.log).toContain(`"nats":"nats://127.0.0.1:${port}"`);
    expect(await waiting.stop()).toBe(0);
    const { url } = await ownNats();
    const broker = await openConnection({ url, name: "test", timeout_ms: 5_000 });
    const registered = Promise.withResolvers<void>();
    broker.subscribe("claw.default.node.*.up", { callback: () => registered.resolve() });
    await broker.flush();
    const alone = here.begin(["--role", "worker", "--nats", url]);
    await registered.promise;
    await broker.close();
    expect(await alone.stop()).toBe(0);
    expect(alone.log).toContain("stopping");
    expect(alone.log).not.toContain("has joined");
  });
});

describe("a NATS of the user's own", () => {
  async function natsServer(here: Machine, more: string): Promise<{ url: string; server: Service }> {
    const port = await freePort();
    const config = join(here.folder, "nats.conf");
    mkdirSync(join(here.folder, "store"));
    writeFileSync(
      config,
      `listen: "127.0.0.1:${port}"\njetstream { store_dir: "${join(here.folder, "store")}" }\nmax_payload: 1MB\n${more}`,
    );
    const server = here.beginOther([findServer(), "-c", config]);
    await server.says("Server is ready");
    return { url: `127.0.0.1:${port}`, server };
  }

  async function works(here: Machine, args: readonly string[]): Promise<void> {
    const coordinator = await here.coordinator(args);
    const worker = await here.worker();
    expect(await here.claw(["run", "--", "echo", "hi"])).toMatchObject({ code: 0, out: "hi\n" });
    const { out } = await here.claw(["run", "--keep-order", "--each", "echo {}"], { stdin: "1\n2\n3\n" });
    expect(out).toBe("1\n2\n3\n");
    expect((await here.json<Status>(["status"])).nats_url).not.toContain("s3cret");
    // There is no child: the only nats-server is the test's own.
    const servers = here.natsPids();
    expect(servers.length).toBe(1);
    expect([await worker.stop(), await coordinator.stop()]).toEqual([0, 0]);
    expect(here.natsPids()).toEqual(servers);
  }

  test("without credentials", async () => {
    const here = machine();
    const { url } = await natsServer(here, "");
    await works(here, ["--nats", `nats://${url}`]);
  });

  test("with user and password in its URL, as docker-compose.yml has it", async () => {
    const here = machine();
    const { url } = await natsServer(here, "authorization { user: claw, password: s3cret }\n");
    await works(here, ["--nats", `nats://claw:s3cret@${url}`]);
  });

  test("it goes away and comes back: what was submitted is there, the worker goes on", async () => {
    const here = machine();
    const { url, server } = await natsServer(here, "");
    const coordinator = await here.coordinator(["--nats", `nats://${url}`]);
    await here.worker(["--nats", `nats://${url}`]);
    const id = (
      await here.claw(["submit", "--quiet", "--", "sh", "-c", "until [ -e go ]; do sleep 0.02; done"])
    ).out.trim();
    await until("it runs", async () => {
      const { status } = await here.json<{ status: string }>(["show", id]);
      return status === "running" ? true : undefined;
    });
    await server.kill();
    await coordinator.says("lost NATS");
    writeFileSync(join(here.work, "go"), "");
    const again = here.beginOther([findServer(), "-c", join(here.folder, "nats.conf")]);
    await again.says("Server is ready");
    expect((await here.claw(["wait", "--timeout", "30s", id])).code).toBe(0);
    expect(await here.json<object>(["show", id])).toMatchObject({ status: "completed", attempt: 1 });
    expect(await coordinator.stop()).toBe(0);
    expect(coordinator.log.match(/lost NATS|NATS is there again/g)).toEqual(["lost NATS", "NATS is there again"]);
  });

  test("a worker of a cluster that has no coordinator says so, once and soon, and joins when there is one", async () => {
    const { url } = await ownNats();
    await machine().coordinator(["--nats", url]);
    const words = ["--nats", url, "--cluster", "other"];
    const worker = machine().begin(["--role", "worker", ...words]);
    const line = `no coordinator of cluster 'other' answers on ${url}; trying until one does`;
    await worker.says(line, 10_000);
    await machine().coordinator(words);
    await worker.says("worker has joined");
    expect([worker.log.split(line).length, worker.log.includes("nothing comes")]).toEqual([2, false]);
  }, 60_000);

  test("with too little rights, or none there: said, with the right code", async () => {
    const here = machine();
    const { url } = await natsServer(here, "authorization { user: claw, password: s3cret }\n");
    const wrong = here.begin(["--role", "coordinator", "--nats", `nats://claw:wrong@${url}`]);
    expect(await wrong.exited(10_000)).toBe(77);
    expect(wrong.log).toContain("refused these credentials");
    expect(wrong.log).not.toContain("wrong@");
    const nowhere = here.begin(["--role", "coordinator", "--nats", `nats://127.0.0.1:${await freePort()}`]);
    expect(await nowhere.exited(20_000)).toBe(69);
    expect(nowhere.log).toContain("cannot reach NATS");
    expect(nowhere.log).toContain("does that NATS run there");
    expect(nowhere.log).not.toContain("nats-server.log");
  });
});
