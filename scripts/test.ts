// The run of scripts/test, once its tools exist: the checks, the tests, what they left behind, one line at the end.
//
// Files run in their own processes' turn, as many at once as there are cores (at least two: they wait more than they
// compute), each in a fresh global. A test that measures, or that fills a machine, is a file named *.alone.test.ts: those
// run afterwards, one at a time. Coverage of all of them is added up (coverage.ts).

import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { coverageOf, describeCoverage } from "./coverage.ts";
import { canFindProcesses, endProcesses, findProcesses, waitForNone } from "./processes.ts";

const NEEDED_PERCENT = 85;
const DEADLINE_MS = 40 * 60_000;
/** For one test that sets no time of its own; the tests wait for signals, so only a hanging one gets there. */
const TEST_TIMEOUT_MS = 60_000;
const SETTLE_MS = 5000;
/** Characters, in which bun's counts are. */
const SUMMARY = 4096;

export interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

/** Adds up the summaries that `bun test` prints. A run that ended badly without naming a failed test has failed once. */
export function countOf(output: string, exit_code: number): Count {
  const sum = (word: string): number =>
    [...output.matchAll(new RegExp(`^ *(\\d+) ${word}$`, "gm"))].reduce((total, match) => total + Number(match[1]), 0);
  const failed = sum("fail");
  return {
    passed: sum("pass"),
    failed: failed === 0 && exit_code !== 0 ? 1 : failed,
    skipped: sum("skip") + sum("todo"),
  };
}

const BLOCK_LINES = 60;

/** What was printed about each failed test, so that the end of a long run's output says why: its file, error and name. */
export function failuresOf(output: string): string[] {
  const failures: string[] = [];
  let [file, block]: [string, string[]] = ["", []];
  for (const line of output.split("\n")) {
    if (/^\d+ tests? (failed|skipped|todo):$/.test(line)) break; // bun's own list, which has the names only
    if (line.startsWith("(fail) ")) failures.push([file, ...block.slice(-BLOCK_LINES), line].join("\n"));
    else if (line.startsWith("  ^ ") && block.length === 0 && failures.length > 0) {
      failures.push(`${failures.pop()}\n${line}`); // how it ended, if in time or not
      continue;
    } else if (/^\S+\.test\.ts:$/.test(line)) file = line;
    else if (!/^\((pass|skip|todo)\) /.test(line)) {
      if (line !== "" || block.length > 0) block.push(line);
      continue;
    }
    block = [];
  }
  return failures;
}

class Run {
  readonly root = join(import.meta.dir, "..");
  readonly coverage = join(this.root, "coverage");
  readonly folder = mkdtempSync(join(tmpdir(), "claw-test-"));
  /** Part of every path and environment of this run, hence of every process that it starts. */
  readonly mark = basename(this.folder);
  readonly count: Count = { passed: 0, failed: 0, skipped: 0 };
  readonly failures: string[] = [];
  readonly env = this.#environment();
  #over = false;

  #environment(): Record<string, string> {
    const env: Record<string, string> = {};
    const ours = /^(npm_config_|GO[A-Z]|XDG_|CLAW_|NATS_|BUN_INSTALL)/;
    for (const [name, value] of Object.entries(process.env)) {
      if (value !== undefined && !ours.test(name)) env[name] = value;
    }
    const [home, temporary] = [join(this.folder, "home"), join(this.folder, "tmp")];
    mkdirSync(home);
    mkdirSync(temporary);
    return {
      ...env,
      HOME: home,
      TMPDIR: temporary,
      CLAW_TEST_RUN: this.mark,
      CLAW_BIN: process.env["CLAW_BIN"] ?? join(this.root, "dist/claw"),
      NATS_SERVER: process.env["NATS_SERVER"] ?? "nats-server",
    };
  }

  record(name: string, problem: string | undefined): void {
    if (problem === undefined) {
      this.count.passed += 1;
      console.log(`(pass) ${name}`);
    } else {
      this.count.failed += 1;
      this.failures.push(`(fail) ${name}\n${problem.trimEnd()}`);
      console.log(this.failures.at(-1));
    }
  }

  /** A program of the packages; all of them run under Bun, so that Node need not be there. */
  async check(name: string, program: string, args: readonly string[]): Promise<void> {
    const child = Bun.spawn([process.execPath, join("node_modules/.bin", program), ...args], {
      cwd: this.root,
      env: this.env,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    this.record(name, child.exitCode === 0 ? undefined : `${out}${err}`);
  }

  /** One `bun test`; its output goes through as it comes. */
  async tests(name: string, args: readonly string[]): Promise<void> {
    if (this.#over) return;
    const reports = ["--coverage", "--coverage-reporter=lcov", `--coverage-dir=${join(this.coverage, name)}`];
    const child = Bun.spawn([process.execPath, "test", `--timeout=${TEST_TIMEOUT_MS}`, ...reports, ...args], {
      cwd: this.root,
      env: this.env,
      stdin: "ignore",
      stdout: "inherit",
      stderr: "pipe",
    });
    let output = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      process.stderr.write(chunk);
      output += decoder.decode(chunk, { stream: true });
    }
    this.failures.push(...failuresOf(output));
    const counted = countOf(output.slice(-SUMMARY), await child.exited);
    this.count.passed += counted.passed;
    this.count.failed += counted.failed;
    this.count.skipped += counted.skipped;
  }

  demandCoverage(): void {
    const total = coverageOf(
      this.root,
      ["together", "alone"].map((name) => join(this.coverage, name, "lcov.info")),
    );
    const text = describeCoverage(total, NEEDED_PERCENT);
    console.log(text);
    this.record("coverage", total.percent >= NEEDED_PERCENT ? undefined : `under ${NEEDED_PERCENT} %`);
  }

  /** The tests clean up after themselves; what they did not is a failure, and is removed here. */
  async lookForLeftovers(): Promise<void> {
    const processes = await waitForNone(this.mark, SETTLE_MS);
    const list = processes.map(({ pid, command }) => `  ${pid}  ${command}`).join("\n");
    const name = canFindProcesses ? "no process is left" : "no process is left (not looked for: there is no /proc)";
    this.record(name, processes.length === 0 ? undefined : `still running, ended now:\n${list}`);
    endProcesses(processes);
    const files = readdirSync(join(this.folder, "tmp"));
    const some = files.slice(0, 10).join(", ");
    this.record("no temporary file is left", files.length === 0 ? undefined : `${files.length} left: ${some}`);
  }

  end(): void {
    endProcesses(findProcesses(this.mark));
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Ends everything when the time is over; the steps that follow then end at once. */
  watch(): Timer {
    return setTimeout(() => {
      this.#over = true;
      this.record("the run ends in time", `not over after ${DEADLINE_MS / 60_000} minutes: everything was ended`);
      endProcesses(findProcesses(this.mark));
    }, DEADLINE_MS);
  }
}

async function runAll(run: Run): Promise<void> {
  await Promise.all([
    run.check("type check", "tsc", ["--noEmit"]),
    run.check("lint and format", "biome", ["check", "."]),
    run.check("promises", "oxlint", ["--type-aware"]),
  ]);
  const together = Math.max(2, availableParallelism());
  await run.tests("together", [`--parallel=${together}`, "--path-ignore-patterns=**/*.alone.test.ts"]);
  if ([...new Bun.Glob("test/**/*.alone.test.ts").scanSync(run.root)].length > 0) {
    await run.tests("alone", ["--isolate", ".alone.test.ts"]);
  }
  run.demandCoverage();
}

async function main(filters: readonly string[]): Promise<number> {
  const run = new Run();
  const deadline = run.watch();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      run.end();
      process.exit(130);
    });
  }
  try {
    rmSync(run.coverage, { recursive: true, force: true });
    if (filters.length > 0) await run.tests("some", filters);
    else await runAll(run);
    await run.lookForLeftovers();
  } finally {
    clearTimeout(deadline);
    run.end();
  }
  if (run.failures.length > 0) console.log(`\nWhat failed:\n\n${run.failures.join("\n\n")}\n`);
  if (run.count.skipped > 0) console.log(`${run.count.skipped} skipped`);
  console.log(`${run.count.passed} passed, ${run.count.failed} failed`);
  return run.count.failed === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
