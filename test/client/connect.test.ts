// Finding the cluster: what is said when there is none, when nobody answers, and when the credentials are the wrong ones.
// A person waits for each of these errors, so they are there within four seconds.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { restoreCommand, startCommand } from "../../src/client/start-again.ts";
import { readEndpoint, writeEndpoint } from "../../src/communication/endpoint.ts";
import { noteStart } from "../../src/communication/started.ts";
import { runCli } from "../cli.ts";
import { type Cluster, openCluster } from "../cluster.ts";

const MOST_MS = 4_000;

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "claw-client-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** How long it took, too. */
async function timed(args: readonly string[], env: Record<string, string> = { CLAW_HOME: home }) {
  const begun_ms = performance.now();
  const result = await runCli(args, { env });
  return { ...result, took_ms: performance.now() - begun_ms };
}

describe("with no coordinator", () => {
  test("every command that needs one exits 69 and names the command that starts it; run exits 125", async () => {
    const commands = [["ls"], ["nodes"], ["status"], ["show", "35f0"], ["wait", "35f0"], ["cancel", "35f0"]];
    for (const words of [...commands, ["logs", "35f0"], ["submit", "true"], ["credentials", "export"]]) {
      const { code, stdout, stderr } = await runCli(words, { env: { CLAW_HOME: home } });
      expect([words, code, stdout]).toEqual([words, 69, ""]);
      expect(stderr).toBe(
        `claw: no coordinator runs on this machine\n  start one on this machine with \`CLAW_HOME=${home} claw up\`\n`,
      );
    }
    expect((await runCli(["run", "true"], { env: { CLAW_HOME: home } })).code).toBe(125);
    expect((await runCli(["run", "--each", "true"], { env: { CLAW_HOME: home } })).code).toBe(125);
  });

  test("the command that starts one is the one for this profile and this folder", async () => {
    const plain = await runCli(["ls"], { env: { HOME: home } });
    expect(plain.stderr).toEndWith("  start one on this machine with `claw up`\n");
    const profile = await runCli(["--profile", "lab", "ls"], { env: { HOME: home } });
    expect(profile.stderr).toBe(
      "claw: no coordinator runs on this machine for the profile lab\n" +
        "  start one on this machine with `claw up --profile lab`\n",
    );
    const spaces = await runCli(["ls"], { env: { CLAW_HOME: `${home}/it's mine` } });
    expect(spaces.stderr).toContain(`\`CLAW_HOME='${home}/it'\\''s mine' claw up\``);
  });

  test("where one ran before, it is that one: with its role and its options, and without its password", async () => {
    const env = { CLAW_HOME: join(home, "before") };
    const data_dir = join(home, "before", "data");
    const hint = async (): Promise<string> => (await runCli(["ls"], { env })).stderr.split("\n")[1] ?? "";
    noteStart(data_dir, { version: 1, words: ["--role", "coordinator", "--port", "17422"], follows: false });
    const start = `CLAW_HOME=${home}/before claw --role coordinator`;
    expect(await hint()).toBe(`  start it again with \`${start} --port 17422\``);
    const nats = "nats://me:pw@nats.example:4222";
    noteStart(data_dir, { version: 1, words: ["--role", "coordinator", "--nats", nats], follows: true });
    expect(await hint()).toContain(`\`${start} --nats 'nats://(secret)@nats.example:4222'\``);
    expect(await hint()).toContain(`\`CLAW_HOME=${home}/before claw snapshot restore --from-view\``);
    expect(await hint()).not.toContain("claw up");
    noteStart(data_dir, { version: 1, words: ["up", "--cluster=lab", "--config", "c.yaml"], follows: true });
    expect(await hint()).toContain("claw snapshot restore --from-view --cluster lab --config c.yaml`");
    noteStart(data_dir, { version: 1, words: ["--role", "coordinator", "--nats", nats], follows: true });
    const where = { env, data_dir, profile: undefined };
    expect(startCommand(where, "own")).toBe(start);
    expect(startCommand(where, { nats_url: nats })).toBe(`${start} --nats 'nats://(secret)@nats.example:4222'`);
    expect(startCommand(where, { nats_url: "nats://other" })).toBe(`${start} --nats nats://other`);
    expect(startCommand(where, { nats_url: "nats://other", creds: "c" })).toBe(
      `${start} --nats nats://other --creds c`,
    );
    // A file that says nothing is as good as none.
    writeFileSync(join(data_dir, "started.json"), "{");
    expect(await hint()).toContain("before claw up`");
  });

  test("the command that restores names all that decides over what, and no password", () => {
    const plain = { file: undefined, force: false, own: false, flags: {} };
    expect(restoreCommand({}, plain)).toBe("claw snapshot restore --from-view");
    const flags = { "nats.url": "nats://me:pw@x:4222", "nats.creds": "c.creds", cluster: "lab" };
    const whole = { ...plain, file: "it's.snap", force: true, flags, config: "c.yaml", profile: "p" };
    expect(restoreCommand({ CLAW_HOME: "/h" }, whole)).toBe(
      "CLAW_HOME=/h claw snapshot restore 'it'\\''s.snap' --nats 'nats://(secret)@x:4222' --creds c.creds " +
        "--cluster lab --config c.yaml --profile p --force",
    );
    expect(restoreCommand({}, { ...plain, own: true })).toBe("claw snapshot restore --from-view --own");
  });

  test("beside a worker, it is how to speak to the cluster of that", async () => {
    const env = { CLAW_HOME: join(home, "works") };
    mkdirSync(join(home, "works", "data", "worker"), { recursive: true });
    const { code, stderr } = await runCli(["status"], { env });
    expect(code).toBe(69);
    expect(stderr).toStartWith("claw: no coordinator runs on this machine, only a worker lives here\n");
    expect(stderr).toContain("claw credentials export --role client --out c.creds");
    expect(stderr).not.toContain("claw up");
    mkdirSync(join(home, "works", "data", "coordinator"));
    expect((await runCli(["status"], { env })).stderr).toContain("claw up");
  });

  test("an address that nobody listens on is said at once, without the advice to start a cluster here", async () => {
    const { code, stderr, took_ms } = await timed(["--nats", "nats://127.0.0.1:1", "ls"]);
    expect(code).toBe(69);
    expect(stderr).toContain("cannot reach NATS at nats://127.0.0.1:1");
    expect(stderr).not.toContain("claw up");
    expect(took_ms).toBeLessThan(MOST_MS);
    const { stderr: json } = await timed(["ls", "--json"], { CLAW_HOME: home, CLAW_NATS_URL: "nats://127.0.0.1:1" });
    expect(JSON.parse(json)).toMatchObject({ code: 503, error: "no_coordinator", hint: expect.any(String) });
  });

  test("what is no NATS URL is refused by its name", async () => {
    const { code, stderr } = await timed(["ls", "--nats", "http://me:pw@127.0.0.1:1"]);
    expect(code).toBe(64);
    expect(stderr).toBe(
      "claw: --nats: 'http://(secret)@127.0.0.1:1' is no NATS URL\n  it looks like nats://HOST:4222\n",
    );
    const env = { CLAW_HOME: home, CLAW_NATS_URL: "http://127.0.0.1:1" };
    const variable = await timed(["ls"], env);
    expect([variable.code, variable.stderr.includes("CLAW_NATS_URL: ")]).toEqual([78, true]);
  });

  test("a cluster's name that cannot be one never becomes part of a subject", async () => {
    for (const cluster of ["a b", "*", ">", "a.b", "", "A"]) {
      const { code, stderr, took_ms } = await timed(["ls", "--nats", "nats://127.0.0.1:1", "--cluster", cluster]);
      expect([cluster, code, took_ms < 1_500]).toEqual([cluster, 64, true]);
      expect(stderr).toStartWith(`claw: --cluster: '${cluster}' is no cluster's name\n`);
    }
  });
});

describe("an endpoint file behind which nobody answers", () => {
  let deaf: Server;
  let port: number;
  beforeAll(async () => {
    deaf = createServer(() => undefined);
    const listening = Promise.withResolvers<void>();
    deaf.listen(0, "127.0.0.1", () => listening.resolve());
    await listening.promise;
    port = (deaf.address() as { port: number }).port;
  });
  afterAll(() => deaf.close());

  test("a port that takes connections and says nothing: 69 within four seconds, naming claw up", async () => {
    const folder = join(home, "deaf");
    const nats_url = `nats://127.0.0.1:${port}`;
    writeEndpoint(join(folder, "data"), { version: 1, cluster: "default", nats_url, pid: process.pid, creds: "" });
    const { code, stderr, took_ms } = await timed(["ls"], { CLAW_HOME: folder });
    expect(code).toBe(69);
    expect(stderr).toContain(nats_url);
    expect(stderr).toContain("claw up");
    expect(took_ms).toBeLessThan(MOST_MS);
  });

  test("a file whose coordinator is gone is not believed", async () => {
    const folder = join(home, "gone");
    const child = Bun.spawn(["sleep", "60"]);
    const nats_url = `nats://127.0.0.1:${port}`;
    writeEndpoint(join(folder, "data"), { version: 1, cluster: "default", nats_url, pid: child.pid, creds: "" });
    child.kill("SIGKILL");
    await child.exited;
    const { code, stderr } = await timed(["ls"], { CLAW_HOME: folder });
    expect([code, stderr.split("\n")[0]]).toEqual([69, "claw: no coordinator runs on this machine"]);
  });
});

describe("an endpoint file whose coordinator lives, and whose NATS takes nobody", () => {
  /** Hangs up on everybody; `met`: that somebody came again. */
  async function closed(): Promise<{ nats_url: string; met: Promise<void>; close: () => void }> {
    const { promise: met, resolve } = Promise.withResolvers<void>();
    let count = 0;
    const server = createServer((socket) => {
      socket.destroy();
      count += 1;
      if (count === 2) resolve();
    });
    const listening = Promise.withResolvers<void>();
    server.listen(0, "127.0.0.1", () => listening.resolve());
    await listening.promise;
    const { port } = server.address() as { port: number };
    return { nats_url: `nats://127.0.0.1:${port}`, met, close: () => void server.close() };
  }

  test("is waited for until it ends, and then nobody is there", async () => {
    const [data_dir, env] = [join(home, "ends", "data"), { CLAW_HOME: join(home, "ends") }];
    const { nats_url, met, close } = await closed();
    const child = Bun.spawn(["sleep", "60"]);
    writeEndpoint(data_dir, { version: 1, cluster: "default", nats_url, pid: child.pid, creds: "" });
    const asked = runCli(["ls"], { env });
    await met;
    child.kill("SIGKILL");
    const { code, stderr } = await asked;
    close();
    expect([code, stderr.split("\n")[0]]).toEqual([69, "claw: no coordinator runs on this machine"]);
  });

  test("is waited for until another one is in its place, which answers", async () => {
    const [data_dir, env] = [join(home, "another", "data"), { CLAW_HOME: join(home, "another") }];
    const cluster = await openCluster({ workers: 0 });
    const { nats_url, met, close } = await closed();
    writeEndpoint(data_dir, { version: 1, cluster: "default", nats_url, pid: process.pid, creds: "" });
    const asked = runCli(["ls", "--json"], { env });
    await met;
    const there = readEndpoint(cluster.paths.data_dir);
    writeEndpoint(data_dir, there!);
    const { code, stdout, stderr } = await asked;
    close();
    await cluster.close();
    expect([code, stdout, stderr]).toEqual([0, "[]\n", ""]);
  });

  test("says which process it is, and that no other can be started beside it", async () => {
    const [data_dir, env] = [join(home, "lives", "data"), { CLAW_HOME: join(home, "lives") }];
    const { nats_url, close } = await closed();
    writeEndpoint(data_dir, { version: 1, cluster: "default", nats_url, pid: process.pid, creds: "" });
    const hint = async (): Promise<string> => (await timed(["ls"], env)).stderr.split("\n")[1] ?? "";
    expect(await hint()).toBe(
      `  its coordinator (process ${process.pid}) lives: see its log, or end that process and start it again with \`CLAW_HOME=${home}/lives claw up\``,
    );
    noteStart(data_dir, { version: 1, words: ["--role", "coordinator", "--nats", nats_url], follows: true });
    expect(await hint()).toBe(
      `  does the NATS run that its coordinator (process ${process.pid}) follows? As soon as it does, this works again`,
    );
    close();
  });
});

describe("credentials", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await openCluster({ workers: 0 });
  });
  afterAll(() => cluster.close());

  async function exported(role: string): Promise<string> {
    const file = join(home, `${role}.creds`);
    const { code, stdout } = await cluster.runCli(["credentials", "export", "--role", role]);
    expect(code).toBe(0);
    writeFileSync(file, stdout, { mode: 0o600 });
    return file;
  }

  test("a client's from another machine do, by option, by environment, and before the command", async () => {
    const creds = await exported("client");
    const nats = cluster.coordinator.nats_url;
    for (const { args, env } of [
      { args: ["status", "--nats", nats, "--creds", creds], env: {} },
      { args: ["--nats", nats, "--creds", creds, "status"], env: {} },
      { args: ["status"], env: { CLAW_NATS_URL: nats, CLAW_NATS_CREDS: creds } },
    ]) {
      const { code, stdout, stderr } = await runCli(args, { env: { CLAW_HOME: home, ...env } });
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout).toContain("0 online of 0");
    }
  });

  test("a worker's are refused at once, with the command that makes the right ones", async () => {
    const creds = await exported("worker");
    const { code, stderr, took_ms } = await timed(["ls", "--nats", cluster.coordinator.nats_url, "--creds", creds]);
    expect(code).toBe(77);
    expect(stderr).toBe(
      `claw: ${creds} holds credentials of a worker, and this is a client\n` +
        "  on the coordinator's machine: claw credentials export --role client --out c.creds\n",
    );
    expect(took_ms).toBeLessThan(MOST_MS);
  });

  test("none at all, a file that is not there, one that others can read, one that holds something else", async () => {
    const nats = cluster.coordinator.nats_url;
    const none = await timed(["ls", "--nats", nats]);
    expect([none.code, none.stderr.includes("wants credentials")]).toEqual([77, true]);
    const missing = await timed(["ls", "--nats", nats, "--creds", join(home, "missing.creds")]);
    expect([missing.code, missing.stderr.includes("there is no")]).toEqual([66, true]);
    const open = join(home, "open.creds");
    writeFileSync(open, "x", { mode: 0o644 });
    const shown = await timed(["ls", "--nats", nats, "--creds", open]);
    expect([shown.code, shown.stderr.includes(`chmod 600 ${open}`)]).toEqual([77, true]);
    const strange = join(home, "strange.creds");
    writeFileSync(strange, "x", { mode: 0o600 });
    const bad = await timed(["ls", "--nats", nats, "--creds", strange]);
    expect([bad.code, bad.stderr.includes("holds no NATS credentials")]).toEqual([78, true]);
  });

  test("a cluster of another name is refused at once, not waited for", async () => {
    const { code, stderr, took_ms } = await timed(["ls", "--cluster", "other"], { CLAW_HOME: cluster.home });
    expect([code, stderr.split("\n")[0]]).toEqual([
      77,
      "claw: these credentials are for the cluster default, not other",
    ]);
    expect(took_ms).toBeLessThan(MOST_MS);
  });
});
