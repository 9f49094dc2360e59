// This machine's graphics processors: what nvidia-smi lists, and of these what the worker itself may see, as CUDA and its
// like say it. One from Apple is part of the processor.

import { messageOf } from "../common/errors.ts";
import type { Runtime } from "../common/runtime.ts";

const DEADLINE_MS = 2000;

export interface Gpus {
  count: number;
  /** What a task is told of each; empty: their numbers. */
  devices: string[];
  /** Of the first of them. */
  model?: string | undefined;
  /** Why there may be more than it counted. */
  trouble?: string;
}

export interface GpuSources {
  runtime: Runtime;
  /** null: there is none. */
  program?: string | null;
  system?: string;
  env?: Record<string, string | undefined>;
  deadline_ms?: number;
}

/**
 * HIP's list is about other makes where nvidia-smi lists none, and is believed; CUDA's says there only what they would be
 * called, should somebody count them. Where nvidia-smi does not answer, whichever there is is believed.
 */
export async function findGpus({
  runtime,
  program = Bun.which("nvidia-smi"),
  system = `${process.platform} ${process.arch}`,
  env = process.env,
  deadline_ms = DEADLINE_MS,
}: GpuSources): Promise<Gpus> {
  const hip = entriesOf(env["HIP_VISIBLE_DEVICES"]);
  const visible = entriesOf(env["CUDA_VISIBLE_DEVICES"]) ?? hip;
  const none = program === null || visible?.length === 0;
  const listed = none ? [] : await nvidiaGpus(runtime, program, deadline_ms);
  if (typeof listed === "string") {
    return visible === undefined ? { count: 0, devices: [], trouble: listed } : only(visible, []);
  }
  if (listed.length > 0) return visible === undefined ? all(listed) : only(visible, listed);
  if (hip !== undefined) return only(hip, []);
  if (system === "darwin arm64") return all([{ model: "Apple" }]);
  return { count: 0, devices: visible ?? [] };
}

interface Listed {
  model: string;
  uuid?: string | undefined;
}

function all(listed: readonly Listed[]): Gpus {
  return { count: listed.length, devices: [], model: listed[0]?.model };
}

/** As CUDA has it, what follows a number that there is not does not count. */
function only(visible: string[], listed: readonly Listed[]): Gpus {
  const end = listed.length === 0 ? -1 : visible.findIndex((entry) => Number(entry) >= listed.length);
  const devices = end < 0 ? visible : visible.slice(0, end);
  const [first] = devices;
  if (first === undefined) return { count: 0, devices };
  const named = listed[Number(first)] ?? listed.find(({ uuid }) => uuid?.startsWith(first));
  return { count: devices.length, devices, model: named?.model };
}

/** Numbers, and names as they are (`GPU-…`, `MIG-…`), up to the first that is neither, as CUDA reads them. */
function entriesOf(text: string | undefined): string[] | undefined {
  if (text === undefined) return undefined;
  const entries = text.split(",").map((entry) => entry.trim());
  const end = entries.findIndex((entry) => !/^(?:\d+|(?:GPU|MIG)-.+)$/.test(entry));
  return [...new Set(end < 0 ? entries : entries.slice(0, end))];
}

/** What nvidia-smi lists, or in words why that is not known. */
async function nvidiaGpus(runtime: Runtime, program: string, deadline_ms: number): Promise<Listed[] | string> {
  let answer: { text: string; exit_code: number } | undefined;
  try {
    answer = await answerOf(runtime, program, deadline_ms);
  } catch (error) {
    return `${program} cannot be run: ${messageOf(error)}`;
  }
  if (answer === undefined) return `${program} did not answer within ${deadline_ms} ms`;
  if (answer.exit_code !== 0) return `${program} failed with exit code ${answer.exit_code}`;
  return [...answer.text.matchAll(/^GPU \d+: *(.*?)(?: \(UUID: *(.*?)\))?$/gm)].map(([, model = "", uuid]) => {
    return { model, uuid };
  });
}

/**
 * Undefined where it takes too long. Then it is killed with all that it started; a driver that hangs keeps even that from
 * ending, and somebody else may hold its pipe, so nobody waits for either.
 */
async function answerOf(
  runtime: Runtime,
  program: string,
  deadline_ms: number,
): Promise<{ text: string; exit_code: number } | undefined> {
  const child = Bun.spawn([program, "--list-gpus"], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    detached: true, // a process group of its own: the group's number is the pid
  });
  const reader = child.stdout.getReader();
  const whole = async (): Promise<{ text: string; exit_code: number }> => {
    const chunks: Uint8Array[] = [];
    for (let part = await reader.read(); !part.done; part = await reader.read()) chunks.push(part.value);
    return { text: Buffer.concat(chunks).toString(), exit_code: await child.exited };
  };
  const late = Promise.withResolvers<undefined>();
  const timer = runtime.after(deadline_ms, () => late.resolve(undefined));
  try {
    const answer = await Promise.race([whole(), late.promise]);
    if (answer === undefined) {
      killGroup(child.pid);
      child.unref();
      void reader.cancel().catch(() => undefined);
    }
    return answer;
  } finally {
    timer.cancel();
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of it is gone.
  }
}
