// `--joblog FILE`: one line a task in GNU parallel's columns, so that what reads its logs reads these.

import { closeSync, openSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { ClawError, messageOf } from "../../common/errors.ts";
import { exitCodeOf } from "../../common/exit-code.ts";
import type { AttemptView, Outcome } from "../../common/models.ts";
import { hasBegun } from "../../common/vocabulary.ts";

const HEAD = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

export class JobLog {
  readonly #path: string;
  readonly #file: number;
  #closed = false;

  constructor(path: string) {
    this.#path = path;
    this.#file = this.#guard(() => openSync(path, "w"));
    this.#write(HEAD);
  }

  add(index: number, node: string, outcome: Outcome, command: string): void {
    if (this.#closed) return;
    const { started_at, ended_at } = outcome;
    const columns = [
      index + 1,
      node,
      (started_at / 1000).toFixed(3),
      Math.max(0, (ended_at - started_at) / 1000)
        .toFixed(3)
        .padStart(10),
      0,
      outcome.stdout?.bytes ?? Buffer.byteLength(outcome.stdout_tail ?? ""),
      ...endColumns(outcome),
      command.replaceAll("\n", "\\n"),
    ];
    this.#write(`${columns.join("\t")}\n`);
  }

  close(): void {
    this.#closed = true;
    closeSync(this.#file);
  }

  #write(text: string): void {
    this.#guard(() => writeSync(this.#file, text));
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw new ClawError("io", `cannot write the job log ${this.#path}: ${messageOf(error)}`, { field: "--joblog" });
    }
  }
}

/** Whether it has a line: what was called off before it ran has no start to tell of, and in GNU parallel's no line either. */
export function isLogged(outcome: Outcome): boolean {
  return outcome.status === "failed" || hasBegun(outcome);
}

/** The last attempt that has a line. */
export function lastLogged(attempts: readonly AttemptView[]): { node: string; outcome: Outcome } | undefined {
  return attempts
    .flatMap(({ node, reason, at, started_at, outcome }) => {
      if (outcome !== undefined) return [{ node, outcome }];
      if (started_at === undefined) return [];
      return [{ node, outcome: { status: "failed", reason, started_at, ended_at: at } as const }];
    })
    .findLast(({ outcome }) => isLogged(outcome));
}

/** Exitval and Signal: -1 is GNU parallel's word for a job that it ended itself and that gave no code of its own. */
function endColumns(outcome: Outcome): [exitval: number, signal: number] {
  const { status, exit_code, signal } = outcome;
  const number = signal === undefined ? 0 : (constants.signals[signal as NodeJS.Signals] ?? 0);
  // One that answers SIGTERM with 0 did not succeed for all that.
  if (status === "timeout" || status === "cancelled") return [exit_code || -1, number];
  return [signal === undefined ? exitCodeOf(outcome) : 0, number];
}
