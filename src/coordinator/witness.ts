// A second witness beside the view: how far the log was known to be acknowledged, in a file of its own. A view that is
// damaged or gone can then be made again without anybody's word, as long as the log still has all that this file knows of.

import { readFileSync } from "node:fs";
import { z } from "zod";
import { ClawError, messageOf } from "../common/errors.ts";
import type { Runtime, Timer } from "../common/runtime.ts";
import { writePrivate } from "../communication/private.ts";
import type { View, Witness } from "../storage/view.ts";

const WitnessFile = z.strictObject({
  v: z.literal(1),
  cluster_id: z.string(),
  stream_created: z.string(),
  sequence: z.int().min(0),
  hash: z.string(),
});
export type WitnessFile = z.infer<typeof WitnessFile>;

function writeWitness(path: string, cluster_id: string, { stream_created, sequence, hash }: Witness): void {
  const file: WitnessFile = { v: 1, cluster_id, stream_created, sequence, hash };
  writePrivate(path, `${JSON.stringify(file)}\n`);
}

/** Undefined where there is none, or none that can be read, which `unreadable` is told: then it knows of nothing. */
export function readWitness(path: string, unreadable?: (why: string) => void): WitnessFile | undefined {
  try {
    return WitnessFile.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    if (error instanceof z.ZodError || error instanceof SyntaxError) {
      unreadable?.(error instanceof SyntaxError ? error.message : "it has not the fields of a witness");
      return undefined;
    }
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Error(`cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

const EVERY_MS = 1_000;

/** Keeps the file up to the view's: a second late at most, and at the end not at all. */
export class WitnessKeeper {
  readonly #runtime: Runtime;
  readonly #path: string;
  readonly #view: View;
  readonly #failed: (error: unknown) => void;
  #written: Pick<Witness, "stream_created" | "sequence"> | undefined;
  #timer: Timer | undefined;

  constructor(runtime: Runtime, path: string, view: View, failed: (error: unknown) => void) {
    this.#runtime = runtime;
    this.#path = path;
    this.#view = view;
    this.#failed = failed;
    this.#written = readWitness(path);
    this.#keep();
  }

  #keep(): void {
    try {
      this.#write();
    } catch (error) {
      // An older witness is as true. A full disk ends the coordinator when the log or the view cannot be written, and whoever
      // asked for that is answered: ended from here, requests on their way would be left without an answer.
      if (!(error instanceof ClawError) || error.code !== "disk_full") {
        this.#failed(error);
        return;
      }
    }
    this.#timer = this.#runtime.after(EVERY_MS, () => this.#keep());
  }

  #write(): void {
    // A view that was made anew, or lost its end, may be behind for a moment: what was known stays known.
    const witness = this.#view.witness();
    const { stream_created, sequence } = this.#written ?? { stream_created: undefined, sequence: -1 };
    if (witness.stream_created === stream_created && witness.sequence <= sequence) return;
    const { cluster_id } = JSON.parse(this.#view.meta("state") ?? "{}") as { cluster_id?: string };
    writeWitness(this.#path, cluster_id ?? "", witness);
    this.#written = witness;
  }

  /** One that cannot be written any more (a full disk) stays as it is: an older witness is as true. */
  stop(): void {
    this.#timer?.cancel();
    try {
      this.#write();
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
    }
  }
}
