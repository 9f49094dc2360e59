// How the coordinator on this machine was started last, in a file that only the same user can read: what a remedy names
// has to be what ran here.

import { join } from "node:path";
import { z } from "zod";
import { ClawError } from "../common/errors.ts";
import { readPrivate, writePrivate } from "./private.ts";

const Started = z.object({
  version: z.literal(1),
  /** As it was typed, without `claw`. */
  words: z.array(z.string()),
  /** Its NATS is another's: the log is not on this machine. */
  follows: z.boolean(),
  /** Where that is, with user and password; absent where an older claw noted it. */
  nats_url: z.string().optional(),
});
export type Started = z.infer<typeof Started>;

const pathOf = (data_dir: string): string => join(data_dir, "started.json");

export function noteStart(data_dir: string, started: Started): void {
  writePrivate(pathOf(data_dir), `${JSON.stringify(started)}\n`);
}

/** Undefined where none was, or where the file says nothing that can be used. */
export function lastStart(data_dir: string): Started | undefined {
  try {
    return Started.parse(JSON.parse(readPrivate(pathOf(data_dir))));
  } catch (error) {
    if (error instanceof ClawError || error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw error;
  }
}
