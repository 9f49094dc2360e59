// The newest events that somebody asked for. One answer looks back so far only; who filters may want more than it found.

import type { EventDocument } from "../common/document-schemas.ts";
import type { QueryAnswers, QueryRequest } from "./queries.ts";

type Query = Omit<QueryRequest<"event.list">, "seen">;
type Answer = QueryAnswers["event.list"];

/**
 * The newest `query.tail`, however far back they are; the cursor is where the log ended when the first answer was given.
 * `goesOn` is told each time one answer was not enough.
 */
export async function newestEvents(
  ask: (query: Query) => Promise<Answer>,
  query: Query,
  goesOn: (before: string) => void = () => undefined,
): Promise<Answer> {
  const { tail = 0 } = query;
  const first = await ask(query);
  let events: EventDocument[] = first.events;
  let { before } = first;
  while (events.length < tail && before !== undefined) {
    goesOn(before);
    const older = await ask({ ...query, tail: tail - events.length, before });
    events = [...older.events, ...events];
    ({ before } = older);
  }
  const { before: _before, ...rest } = first;
  return { ...rest, events, ...(before === undefined ? {} : { before }) };
}
