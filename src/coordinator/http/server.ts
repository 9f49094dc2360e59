// The small HTTP endpoint: health without credentials, the rest behind a bearer token. Loopback unless told otherwise;
// the Host header is checked, so that a web page in the user's browser cannot reach it by a name of its own.

import { randomBytes, timingSafeEqual } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { Hono } from "hono";
import { ClawError, ERRORS, messageOf } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { VERSION } from "../../common/version.ts";
import type { QueryAnswers, QueryRequest } from "../../communication/queries.ts";

export interface HttpSource {
  /** What keeps this coordinator from serving; empty when it leads. */
  failing(): string[];
  status(): QueryAnswers["cluster.status"];
  nodes(): QueryAnswers["node.list"];
  tasks(request: QueryRequest<"task.list">): QueryAnswers["task.list"];
}

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

export function httpApp(source: HttpSource, token: string, host: string): Hono {
  const app = new Hono();
  app.use(async (context, next) => {
    const name = hostName(context.req.header("host") ?? "");
    const known = LOOPBACK.has(name) || name === host || (!LOOPBACK.has(host) && host !== "localhost");
    if (!known) throw new ClawError("refused", `this endpoint is not called ${name}`, { field: "host" });
    await next();
  });
  app.get("/health", (context) => context.json({ ok: true, status: "live", version: VERSION }));
  app.get("/healthz", (context) => context.json({ ok: true, status: "live", version: VERSION }));
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
  app.get("/api/v1/status", (context) => context.json(source.status().status));
  app.get("/api/v1/nodes", (context) => context.json(source.nodes().nodes));
  app.get("/api/v1/tasks", (context) => {
    const limit = Number(context.req.query("limit") ?? 100);
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMITS.list_rows) {
      throw new ClawError("bad_request", `limit is a number from 1 to ${LIMITS.list_rows}`, { field: "limit" });
    }
    const cursor = context.req.query("cursor");
    return context.json(source.tasks({ limit, ...(cursor === undefined ? {} : { cursor }) }));
  });
  app.notFound((context) => {
    const error = new ClawError("not_found", `there is nothing at ${context.req.path}`, { hint: "try /api/v1/status" });
    return context.json({ error: error.toWire() }, 404);
  });
  app.onError((error, context) => {
    const known = error instanceof ClawError ? error : new ClawError("io", messageOf(error));
    return context.json({ error: known.toWire() }, ERRORS[known.code].http);
  });
  return app;
}

function hostName(header: string): string {
  return header.startsWith("[") ? header.slice(0, header.indexOf("]") + 1) : (header.split(":")[0] ?? "");
}

function bearerMatches(header: string | undefined, token: string): boolean {
  const given = Buffer.from(header?.startsWith("Bearer ") === true ? header.slice("Bearer ".length) : "");
  const wanted = Buffer.from(token);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** The token of this coordinator, made at the first start, readable by the same user only. */
export function httpToken(path: string): string {
  if (!existsSync(path)) writeFileSync(path, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600, flag: "wx" });
  return readFileSync(path, "utf8").trim();
}

export interface HttpServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** Serves on the port, or on a free one where it is taken. */
export function serveHttp(app: Hono, host: string, port: number): HttpServer {
  const serve = (wanted: number) => Bun.serve({ hostname: host, port: wanted, fetch: app.fetch });
  let server: ReturnType<typeof serve>;
  try {
    server = serve(port);
  } catch (error) {
    if ((error as { code?: string }).code !== "EADDRINUSE") throw error;
    server = serve(0);
  }
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${server.port}`,
    stop: () => server.stop(true),
  };
}
