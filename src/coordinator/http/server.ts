// The small HTTP endpoint: health without credentials, the rest behind a bearer token. Loopback unless told otherwise;
// the Host header is checked, so that a web page in the user's browser cannot reach it by a name of its own.

import { timingSafeEqual } from "node:crypto";
import { type Context, Hono } from "hono";
import { ClawError, ERRORS, messageOf } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { nearest } from "../../common/nearest.ts";
import { VERSION } from "../../common/version.ts";
import { QUERIES, type QueryAnswers, type QueryRequest } from "../../communication/queries.ts";

export interface HttpSource {
  /** What keeps this coordinator from serving; empty when it leads, or follows one that does. */
  failing(): string[];
  /** Answered by whoever leads. */
  ask<T extends HttpQuery>(type: T, request: Omit<QueryRequest<T>, "seen">): Promise<QueryAnswers[T]>;
  /** A bug: it was answered as an error, and whoever runs the coordinator has to know. */
  failed(error: unknown): void;
}

export type HttpQuery = "cluster.status" | "node.list" | "task.list";

const ROWS = 100;

export function httpApp(source: HttpSource, token: string, host: string): Hono {
  const app = new Hono();
  app.use(async (context, next) => {
    const name = hostName(context.req.header("host") ?? "");
    // One who opened it to others chose its names, too.
    if (isLoopback(host) && !isLoopback(name)) {
      throw new ClawError("refused", `this endpoint is not called '${name}'`, { field: "host" });
    }
    await next();
    context.header("Cache-Control", "no-store");
  });
  for (const path of ["/health", "/healthz"]) {
    app.get(path, (context) => context.json({ ok: true, status: "live", version: VERSION }));
  }
  app.get("/readyz", (context) => {
    const failing = source.failing();
    return context.json({ ready: failing.length === 0, failing }, failing.length === 0 ? 200 : 503);
  });
  app.use("/api/*", async (context, next) => {
    if (!bearerMatches(context.req.header("authorization"), token)) {
      context.header("WWW-Authenticate", "Bearer");
      throw new ClawError("unauthorized", "this needs the bearer token", {
        hint: "it stands in http-token in the coordinator's data folder",
      });
    }
    await next();
  });
  app.get("/api/v1/status", async (context) => context.json((await source.ask("cluster.status", {})).status));
  app.get("/api/v1/nodes", async (context) => context.json((await source.ask("node.list", {})).nodes));
  app.get("/api/v1/tasks", async (context) => context.json(await source.ask("task.list", listRequest(context))));
  app.notFound((context) => {
    const error = new ClawError("not_found", `there is nothing at ${context.req.path}`, { hint: "try /api/v1/status" });
    return context.json({ error: error.toWire() }, 404);
  });
  app.onError((error, context) => {
    if (!(error instanceof ClawError)) source.failed(error);
    const known = error instanceof ClawError ? error : new ClawError("io", messageOf(error));
    return context.json({ error: known.toWire() }, ERRORS[known.code].http);
  });
  return app;
}

const PARAMETERS = ["limit", "cursor", "status", "priority", "name", "label"];

/** `?status=running&status=pending&label=job=nightly&limit=20`: what `task.list` takes, and nothing else. */
function listRequest(context: Context): QueryRequest<"task.list"> {
  const { status, label, limit, ...given } = context.req.queries();
  for (const name of Object.keys(context.req.queries())) {
    if (PARAMETERS.includes(name)) continue;
    const meant = nearest(name, PARAMETERS);
    throw new ClawError("bad_request", `there is no parameter '${name}'`, {
      field: name,
      hint: meant === undefined ? `there are ${PARAMETERS.join(", ")}` : `did you mean ${meant}?`,
    });
  }
  const single = Object.fromEntries(Object.entries(given).map(([name, values]) => [name, values.at(-1)]));
  const request = QUERIES["task.list"].safeParse({
    ...single,
    limit: limit === undefined ? ROWS : wholeNumber(limit.at(-1) ?? ""),
    ...(status === undefined ? {} : { statuses: status }),
    ...(label === undefined ? {} : { labels: Object.fromEntries(label.map(pair)) }),
  });
  if (request.success) return request.data;
  const [issue] = request.error.issues;
  const path = String(issue?.path[0] ?? "");
  const field = path === "statuses" ? "status" : path;
  const message = field === "limit" ? `must be a number from 1 to ${LIMITS.list_rows}` : (issue?.message ?? "wrong");
  throw new ClawError("bad_request", `${field}: ${message}`, { field });
}

function wholeNumber(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
}

function pair(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new ClawError("bad_request", `label: '${text}' is not NAME=VALUE`, { field: "label" });
  return [text.slice(0, at), text.slice(at + 1)];
}

/** Without the port; an IPv6 address without its brackets. */
function hostName(header: string): string {
  const name = header.startsWith("[") ? header.slice(1, header.indexOf("]")) : (header.split(":")[0] ?? "");
  return name.toLowerCase();
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

function bearerMatches(header: string | undefined, token: string): boolean {
  const given = Buffer.from(header?.startsWith("Bearer ") === true ? header.slice("Bearer ".length) : "");
  const wanted = Buffer.from(token);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

export interface HttpServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** Serves on the port, or on a free one where it is taken. */
export function serveHttp(app: Hono, host: string, port: number): HttpServer {
  const serve = (wanted: number) => Bun.serve({ hostname: host, port: wanted, fetch: app.fetch });
  const serveSomewhere = (): ReturnType<typeof serve> => {
    try {
      return serve(port);
    } catch (error) {
      if ((error as { code?: string }).code !== "EADDRINUSE") throw error;
      return serve(0);
    }
  };
  try {
    const server = serveSomewhere();
    return {
      url: `http://${host.includes(":") ? `[${host}]` : host}:${server.port}`,
      stop: () => server.stop(true),
    };
  } catch (error) {
    throw new ClawError("bad_config", `cannot listen on ${host}, port ${port}: ${messageOf(error)}`, {
      hint: "http.host is an address of this machine; ports below 1024 need a privilege; http.enabled: false does without",
      field: "http.host",
      cause: error,
    });
  }
}
