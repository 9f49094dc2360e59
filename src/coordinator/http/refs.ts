// The tasks and nodes that requests name.

import { ClawError } from "../../common/errors.ts";
import { findNodes } from "../../common/find-nodes.ts";
import type { NodeView } from "../../common/models.ts";
import { allNodes } from "../../communication/all-nodes.ts";
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

/** Throws `not_found`, `ambiguous`, `usage`, by the name of the parameter that the text stands in. */
export async function resolveTask(source: HttpSource, text: string, parameter = "id"): Promise<ResolvedRef> {
  const { refs } = await source.query("task.resolve", { refs: [text] }).catch(inParameter(parameter, text));
  const [ref] = refs;
  if (ref === undefined) throw new Error("one reference was resolved to none");
  return ref;
}

/** As the list has it. Throws `not_found`, `ambiguous`, by the name of the parameter. */
export async function resolveNode(source: HttpSource, word: string): Promise<NodeView> {
  const [node] = await Promise.try(findNodes, await allNodes(source), [word]).catch(inParameter("node", word));
  if (node === undefined) throw new Error("one word was found to be no node");
  return node;
}

/** The command line names the text that was typed; here it has a place of its own. */
function inParameter(parameter: string, text: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof ClawError) || error.field !== text) throw error;
    throw ClawError.fromWire({ ...error.toWire(), field: parameter });
  };
}

export function targetOf({ number, index }: ResolvedRef): { number: number; index?: number } {
  return { number, ...(index === undefined ? {} : { index }) };
}
