// Sending what makes new tasks: ids are drawn here until they are free, and the same nonce goes with each try, so that what
// was sent again is done once.

import { ClawError } from "../common/errors.ts";
import type { Specification } from "../common/models.ts";
import { type Runtime, randomHex, randomU32 } from "../common/runtime.ts";
import type { TerminalStatus } from "../common/vocabulary.ts";
import type { CommandAnswers, TaskRetry, TaskSubmit } from "./messages.ts";
import type { RequestClient } from "./request.ts";

export interface Submitted {
  /** The array's, or the first task's. */
  id: number;
  /** One a task; an array has one. */
  ids: number[];
  number: number;
  nonce: string;
  /** Its key had been used: nothing new was made. */
  existing: boolean;
}

type Sender = Pick<RequestClient, "command">;

/** One array of one specification, or a separate task of each. Throws what the coordinator refuses. */
export async function submitTasks(
  runtime: Runtime,
  client: Sender,
  specifications: Specification[],
  array?: Omit<NonNullable<TaskSubmit["array"]>, "id">,
): Promise<Submitted> {
  const nonce = randomHex(runtime, 16);
  return await drawing(async () => {
    const ids = drawn(runtime, array === undefined ? specifications.length : 1);
    const members =
      array === undefined
        ? { tasks: ids.map((id, at): [number, number] => [id, at]) }
        : { array: { id: ids[0] ?? 0, ...array } };
    const { number, existing } = await client.command("task.submit", { v: 1, nonce, specifications, ...members });
    const own = existing === undefined ? ids : [existing];
    return { id: own[0] ?? 0, ids: own, number, nonce, existing: existing !== undefined };
  });
}

/** What is over, anew. */
export async function retryTasks(
  runtime: Runtime,
  client: Sender,
  targets: readonly { number: number; index?: number }[],
  statuses: readonly TerminalStatus[],
  how: Pick<TaskRetry, "fresh" | "dry"> = {},
): Promise<CommandAnswers["task.retry"]> {
  const nonce = randomHex(runtime, 16);
  return await drawing(() => {
    const ids = drawn(runtime, targets.length);
    const named = targets.map((target, at) => ({ id: ids[at] ?? 0, ...target }));
    return client.command("task.retry", { v: 1, nonce, targets: named, statuses: [...statuses], ...how });
  });
}

/** Each another one. */
function drawn(runtime: Runtime, count: number): number[] {
  const ids = new Set<number>();
  while (ids.size < count) ids.add(randomU32(runtime));
  return [...ids];
}

async function drawing<T>(send: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof ClawError) || error.code !== "id_taken") throw error;
    }
  }
}
