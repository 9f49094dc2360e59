// Clients that had begun (run, --each, wait, logs -f) go on by themselves when the coordinator, its nats-server, or
// everything but them was killed and is there again. Who started it again, and when, is not theirs to know.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, closeMachines, type Machine, machine, type Service, until } from "./binary.ts";

afterEach(closeMachines);

interface Cluster {
  here: Machine;
  coordinator: Service;
  worker: Service;
}

async function cluster(): Promise<Cluster> {
  const here = machine();
  const coordinator = await here.coordinator();
  return { here, coordinator, worker: await here.worker() };
}

const KILLS: Record<string, (cluster: Cluster) => Promise<void>> = {
  "the coordinator": async ({ here, coordinator }) => {
    await coordinator.kill();
    await here.coordinator();
  },
  "the nats-server": async ({ here }) => {
    const [pid] = here.natsPids();
    process.kill(pid!, "SIGKILL");
    await until("another nats-server", () => here.natsPids().find((other) => other !== pid));
  },
  "everything at once": async ({ here, coordinator, worker }) => {
    await Promise.all([coordinator.kill(), worker.kill()]);
    for (const pid of here.natsPids()) process.kill(pid, "SIGKILL");
    await here.coordinator();
    await here.worker();
  },
};

function lines(client: Client, from: number, to: number): void {
  for (let line = from; line <= to; line++) void (client.child.stdin as Bun.FileSink).write(`${line}\n`);
  void (client.child.stdin as Bun.FileSink).flush();
}

/** Whether it has a connection, which is its broker's: `wait` says nothing by which to know that it has begun. */
function connected({ child: { pid } }: Client): boolean {
  const ESTABLISHED = "01";
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((name) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${name}`);
      } catch {
        return ""; // closed meanwhile
      }
    }),
  );
  const rows = readFileSync(`/proc/${pid}/net/tcp`, "utf8").split("\n");
  const fields = rows.map((row) => row.trim().split(/ +/));
  return fields.some(({ 3: state, 9: inode }) => state === ESTABLISHED && sockets.has(`socket:[${inode}]`));
}

for (const [what, kill] of Object.entries(KILLS)) {
  describe(`${what} is killed`, () => {
    test("run, wait and logs -f", async () => {
      const all = await cluster();
      const { here } = all;
      const script = (name: string) =>
        `echo begun; touch begun-${name}; until [ -e go ]; do sleep 0.02; done; echo over`;
      const run = here.client(["run", "--", "sh", "-c", script("a")]);
      const id = (await here.claw(["submit", "--quiet", "--", "sh", "-c", script("b")])).out.trim();
      await until(
        "both run",
        () => (existsSync(join(here.work, "begun-a")) && existsSync(join(here.work, "begun-b"))) || undefined,
      );
      const wait = here.client(["wait", id]);
      const logs = here.client(["logs", "-f", id]);
      await until("output was seen", () => (run.seen.out === "begun\n" && logs.seen.out === "begun\n") || undefined);
      await until("wait is connected", () => connected(wait) || undefined);
      await kill(all);
      writeFileSync(join(here.work, "go"), "");
      expect((await wait.done).code).toBe(0);
      const [ran, followed] = await Promise.all([run.done, logs.done]);
      if (!ran.out.endsWith("over\n")) console.log(ran, followed, await here.json(["show", id]));
      // A lost worker's attempt is run again: its output begins anew, and that is said.
      const expected = what === "everything at once" ? /^begun\n(begun\n)?over\n$/ : /^begun\nover\n$/;
      expect(ran.out).toMatch(expected);
      expect(followed.out).toMatch(expected);
      expect([ran.code, followed.code]).toEqual([0, 0]);
    });

    test("run --each, while its lines still come", async () => {
      const all = await cluster();
      const { here } = all;
      mkdirSync(join(here.work, "done"));
      const done = (count: number) =>
        until(`${count} are done`, () => readdirSync(join(here.work, "done")).length >= count || undefined);
      const run = here.client(["run", "--keep-order", "--each", "touch done/{}; echo {}"], { open: true });
      lines(run, 1, 50);
      await done(50);
      const killed = kill(all);
      lines(run, 51, 100);
      await killed;
      lines(run, 101, 150);
      await done(150);
      await (run.child.stdin as Bun.FileSink).end();
      const { code, out } = await run.done;
      expect(out).toBe(Array.from({ length: 150 }, (_, index) => `${index + 1}\n`).join(""));
      expect(code).toBe(0);
      const [array] = await here.json<object[]>(["ls"]);
      expect(array).toMatchObject({ status: "completed", counts: { total: 150, completed: 150 } });
    });
  });
}

test("a command that comes while the nats-server is started again waits for it", async () => {
  const { here } = await cluster();
  for (let round = 0; round < 3; round++) {
    const [pid] = here.natsPids();
    process.kill(pid!, "SIGKILL");
    const { code, out, err } = await here.claw(["run", "--", "echo", "on"]);
    expect({ code, out }).toEqual({ code: 0, out: "on\n" });
    expect(err).toMatch(/^(claw: .*; waiting for the coordinator\n)?$/);
  }
});
