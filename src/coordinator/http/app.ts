// The HTTP endpoint: health without credentials, the rest behind a bearer token. Loopback unless told otherwise; the Host
// header is checked, so that a web page in the user's browser cannot reach it by a name of its own. Whatever a route
// changes is sent to whoever leads, as any client sends it.

import { timingSafeEqual } from "node:crypto";
import type { Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { ClawError, ERRORS, messageOf } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { VERSION } from "../../common/version.ts";
import { requireWellFormed } from "../../common/well-formed.ts";
import { createRoute, type HttpSource, json, OpenAPIHono, z } from "./api.ts";
import { clusterRoutes } from "./cluster.ts";
import { logRoutes } from "./logs.ts";
import { nodeRoutes } from "./nodes.ts";
import { refuse } from "./refuse.ts";
import { skillRoutes } from "./skills.ts";
import type { Streams } from "./streams.ts";
import { taskRoutes } from "./tasks.ts";

const SECRET_PATHS = ["/api/*", "/metrics", "/openapi.json"];

export function httpApp(source: HttpSource, token: string, host: string, streams: Streams): OpenAPIHono {
  const app: OpenAPIHono = new OpenAPIHono({
    defaultHook: (result, context) => {
      if (!result.success) refuse(app, context, result.target, result.error, (result as { data?: unknown }).data);
    },
  });
  app.use(async (context, next) => {
    requireName(context, host);
    await next();
    context.header("Cache-Control", "no-store");
    // Nobody reads what a GET would have brought: a stream would wait for that for ever.
    if (context.req.method === "HEAD") await context.res.body?.cancel();
  });
  for (const path of SECRET_PATHS) {
    app.use(path, async (context, next) => {
      requireToken(context, token);
      await next();
    });
  }
  app.use("/api/*", bodyLimit({ maxSize: LIMITS.message_bytes, onError: tooLarge }), async (context, next) => {
    requireJson(context);
    forgetEmptyBody(context);
    await requireText(context);
    await next();
  });
  healthRoutes(app, source);
  clusterRoutes(app, source, streams);
  nodeRoutes(app, source);
  skillRoutes(app, source);
  taskRoutes(app, source);
  logRoutes(app, source, streams);
  describeApi(app);
  refuseOtherMethods(app);
  app.notFound((context) => {
    const error = new ClawError("not_found", `there is nothing at ${context.req.path}`, { hint: "see /openapi.json" });
    return context.json({ error: error.toWire() }, 404);
  });
  app.onError((error, context) => {
    const known = typed(error);
    if (known.code === "io" && !(error instanceof ClawError)) source.failed(error);
    return context.json({ error: known.toWire() }, ERRORS[known.code].http as 400);
  });
  return app;
}

function typed(error: Error): ClawError {
  if (error instanceof ClawError) return error;
  // Hono's own: a body that is no JSON.
  if (error instanceof HTTPException && error.status < 500) return new ClawError("bad_request", error.message);
  return new ClawError("io", messageOf(error));
}

function healthRoutes(app: OpenAPIHono, source: HttpSource): void {
  const Health = z.strictObject({ ok: z.boolean(), status: z.string(), version: z.string() }).openapi("Health");
  for (const path of ["/health", "/healthz"] as const) {
    const route = createRoute({
      method: "get",
      path,
      summary: "Whether the process is alive",
      responses: { 200: json(Health, "It is") },
    });
    app.openapi(route, (context) => context.json({ ok: true, status: "live", version: VERSION }, 200));
  }
  const Ready = z.strictObject({ ready: z.boolean(), failing: z.array(z.string()) }).openapi("Ready");
  const readyRoute = createRoute({
    method: "get",
    path: "/readyz",
    summary: "Whether it answers: it leads, or follows one that does",
    responses: { 200: json(Ready, "It is"), 503: json(Ready, "It is not, and why") },
  });
  app.openapi(readyRoute, (context) => {
    const failing = source.failing();
    return context.json({ ready: failing.length === 0, failing }, failing.length === 0 ? 200 : 503);
  });
}

function describeApi(app: OpenAPIHono): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "token", {
    type: "http",
    scheme: "bearer",
    description: "it stands in http-token in the coordinator's data folder",
  });
  app.get("/openapi.json", (context) =>
    context.json(
      app.getOpenAPI31Document({
        openapi: "3.1.0",
        info: { title: "claw", version: VERSION, description: "A durable task cluster: tasks, nodes, events." },
      }),
    ),
  );
}

/** A path that is there is no 404, whatever was to be done with it. */
function refuseOtherMethods(app: OpenAPIHono): void {
  const methods = new Map<string, Set<string>>();
  for (const { path, method } of app.routes) {
    if (method === "ALL") continue;
    const own = methods.get(path) ?? new Set<string>();
    methods.set(path, own.add(method));
  }
  for (const [path, own] of methods) {
    const allowed = [...own].join(", ");
    app.all(path, (context) => {
      const { method } = context.req;
      context.header("Allow", allowed);
      // `/tasks/cancel` is the task that is called so.
      const below = [...methods].filter(([other, some]) => some.has(method) && other.startsWith(`${path}/`));
      const elsewhere = below.map(([other]) => other.replaceAll(/:(\w+)/g, "{$1}")).join(", ");
      throw new ClawError("wrong_method", `${method} is nothing for ${context.req.path}`, {
        hint: `it takes ${allowed}${elsewhere === "" ? "" : `; ${method} is for ${elsewhere}`}`,
      });
    });
  }
}

function requireName(context: Context, host: string): void {
  const name = hostName(context.req.header("host") ?? "");
  // One who opened it to others chose its names, too.
  if (!isLoopback(host) || isLoopback(name)) return;
  throw new ClawError("refused", `this endpoint is not called '${name}'`, { field: "host" });
}

function requireToken(context: Context, token: string): void {
  if (bearerMatches(context.req.header("authorization"), token)) return;
  context.header("WWW-Authenticate", "Bearer");
  throw new ClawError("unauthorized", "this needs the bearer token", {
    hint: "it stands in http-token in the coordinator's data folder",
  });
}

/** A form in somebody's page could send anything else unasked. */
function requireJson(context: Context): void {
  const { method } = context.req;
  if (method === "GET" || method === "HEAD") return;
  const type = context.req.header("content-type");
  if (hasNoBody(context) || (type !== undefined && /^application\/json\s*(?:;|$)/i.test(type))) return;
  throw new ClawError("bad_request", "a body is application/json", { field: "content-type" });
}

function hasNoBody({ req }: Context): boolean {
  return req.raw.body === null || req.header("content-length") === "0";
}

/** Whoever sends nothing may still say that it is JSON. */
function forgetEmptyBody(context: Context): void {
  const { req } = context;
  if (!hasNoBody(context) || req.header("content-type") === undefined) return;
  const headers = new Headers(req.raw.headers);
  headers.delete("content-type");
  req.raw = new Request(req.raw, { headers });
}

/** A body's texts are kept as they are, or refused: what decodes it later puts another character for what is none. */
async function requireText({ req }: Context): Promise<void> {
  if (req.raw.body === null) return;
  const text = textOf(await req.arrayBuffer());
  requireWellFormed(text, () => jsonOf(text));
}

function textOf(bytes: ArrayBuffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ClawError("bad_request", "the body is no UTF-8, and claw never changes a text silently", {
      field: "body",
      hint: "send it as UTF-8; what is no text can be sent encoded, in base64",
      cause,
    });
  }
}

/** Undefined for what is none: it is refused where it is read. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function tooLarge(): never {
  throw new ClawError("too_large", `a body has at most ${LIMITS.message_bytes} bytes`, { hint: "send it in parts" });
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
