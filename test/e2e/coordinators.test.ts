// Several coordinators on one NATS: one leads, the others follow, and whoever works with the cluster notices nothing but
// a pause when the leader stops, dies or sleeps.

import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LIMITS } from "../../src/common/limits.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { closeMachines, type Machine, machine, ownNats, type Service, until } from "./binary.ts";

afterEach(closeMachines);

/** Three thousand processes, which take as long as the machine does. */
const THOUSANDS_MS = 180_000;
/** The limit, and what a busy machine takes. */
const SOON_MS = LIMITS.http_broker_ms + 2_000;

/** Two leases: the one that it had asked for, and the one in which no answer came; and what a busy machine takes. */
const HUNG_MS = 2 * 2_000 + 3_000;

interface Status {
  leader: string;
  epoch: number;
  coordinators: { id: string; leads: boolean; behind: number }[];
}

interface Pair {
  url: string;
  client: Machine;
  services: Service[];
  leader(): Promise<Service>;
}

async function pair(): Promise<Pair> {
  const { url, machine: client } = await ownNats();
  const services = await Promise.all([machine(), machine()].map((one) => one.coordinator(["--nats", url])));
  const leader = (): Promise<Service> =>
    until("a leader", () => {
      const terms = services.map(({ log, running }) => {
        const led = [...log.matchAll(/"term":(\d+),"message":"leads"/g)].at(-1)?.[1];
        return running && led !== undefined ? Number(led) : 0;
      });
      const newest = Math.max(...terms);
      return newest > 0 ? services[terms.indexOf(newest)] : undefined;
    });
  return { url, client, services, leader };
}

const env = (url: string) => ({ CLAW_NATS_URL: url });

test(
  "the leader is killed while thousands of tasks run: another leads, and every task is recorded once",
  async () => {
    const { url, client, services, leader } = await pair();
    await machine().worker(["--nats", url]);
    await machine().worker(["--nats", url]);
    const first = await leader();
    const lines = Array.from({ length: 3_000 }, (_, at) => String(at));
    const call = { stdin: lines.join("\n"), env: env(url), deadline_ms: THOUSANDS_MS };
    const work = client.client(["run", "--each", "echo {}"], call);
    await until("some of it is done", () => (work.seen.out.length > 2_000 ? true : undefined), THOUSANDS_MS);
    await first.kill();
    const next = await leader();
    expect(next).not.toBe(first);
    const { code, out, err } = await work.done;
    expect(err).toContain("3000 succeeded");
    expect(code).toBe(0);
    expect(
      out
        .trim()
        .split("\n")
        .map(Number)
        .sort((a, b) => a - b),
    ).toEqual(lines.map(Number));
    expect(services.filter(({ running }) => running)).toEqual([next]);
  },
  THOUSANDS_MS,
);

test("the leader is asked to stop: it hands over, and a command goes through meanwhile", async () => {
  const { url, client, services, leader } = await pair();
  const first = await leader();
  const keyless = await client.claw(["credentials", "export", "--role", "worker"], { env: env(url) });
  expect([keyless.code === 0, keyless.err.includes("did not start its NATS")]).toEqual([false, true]);
  const asked = performance.now();
  const [code] = await Promise.all([
    first.stop(),
    until("the other leads", () => services.find((one) => one !== first && one.log.includes('"leads"'))),
  ]);
  expect(code).toBe(0);
  // Less than a lease: it was given back, not waited for.
  expect(performance.now() - asked).toBeLessThan(2_000);
  const status = await client.json<Status>(["status"], { env: env(url) });
  expect(status.coordinators).toMatchObject([{ leads: true }]);
}, 60_000);

test.each(["SIGKILL", "SIGTERM"] as const)(
  "the leader is gone by %s: whoever watches goes on as soon as another leads",
  async (signal) => {
    const { url, client, services, leader } = await pair();
    await machine().worker(["--nats", url]);
    const first = await leader();
    const line = "until [ -e go ]; do sleep 0.02; done; echo on";
    const run = client.client(["run", "--name", "long", "--", "sh", "-c", line], { env: env(url) });
    const events = client.client(["events", "--follow", "--json"], { env: env(url) });
    await until("it runs, and is watched", () => (events.seen.out.includes('"task.started"') ? true : undefined));
    process.kill(first.pid, signal);
    await until("the other leads", () => services.find((one) => one !== first && one.log.includes('"leads"')));
    writeFileSync(join(client.work, "go"), "");
    // Half of what a request that nobody answers takes.
    await until("the end is told", () => (events.seen.out.includes('"task.completed"') ? true : undefined), 10_000);
    expect(await run.done).toMatchObject({ code: 0, out: "on\n" });
    events.child.kill("SIGINT");
    await events.done;
  },
  60_000,
);

test("the leader sleeps: another leads, and the sleeper follows it when it wakes", async () => {
  const { url, client, services, leader } = await pair();
  const first = await leader();
  process.kill(first.pid, "SIGSTOP");
  const next = await until("the other leads", () =>
    services.find((one) => one !== first && one.log.includes('"leads"')),
  );
  const id = (await client.claw(["submit", "--quiet", "--", "true"], { env: env(url) })).out.trim();
  process.kill(first.pid, "SIGCONT");
  await until("both are there", async () => {
    const { coordinators, epoch } = await client.json<Status>(["status"], { env: env(url) });
    return coordinators.length === 2 && coordinators[1]?.behind === 0 && epoch >= 2 ? true : undefined;
  });
  // Whoever leads by now knows what the other one acknowledged.
  expect((await client.claw(["show", id], { env: env(url) })).code).toBe(0);
  expect(next.running && first.running).toBe(true);
}, 60_000);

test("a follower answers over HTTP what the leader says", async () => {
  const { url } = await ownNats();
  const machines = [machine(), machine()];
  const leader = await machines[0]!.start('"message":"leads"', ["--role", "coordinator", "--nats", url]);
  await leader.says("coordinator is up");
  expect((await machines[0]!.claw(["status"])).out).not.toContain("(coordinator_");
  const follower = await machines[1]!.start("follows the log", ["--role", "coordinator", "--nats", url]);
  await follower.says("coordinator is up");
  await machines[1]!.claw(["submit", "--quiet", "--name", "seen", "--", "true"]);
  const home = join(machines[1]!.home, "data");
  const { http_url, token_file } = JSON.parse(readFileSync(join(home, "endpoint.json"), "utf8")) as {
    http_url: string;
    token_file: string;
  };
  const headers = { authorization: `Bearer ${readFileSync(token_file, "utf8").trim()}` };
  const ready = await fetch(`${http_url}/readyz`);
  expect([ready.status, await ready.json()]).toEqual([200, { ready: true, failing: [] }]);
  const status = (await (await fetch(`${http_url}/api/v1/cluster`, { headers })).json()) as Status;
  expect(status.coordinators.map(({ leads }) => leads)).toEqual([true, false]);
  // Both have this machine's name: which of them leads, and which follows, their ids say.
  const [first, second] = status.coordinators.map(({ id }) => id);
  expect((await machines[1]!.claw(["status"])).out).toMatch(
    new RegExp(`leader +${status.leader} \\(${first}\\), term .*\nfollows +${status.leader} \\(${second}\\)`),
  );
  expect(follower.log).toContain(`"leader_id":"${first}"`);
  const { tasks } = (await (await fetch(`${http_url}/api/v1/tasks`, { headers })).json()) as {
    tasks: { name: string }[];
  };
  expect(tasks.map(({ name }) => name)).toEqual(["seen"]);
  // What is written there is written by who leads, too.
  const submitted = await fetch(`${http_url}/api/v1/tasks`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ noop: true, name: "through a follower" }),
  });
  const { ids } = (await submitted.json()) as { ids: string[] };
  expect([submitted.status, ids.length]).toEqual([201, 1]);
  const task = await fetch(`${http_url}/api/v1/tasks/${ids[0]}`, { headers });
  expect(await task.json()).toMatchObject({ name: "through a follower" });
  const figures = await (await fetch(`${http_url}/metrics`, { headers })).text();
  expect(figures).toContain("claw_leader 0\n");
}, 60_000);

test("one follows a coordinator with a NATS of its own, and goes on from its view when that machine is gone", async () => {
  const home = machine();
  const main = await home.start("coordinator is up", ["--role", "coordinator", "--listen", "127.0.0.1"]);
  const { nats_url } = await home.json<{ nats_url: string }>(["status"]);
  expect((await home.claw(["status"])).out).toContain("the log lives on this machine only");
  const other = machine();
  const creds = join(other.folder, "c.creds");
  await home.bash(`umask 077; claw credentials export --role coordinator --out ${creds}`);
  const follower = await other.start("follows the log", [
    "--role",
    "coordinator",
    "--nats",
    nats_url,
    "--creds",
    creds,
  ]);
  await follower.says("coordinator is up");
  const id = (await home.claw(["submit", "--quiet", "--", "echo", "kept"])).out.trim();
  await until("it has followed", async () => {
    const { coordinators } = await home.json<Status>(["status"]);
    return coordinators[1]?.behind === 0 ? true : undefined;
  });
  await main.stop();
  await follower.stop();
  const restored = await other.claw(["snapshot", "restore", "--from-view"]);
  expect([restored.code, restored.err]).toEqual([0, expect.any(String)]);
  await other.up();
  expect((await other.claw(["show", id])).code).toBe(0);
  expect((await other.claw(["wait", id])).code).toBe(0);
}, 60_000);

/** Asks a machine's coordinator over HTTP: the status, and what is wrong. */
function askOver(here: Machine) {
  const path = join(here.home, "data/endpoint.json");
  const endpoint = JSON.parse(readFileSync(path, "utf8")) as { http_url: string; token_file: string };
  const token = readFileSync(endpoint.token_file, "utf8").trim();
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  return async (path: string, body?: object): Promise<[number, string | undefined]> => {
    const sent = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    const response = await fetch(`${endpoint.http_url}${path}`, { headers, ...sent });
    const answer = (await response.json()) as { error?: { message: string }; failing?: string[] };
    return [response.status, answer.error?.message ?? answer.failing?.[0]];
  };
}

test("over HTTP a coordinator whose broker hangs, with its connection there, is not ready, whoever leads", async () => {
  const { url, machine: broker } = await ownNats();
  const [leads, follows] = [machine(), machine()];
  const leader = await leads.start('"message":"leads"', ["--role", "coordinator", "--nats", url]);
  const follower = await follows.start("follows the log", ["--role", "coordinator", "--nats", url]);
  await Promise.all([leader, follower].map((one) => one.says("coordinator is up")));
  const asks = [leads, follows].map(askOver);
  for (const ask of asks) expect(await ask("/readyz")).toEqual([200, undefined]);
  const [pid] = broker.taskPids("nats-server");
  process.kill(pid!, "SIGSTOP");
  const unready = async (ask: (typeof asks)[0]) => {
    const [status, why] = await ask("/readyz");
    return status === 503 ? why : undefined;
  };
  const whys = asks.map((ask) => until("it is not ready", () => unready(ask), HUNG_MS));
  expect(await Promise.all(whys)).toEqual(["NATS does not answer", "NATS does not answer"]);
  const why = `this coordinator hears nothing from NATS at ${url}`;
  for (const answer of await Promise.all(asks.map((ask) => ask("/api/v1/tasks")))) expect(answer).toEqual([503, why]);
  process.kill(pid!, "SIGCONT");
  for (const ask of asks)
    await until("it is ready again", async () => ((await unready(ask)) === undefined ? true : undefined));
  for (const { log } of [leader, follower]) expect(log.split("NATS answers for the lease again").length).toBe(2);
  expect(leader.log + follower.log).not.toContain("lost NATS");
}, 60_000);

test("over HTTP a coordinator whose broker is gone says so soon, whoever leads", async () => {
  const { url, machine: broker } = await ownNats();
  const [leads, follows] = [machine(), machine()];
  const leader = await leads.start('"message":"leads"', ["--role", "coordinator", "--nats", url]);
  await leader.says("coordinator is up");
  const follower = await follows.start("follows the log", ["--role", "coordinator", "--nats", url]);
  await follower.says("coordinator is up");
  const asks = [leads, follows].map(askOver);
  for (const ask of asks) expect((await ask("/api/v1/tasks", { noop: true }))[0]).toBe(201);
  process.kill(broker.taskPids("nats-server")[0]!, "SIGKILL");
  for (const ask of asks) {
    const lost = async () => {
      const [status, why] = await ask("/readyz");
      return status === 503 ? why : undefined;
    };
    expect(await until("it is not ready", lost, 1_000)).toBe("the connection to NATS is lost");
  }
  const begun_ms = performance.now();
  const answers = asks.map((ask) => ask("/api/v1/tasks", { noop: true }));
  answers.push(...["/api/v1/cluster", "/api/v1/tasks"].map((path) => asks[1]!(path)));
  const why = `this coordinator has no connection to NATS at ${url}`;
  for (const answer of await Promise.all(answers)) expect(answer).toEqual([503, why]);
  expect(performance.now() - begun_ms).toBeLessThan(SOON_MS);
  await leader.says("the lease cannot be kept for now");
  await follower.says("who leads cannot be seen for now");
  for (const { log } of [leader, follower]) expect(log.split("lost NATS").length).toBe(2);
  expect(follower.log).not.toContain("lease cannot be kept");
}, 60_000);

test("a cluster on a NATS of its own is restored into that one, while nobody leads there, and where it is said", async () => {
  const { url, machine: client } = await ownNats();
  const [here, other] = [machine(), machine()];
  const words = ["--role", "coordinator", "--nats", url];
  const leader = await here.start('"message":"leads"', words);
  await leader.says("coordinator is up");
  const submit = (name: string) => here.claw(["submit", "--quiet", "--name", name, "--gpu", "1", "--", "train"]);
  await submit("kept");
  const file = join(here.work, "cluster.snap");
  expect((await here.claw(["snapshot", "save", file])).code).toBe(0);
  await submit("later");
  const restore = async (...more: string[]) => {
    const { code, err } = await here.claw(["snapshot", "restore", file, ...more]);
    return [code, err] as const;
  };
  const led = await other.claw(["snapshot", "restore", file, "--nats", url, "--force"]);
  expect([led.code, led.err]).toEqual([75, expect.stringContaining("a coordinator leads this cluster")]);
  expect(await leader.stop()).toBe(0);
  expect(await restore("--force")).toEqual([64, expect.stringMatching(/restore into which\?\n.*--nats URL .*--own /)]);
  // From a machine that has nothing of it but the file.
  const blind = await other.claw(["snapshot", "restore", file, "--nats", url]);
  expect([blind.code, blind.err]).toEqual([65, expect.stringMatching(/would lose the last \d+ batch(es)? of the log/)]);
  const forced = `CLAW_HOME=${other.home} claw snapshot restore ${file} --nats ${url} --force`;
  expect(blind.err).toEndWith(`  if that is what you want: ${forced}\n`);
  const [code, err] = await restore("--nats", url, "--force");
  expect([code, err]).toEqual([
    0,
    expect.stringContaining(`start it again: CLAW_HOME=${here.home} claw ${words.join(" ")}\n`),
  ]);
  const again = await here.start('"message":"leads"', words);
  await again.says("coordinator is up");
  const names = (await client.json<{ name: string }[]>(["ls"], { env: env(url) })).map(({ name }) => name);
  expect(names).toEqual(["kept"]);
}, 60_000);

test("a NATS of its own that lost the log: no second one is made beside it, and what is said to do goes on there", async () => {
  const { url } = await ownNats();
  const [here, other] = [machine(), machine()];
  const words = ["--role", "coordinator", "--nats", url, "--cluster", "lab"];
  const leader = await here.start('"message":"leads"', words);
  await leader.says("coordinator is up");
  const follower = await other.start("follows the log", words);
  await follower.says("coordinator is up");
  expect(await follower.stop()).toBe(0);
  await here.claw(["submit", "--quiet", "--name", "kept", "--gpu", "1", "--", "train"]);
  expect(await leader.stop()).toBe(0);
  const connection = await openConnection({ url, name: "disk", timeout_ms: 5_000 });
  const { streams } = await connection.jetstreamManager();
  for (const name of await streams.names().next()) await streams.delete(name);
  await connection.close();

  const refused = await here.claw(words);
  expect(refused.code).toBe(70);
  const command = `CLAW_HOME=${here.home} claw snapshot restore --from-view --nats ${url} --cluster lab`;
  expect(refused.err).toContain(`  stop all coordinators, then \`${command}\` goes on`);
  const less = await here.claw(["snapshot", "restore", "--from-view"]);
  expect([less.code, less.err]).toEqual([64, expect.stringMatching(/restore into which\?\n.*--nats URL .*--own /)]);
  expect((await other.claw(words)).code).toBe(70);
  const made = readdirSync(join(here.home, "data", "coordinator"));
  expect(made.filter((name) => name === "identity.json" || name === "jetstream")).toEqual([]);

  const restored = await here.bash(command);
  expect([restored.code, restored.err]).toEqual([0, expect.stringContaining("1 tasks, 1 not over")]);
  const again = await here.start('"message":"leads"', words);
  await again.says("coordinator is up");
  const names = (await here.json<{ name: string }[]>(["ls"])).map(({ name }) => name);
  expect(names).toEqual(["kept"]);
  // Whoever is started again and again comes back by itself: that is why the unit goes on trying.
  const back = await other.start("follows the log", words);
  await back.says("coordinator is up");
}, 60_000);
