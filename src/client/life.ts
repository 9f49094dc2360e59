// The options of a task's life: when it may start, when it has to be over, and what follows a failure.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Retry, Specification } from "../common/models.ts";
import { nearest } from "../common/nearest.ts";
import { parseIsoTime } from "../common/runtime.ts";
import { type OnLost, RETRY_BACKOFF, RETRY_REASONS, type TaskType } from "../common/vocabulary.ts";
import type { Io } from "./io.ts";
import { duration, number, oneOf } from "./values.ts";

export interface LifeOptions {
  retries?: string;
  backoff?: string;
  retryOn?: string[];
  timeout?: string;
  deadline?: string;
  startAfter?: string;
  onLost?: string;
  grace?: string;
}

type Life = Pick<
  Specification,
  "timeout_ms" | "grace_ms" | "deadline_ms" | "start_after_ms" | "start_at" | "retry" | "on_lost"
>;

export function lifeOf(options: LifeOptions, type: TaskType): Life {
  const { timeout, grace, deadline, startAfter, onLost } = options;
  const retry = retryOf(options, type);
  const start = startAfter === undefined ? {} : startOf(startAfter);
  const deadline_ms = deadline === undefined ? undefined : positive("--deadline", deadline);
  if ((start.start_after_ms ?? 0) >= (deadline_ms ?? Number.POSITIVE_INFINITY)) {
    const message = `--start-after ${startAfter} is not before --deadline ${deadline}: it would never run`;
    const hint = "both count from now: a deadline has to lie behind the start";
    throw new ClawError("usage", message, { hint, field: "--start-after" });
  }
  return {
    ...(timeout === undefined ? {} : { timeout_ms: duration("--timeout", timeout) }),
    ...(grace === undefined ? {} : { grace_ms: duration("--grace", grace) }),
    ...(deadline_ms === undefined ? {} : { deadline_ms }),
    ...start,
    ...(retry === undefined ? {} : { retry }),
    ...(onLost === undefined ? {} : { on_lost: oneOf<OnLost>("--on-lost", onLost, ["retry", "fail"]) }),
  };
}

function positive(option: string, text: string): number {
  const ms = duration(option, text);
  if (ms > 0) return ms;
  throw new ClawError("usage", `${option} ${text} is over before it begins`, { field: option });
}

/** A duration, or an instant in ISO-8601. */
function startOf(text: string): Pick<Life, "start_after_ms" | "start_at"> {
  if (/^[\d.]+(ms|s|m|h|d)/.test(text)) return { start_after_ms: duration("--start-after", text) };
  const at = parseIsoTime(text);
  if (!Number.isFinite(at)) {
    const none = /^\d{4}-\d\d-\d\d([T ]\d|$)/.test(text)
      ? "no instant that there is"
      : "neither a duration nor an instant";
    throw new ClawError("usage", `--start-after: '${text}' is ${none}`, {
      hint: "write 2h, or 2026-12-24T18:00:00Z",
      field: "--start-after",
    });
  }
  return { start_at: Math.max(0, at) };
}

/** An instant that is past is taken, as whoever computed it may have been slow; a wrong year is noticed all the same. */
export function sayPast(io: Io, { start_at }: Life, options: { quiet?: boolean; startAfter?: string }): void {
  if (start_at === undefined || start_at >= io.runtime.wall_ms() || options.quiet === true) return;
  io.err(`claw: --start-after ${options.startAfter} is past: it starts at once\n`);
}

function retryOf({ retries, backoff, retryOn }: LifeOptions, type: TaskType): Retry | undefined {
  const daemon = type === "daemon";
  if (daemon && retries !== undefined) {
    throw new ClawError("usage", "a daemon is kept running, however often it ends", {
      hint: "leave --retries away; --backoff says how long it waits",
      field: "--retries",
    });
  }
  const limit = retries === undefined ? 0 : number("--retries", retries, LIMITS.retries, true);
  if (limit === 0 && !daemon) {
    for (const [option, value] of [
      ["--backoff", backoff],
      ["--retry-on", retryOn],
    ] as const) {
      if (value === undefined || retries !== undefined) continue;
      throw new ClawError("usage", `${option} without --retries`, { hint: "add --retries 3", field: option });
    }
    return undefined;
  }
  if (daemon && backoff === undefined) return undefined;
  const on = daemon ? undefined : reasonsOf(retryOn);
  const waits = backoff === undefined ? RETRY_BACKOFF : backoffOf(backoff);
  return { limit: daemon ? LIMITS.retries : limit, ...waits, ...(on === undefined ? {} : { on }) };
}

/** `30s`: always that; `1s..5m`: doubled each time, up to the second. */
function backoffOf(text: string): Pick<Retry, "backoff_ms" | "backoff_max_ms"> {
  const [first = "", most = first, ...rest] = text.split("..");
  const backoff_ms = duration("--backoff", first);
  const backoff_max_ms = duration("--backoff", most);
  if (rest.length === 0 && backoff_max_ms >= backoff_ms) return { backoff_ms, backoff_max_ms };
  throw new ClawError("usage", `--backoff: '${text}' is no wait`, {
    hint: "write 30s for a fixed one, 1s..5m for one that doubles up to five minutes",
    field: "--backoff",
  });
}

function reasonsOf(given: readonly string[] | undefined): Retry["on"] {
  return given
    ?.flatMap((text) => text.split(","))
    .map((text) => {
      if (/^\d+$/.test(text)) {
        const code = number("--retry-on", text, 255, true);
        if (code > 0) return code;
        throw new ClawError("usage", "--retry-on 0: that is a success", { field: "--retry-on" });
      }
      const reason = RETRY_REASONS.find((one) => one === text);
      if (reason !== undefined) return reason;
      const near = nearest(text, RETRY_REASONS);
      throw new ClawError(
        "usage",
        `--retry-on is an exit code from 1 to 255, or ${RETRY_REASONS.join(", ")}, not '${text}'`,
        {
          ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
          field: "--retry-on",
        },
      );
    });
}
