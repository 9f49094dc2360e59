// An event that tells of many members as two that tell of half of them each: folded one after the other they give the same.
// What a tick, an alarm or one command decides has no bound (an array may be cut to any number of pieces, a node may hold
// all of them), and what goes into the log at once has.

import type { Event } from "./event.ts";

/** Undefined where there is nothing to cut: such events are bounded by the message that they came of. */
export function halvesOf(event: Event): [Event, Event] | undefined {
  switch (event.t) {
    case "assigned":
      return halved(event.runs, (runs) => ({ ...event, runs }));
    case "started":
      return halved(event.runs, (runs) => ({ ...event, runs }));
    case "succeeded":
      return halved(event.runs, (runs) => ({ ...event, runs }));
    case "due":
      return halved(event.runs, (runs) => ({ ...event, runs }));
    case "stopping":
      return halved(event.runs, (runs) => ({ ...event, runs }));
    case "ended":
      return halved(event.results, (results) => ({ ...event, results }));
    case "retried":
      return halved(event.results, (results) => ({ ...event, results }));
    case "requeued":
      return halved(event.runs, (runs, from) => ({
        ...event,
        runs,
        ...(event.started === undefined ? {} : { started: event.started.slice(from, from + runs.length) }),
      }));
    default:
      return undefined;
  }
}

function halved<T>(items: readonly T[], made: (part: T[], from: number) => Event): [Event, Event] | undefined {
  if (items.length < 2) return undefined;
  const middle = items.length >> 1;
  return [made(items.slice(0, middle), 0), made(items.slice(middle), middle)];
}
