// A cluster's state into a file and back, with the compiled binary: when the broker lost its log, when the machine is
// another one, and when something else would be lost by it.

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, type Machine, machine, until } from "./binary.ts";

afterEach(closeMachines);

interface Task {
  id: string;
  status: string;
  name?: string;
}

function coordinatorFolder(here: Machine): string {
  return join(here.home, "data", "coordinator");
}

async function statuses(here: Machine): Promise<Record<string, string>> {
  const tasks = await here.json<Task[]>(["ls"]);
  return Object.fromEntries(tasks.map(({ name, id, status }) => [name ?? id, status]));
}

/** A shell line that waits for a file, and notes each time that it runs. */
function held(here: Machine, name: string): string {
  return `echo ${name} >> ${here.work}/runs; while [ ! -e ${here.work}/${name} ]; do sleep 0.05; done; echo over`;
}

async function isRunning(here: Machine, name: string): Promise<void> {
  await until(`${name} runs`, async () => ((await statuses(here))[name] === "running" ? true : undefined));
}

async function clusterId(here: Machine): Promise<string> {
  return (await here.json<{ cluster_id: string }>(["status"])).cluster_id;
}

test("the broker's store is gone: log_lost says how to go on, and everything that the view had is there and runs on", async () => {
  const here = machine();
  const coordinator = await here.coordinator();
  const worker = await here.worker();
  expect((await here.claw(["run", "--name", "done", "--", "echo", "hello"])).code).toBe(0);
  await here.claw(["submit", "--name", "held", "--cpu", "0.01", "--", "sh", "-c", held(here, "held")]);
  await here.claw(["submit", "--name", "waits", "--gpu", "1", "--array", "1000", "--", "train"]);
  await isRunning(here, "held");
  const id = await clusterId(here);
  await coordinator.kill();
  const orphan = here.natsPid();
  if (orphan !== undefined) process.kill(orphan, "SIGKILL");
  await until("no broker", () => (here.natsPid() === undefined ? true : undefined));
  rmSync(join(coordinatorFolder(here), "jetstream"), { recursive: true });
  mkdirSync(join(coordinatorFolder(here), "jetstream"));

  const refused = await here.claw(["--role", "coordinator"]);
  expect(refused.code).toBe(70);
  expect(refused.err).toContain("is not the one that");
  expect(refused.err).toContain("claw snapshot restore --from-view");
  const again = `CLAW_HOME=${here.home} claw --role coordinator`;
  expect((await here.claw(["ls"])).err).toContain(`start it again with \`${again}\``);
  const restored = await here.claw(["snapshot", "restore", "--from-view"]);
  expect(restored.err).toContain("1002 tasks, 1001 not over");
  expect(restored.err).toEndWith(`  start it again: ${again}\n`);
  expect(restored.code).toBe(0);
  await here.coordinator();
  expect(await clusterId(here)).toBe(id);
  expect(await statuses(here)).toEqual({ done: "completed", held: "running", waits: "pending" });
  writeFileSync(join(here.work, "held"), "");
  await until("held is over", async () => ((await statuses(here))["held"] === "completed" ? true : undefined));
  // The worker lived through it, and what it ran went on.
  expect(readFileSync(join(here.work, "runs"), "utf8")).toBe("held\n");
  expect((await here.claw(["run", "--", "echo", "again"])).out).toBe("again\n");
  expect(worker.running).toBe(true);
});

test("from a file, on an empty machine: the cluster as it was; over one that lives it is refused, by name", async () => {
  const [here, there] = [machine(), machine()];
  const up = await here.up();
  expect(await here.claw(["run", "--name", "done", "--", "echo", "hello"])).toMatchObject({ code: 0, err: "" });
  await here.claw(["submit", "--name", "waits", "--gpu", "1", "--", "train"]);
  const file = join(here.work, "cluster.snap");
  const saved = await here.claw(["snapshot", "save", file]);
  expect([saved.code, saved.out]).toEqual([0, ""]);
  expect(saved.err).toContain("saved everything up to sequence");
  const piped = await here.bash("claw snapshot save - | cat > piped.snap");
  expect([piped.code, piped.err.includes("saved everything")]).toEqual([0, true]);
  const listed = await here.json<{ id: string; sequence: number }[]>(["snapshot", "ls"]);
  expect(listed.map(({ sequence }) => sequence)).toHaveLength(2);
  const id = await clusterId(here);

  const busy = await here.claw(["snapshot", "restore", file]);
  expect([busy.code, busy.err.includes("already")]).toEqual([75, true]);
  const restored = await there.claw(["snapshot", "restore", file, "--json"]);
  expect([restored.code, restored.err]).toEqual([0, ""]);
  expect(JSON.parse(restored.out)).toMatchObject({ cluster_id: id, tasks: { total: 2 }, kept: null });
  const service = await there.up();
  expect(await statuses(there)).toEqual({ done: "completed", waits: "pending" });
  expect(await clusterId(there)).toBe(id);
  // The first machine's node is still expected: whoever does not name another one may wait until it counts as gone.
  const node = /"node":"(node_[0-9a-f]{8})"/.exec(service.log)?.[1] ?? "";
  expect(await there.claw(["run", "--node", node, "--", "echo", "on"])).toEqual({ code: 0, out: "on\n", err: "" });

  // What came after the file would be lost.
  expect((await here.claw(["run", "--name", "later", "--", "true"])).code).toBe(0);
  expect([await up.stop(), up.log.includes("a bug")]).toEqual([0, false]);
  const refused = await here.claw(["snapshot", "restore", file]);
  expect(refused.code).toBe(65);
  expect(refused.err).toMatch(
    /would lose 1 task submitted and the ends of 0 earlier tasks, which this machine's view has \(\d+ batches, up to \d+\)/,
  );
  expect(refused.err).toContain("--force");
  await here.up();
  expect((await statuses(here))["later"]).toBe("completed");
});

test("with --force it is done over what is there, which is kept; numbers are never used again", async () => {
  const here = machine();
  const up = await here.up();
  const file = join(here.work, "cluster.snap");
  expect((await here.claw(["snapshot", "save", file])).code).toBe(0);
  expect((await here.claw(["run", "--name", "lost", "--", "true"])).code).toBe(0);
  expect(await up.stop()).toBe(0);
  const restored = await here.claw(["snapshot", "restore", file, "--force", "--json"]);
  expect(restored.code).toBe(0);
  const { kept } = JSON.parse(restored.out) as { kept: string };
  expect(existsSync(kept)).toBe(true);
  const again = await here.up();
  expect(await statuses(here)).toEqual({});
  expect((await here.claw(["run", "--name", "new", "--", "true"])).code).toBe(0);
  expect(await again.stop()).toBe(0);
  const view = new Database(join(coordinatorFolder(here), "view.sqlite"));
  const row = view.query<{ number: number }, []>("SELECT number FROM submissions").get();
  view.close(true);
  expect(row?.number).toBeGreaterThan(1_000_000_000);
});

test("a file that is damaged, cut or none at all is refused, and nothing is touched", async () => {
  const here = machine();
  const up = await here.up();
  const file = join(here.work, "cluster.snap");
  expect((await here.claw(["snapshot", "save", file])).code).toBe(0);
  expect(await up.stop()).toBe(0);
  const whole = readFileSync(file);
  const damaged = Buffer.from(whole);
  damaged[whole.length - 20] = (damaged[whole.length - 20] ?? 0) ^ 1;
  for (const bytes of [damaged, whole.subarray(0, whole.length - 5), whole.subarray(0, 3), Buffer.from("hello\n")]) {
    writeFileSync(file, bytes);
    const refused = await here.claw(["snapshot", "restore", file, "--force"]);
    expect([refused.code, refused.err.includes("damaged")]).toEqual([74, true]);
  }
  expect((await here.claw(["snapshot", "restore", "no-such-file"])).code).toBe(66);
  expect((await here.claw(["snapshot", "restore"])).code).toBe(64);
  expect((await here.claw(["snapshot", "restore", "x", "--from-view"])).code).toBe(64);
  const sound = await here.claw(["snapshot", "restore", "--from-view"]);
  // It may have stopped before it heard that its last batch was stored: then that one is what would be lost.
  expect([sound.code, /would lose (a log that is sound|the last \d+ batch(es)? of the log)/.test(sound.err)]).toEqual([
    65,
    true,
  ]);
  await here.up();
});
