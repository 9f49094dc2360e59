// One process is a node at a time: a key that was copied to a second machine, a worker that is started again at once, and one
// that the cluster ends.

import { afterEach, expect, test } from "bun:test";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, type Machine, machine, until } from "./binary.ts";

afterEach(closeMachines);

/** A coordinator, and a worker's credentials. */
async function cluster(env: Record<string, string> = {}): Promise<{ here: Machine; args: string[] }> {
  const here = machine();
  await here.start("coordinator is up", ["--role", "coordinator"], env);
  const { nats_url } = await here.json<{ nats_url: string }>(["status"]);
  const creds = join(here.folder, "w.creds");
  writeFileSync(creds, (await here.claw(["credentials", "export", "--role", "worker"])).out, { mode: 0o600 });
  return { here, args: ["--nats", nats_url, "--creds", creds] };
}

test("a second process with the same key is refused, told which one is alive, and disturbs nothing", async () => {
  const { here, args } = await cluster();
  const [first, second] = [machine(), machine()];
  const worker = await first.worker([...args, "--name", "first"]);
  const line = "touch begun; until [ -e go ]; do sleep 0.02; done; echo $CLAW_NODE";
  const id = (await here.claw(["submit", "--quiet", "--cwd", here.work, "--", "sh", "-c", line])).out.trim();
  await until("it runs", () => (existsSync(join(here.work, "begun")) ? true : undefined));

  const refused = second.begin(["--role", "worker", ...args, "--name", "second"]);
  expect(await refused.exited(10_000)).toBe(77);
  expect(refused.log).toMatch(/node_\w{8} is first, process \d+ on this machine, since \S+, and is alive/);
  expect(refused.log).toContain(`process ${worker.pid} on this`);
  expect(refused.log).toContain("claw credentials export --role worker");
  expect(refused.log).not.toContain("left running");

  writeFileSync(join(here.work, "go"), "");
  expect((await here.claw(["wait", "--timeout", "20s", id])).code).toBe(0);
  expect(await here.json<object>(["show", id])).toMatchObject({ status: "completed", attempt: 1, node_name: "first" });
  expect((await here.json<object[]>(["nodes"])).length).toBe(1);
});

test("killed and started again at once it is back at once, and what it ran runs again", async () => {
  const { here, args } = await cluster();
  const first = machine();
  let worker = await first.worker(args);
  const line = 'echo "$CLAW_ATTEMPT" >> lives; [ $(wc -l < lives) = 3 ] || exec sleep 600';
  const id = (await here.claw(["submit", "--quiet", "--cwd", here.work, "--", "sh", "-c", line])).out.trim();
  for (const attempt of [1, 2]) {
    await until("it runs", async () => {
      const task = await here.json<{ status: string; attempt?: number }>(["show", id]);
      return task.status === "running" && task.attempt === attempt ? true : undefined;
    });
    await worker.kill();
    const began = performance.now();
    worker = await first.worker(args);
    // Far less than the heartbeats by which a stranger would have to wait.
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(worker.log).not.toContain("waiting to see");
  }
  expect((await here.claw(["wait", "--timeout", "20s", id])).code).toBe(0);
  expect(first.taskPids("sleep 600")).toEqual([]);
});

test("on another machine, and as a copy of the folder, it takes over when the first one is silent", async () => {
  const { here, args } = await cluster({ CLAW_HEARTBEAT_INTERVAL: "1s" });
  const [first, second, third] = [machine(), machine(), machine()];
  const worker = await first.worker([...args, "--name", "first"]);
  await worker.kill();
  cpSync(first.home, second.home, { recursive: true });
  const other = await second.worker([...args, "--name", "second"]);
  expect(other.log).toMatch(/is first, process \d+ on this machine, .* waiting to see whether it still lives/);
  expect((await here.claw(["run", "--", "sh", "-c", "echo $CLAW_NODE"])).out).toBe("second\n");
  // Once it says goodbye nobody has to wait.
  expect(await other.stop()).toBe(0);
  expect((await third.worker([...args, "--name", "third"])).log).not.toContain("waiting to see");
});

const running = (here: Machine, id: string) =>
  until(`${id} runs`, async () => {
    return (await here.json<{ status: string }>(["show", id])).status === "running" ? true : undefined;
  });

/** Its goodbye is in the log a moment after its process has ended. */
const offline = (here: Machine) =>
  until("it is offline", async () => {
    const [node] = await here.json<{ status: string; reason?: string }[]>(["nodes"]);
    return node?.status === "offline" ? node : undefined;
  });

test("shut down by the cluster it empties itself, ends with 0 and is offline by intention; started again it works", async () => {
  const { here, args } = await cluster();
  const first = machine();
  let worker = await first.worker([...args, "--name", "first"]);
  const line = "until [ -e go ]; do sleep 0.02; done";
  const submit = (more: string[]) => here.claw(["submit", "--quiet", "--cwd", here.work, ...more]);
  const id = (await submit(["--", "sh", "-c", line])).out.trim();
  await running(here, id);

  expect(await here.claw(["nodes", "shutdown", "first"])).toMatchObject({
    code: 64,
    err: expect.stringMatching(/this would shut down first, with 1 task there\n +add --yes/),
  });
  const asked = await here.claw(["nodes", "shutdown", "first", "--yes", "--reason", "new disk"]);
  expect(asked).toMatchObject({ code: 0, err: "claw: first is being emptied, then its worker ends\n" });
  const waits = (await submit(["--", "true"])).out.trim();
  expect((await here.claw(["nodes"])).err).toContain(
    "first is being shut down, 1 task left: new disk; claw nodes resume first",
  );
  expect(worker.running).toBe(true);
  writeFileSync(join(here.work, "go"), "");
  expect(await worker.exited(10_000)).toBe(0);
  expect(worker.log).toMatch(/the worker ends: shut down by client_\w+: new disk/);
  expect(await here.json<object>(["show", id])).toMatchObject({ status: "completed", attempt: 1 });
  expect(await offline(here)).toMatchObject({ reason: expect.stringMatching(/^shut down by client_\w+: new disk$/) });
  expect((await here.claw(["nodes"])).err).toMatch(/first is offline, shut down by .* new disk; start its worker/);
  expect((await here.claw(["nodes", "shutdown", "first"])).err).toBe("claw: first is offline already\n");

  worker = await first.worker([...args, "--name", "first"]);
  expect((await here.claw(["wait", "--timeout", "20s", waits])).code).toBe(0);
  // At once: what runs is stopped and runs elsewhere.
  const long = (await submit(["--", "sleep", "600"])).out.trim();
  await running(here, long);
  await here.claw(["nodes", "shutdown", "first", "--deadline", "0s", "-y", "--quiet"]);
  expect(await worker.exited(15_000)).toBe(0);
  await offline(here);
  expect(await here.json<object>(["show", long])).toMatchObject({
    status: "pending",
    attempts: [{ reason: "drained" }],
  });
});

test("the worker of `claw up` ends alone: its coordinator goes on", async () => {
  const here = machine();
  const up = await here.up();
  const [node] = await here.json<{ name: string }[]>(["nodes"]);
  await here.claw(["nodes", "shutdown", node!.name, "--yes"]);
  await offline(here);
  expect(up.running).toBe(true);
  expect(await up.stop()).toBe(0);
});

test("asked to stop it ends what it runs, which another one runs again: the history and whoever watches tell of both", async () => {
  const { here, args } = await cluster();
  const worker = await here.worker(["--name", "first"]);
  const line = "touch began-$CLAW_NODE; until [ -e go ]; do sleep 0.02; done; echo on";
  const watching = here.claw(["run", "--name", "moves", "--cwd", here.work, "--", "sh", "-c", line]);
  await until("it runs", () => (existsSync(join(here.work, "began-first")) ? true : undefined));
  await machine().worker([...args, "--name", "second"]);
  expect(await worker.stop()).toBe(0);
  await until("it runs again", () => (existsSync(join(here.work, "began-second")) ? true : undefined));
  writeFileSync(join(here.work, "go"), "");
  const [{ id }] = await here.json<[{ id: string }]>(["ls", "--name", "moves"]);
  expect(await watching).toEqual({
    code: 0,
    out: "on\n",
    err: `claw: ${id}: attempt 1 was stopped with its worker\n`,
  });
  const { out } = await here.claw(["show", id]);
  expect(out).toMatch(/^attempt {2,}2$/m);
  expect(out).toMatch(/^attempt 1 {2,}stopped with its worker on first after \S+ \(it had waited \S+\), \S+$/m);
  const attempts = [{ attempt: 1, reason: "stopped", node_name: "first", started_at: expect.any(String) }];
  expect(await here.json<object>(["show", id])).toMatchObject({ attempt: 2, node_name: "second", attempts });
});

test("`claw up` that is stopped again and again hears its own worker's goodbye: nothing counts as lost", async () => {
  const here = machine();
  let up = await here.up();
  const line = "echo >> lives; [ $(wc -l < lives) -gt 6 ] || exec sleep 600";
  const id = (await here.claw(["submit", "--quiet", "--cwd", here.work, "--", "sh", "-c", line])).out.trim();
  for (let stop = 1; stop <= 6; stop++) {
    await until("it runs", () => readLives(here) === stop || undefined);
    expect(await up.stop()).toBe(0);
    up = await here.up();
  }
  expect((await here.claw(["wait", "--timeout", "20s", id])).code).toBe(0);
  const { attempts } = await here.json<{ attempts: { reason: string }[] }>(["show", id]);
  expect(attempts.map(({ reason }) => reason)).toEqual(Array(6).fill("stopped"));
});

const readLives = (here: Machine): number => {
  const path = join(here.work, "lives");
  return existsSync(path) ? readFileSync(path, "utf8").length : 0;
};
