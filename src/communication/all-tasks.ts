// All tasks that a list would show, however many answers they take.

import { LIMITS } from "../common/limits.ts";
import type { TaskView } from "../common/models.ts";
import type { QueryAnswers, QueryRequest } from "./queries.ts";

type Listing = Omit<QueryRequest<"task.list">, "seen">;

interface AsksForTasks {
  query(type: "task.list", request: Listing): Promise<QueryAnswers["task.list"]>;
}

/** In the order of the list, as they come. */
export async function* allTasks(
  asks: AsksForTasks,
  filter: Omit<Listing, "limit" | "cursor">,
): AsyncGenerator<TaskView, void, void> {
  let from: Pick<Listing, "cursor"> = {};
  for (;;) {
    const { tasks, cursor } = await asks.query("task.list", { ...filter, ...from, limit: LIMITS.list_rows });
    yield* tasks;
    if (cursor === undefined) return;
    from = { cursor };
  }
}
