// Two hosts with a wire between them, as network namespaces that this test makes: joining over the network, what can be
// reached from outside, and a wire that is cut for a while. Needs the right to make namespaces, as root has it.

import { afterEach, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, type Machine, machine, until } from "./binary.ts";

const A = { name: `claw-a-${process.pid}`, link: `ca${process.pid}`, address: "10.231.77.1" };
const B = { name: `claw-b-${process.pid}`, link: `cb${process.pid}`, address: "10.231.77.2" };

function ip(...words: string[]): boolean {
  return Bun.spawnSync(["ip", ...words], { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
}

const can_make = process.platform === "linux" && Bun.which("ip") !== null && ip("netns", "add", A.name);
if (can_make) ip("netns", "del", A.name);
else console.log("skipped: this machine does not let a test make network namespaces");

afterEach(async () => {
  await closeMachines();
  for (const { name } of [A, B]) ip("netns", "del", name);
});

function hosts(): { first: Machine; second: Machine } {
  const steps = [
    ...[A, B].map(({ name }) => ["netns", "add", name]),
    ["link", "add", A.link, "netns", A.name, "type", "veth", "peer", "name", B.link, "netns", B.name],
    ...[A, B].flatMap(({ name, link, address }) => [
      ["-n", name, "address", "add", `${address}/24`, "dev", link],
      ["-n", name, "link", "set", link, "up"],
      ["-n", name, "link", "set", "lo", "up"],
    ]),
  ];
  for (const step of steps) if (!ip(...step)) throw new Error(`ip ${step.join(" ")} failed`);
  const on = (name: string): Machine => {
    const made = machine();
    made.within = () => ["ip", "netns", "exec", name];
    made.nats_port = undefined;
    return made;
  };
  return { first: on(A.name), second: on(B.name) };
}

const url = `nats://${A.address}:7422`;

test.skipIf(!can_make)("a worker joins over the network, and a wire that is cut costs nothing", async () => {
  const { first, second } = hosts();
  await first.coordinator(["--listen", "0.0.0.0"]);
  const { out } = await first.claw(["credentials", "export", "--role", "worker"]);
  const creds = join(second.folder, "w.creds");
  writeFileSync(creds, out, { mode: 0o600 });
  const worker = await second.worker(["--nats", url, "--creds", creds, "--name", "far"]);
  expect((await first.claw(["run", "--", "sh", "-c", "echo $CLAW_NODE"])).out).toBe("far\n");

  const script = "touch begun; until [ -e go ]; do sleep 0.02; done; echo kept";
  const run = first.client(["run", "--", "sh", "-c", script]);
  await until("it runs", () => existsSync(join(first.work, "begun")) || undefined);
  expect(ip("-n", B.name, "link", "set", B.link, "down")).toBe(true);
  writeFileSync(join(first.work, "go"), "");
  await until("it ended while nobody could hear of it", () =>
    second.taskPids("until [").length === 0 ? true : undefined,
  );
  expect(run.seen.out).toBe("");
  expect(ip("-n", B.name, "link", "set", B.link, "up")).toBe(true);
  expect(await run.done).toMatchObject({ code: 0, out: "kept\n" });
  const [task] = await first.json<object[]>(["ls"]);
  expect(task).toMatchObject({ status: "completed", attempt: 1 });
  expect(worker.running).toBe(true);
});

test.skipIf(!can_make)("from outside nothing is reachable without credentials", async () => {
  const { first, second } = hosts();
  await first.up({}, ["--listen", "0.0.0.0"]);
  expect(await second.claw(["ls", "--nats", url])).toMatchObject({ code: 77, out: "" });
  const worker = second.begin(["--role", "worker", "--nats", url]);
  expect(await worker.exited(10_000)).toBe(77);
  // The HTTP endpoint stays on loopback.
  expect((await first.bash("exec 3<>/dev/tcp/127.0.0.1/7433")).code).toBe(0);
  expect((await second.bash(`exec 3<>/dev/tcp/${A.address}/7433`)).code).not.toBe(0);
});

test.skipIf(!can_make)("without --listen it is this machine's only", async () => {
  const { first, second } = hosts();
  await first.up();
  expect((await first.claw(["run", "--", "true"])).code).toBe(0);
  expect((await second.bash(`exec 3<>/dev/tcp/${A.address}/7422`)).code).not.toBe(0);
});
