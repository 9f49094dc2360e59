// How far `--each` is: one line on a terminal's error output, redrawn a few times a second, and a summary at the end.

import type { TaskCounts } from "../../common/models.ts";
import { formatDuration } from "../../common/units.ts";
import { finishedCount } from "../../common/vocabulary.ts";
import type { Io } from "../io.ts";

const REDRAW_MS = 100;
const BAR_CHARS = 20;

export class Progress {
  readonly #io: Io;
  readonly #on: boolean;
  readonly #begun_ms: number;
  #drawn_ms = Number.NEGATIVE_INFINITY;
  #shown = false;

  constructor(io: Io, on: boolean) {
    this.#io = io;
    this.#on = on;
    this.#begun_ms = io.runtime.monotonic_ms();
  }

  get took_ms(): number {
    return this.#io.runtime.monotonic_ms() - this.#begun_ms;
  }

  show(counts: TaskCounts, reading: boolean): void {
    const now_ms = this.#io.runtime.monotonic_ms();
    if (!this.#on || (this.#shown && now_ms - this.#drawn_ms < REDRAW_MS)) return;
    this.#drawn_ms = now_ms;
    const done = finishedCount(counts);
    const rate = (done * 1000) / Math.max(1, this.took_ms);
    const left = reading || done === 0 ? "" : `, ${formatDuration(((counts.total - done) * 1000) / rate)} left`;
    const bad = counts.failed + counts.timeout;
    const failed = bad > 0 ? `, ${bad} failed` : "";
    const full = counts.total === 0 ? 0 : Math.floor((done / counts.total) * BAR_CHARS);
    const bar = `${"█".repeat(full)}${"░".repeat(BAR_CHARS - full)}`;
    const text = `${bar} ${done}/${counts.total}${reading ? "+" : ""}${failed}, ${Math.round(rate)}/s${left}`;
    this.#io.draw(text);
    this.#shown = true;
  }

  /** Makes room for output. */
  clear(): void {
    if (this.#shown) this.#io.draw("");
    this.#shown = false;
  }
}

/** `by_node`: how many tasks each node ended. */
export function summaryOf(
  id: string,
  counts: TaskCounts,
  took_ms: number,
  by_node: ReadonlyMap<string, number>,
): string {
  const rate = took_ms > 0 ? Math.round((finishedCount(counts) * 1000) / took_ms) : 0;
  const parts = [`${counts.completed} succeeded`];
  if (counts.failed > 0) parts.push(`${counts.failed} failed`);
  if (counts.timeout > 0) parts.push(`${counts.timeout} timed out`);
  if (counts.cancelled > 0) parts.push(`${counts.cancelled} cancelled`);
  const nodes = by_node.size < 2 ? "" : `; ${[...by_node].map(([name, done]) => `${name} ${done}`).join(", ")}`;
  return `${id}: ${parts.join(", ")} in ${formatDuration(took_ms)} (${rate} tasks/s)${nodes}`;
}
