// How a worker runs one attempt. An executor turns a specification into a process (command, shell, script) or into none
// (noop); what they share (spawning, output, stopping) is in process.ts, and the environment in environment.ts. Each
// gives a RunningAttempt, whose `done` resolves only when the attempt's whole tree of processes is gone.

import type { Outcome, Specification } from "../../common/models.ts";
import type { Runtime } from "../../common/runtime.ts";
import type { TaskGroup } from "../cgroup.ts";
import type { OutputCaps, Publish } from "../output.ts";

export interface AttemptContext {
  runtime: Runtime;
  task: { number: number; index: number; attempt: number };
  /** As people see it: task_35f04cf1.17 */
  task_id: string;
  /** In its array, from 0: `{#}` is one more. */
  place: number;
  node_id: string;
  node_name: string;
  incarnation: string;
  specification: Specification;
  /** A member's line of `--each`; absent for lone tasks and counted arrays. */
  input?: string;
  /** Where it runs, and its own TMPDIR (TaskFolderPool). */
  folder: string;
  tmp: string;
  default_grace_ms: number;
  /** The graphics processors that are its own, as CUDA and its like call them. */
  devices?: readonly string[];
  /** What the kernel holds it to, where the node can have that. */
  group?: TaskGroup;
  output_caps?: OutputCaps;
  publish: Publish;
}

export interface AttemptEvents {
  /** The process runs; called once, not at all when it could not be started. */
  started(started_at: number, pid: number | undefined): void;
  /** SIGKILL does not end these processes: the attempt is not over before they are gone. Called once at most. */
  stuck?(pids: readonly number[]): void;
}

export type StopReason = "cancelled" | "timeout" | "superseded";

export interface RunningAttempt {
  /** Absent before the start, and for noop. */
  readonly pid: number | undefined;
  /** Bytes of output so far. */
  readonly output_bytes: { stdout: number; stderr: number };
  /**
   * Ends the whole tree; nothing when it is over already. Without `grace_ms` the specification's; one that is being stopped
   * is only given less time by it.
   */
  stop(reason: StopReason, grace_ms?: number): void;
  /** Never rejects for what the world does wrong: that is an outcome. */
  readonly done: Promise<Outcome>;
}

export interface Executor {
  start(attempt: AttemptContext, events: AttemptEvents): RunningAttempt;
}
