// What the tests of this folder share: a real attempt in real folders, with its output kept as it was published.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Specification } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { commandExecutor } from "../../src/worker/executors/command.ts";
import type { AttemptContext, Executor, RunningAttempt } from "../../src/worker/executors/executor.ts";
import { shellExecutor } from "../../src/worker/executors/shell.ts";
import type { Publish } from "../../src/worker/output.ts";
import { listProcesses } from "../../src/worker/processes.ts";

/** Files of tests run at once, and what one sweeps must not be another's. */
export const NODE = `node_${process.pid.toString(16).padStart(8, "0")}`;
let incarnations = 0;

export interface Bench {
  root: string;
  incarnation: string;
  published: Record<"stdout" | "stderr", Buffer[]>;
  context(specification: Specification, more?: Partial<AttemptContext>): AttemptContext;
  start(executor: Executor, specification: Specification, more?: Partial<AttemptContext>): RunningAttempt;
  shell(text: string, more?: Partial<Specification>, context?: Partial<AttemptContext>): RunningAttempt;
  command(argv: string[], more?: Partial<Specification>, context?: Partial<AttemptContext>): RunningAttempt;
  /** Processes of this bench that live now. */
  living(): number[];
  close(): void;
}

export function specification(executor: Specification["needs"]["executor"], argv: string[]): Specification {
  return {
    type: "batch",
    priority: "normal",
    needs: { cpu_millis: 100, memory_mib: 0, gpus: 0, executor },
    argv,
  };
}

export function openBench(): Bench {
  const root = mkdtempSync(join(tmpdir(), "claw-worker-"));
  incarnations += 1;
  const incarnation = `${process.pid}x${incarnations}`;
  const published: Bench["published"] = { stdout: [], stderr: [] };
  const publish: Publish = (stream, chunk) => {
    published[stream].push(Buffer.from(chunk));
    return true;
  };
  let index = 0;
  const bench: Bench = {
    root,
    incarnation,
    published,
    context: (spec, more = {}) => ({
      runtime: systemRuntime,
      task: { number: 3, index: index++, attempt: 1 },
      task_id: "task_35f04cf1.17",
      place: 0,
      node_id: NODE,
      node_name: "testnode",
      incarnation,
      specification: spec,
      folder: root,
      tmp: root,
      default_grace_ms: 5000,
      publish,
      ...more,
    }),
    start: (executor, spec, more) => executor.start(bench.context(spec, more), { started: () => undefined }),
    shell: (text, more, context) => bench.start(shellExecutor, { ...specification("shell", [text]), ...more }, context),
    command: (argv, more, context) =>
      bench.start(commandExecutor, { ...specification("command", argv), ...more }, context),
    living: () =>
      listProcesses()
        .filter((row) => row.attempt()?.startsWith(`${NODE}/${incarnation}/`))
        .map((row) => row.pid),
    close: () => rmSync(root, { recursive: true, force: true }),
  };
  return bench;
}

/** Waits for something that happens soon; polls, because nothing outside signals it. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await Bun.sleep(5);
  }
}
