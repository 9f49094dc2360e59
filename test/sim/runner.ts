// `scripts/simulate`: many seeds over the machine's processors; what fails is shrunk, and told with the command that
// repeats it.

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Found } from "./found.ts";
import { FAULTS, type Fault, type Plan, planOf, smaller } from "./plan.ts";
import { simulate } from "./world.ts";

const HELP = `Runs the whole cluster in simulation, seed by seed: virtual time, the product's own state machines, faults.

  scripts/simulate                                  200 seeds from 1 on
  scripts/simulate --seeds 2000 --from 5000
  scripts/simulate --seed 4711 --trace              one seed, and what happened in it last
  scripts/simulate --seed 4711 --off crash,slow --submissions 3 --trace

  --seeds N        how many (200)
  --from S         the first (1)
  --jobs J         processes at once (one a processor)
  --seed X         only this one
  --trace          with --seed: the last that happened
  --off FAULTS     with --seed: without these faults: ${FAULTS.join(", ")}
  --canary NAME    plants a known bug (src/core/canary.ts): what does the simulation say of it?
  --coordinators N --workers N --submissions N --faults-ms N     with --seed: another size than the seed's own

Exit code: 0 when all were clean, 1 when one was not, 64 for a mistake in the options.
`;

/** Runs while shrinking that may fail to fail; each takes a fraction of a second. */
const MOST_SHRINKING_RUNS = 150;
const TRACE_LINES = 60;
/** How often progress is told: over the line on a terminal, a line of its own in a file. */
const PROGRESS_MS = process.stderr.isTTY ? 2_000 : 60_000;

interface Report {
  seed: number;
  lasted_ms: number;
  /** What it found, if anything. */
  found?: string;
}

declare global {
  var CLAW_CANARY: string | undefined;
}

class Usage extends Error {}

function whole(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw new Usage(`--${name} is a number, not '${text}'`);
  return Number(text);
}

const OPTIONS = {
  seeds: { type: "string" },
  from: { type: "string" },
  jobs: { type: "string" },
  seed: { type: "string" },
  trace: { type: "boolean" },
  off: { type: "string" },
  coordinators: { type: "string" },
  workers: { type: "string" },
  submissions: { type: "string" },
  "faults-ms": { type: "string" },
  canary: { type: "string" },
  child: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

function optionsOf(argv: string[]) {
  try {
    return parseArgs({ args: argv, options: OPTIONS }).values;
  } catch (error) {
    throw new Usage(error instanceof Error ? error.message : String(error));
  }
}

function faultsOf(text: string | undefined): Fault[] {
  return (text ?? "")
    .split(",")
    .filter((word) => word !== "")
    .map((word) => {
      const fault = FAULTS.find((one) => one === word);
      if (fault === undefined) throw new Usage(`there is no fault '${word}': there are ${FAULTS.join(", ")}`);
      return fault;
    });
}

/** The command that runs exactly this again. */
function commandOf(seed: number, plan: Plan): string {
  const own = planOf(seed);
  const words = [`scripts/simulate --seed ${seed} --trace`];
  if (globalThis.CLAW_CANARY !== undefined) words.push(`--canary ${globalThis.CLAW_CANARY}`);
  if (plan.off.length > 0) words.push(`--off ${plan.off.join(",")}`);
  for (const name of ["coordinators", "workers", "submissions"] as const) {
    if (plan[name] !== own[name]) words.push(`--${name} ${plan[name]}`);
  }
  if (plan.faults_ms !== own.faults_ms) words.push(`--faults-ms ${plan.faults_ms}`);
  return words.join(" ");
}

async function attempt(seed: number, plan: Plan): Promise<Found | undefined> {
  try {
    await simulate(seed, plan);
    return undefined;
  } catch (error) {
    if (error instanceof Found) return error;
    throw error;
  }
}

/** What it found without numbers: a smaller run counts only when it finds the same. */
function gist(found: Found): string {
  const { cause } = found;
  const message = cause instanceof Error ? cause.message : String(cause);
  return `${found.kind} ${message.replace(/[\d.]+/g, "0").slice(0, 60)}`;
}

/** The smallest plan found, step by step, with which the seed still finds the same. */
async function shrink(seed: number, found: Found): Promise<{ plan: Plan; found: Found }> {
  let best = { plan: planOf(seed), found };
  let left = MOST_SHRINKING_RUNS;
  for (let went_on = true; went_on && left > 0; ) {
    went_on = false;
    for (const plan of smaller(best.plan)) {
      if (left-- <= 0) break;
      const again = await attempt(seed, plan);
      if (again === undefined || gist(again) !== gist(found)) continue;
      best = { plan, found: again };
      went_on = true;
      break;
    }
  }
  return best;
}

/** One of several processes: every `step`th seed, a line of JSON each. */
async function runChild(text: string): Promise<number> {
  const [from = 0, to = 0, step = 1] = text.split(",").map(Number);
  for (let seed = from; seed < to; seed += step) {
    let report: Report;
    try {
      report = { seed, lasted_ms: (await simulate(seed)).lasted_ms };
    } catch (error) {
      report = { seed, lasted_ms: 0, found: error instanceof Error ? error.message : String(error) };
    }
    process.stdout.write(`${JSON.stringify(report)}\n`);
  }
  return 0;
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncIterable<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

async function runMany(from: number, count: number, jobs: number): Promise<number> {
  const began_ms = performance.now();
  let [done, virtual_ms, told_ms] = [0, 0, began_ms];
  const failed: number[] = [];
  const progress = (): string => {
    const real_ms = performance.now() - began_ms;
    const pace = `${((done / real_ms) * 1000).toFixed(1)} seeds/s`;
    const hours = (virtual_ms / 3_600_000 / (real_ms / 60_000)).toFixed(1);
    return `${done} of ${count} seeds, ${failed.length} failed, ${pace}, ${hours} virtual hours a minute`;
  };
  const listen = async (job: number): Promise<void> => {
    const range = `${from + job},${from + count},${jobs}`;
    const planted = globalThis.CLAW_CANARY === undefined ? [] : ["--canary", globalThis.CLAW_CANARY];
    const child = Bun.spawn([process.execPath, import.meta.path, "--child", range, ...planted], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    for await (const line of linesOf(child.stdout)) {
      const { seed, lasted_ms, found } = JSON.parse(line) as Report;
      done += 1;
      virtual_ms += lasted_ms;
      if (found !== undefined) {
        failed.push(seed);
        console.log(`${found}\n`);
      }
      if (performance.now() - told_ms < PROGRESS_MS) continue;
      told_ms = performance.now();
      process.stderr.write(process.stderr.isTTY ? `\r${progress()}\u001b[K` : `${progress()}\n`);
    }
    if ((await child.exited) !== 0) throw new Error(`a process of the simulation ended with ${child.exitCode}`);
  };
  await Promise.all(Array.from({ length: jobs }, (_, job) => listen(job)));
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  const [first] = failed.sort((one, other) => one - other);
  if (first !== undefined) await explain(first);
  console.log(progress());
  return failed.length === 0 ? 0 : 1;
}

async function explain(seed: number): Promise<void> {
  const found = await attempt(seed, planOf(seed));
  if (found === undefined)
    throw new Error(`seed ${seed} failed, and then did not: the simulation is not deterministic`);
  console.log(`seed ${seed} (${found.kind}), shrunk:`);
  const smallest = await shrink(seed, found);
  tell(smallest.found);
  console.log(`again: ${commandOf(seed, smallest.plan)}\n`);
}

function tell(found: Found): void {
  for (const line of found.told.slice(-TRACE_LINES)) console.log(line);
  console.log(`\n${found.message}\n`);
}

async function runOne(seed: number, plan: Plan, trace: boolean): Promise<number> {
  try {
    const { told, ...outcome } = await simulate(seed, plan);
    if (trace) for (const line of told.slice(-TRACE_LINES)) console.log(line);
    console.log(JSON.stringify(outcome));
    return 0;
  } catch (error) {
    if (!(error instanceof Found)) throw error;
    if (trace) tell(error);
    else console.log(error.message);
    return 1;
  }
}

async function main(argv: string[]): Promise<number> {
  const options = optionsOf(argv);
  if (options.help === true) {
    console.log(HELP);
    return 0;
  }
  globalThis.CLAW_CANARY = options.canary;
  if (options.child !== undefined) return await runChild(options.child);
  if (options.seed !== undefined) {
    const seed = whole("seed", options.seed, 0);
    const own = planOf(seed);
    const plan: Plan = {
      coordinators: whole("coordinators", options.coordinators, own.coordinators),
      workers: whole("workers", options.workers, own.workers),
      submissions: whole("submissions", options.submissions, own.submissions),
      faults_ms: whole("faults-ms", options["faults-ms"], own.faults_ms),
      retention: own.retention,
      folders: own.folders,
      off: faultsOf(options.off),
    };
    return await runOne(seed, plan, options.trace === true);
  }
  const jobs = Math.max(1, whole("jobs", options.jobs, availableParallelism()));
  return await runMany(whole("from", options.from, 1), whole("seeds", options.seeds, 200), jobs);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Usage)) throw error;
  process.stderr.write(`simulate: ${error.message}\n  see scripts/simulate --help\n`);
  process.exitCode = 64;
}
