// One attempt as a process: spawn in a session of its own, pump its output, end its tree, tell its outcome. The modes:
//   preparing → running → ending → over      ending: told to stop; the tree is being ended
//   preparing → over                         could not be started, or was stopped before
// A main process that ends by itself takes what it left running with it before the attempt is over.

import { ClawError, type ErrorCode, messageOf } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { Outcome } from "../../common/models.ts";
import type { Timer } from "../../common/runtime.ts";
import type { TaskGroup } from "../cgroup.ts";
import { OutputPump, type StreamName } from "../output.ts";
import type { ProcessRow } from "../processes.ts";
import { type EndReport, endTree, hasLeftovers, marker, type Tree } from "../tree.ts";
import { attemptEnvironment, baseEnvironment } from "./environment.ts";
import type { AttemptContext, AttemptEvents, RunningAttempt, StopReason } from "./executor.ts";
import { OutputPipe } from "./pipe.ts";
import { findProgram, type StartProblem, spawnProblem } from "./program.ts";

/** What to start: decided by the executor. */
export interface Plan {
  argv: readonly string[];
  /** Added to the environment last. */
  env?: Record<string, string>;
}

type Child = Bun.Subprocess<"ignore", number | "pipe", number | "pipe">;

const STREAMS = ["stdout", "stderr"] as const;
type Pipes = Record<(typeof STREAMS)[number], OutputPipe>;

/** Main processes of attempts that run in this worker: never taken for somebody's descendants. */
const own_pids = new Set<number>();

let base_environment: Readonly<Record<string, string>> | undefined;

/** getrusage counts from before exec, when the child still was a copy of this worker: a smaller peak tells nothing. */
function peakMemoryMib(usage: Bun.ResourceUsage): number | undefined {
  const floor_bytes = process.resourceUsage().maxRSS * 1024;
  return usage.maxRSS > floor_bytes ? Math.ceil(usage.maxRSS / (1024 * 1024)) : undefined;
}

class ProcessAttempt implements RunningAttempt {
  readonly done: Promise<Outcome>;
  readonly #attempt: AttemptContext;
  readonly #events: AttemptEvents;
  readonly #pump: OutputPump;
  readonly #started_at: number;
  #mode: "preparing" | "running" | "ending" | "over" = "preparing";
  #child: Child | undefined;
  #stop_reason: StopReason | undefined;
  #ended: Promise<EndReport> | undefined;
  /** When it was told to stop, and how long it has from then on. */
  #ending_ms = 0;
  #grace_ms = 0;
  #exited = false;

  constructor(attempt: AttemptContext, events: AttemptEvents, plan: () => Plan | Promise<Plan>) {
    this.#attempt = attempt;
    this.#events = events;
    this.#started_at = attempt.runtime.wall_ms();
    this.#pump = new OutputPump(attempt.runtime, attempt.publish, attempt.output_caps);
    this.done = this.#run(plan);
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get output_bytes(): { stdout: number; stderr: number } {
    return this.#pump.bytes;
  }

  stop(reason: StopReason, grace_ms?: number): void {
    if (this.#mode === "over") return;
    const grace = grace_ms ?? this.#attempt.specification.grace_ms ?? this.#attempt.default_grace_ms;
    const now_ms = this.#attempt.runtime.monotonic_ms();
    if (this.#stop_reason !== undefined) {
      this.#grace_ms = Math.min(this.#grace_ms, now_ms - this.#ending_ms + grace);
      return;
    }
    if (this.#exited) {
      this.#pump.hurry(); // how it ended is known, and only its output is waited for
      return;
    }
    this.#stop_reason = reason;
    if (this.#mode !== "running" || this.#child === undefined) return; // preparing: seen before the spawn
    this.#mode = "ending";
    this.#ending_ms = now_ms;
    this.#grace_ms = grace;
    this.#ended = this.#endTree(this.#child.pid, () => this.#grace_ms);
  }

  async #run(plan: () => Plan | Promise<Plan>): Promise<Outcome> {
    let planned: Plan;
    try {
      const asked = plan();
      planned = asked instanceof Promise ? await asked : asked;
    } catch (error) {
      return this.#couldNotStart(planProblem(error));
    }
    if (this.#stop_reason !== undefined) return this.#stoppedBefore();
    const pipes = { stdout: new OutputPipe(), stderr: new OutputPipe() };
    const child = this.#spawn(planned, pipes);
    if ("problem" in child) {
      for (const name of STREAMS) pipes[name].close();
      return this.#couldNotStart(child.problem);
    }
    return await this.#follow(child, pipes);
  }

  #spawn({ argv, env }: Plan, pipes: Pipes): Child | { problem: StartProblem } {
    const { folder, node_name } = this.#attempt;
    base_environment ??= baseEnvironment();
    const environment = { ...attemptEnvironment(this.#attempt, base_environment), ...env };
    const where = { folder, node_name, path: environment["PATH"] ?? "" };
    const name = argv[0] ?? "";
    const found = findProgram(name, where);
    if ("problem" in found) return found;
    try {
      return Bun.spawn(entering(this.#attempt.group, [found.path, ...argv.slice(1)]), {
        ...(this.#attempt.group === undefined ? { argv0: name } : {}),
        cwd: folder,
        env: environment,
        stdin: "ignore",
        stdout: pipes.stdout.end,
        stderr: pipes.stderr.end,
        detached: true, // a session and a process group of its own: the group's number is the pid
      });
    } catch (error) {
      return { problem: spawnProblem(error, name, where) };
    }
  }

  async #follow(child: Child, pipes: Pipes): Promise<Outcome> {
    this.#child = child;
    this.#mode = "running";
    own_pids.add(child.pid);
    const spawned_ms = this.#attempt.runtime.monotonic_ms();
    const timer = this.#startTimeout();
    for (const name of STREAMS) this.#attach(name, child[name], pipes[name]);
    this.#events.started(this.#started_at, child.pid);
    await child.exited;
    this.#exited = true;
    own_pids.delete(child.pid);
    const ended_at = this.#attempt.runtime.wall_ms();
    const ended = await this.#treeGone(child.pid, this.#attempt.runtime.monotonic_ms() - spawned_ms);
    if (this.#stop_reason !== undefined) this.#pump.hurry();
    const output = await this.#pump.finish();
    timer?.cancel();
    this.#mode = "over";
    const signal = child.signalCode;
    const usage = child.resourceUsage();
    const limits = this.#attempt.group?.end();
    const peak_memory_mib = limits?.peak_memory_mib ?? (usage === undefined ? undefined : peakMemoryMib(usage));
    return {
      ...output,
      ...this.#verdict(child.exitCode === 0, limits?.out_of_memory),
      ...(signal === null ? { exit_code: child.exitCode ?? 0 } : { signal: String(signal) }),
      started_at: this.#started_at,
      ended_at: ended === undefined ? ended_at : this.#attempt.runtime.wall_ms(),
      ...(usage === undefined ? {} : { cpu_ms: Math.round(Number(usage.cpuTime.total) / 1000) }),
      ...(peak_memory_mib === undefined ? {} : { peak_memory_mib }),
      ...(ended === undefined || ended.stuck.length === 0 ? {} : { message: stuckMessage(ended.stuck) }),
    };
  }

  #attach(name: StreamName, own: Child[StreamName], pipe: OutputPipe): void {
    pipe.started();
    const output = pipe.output(own instanceof ReadableStream ? own : undefined);
    if (output !== undefined) this.#pump.attach(name, output);
    pipe.close();
  }

  /** Undefined when there was nothing to end. */
  async #treeGone(pid: number, lived_ms: number): Promise<EndReport | undefined> {
    if (this.#ended !== undefined) return await this.#ended;
    const tree = { marker: this.#marker, control: this.#attempt.group };
    if (!(await hasLeftovers(this.#attempt.runtime, pid, lived_ms, tree, own_pids))) return undefined;
    return await this.#endTree(pid, () => LIMITS.leftover_grace_ms);
  }

  get #marker(): string {
    const { node_id, incarnation, task } = this.#attempt;
    return marker(node_id, incarnation, task);
  }

  /** However long it takes: what is not gone still uses what the attempt was given. */
  #endTree(pgid: number, graceMs: () => number): Promise<EndReport> {
    const control = this.#attempt.group;
    const tree: Tree = { pgid, marker: this.#marker, leaderGone: () => this.#exited, control };
    return endTree(this.#attempt.runtime, tree, graceMs, (stuck) => {
      this.#events.stuck?.(stuck.map((row) => row.pid));
      return "wait";
    });
  }

  #startTimeout(): Timer | undefined {
    const timeout_ms = this.#attempt.specification.timeout_ms ?? 0;
    return timeout_ms === 0 ? undefined : this.#attempt.runtime.after(timeout_ms, () => this.stop("timeout"));
  }

  #verdict(success: boolean, out_of_memory?: "limit" | "node"): Pick<Outcome, "status" | "reason" | "message"> {
    if (this.#stop_reason === "timeout") return { status: "timeout", reason: "timeout" };
    if (this.#stop_reason !== undefined) return { status: "cancelled", reason: "cancelled" };
    if (out_of_memory !== undefined && !success) {
      const message = memoryMessage(out_of_memory, this.#attempt.specification.needs.memory_mib);
      return { status: "failed", reason: "memory", message };
    }
    return { status: success ? "completed" : "failed", reason: "exit" };
  }

  #stoppedBefore(): Outcome {
    this.#mode = "over";
    this.#attempt.group?.end();
    return { ...this.#verdict(false), started_at: this.#started_at, ended_at: this.#attempt.runtime.wall_ms() };
  }

  #couldNotStart(problem: StartProblem | PlanProblem): Outcome {
    if (this.#stop_reason !== undefined) return this.#stoppedBefore();
    this.#mode = "over";
    this.#attempt.group?.end();
    return {
      status: "failed",
      ...problem,
      started_at: this.#started_at,
      ended_at: this.#attempt.runtime.wall_ms(),
    };
  }
}

/** A shell that goes into the group first and then becomes the program: nothing of it ever runs outside. */
function entering(group: TaskGroup | undefined, argv: string[]): string[] {
  if (group === undefined) return argv;
  return ["/bin/sh", "-c", 'echo 0 > "$0" || exit 125; exec "$@"', group.entrance, ...argv];
}

type PlanProblem = Pick<Outcome, "reason" | "message">;

/** What an executor's plan may fail with: a line that the template cannot take, a script that cannot be had. */
function planProblem(error: unknown): PlanProblem {
  if (!(error instanceof ClawError)) {
    // A full disk, a folder that went away, a name that none can have: what the system refuses is this attempt's end, not
    // the worker's.
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || (syscall === undefined && code !== "ERR_INVALID_ARG_VALUE")) throw error;
    return { reason: "spawn", message: `could not be prepared: ${messageOf(error)}` };
  }
  const reasons: Partial<Record<ErrorCode, Outcome["reason"]>> = {
    too_large: "input",
    bad_request: "input",
    not_found: "not_found",
  };
  const hint = error.hint === undefined ? "" : ` (${error.hint})`;
  return { reason: reasons[error.code] ?? "spawn", message: `${error.message}${hint}` };
}

function memoryMessage(out_of: "limit" | "node", memory_mib: number): string {
  if (out_of === "limit")
    return `killed for memory: it used more than the ${memory_mib} MiB that it asked for (--memory)`;
  const said =
    memory_mib > 0 ? `the task asked for ${memory_mib} MiB` : "the task did not say what it needs (--memory)";
  return `killed for memory: its node ran out of it; ${said}`;
}

function stuckMessage(stuck: readonly ProcessRow[]): string {
  const pids = stuck.slice(0, 20).map((row) => row.pid);
  return `SIGKILL did not end ${stuck.length} of its processes for a long while: ${pids.join(", ")}`;
}

export function startProcess(
  attempt: AttemptContext,
  events: AttemptEvents,
  plan: () => Plan | Promise<Plan>,
): RunningAttempt {
  return new ProcessAttempt(attempt, events, plan);
}
