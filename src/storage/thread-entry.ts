// What runs in the thread of thread.ts: one job, one answer.

import { ClawError } from "../common/errors.ts";
import { checkSnapshot, takeSnapshot } from "./snapshot.ts";
import type { Done, Job } from "./thread.ts";

declare const self: Worker;

function perform(job: Job): Done {
  try {
    if (job.kind === "take") return { ok: true, taken: takeSnapshot(job.taking) };
    return { ok: true, state: checkSnapshot(job.checking) };
  } catch (error) {
    if (error instanceof ClawError) return { ok: false, error: error.toWire() };
    return { ok: false, bug: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

self.onmessage = ({ data }: MessageEvent<Job>) => self.postMessage(perform(data));
