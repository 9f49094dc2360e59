// The cluster over HTTP: what it is, what happened in it, and its figures for Prometheus.

import { streamSSE } from "hono/streaming";
import { ClusterDocument, EventDocument, PlacementRequest } from "../../common/document-schemas.ts";
import { clusterDocument, EVENT_FILTERS, noEvents, placementChange } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { newestEvents } from "../../communication/newest.ts";
import type { QueryAnswers, QueryRequest } from "../../communication/queries.ts";
import {
  body,
  createRoute,
  type HttpSource,
  json,
  limitParameter,
  NO_QUERY,
  type OpenAPIHono,
  problems,
  SECURED,
  SOMETHING,
  severalOf,
  waitParameter,
  z,
} from "./api.ts";
import { resolveNode, resolveTask, taskRef } from "./refs.ts";
import type { Streams } from "./streams.ts";

const ROWS = 100;
/** A stream that says nothing for longer looks dead to what stands between. */
const PING_MS = 15_000;
/** So much at once: a write for each event costs more than all the rest, and what a slow reader was written stays in memory. */
const WRITE_CHARS = 16 * 1024;

const Cluster = ClusterDocument.meta({ id: "Cluster" });

const clusterRoute = createRoute({
  method: "get",
  path: "/api/v1/cluster",
  summary: "The cluster: who leads, who follows, how many nodes and tasks there are",
  security: SECURED,
  request: { query: NO_QUERY },
  responses: { 200: json(Cluster, "The cluster as it is"), ...problems() },
});

const configureRoute = createRoute({
  method: "patch",
  path: "/api/v1/cluster",
  summary: "Sets how tasks are placed over what the coordinator's file says",
  security: SECURED,
  request: {
    query: NO_QUERY,
    body: body(
      z
        .strictObject({ reset: z.boolean().optional(), placement: PlacementRequest.optional() })
        .refine(...SOMETHING)
        .openapi("ConfigureCluster", { description: "`reset` takes back what was set before", minProperties: 1 }),
    ),
  },
  responses: { 200: json(Cluster, "The cluster as it is now"), ...problems(409) },
});

const Events = z
  .strictObject({
    events: z.array(EventDocument.meta({ id: "Event" })),
    cursor: z.string(),
    more: z.boolean().openapi({ description: "there may be others behind the cursor already" }),
    missed: z.boolean().optional().openapi({ description: "some behind `after` are not in the log any more" }),
    before: z
      .string()
      .optional()
      .openapi({
        description:
          "with `tail`: older ones are had with it, if there are any. A page looks back for about a second, so it may have " +
          "fewer than `tail`, or none, while there are some: ask on with it, until a page comes without it",
      }),
  })
  .openapi("Events");

const place = z.string().regex(/^\d{1,15}(?:\.\d{1,9})?$/, "must be an event's id, or a list's cursor");

const EventFilter = z.enum(EVENT_FILTERS, {
  error: ({ input }) => Object.values(noEvents(String(input))).join(": "),
});

const eventsRoute = createRoute({
  method: "get",
  path: "/api/v1/events",
  summary: "What happened: a page of it, or with `Accept: text/event-stream` all of it as it happens",
  description:
    "A stream goes on behind `Last-Event-ID` (or `after`), with whichever coordinator answers. An event `missed` says that " +
    "some are not in the log any more. Without either it begins with the newest `tail`, or now. `before`, `limit` and " +
    "`wait_ms` are for pages only, and a page is either behind `after` or the newest `tail`.",
  security: SECURED,
  request: {
    headers: z.object({
      "Last-Event-ID": z.string().optional().openapi({
        description: "of a stream: the last event, or ping, that was heard; it wins over `after` and `tail`",
      }),
    }),
    query: z.strictObject({
      after: place.optional().openapi({ description: "an event's id, or the cursor of the page before" }),
      tail: limitParameter(LIMITS.list_rows).openapi({ description: "the newest so many; not with `after`" }),
      before: place.optional().openapi({ description: "with `tail`: the newest before this place; not for a stream" }),
      limit: limitParameter(LIMITS.list_rows).openapi({ description: "of a page; not for a stream" }),
      wait_ms: waitParameter.openapi({ description: "wait so long for a first one; not for a stream" }),
      type: severalOf(EventFilter).openapi({ description: "task.failed, or all of a kind: task, node" }),
      task: taskRef.optional(),
      node: z.string().max(LIMITS.name_chars).optional(),
    }),
  },
  responses: {
    200: {
      description: "Events in the order of the log",
      content: { "application/json": { schema: Events }, "text/event-stream": { schema: z.string() } },
    },
    ...problems(404, 409),
  },
});

const metricsRoute = createRoute({
  method: "get",
  path: "/metrics",
  summary: "Figures in Prometheus' text format",
  security: SECURED,
  request: { query: NO_QUERY },
  responses: {
    200: { description: "Figures", content: { "text/plain": { schema: z.string() } } },
    ...problems(),
  },
});

/** Parameters that would be overlooked: who gave them expects that they count. */
function requireFitting(
  given: Partial<Record<"after" | "tail" | "before" | "limit" | "wait_ms", unknown>>,
  streams: boolean,
): void {
  const wrong = (field: string, message: string): never => {
    throw new ClawError("bad_request", `${field}: ${message}`, { field });
  };
  if (given.after !== undefined && given.tail !== undefined)
    wrong("tail", "either the newest, or those behind `after`");
  for (const name of ["before", "limit", "wait_ms"] as const) {
    if (streams && given[name] !== undefined) wrong(name, "a stream goes on for ever: this is for a page");
  }
  if (given.before !== undefined && given.tail === undefined) wrong("before", "say with `tail` how many");
}

const NOTHING: QueryAnswers["event.list"] = { events: [], cursor: "0", more: false };

type EventQuery = Omit<QueryRequest<"event.list">, "seen">;

export function clusterRoutes(app: OpenAPIHono, source: HttpSource, streams: Streams): void {
  app.openapi(clusterRoute, async (context) => {
    return context.json(clusterDocument((await source.query("cluster.status", {})).status), 200);
  });
  app.openapi(configureRoute, async (context) => {
    const { reset, placement } = context.req.valid("json");
    const change = placement === undefined ? {} : { placement: placementChange(placement) };
    await source.client().command("cluster.configure", { v: 1, reset, ...change });
    return context.json(clusterDocument((await source.query("cluster.status", {})).status), 200);
  });
  app.openapi(metricsRoute, (context) => {
    return context.text(source.metrics(), 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
  });
  app.openapi(eventsRoute, async (context) => {
    const given = context.req.valid("query");
    const streaming = context.req.header("accept")?.includes("text/event-stream") === true;
    requireFitting(given, streaming);
    const { limit = ROWS, wait_ms = 0, after, tail, before, type, task, node } = given;
    const filter = await filterOf(source, task, node);
    const types = type === undefined ? {} : { types: type };
    const query: EventQuery = { ...filter, ...types, after, tail, before, limit, wait_ms };
    if (!streaming) {
      return context.json(await source.query("event.list", query, context.req.raw.signal), 200);
    }
    const last = context.req.header("last-event-id");
    const first: EventQuery = { ...query, limit: LIMITS.list_rows, wait_ms: 0, after: last ?? after };
    // What is refused is refused before the stream begins.
    const left = context.req.raw.signal;
    // Nobody waits for how a long look ends who has left.
    const page = await newestEvents(
      async (one) => (left.aborted ? NOTHING : await source.query("event.list", one, left)),
      first,
    );
    const open = streams.open(left);
    return streamSSE(context, async (out) => {
      out.onAbort(open.end);
      try {
        await follow(source, first, page, open.signal, (text) => out.write(text));
      } catch (error) {
        if (!(error instanceof ClawError)) source.failed(error);
      } finally {
        open.end();
      }
    }) as never;
  });
}

/** One message of a stream; JSON is a single line. */
function message(event: string, data: object, id?: string): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n${id === undefined ? "" : `id: ${id}\n`}\n`;
}

async function follow(
  source: HttpSource,
  query: EventQuery,
  first: QueryAnswers["event.list"],
  ended: AbortSignal,
  write: (text: string) => Promise<unknown>,
): Promise<void> {
  const { tail: _tail, before: _before, ...rest } = query;
  let page = first;
  let { after } = query;
  // Headers go out with the first bytes: who opened the stream knows that it is there.
  // Its place, and that of a ping, is where who comes again goes on, though nothing was told yet.
  await write(message("open", { cursor: page.cursor }, page.events.length === 0 ? page.cursor : undefined));
  while (!ended.aborted) {
    const { events, cursor, more, missed } = page;
    let text = missed === true ? message("missed", { after }) : "";
    for (const event of events) {
      text += message(event.type, event, event.id);
      if (text.length < WRITE_CHARS) continue;
      await write(text);
      if (ended.aborted) return;
      text = "";
    }
    if (events.length === 0 && !more) text += message("ping", { cursor }, cursor);
    if (text !== "") await write(text);
    after = cursor;
    page = await source.query("event.list", { ...rest, after, wait_ms: more ? 0 : PING_MS }, ended);
  }
}

async function filterOf(
  source: HttpSource,
  task: string | undefined,
  node: string | undefined,
): Promise<Pick<EventQuery, "number" | "index" | "node">> {
  const ref = task === undefined ? undefined : await resolveTask(source, task, "task");
  const one = node === undefined ? undefined : await resolveNode(source, node);
  return {
    ...(ref === undefined ? {} : { number: ref.number }),
    ...(ref?.index === undefined ? {} : { index: ref.index }),
    ...(one === undefined ? {} : { node: one.id }),
  };
}
