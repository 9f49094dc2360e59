// Does nothing, at once: for measuring what everything around a task costs.

import type { Executor } from "./executor.ts";

export const noopExecutor: Executor = {
  start({ runtime }, events) {
    const now = runtime.wall_ms();
    events.started(now, undefined);
    return {
      pid: undefined,
      output_bytes: { stdout: 0, stderr: 0 },
      stop: () => undefined, // it is over already
      done: Promise.resolve({ status: "completed", reason: "exit", exit_code: 0, started_at: now, ended_at: now }),
    };
  },
};
