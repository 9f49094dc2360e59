// The task that a path names.

import type { ResolvedRef } from "../../communication/queries.ts";
import { TASK_REF } from "../../core/ids.ts";
import { type HttpSource, z } from "./api.ts";

/** As `parseTaskRef` takes it: documented, so that nobody has to try. */
export const taskRef = z.string().max(64).regex(TASK_REF, "must be a task's id, or its beginning");

const id = taskRef.openapi({
  param: { name: "id", in: "path" },
  description: "task_35f04cf1, task_35f04cf1.17, or a unique beginning",
});
export const taskParams = z.object({ id });
/** Throws `not_found`, `ambiguous`, `usage`. */
export async function resolveTask(source: HttpSource, text: string): Promise<ResolvedRef> {
  const { refs } = await source.query("task.resolve", { refs: [text] });
  const [ref] = refs;
  if (ref === undefined) throw new Error("one reference was resolved to none");
  return ref;
}

export function targetOf({ number, index }: ResolvedRef): { number: number; index?: number } {
  return { number, ...(index === undefined ? {} : { index }) };
}
