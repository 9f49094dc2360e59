// 100 MB of output from one task: nobody's memory grows with it, other tasks go on, and what was cut is said.

import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CLAW, closeMachines, type Machine, machine, memoryKib, until } from "./binary.ts";

afterEach(closeMachines);

const MIB = 1024 * 1024;
const BYTES = 100 * MIB;
const FLOOD = `yes 0123456789 | head -c ${BYTES}`;
/** Generous: what grows with the output grows by a hundred and more. */
const MOST_GROWTH_MIB = 200;
/** What a client may gather while nobody reads: some chunks of 64 KiB. */
const MOST_UNREAD_MIB = 50;
const TASK_BYTES = 64 * MIB;

const sha256OfFlood = (bytes: number): string => {
  const hash = new Bun.CryptoHasher("sha256");
  const line = Buffer.from("0123456789\n".repeat(95_326)); // a little less than a MiB, whole lines
  for (let left = bytes; left > 0; left -= line.length) hash.update(line.subarray(0, Math.min(left, line.length)));
  return hash.digest("hex");
};

interface Flood {
  bytes: number;
  sha256: string;
  err: string;
  code: number;
  peak_mib: number;
  /** The most that it had when reading began. */
  unread_mib: number;
}

/** A client whose output is counted and not kept; `hold` keeps it unread for so long. */
async function follow(here: Machine, args: readonly string[], hold?: Promise<unknown>): Promise<Flood> {
  const child = Bun.spawn([CLAW, ...args], {
    env: here.env(),
    cwd: here.work,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const errors = child.stderr.text();
  await hold;
  const unread_mib = memoryKib(child.pid, "VmHWM") / 1024;
  const hash = new Bun.CryptoHasher("sha256");
  let bytes = 0;
  for await (const chunk of child.stdout) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  const code = await child.exited;
  const peak_mib = (child.resourceUsage()?.maxRSS ?? 0) / MIB;
  return { bytes, sha256: hash.digest("hex"), err: await errors, code, peak_mib, unread_mib };
}

/** Starts both roles, warm, and tells how much each has grown since. */
async function cluster(env: Record<string, string> = {}) {
  const here = machine();
  const coordinator = await here.coordinator();
  const worker = await here.worker([], env);
  const warm = await follow(here, ["run", "--", "sh", "-c", "yes | head -c 3000000"]);
  expect(warm.bytes).toBe(3_000_000);
  const pids = { coordinator: coordinator.pid, worker: worker.pid, nats_server: here.natsPid()! };
  const peaks = () =>
    Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, memoryKib(pid, "VmHWM") / 1024]));
  const before = peaks();
  return {
    here,
    client_mib: warm.peak_mib,
    expectBounded(client_mib: number) {
      const after = peaks();
      const grown = Object.entries(after).map(([name, mib]): [string, number] => [name, mib - before[name]!]);
      const all: [string, number][] = [...grown, ["client", client_mib - warm.peak_mib]];
      console.log(`grew by MiB: ${all.map(([name, mib]) => `${name} ${mib.toFixed(0)}`).join(", ")}`);
      expect(all.filter(([, mib]) => mib > MOST_GROWTH_MIB)).toEqual([]);
    },
  };
}

test("more than is kept: what was cut is said, another task runs meanwhile", async () => {
  const { here, expectBounded } = await cluster();
  const flood = follow(here, ["run", "--", "sh", "-c", `touch begun; ${FLOOD}; touch over`]);
  await until("it writes", () => existsSync(join(here.work, "begun")) || undefined);
  expect((await here.claw(["run", "--", "echo", "meanwhile"])).out).toBe("meanwhile\n");
  const { code, bytes, sha256, err, peak_mib } = await flood;
  expect({ code, bytes, sha256 }).toEqual({ code: 0, bytes: TASK_BYTES, sha256: sha256OfFlood(TASK_BYTES) });
  expect(err).toContain(`${BYTES - TASK_BYTES} bytes of its output were cut`);
  expectBounded(peak_mib);
  const [, task] = await here.json<{ id: string; stdout: object }[]>(["ls"]);
  expect(task!.stdout).toMatchObject({ bytes: BYTES, cut_bytes: BYTES - TASK_BYTES });
  const logs = await follow(here, ["logs", task!.id]);
  expect(logs).toMatchObject({ code: 0, bytes: TASK_BYTES, sha256 });
  expect(logs.err).toContain(`${BYTES - TASK_BYTES} bytes of its output were cut`);
});

test("all of it is kept where the worker is told so; a reader that sleeps holds nobody up", async () => {
  const { here, client_mib, expectBounded } = await cluster({ CLAW_OUTPUT_TASK_SIZE: "128M" });
  const over = until("it is over", () => existsSync(join(here.work, "over")) || undefined);
  const flood = await follow(here, ["run", "--", "sh", "-c", `${FLOOD}; touch over`], over);
  expect(flood).toMatchObject({ code: 0, bytes: BYTES, sha256: sha256OfFlood(BYTES), err: "" });
  expectBounded(flood.peak_mib);
  expect(flood.unread_mib - client_mib).toBeLessThan(MOST_UNREAD_MIB);
});
