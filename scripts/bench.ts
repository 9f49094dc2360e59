// The measurements of scripts/bench. Each case runs on the compiled binary with everything on: log synced on every
// acknowledgement, outbox, view. Figures are medians of several rounds in one run, with the slowest and fastest beside
// them; what is compared (claw and xargs) alternates within the run.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { ClawError } from "../src/common/errors.ts";
import type { Specification } from "../src/common/models.ts";
import { randomHex, randomU32, systemRuntime as runtime } from "../src/common/runtime.ts";
import { isTerminal } from "../src/common/vocabulary.ts";
import { connectOptions } from "../src/communication/broker.ts";
import { openConnection } from "../src/communication/connection.ts";
import { readCredentials } from "../src/communication/credentials.ts";
import { readEndpoint } from "../src/communication/endpoint.ts";
import { RequestClient } from "../src/communication/request.ts";
import { findProcesses, waitForNone } from "./processes.ts";

const CLAW = process.env["CLAW_BIN"] ?? join(import.meta.dir, "../dist/claw");
const CASES = ["start", "idle", "array", "bulk", "process", "each", "latency", "snapshot"] as const;
type Case = (typeof CASES)[number];

interface Figure {
  name: string;
  unit: string;
  median: number;
  lowest: number;
  highest: number;
  note?: string;
}

const flags = new Set(process.argv.slice(2).filter((word) => word.startsWith("--")));
const chosen = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const unknown = [
  ...chosen.filter((name) => !CASES.includes(name as Case)),
  ...[...flags].filter((flag) => flag !== "--quick" && flag !== "--json"),
];
if (unknown.length > 0) {
  console.error(`bench: no case ${unknown.join(", ")}; there are ${CASES.join(", ")}, and --quick, --json`);
  process.exit(64);
}
const QUICK = flags.has("--quick");
const ROUNDS = QUICK ? 3 : 5;

const figures: Figure[] = [];

function figure(name: string, unit: string, values: number[], note?: string): void {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (position: number): number => sorted[position] ?? Number.NaN;
  const made: Figure = {
    name,
    unit,
    median: at(Math.floor(sorted.length / 2)),
    lowest: at(0),
    highest: at(sorted.length - 1),
    ...(note === undefined ? {} : { note }),
  };
  figures.push(made);
  if (!flags.has("--json")) console.log(lineOf(made));
}

function lineOf({ name, unit, median, lowest, highest, note }: Figure): string {
  const digits = median < 10 ? 2 : median < 100 ? 1 : 0;
  const text = (value: number): string =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const spread = lowest === highest ? "" : `  (${text(lowest)} to ${text(highest)})`;
  return `${name.padEnd(46)} ${text(median).padStart(10)} ${unit}${spread}${note === undefined ? "" : `  ${note}`}`;
}

const folder = mkdtempSync(join(tmpdir(), "claw-bench-"));
const env: Record<string, string> = { CLAW_HOME: join(folder, "home") };
for (const name of ["PATH", "HOME", "TMPDIR", "LANG"]) {
  const value = process.env[name];
  if (value !== undefined) env[name] = value;
}

/** Starts `claw up`; resolves when it serves and its worker is welcome. */
async function startCluster(): Promise<{ child: Bun.Subprocess; ready_ms: number }> {
  const began = performance.now();
  const child = Bun.spawn([CLAW, "up"], { env, cwd: folder, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const ready = Promise.withResolvers<void>();
  void (async () => {
    let text = "";
    for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (/is up after/.test(text)) ready.resolve();
    }
    ready.reject(new Error(`claw up ended before it was ready:\n${text}`));
  })();
  await ready.promise;
  return { child, ready_ms: performance.now() - began };
}

async function stopCluster(child: Bun.Subprocess): Promise<void> {
  child.kill("SIGTERM");
  await child.exited;
}

async function connectBench(): Promise<RequestClient> {
  const endpoint = readEndpoint(join(env["CLAW_HOME"] ?? "", "data"));
  if (endpoint === undefined) throw new Error("claw left no word of its endpoint");
  const credentials = readCredentials(endpoint.creds);
  const connection = await openConnection(connectOptions("claw bench", endpoint.nats_url, credentials));
  return new RequestClient(connection, {
    runtime,
    cluster: endpoint.cluster,
    who: credentials.id,
    nats_url: endpoint.nats_url,
    patience_ms: 60_000,
    onWaiting: (why) => console.error(`bench: ${why}`),
  });
}

const NOOP: Specification = {
  type: "batch",
  priority: "normal",
  needs: { executor: "noop", cpu_millis: 100, memory_mib: 0, gpus: 0 },
  argv: [],
};
const TRUE: Specification = {
  type: "batch",
  priority: "normal",
  needs: { executor: "command", cpu_millis: 500, memory_mib: 0, gpus: 0 },
  argv: ["/bin/true"],
};

async function finished(client: RequestClient, number: number): Promise<void> {
  for (;;) {
    const { task } = await client.query("task.wait", { number, until: "finished", wait_ms: 20_000 });
    if (!isTerminal(task.status)) continue;
    if (task.status !== "completed") throw new Error(`submission ${number} ended as ${task.status}`);
    return;
  }
}

async function submitArray(client: RequestClient, specification: Specification, count: number): Promise<number> {
  const { number } = await client.command("task.submit", {
    v: 1,
    nonce: randomHex(runtime, 16),
    specifications: [specification],
    array: { id: randomU32(runtime), count },
  });
  return number;
}

/** Tasks a second from the submission's first byte to the last result's record. */
async function arrayRate(client: RequestClient, specification: Specification, count: number): Promise<number> {
  const began = performance.now();
  await finished(client, await submitArray(client, specification, count));
  return (count * 1000) / (performance.now() - began);
}

/** A thousand separate tasks. Ids are 32 random bits: with many known ones some are taken, and drawn again. */
async function submitThousand(client: RequestClient, specifications: Specification[]): Promise<number> {
  for (;;) {
    const ids = Array.from({ length: 1000 }, () => randomU32(runtime));
    const tasks = ids.map((id, at): [number, number] => [id, at % specifications.length]);
    const nonce = randomHex(runtime, 16);
    try {
      return (await client.command("task.submit", { v: 1, nonce, specifications, tasks })).number;
    } catch (error) {
      if (!(error instanceof ClawError) || error.code !== "id_taken") throw error;
    }
  }
}

/** Separate tasks, each with an id of its own, in requests of 1000, eight of them in flight. */
async function bulkRate(client: RequestClient, count: number, different: boolean): Promise<number> {
  const requests = count / 1000;
  const numbers: number[] = [];
  let next = 0;
  const began = performance.now();
  const lane = async (): Promise<void> => {
    while (next < requests) {
      const request = next++;
      const specifications = different
        ? Array.from({ length: 1000 }, (_, at): Specification => ({ ...NOOP, name: `bench-${request}-${at}` }))
        : [NOOP];
      const number = await submitThousand(client, specifications);
      numbers.push(...(different ? Array.from({ length: 1000 }, (_, at) => number + at) : [number]));
    }
  };
  await Promise.all(Array.from({ length: 8 }, lane));
  // The oldest are over first; what remains is asked for in their order.
  numbers.sort((a, b) => a - b);
  if (different) await Promise.all(numbers.slice(-64).map((number) => finished(client, number)));
  else for (const number of numbers) await finished(client, number);
  if (different) await allDone(client);
  return (count * 1000) / (performance.now() - began);
}

async function allDone(client: RequestClient): Promise<void> {
  for (;;) {
    const { status } = await client.query("cluster.status", {});
    const { pending, scheduled, running } = status.tasks;
    if (pending + scheduled + running === 0) return;
    await Bun.sleep(5);
  }
}

function xargsRate(count: number): number {
  const input = Buffer.from(`${Array.from({ length: count }, (_, at) => at).join("\n")}\n`);
  const began = performance.now();
  const ended = Bun.spawnSync(["xargs", "-P", String(availableParallelism()), "-n", "1", "/bin/true"], {
    stdin: input,
    env,
    stdout: "ignore",
    stderr: "inherit",
  });
  if (ended.exitCode !== 0) throw new Error(`xargs ended with ${ended.exitCode}`);
  return (count * 1000) / (performance.now() - began);
}

async function eachRate(count: number): Promise<number> {
  const input = Buffer.from(`${Array.from({ length: count }, (_, at) => at).join("\n")}\n`);
  const began = performance.now();
  const child = Bun.spawn([CLAW, "run", "--each", "true {}"], { env, cwd: folder, stdin: input, stderr: "ignore" });
  if ((await child.exited) !== 0) throw new Error("claw run --each failed");
  return (count * 1000) / (performance.now() - began);
}

interface Usage {
  name: string;
  peak_mib: number;
  cpu_ms: number;
}

/** Peak memory and processor time of each process of the cluster. Linux only: elsewhere there is no /proc. */
function usage(): Usage[] {
  return findProcesses(folder).map(({ pid, command }) => {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = Number(fields[11]) + Number(fields[12]);
    return {
      name: /nats-server/.test(command) ? "nats-server" : "claw",
      peak_mib: Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024,
      cpu_ms: ticks * 10,
    };
  });
}

async function rounds(measure: () => Promise<number> | number, times = ROUNDS): Promise<number[]> {
  const values: number[] = [];
  for (let round = 0; round < times; round++) values.push(await measure());
  return values;
}

async function measureStart(): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    rmSync(join(folder, "home"), { recursive: true, force: true });
    const { child, ready_ms } = await startCluster();
    times.push(ready_ms);
    await stopCluster(child);
  }
  figure("start: `claw up` in an empty folder until ready", "ms", times);
}

async function measureIdle(): Promise<void> {
  await Bun.sleep(1_000);
  const seconds = QUICK ? 10 : 30;
  const sum = (rows: Usage[]): number => rows.reduce((total, row) => total + row.cpu_ms, 0);
  const before = sum(usage());
  await Bun.sleep(seconds * 1000);
  figure("idle: processor time of all of `claw up`", "% of a core", [(sum(usage()) - before) / (seconds * 10)]);
}

async function measureProcesses(client: RequestClient): Promise<void> {
  const count = QUICK ? 2_000 : 5_000;
  const claw: number[] = [];
  const xargs: number[] = [];
  await arrayRate(client, TRUE, 500);
  for (let round = 0; round < ROUNDS; round++) {
    xargs.push(xargsRate(count));
    claw.push(await arrayRate(client, TRUE, count));
  }
  figure("process: /bin/true as an array", "tasks/s", claw);
  figure(`process: /bin/true by xargs -P ${availableParallelism()}`, "tasks/s", xargs);
  const ratios = claw.map((rate, round) => rate / (xargs[round] ?? Number.NaN));
  figure("process: claw / xargs", "times", ratios);
}

async function measureLatency(client: RequestClient): Promise<void> {
  const lone = async (): Promise<number> => {
    const began = performance.now();
    const id = randomU32(runtime);
    const nonce = randomHex(runtime, 16);
    const { number } = await client.command("task.submit", {
      v: 1,
      nonce,
      specifications: [NOOP],
      tasks: [[id, 0]],
    });
    await finished(client, number);
    return performance.now() - began;
  };
  const run = async (): Promise<number> => {
    const began = performance.now();
    const child = Bun.spawn([CLAW, "run", "--", "true"], { env, cwd: folder, stdin: "ignore", stderr: "inherit" });
    if ((await child.exited) !== 0) throw new Error("claw run failed");
    return performance.now() - began;
  };
  const help = async (): Promise<number> => {
    const began = performance.now();
    await Bun.spawn([CLAW, "version"], { env, cwd: folder, stdin: "ignore", stdout: "ignore" }).exited;
    return performance.now() - began;
  };
  figure("latency: a lone no-op, submit to result", "ms", await rounds(lone, 100));
  figure("latency: `claw run -- true`, the whole command", "ms", await rounds(run, QUICK ? 10 : 20));
  figure("latency: `claw version`, of which", "ms", await rounds(help, QUICK ? 10 : 20));
}

/**
 * A snapshot of a view with so many separate tasks, and what it costs whoever asks meanwhile: the longest answer to a small
 * question, asked again and again, with and without one being taken.
 */
async function measureSnapshot(client: RequestClient, count: number): Promise<void> {
  await bulkRate(client, count, true);
  const longest = async (until: Promise<unknown>): Promise<number> => {
    let over = false;
    void until.finally(() => {
      over = true;
    });
    let most = 0;
    while (!over) {
      const began = performance.now();
      await client.query("node.list", {});
      most = Math.max(most, performance.now() - began);
    }
    return most;
  };
  const take = async (): Promise<number> => {
    const began = performance.now();
    const nonce = randomHex(runtime, 16);
    for (;;) {
      const { manifest } = await client.command("snapshot.take", { v: 1, nonce });
      if (manifest === undefined) continue;
      sizes.push(manifest.bytes / 1024 / 1024);
      return performance.now() - began;
    }
  };
  const [times, sizes, idle, busy] = [[], [], [], []] as [number[], number[], number[], number[]];
  for (let round = 0; round < ROUNDS; round++) {
    const taking = take();
    busy.push(await longest(taking));
    times.push(await taking);
    idle.push(await longest(Bun.sleep(times.at(-1) ?? 0)));
  }
  const what = `snapshot: of ${count} separate tasks`;
  figure(`${what}, checked`, "ms", times);
  figure(`${what}, stored`, "MiB", sizes);
  figure("snapshot: longest answer while one is taken", "ms", busy);
  figure("snapshot: longest answer otherwise", "ms", idle);
}

async function measureOnCluster(wanted: ReadonlySet<Case>): Promise<void> {
  rmSync(join(folder, "home"), { recursive: true, force: true });
  const { child } = await startCluster();
  try {
    if (wanted.has("idle")) await measureIdle();
    const client = await connectBench();
    const many = QUICK ? 100_000 : 250_000;
    if (wanted.has("latency")) await measureLatency(client);
    if (wanted.has("array")) {
      figure(`array: ${many} no-ops in one submission`, "tasks/s", await rounds(() => arrayRate(client, NOOP, many)));
    }
    if (wanted.has("bulk")) {
      const rate = (different: boolean) => rounds(() => bulkRate(client, many, different));
      figure(`bulk: ${many} separate no-ops`, "tasks/s", await rate(false));
      figure(`bulk: ${many} no-ops, each specified apart`, "tasks/s", await rate(true));
    }
    if (wanted.has("process")) await measureProcesses(client);
    if (wanted.has("each")) {
      const lines = QUICK ? 2_000 : 5_000;
      figure(`each: ${lines} lines of \`true {}\` (a shell each)`, "tasks/s", await rounds(() => eachRate(lines)));
    }
    if (wanted.has("snapshot")) await measureSnapshot(client, 100_000);
    await client.close();
    for (const { name, peak_mib } of usage()) figure(`memory: peak of ${name}`, "MiB", [peak_mib]);
  } finally {
    await stopCluster(child);
  }
}

async function main(): Promise<number> {
  const wanted = new Set<Case>(chosen.length === 0 ? CASES : (chosen as Case[]));
  try {
    if (wanted.has("start")) await measureStart();
    if ([...wanted].some((name) => name !== "start")) await measureOnCluster(wanted);
    if (flags.has("--json")) console.log(JSON.stringify(figures, null, 2));
    return 0;
  } finally {
    await waitForNone(folder, 10_000);
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
