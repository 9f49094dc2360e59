// The disk under the data folder is full: a small tmpfs in a mount namespace of its own. claw says so, ends with the right
// code, and once there is room nothing that it acknowledged is lost.

import { afterEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, machine, until } from "./binary.ts";
import { can_mount, fill, makeRoom, smallDisk } from "./small-disk.ts";

afterEach(closeMachines);

if (!can_mount) console.log("skipped: this machine does not let a test mount a file system of its own");

test.skipIf(!can_mount)(
  "it fills up while claw works: said, exit code 74, and nothing acknowledged is lost",
  async () => {
    const here = await smallDisk(64);
    const claw = await here.up();
    expect((await here.claw(["run", "--", "echo", "before"])).out).toBe("before\n");
    const running = (await here.claw(["submit", "--quiet", "--", "sleep", "600"])).out.trim();
    await fill(here);

    const acknowledged: string[] = [];
    let refused = { code: 0, err: "" };
    while (refused.code === 0 && acknowledged.length < 200) {
      const { code, out, err } = await here.claw(["submit", "--quiet", "--", "echo", "x".repeat(10_000)]);
      if (code === 0) acknowledged.push(out.trim());
      else refused = { code, err };
    }
    expect([69, 74, 75]).toContain(refused.code);
    expect(refused.err).toMatch(/^claw: .*(room|space|disk|coordinator|NATS)/);
    expect(await claw.exited()).toBe(74);
    expect(claw.log).toContain('"code":"disk_full"');
    expect(claw.log).toContain("make room under the data folder and start claw again");
    expect(here.taskPids("sleep 600")).toEqual([]);

    const again = here.begin(["up"]);
    expect(await again.exited()).toBe(74);
    expect(again.log).toMatch(/no (room|space) left/);

    await makeRoom(here);
    await here.up();
    if (acknowledged.length > 0) expect((await here.claw(["wait", ...acknowledged])).code).toBe(0);
    expect((await here.claw(["run", "--", "echo", "after"])).out).toBe("after\n");
    const tasks = await here.json<{ id: string; status: string }[]>(["ls", "--limit", "1000"]);
    expect(tasks.map(({ id }) => id)).toEqual(expect.arrayContaining([running, ...acknowledged]));
    expect((await here.claw(["cancel", running])).code).toBe(0);
  },
  120_000, // who was in doubt when it ended waits half a minute for it to come back
);

test.skipIf(!can_mount)(
  "a worker's disk fills up: its node is in error and takes no work, keeps what ends meanwhile, and comes back by itself",
  async () => {
    const here = machine();
    const other = await smallDisk(64);
    await here.coordinator();
    const { nats_url } = await here.json<{ nats_url: string }>(["status"]);
    const creds = join(other.folder, "w.creds");
    writeFileSync(creds, (await here.claw(["credentials", "export", "--role", "worker"])).out, { mode: 0o600 });
    const worker = await other.worker(["--nats", nats_url, "--creds", creds, "--name", "small"]);
    const line = "until [ -e go ]; do sleep 0.02; done; yes | head -c 3000";
    const submit = async (...words: string[]) =>
      (await here.claw(["submit", "--quiet", "--cwd", here.work, "--", ...words])).out.trim();
    const running = await submit("sh", "-c", line);
    await until("it runs", async () => {
      return (await here.json<{ status: string }>(["show", running])).status === "running" ? true : undefined;
    });
    await fill(other);
    const status = async (wanted: string) =>
      await until(`small is ${wanted}`, async () => {
        const [node] = await here.json<{ status: string; reason?: string }[]>(["nodes"]);
        return node?.status === wanted ? node : undefined;
      });
    expect((await status("error")).reason).toMatch(/left on the disk of/);
    expect((await here.claw(["status"])).out).toMatch(/small is in error: only .+ left on the disk of/);
    const waiting = await submit("echo", "later");
    expect((await here.claw(["show", waiting])).out).toMatch(/waits +small is in error: only .+ left on the disk/);
    writeFileSync(join(here.work, "go"), "");
    await worker.says("takes no work: ");
    expect(worker.running).toBe(true);
    await makeRoom(other);
    await status("online");
    expect(worker.log).toContain("takes work again");
    expect((await here.claw(["wait", "--timeout", "30s", running, waiting])).code).toBe(0);
    expect(await here.json<object>(["show", running])).toMatchObject({ status: "completed", attempt: 1 });
    expect(await worker.stop()).toBe(0);
  },
  120_000,
);

test.skipIf(!can_mount)("a first start on a disk without room", async () => {
  const here = await smallDisk(64);
  await fill(here);
  const claw = here.begin(["up"]);
  expect(await claw.exited()).toBe(74);
  expect(claw.log).toMatch(/no (room|space) left|ENOSPC/i);
  expect(claw.log).not.toMatch(/ at .*\.ts:/);
  await makeRoom(here);
  await here.up();
  expect((await here.claw(["run", "--", "echo", "fine"])).out).toBe("fine\n");
});
