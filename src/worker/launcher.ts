// Between the agent, which decides, and the executors, which run: folders, output, stopping, and the end of every job.

import { ClawError, messageOf } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import type { Outcome } from "../common/models.ts";
import type { Runtime } from "../common/runtime.ts";
import type { ExecutorKind } from "../common/vocabulary.ts";
import type { OutputPublisher } from "../communication/output.ts";
import { keyOf } from "./agent.ts";
import type { Cgroups, TaskGroup } from "./cgroup.ts";
import { Devices } from "./devices.ts";
import { commandExecutor } from "./executors/command.ts";
import type { Executor, RunningAttempt } from "./executors/executor.ts";
import { noopExecutor } from "./executors/noop.ts";
import { scriptExecutor } from "./executors/script.ts";
import { shellExecutor } from "./executors/shell.ts";
import type { TaskFolderPool, TaskFolders } from "./folders.ts";
import { DEFAULT_OUTPUT_CAPS, type OutputCaps } from "./output.ts";
import type { Job } from "./queue.ts";
import type { ScriptCache } from "./scripts.ts";
import { marker } from "./tree.ts";

export interface LauncherOptions {
  runtime: Runtime;
  logger: Logger;
  node_id: string;
  node_name: string;
  incarnation: string;
  default_grace_ms: number;
  task_bytes: number;
  /** What tasks are told of the node's graphics processors; empty: their numbers. */
  devices: readonly string[];
  /** Absent where the node has none. */
  cgroups?: Cgroups | undefined;
  folders: TaskFolderPool;
  scripts: ScriptCache;
  output: OutputPublisher;
  onStarted: (job: Job, started_at: number) => void;
  onEnded: (job: Job, outcome: Outcome) => void;
  onFailed: (error: unknown) => void;
}

interface Running {
  task: [number: number, index: number, attempt: number];
  attempt: RunningAttempt;
  /** Bytes of output when somebody was told last. */
  told_bytes: number;
  over: Promise<void>;
}

export class Launcher {
  readonly #options: LauncherOptions;
  readonly #caps: OutputCaps;
  readonly #devices: Devices;
  readonly #executors: Record<ExecutorKind, Executor>;
  readonly #running = new Map<string, Running>();

  constructor(options: LauncherOptions) {
    this.#options = options;
    this.#devices = new Devices(options.devices);
    this.#caps = { ...DEFAULT_OUTPUT_CAPS, task_bytes: options.task_bytes };
    this.#executors = {
      command: commandExecutor,
      shell: shellExecutor,
      script: scriptExecutor((sha256) => options.scripts.path(sha256)),
      noop: noopExecutor,
    };
  }

  start(job: Job): void {
    const { runtime } = this.#options;
    let folders: TaskFolders;
    let group: TaskGroup | undefined;
    try {
      group = this.#group(job);
      folders = this.#options.folders.acquire(job.specification);
    } catch (error) {
      group?.end();
      if (!(error instanceof ClawError)) throw error;
      const at = runtime.wall_ms();
      const reason = error.code === "not_found" ? "not_found" : "spawn";
      // Told in a later turn, as every other end is: the agent is in the middle of starting it.
      runtime.soon(() =>
        this.#options.onEnded(job, { status: "failed", reason, started_at: at, ended_at: at, message: error.message }),
      );
      return;
    }
    const devices = this.#devices.take(job.specification.needs.gpus);
    const attempt = this.#attempt(job, folders, group, devices);
    const over = attempt.done
      .then((outcome) => {
        this.#running.delete(keyOf(job));
        folders.release();
        this.#devices.release(devices);
        this.#options.onEnded(job, outcome);
      })
      .catch((error: unknown) => this.#options.onFailed(error));
    const task: Running["task"] = [job.number, job.index, job.attempt];
    this.#running.set(keyOf(job), { task, attempt, told_bytes: 0, over });
  }

  /** What the kernel holds it to. Where that fails only a task that demands it is refused. */
  #group(job: Job): TaskGroup | undefined {
    const { cgroups, logger, node_id, incarnation } = this.#options;
    const { needs } = job.specification;
    if (cgroups === undefined || needs.executor === "noop") return undefined;
    try {
      return cgroups.make(marker(node_id, incarnation, job), needs);
    } catch (error) {
      if (needs.enforce === true) throw new ClawError("io", `its limits cannot be set: ${messageOf(error)}`);
      logger.warn("a task runs without limits", { task: job.task_id, why: messageOf(error) });
      return undefined;
    }
  }

  #attempt(
    job: Job,
    { folder, tmp }: TaskFolders,
    group: TaskGroup | undefined,
    devices: readonly string[],
  ): RunningAttempt {
    const { runtime, node_id, node_name, incarnation, default_grace_ms, output, logger } = this.#options;
    const { number, index, attempt, task_id, place, specification, input } = job;
    return this.#executors[specification.needs.executor].start(
      {
        runtime,
        task: { number, index, attempt },
        task_id,
        place,
        node_id,
        node_name,
        incarnation,
        specification,
        ...(input === undefined ? {} : { input }),
        folder,
        tmp,
        default_grace_ms,
        devices,
        ...(group === undefined ? {} : { group }),
        output_caps: this.#caps,
        publish: (stream, chunk) => output.publish(number, index, attempt, stream, chunk),
      },
      {
        started: (started_at) => this.#options.onStarted(job, started_at),
        stuck: (pids) =>
          logger.warn("processes that SIGKILL does not end keep their task's room", { task: task_id, pids }),
      },
    );
  }

  /** Running attempts that wrote more since this was last asked. */
  progressed(): { task: [number, number, number]; stdout_bytes: number; stderr_bytes: number }[] {
    return [...this.#running.values()].flatMap((running) => {
      const { stdout, stderr } = running.attempt.output_bytes;
      if (stdout + stderr === running.told_bytes) return [];
      running.told_bytes = stdout + stderr;
      return [{ task: running.task, stdout_bytes: stdout, stderr_bytes: stderr }];
    });
  }

  stop(job: Job, reason: "cancelled" | "superseded"): void {
    this.#running.get(keyOf(job))?.attempt.stop(reason);
  }

  /** Stops what still runs, and gives it no more than `grace_ms`; resolves when all is over, at the latest after `deadline_ms`. */
  async stopped(grace_ms: number, deadline_ms: number): Promise<void> {
    for (const { attempt } of this.#running.values()) attempt.stop("superseded", grace_ms);
    const all = Promise.all([...this.#running.values()].map(({ over }) => over));
    const late = Promise.withResolvers<void>();
    const timer = this.#options.runtime.after(deadline_ms, late.resolve);
    await Promise.race([all, late.promise]);
    timer.cancel();
  }
}
