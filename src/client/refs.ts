// Ids as people type them, whole or by a unique beginning, and with `-` from standard input.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { ResolvedRef } from "../communication/queries.ts";
import type { RequestClient } from "../communication/request.ts";
import type { Io } from "./io.ts";
import { readLines } from "./lines.ts";

/** Each task once: named twice, or with the array that it is in, it is meant once. */
export function distinctRefs<T extends Pick<ResolvedRef, "number" | "index">>(found: readonly T[]): T[] {
  const whole = new Set(found.filter(({ index }) => index === undefined).map(({ number }) => number));
  const seen = new Set<string>();
  return found.filter(({ number, index }) => {
    const key = `${number}.${index}`;
    if (seen.has(key) || (index !== undefined && whole.has(number))) return false;
    seen.add(key);
    return true;
  });
}

export async function refs(io: Io, client: RequestClient, ids: readonly string[]): Promise<ResolvedRef[]> {
  const all: string[] = [];
  for (const id of ids) {
    if (id !== "-") all.push(id);
    else
      for await (const lines of readLines(io.input(), false))
        all.push(...lines.map((line) => line.trim()).filter((line) => line !== ""));
  }
  if (all.length === 0) throw new ClawError("usage", "which task?", { hint: "`claw ls` lists them" });
  if (all.length > LIMITS.list_rows) throw new ClawError("too_large", `at most ${LIMITS.list_rows} tasks at once`);
  return (await client.query("task.resolve", { refs: all })).refs;
}
