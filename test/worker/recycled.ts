// A process id that comes again, forced: run by recycled.test.ts in a pid namespace of its own, where the kernel can be told
// which number it gives next. Prints who lived through what, as JSON.

import { writeFileSync } from "node:fs";
import { LIMITS } from "../../src/common/limits.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { listProcesses } from "../../src/worker/processes.ts";
import { endTree, hasLeftovers, sweepEarlierLives } from "../../src/worker/tree.ts";

const NODE = "node_0123abcd";
const MARKER = `${NODE}/0123456789abcdef/1.0.1`;

/** As the leader of a group of its own, as tasks are. */
function begin(attempt?: string) {
  const env = {
    PATH: process.env["PATH"] ?? "/usr/bin:/bin",
    ...(attempt === undefined ? {} : { CLAW_ATTEMPT: attempt }),
  };
  return Bun.spawn(["setsid", "sleep", "600"], { env, stdin: "ignore", stdout: "ignore", stderr: "ignore" });
}

/** A stranger under the number that the task had, begun some ticks of the kernel's clock after it. */
async function again(pid: number, key: string | undefined) {
  for (let tries = 0; tries < 200; tries++) {
    writeFileSync("/proc/sys/kernel/ns_last_pid", String(pid - 1));
    const stranger = begin();
    while (keyOf(stranger.pid) === undefined) await Bun.sleep(1);
    if (stranger.pid === pid && keyOf(pid) !== key) return stranger;
    stranger.kill("SIGKILL");
    await stranger.exited;
  }
  throw new Error(`the number ${pid} did not come again`);
}

const keyOf = (pid: number): string | undefined => listProcesses().find((row) => row.pid === pid)?.key;

const task = begin(MARKER);
const { pid } = task;
const key = keyOf(pid);
task.kill("SIGKILL");
await task.exited;
const stranger = await again(pid, key);
const told: Record<string, unknown> = { same_pid: stranger.pid === pid, other_key: keyOf(pid) !== key };
await endTree(
  systemRuntime,
  { pgid: pid, marker: MARKER, leaderGone: () => true },
  () => 10,
  () => "leave",
);
told["lives_after_end"] = keyOf(pid) !== undefined;
const { attempts } = await sweepEarlierLives(systemRuntime, NODE, () => true, 10);
told["lives_after_sweep"] = keyOf(pid) !== undefined;
told["swept"] = attempts;
// That it is one of ours is known by its mark alone: then it goes, whatever its number is.
stranger.kill("SIGKILL");
await stranger.exited;
const ours = begin(MARKER);
// Its mark is there when it has become another program than this one.
while (listProcesses().every((row) => row.attempt() !== MARKER)) await Bun.sleep(1);
told["swept_ours"] = (await sweepEarlierLives(systemRuntime, NODE, () => true, 10)).attempts;
ours.kill("SIGKILL");
await ours.exited;
// The numbers began anew while a task ran, it left something, and they are beyond its own again.
const high = 20_000;
writeFileSync("/proc/sys/kernel/ns_last_pid", "300");
const leftover = begin(MARKER);
while (listProcesses().every((row) => row.attempt() !== MARKER)) await Bun.sleep(1);
writeFileSync("/proc/sys/kernel/ns_last_pid", String(high + 10));
await Bun.spawn(["true"]).exited;
told["below"] = leftover.pid < high;
told["left"] = await hasLeftovers(
  systemRuntime,
  high,
  LIMITS.pids_rise_ms + 1,
  { marker: MARKER, control: undefined },
  new Set(),
);
leftover.kill("SIGKILL");
await leftover.exited;
console.log(JSON.stringify(told));
