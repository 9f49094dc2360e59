// What is wrong with a request, by the name of the parameter or field, and with the name that was meant.

import type { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { ClawError } from "../../common/errors.ts";
import { nearest } from "../../common/nearest.ts";
import { firstOf, valueAt, wordsOf } from "../../common/problem-words.ts";

export type Target = "query" | "json" | "param" | "header" | "cookie" | "form";

/** A batch is one submission, all of it or none; what has a key is one by itself. */
const KEYED = { hint: "a batch has no keys: send each task that has one to /api/v1/tasks" };

/** Throws the first thing that is wrong. */
export function refuse(
  app: OpenAPIHono,
  context: Context,
  target: Target,
  error: z.core.$ZodError,
  given: unknown,
): never {
  const issue = deepest(error.issues);
  // A parameter that was given several times is still one parameter.
  const path = target === "query" ? issue.path.slice(0, 1) : issue.path;
  const place = path.join(".");
  if (issue.code !== "unrecognized_keys") {
    const what = place === "" ? (target === "json" ? "the body" : "the request") : place;
    const { message, ...hint } = wordsOf(issue, what, undefined, faulty(given, target, issue));
    throw new ClawError("bad_request", message, { ...hint, ...(place === "" ? {} : { field: place }) });
  }
  const [name = ""] = issue.keys;
  const field = place === "" ? name : `${place}.${name}`;
  const known = place === "" ? knownNames(app, context, target) : [];
  const meant = nearest(name, known);
  if (name === "key" && place !== "")
    throw new ClawError("bad_request", `there is no field '${field}'`, { field, ...KEYED });
  const valid = known.length === 0 ? {} : { hint: `there are ${known.join(", ")}` };
  throw new ClawError("bad_request", `there is no ${target === "query" ? "parameter" : "field"} '${field}'`, {
    field,
    ...(meant === undefined ? valid : { hint: `did you mean ${meant}?` }),
  });
}

function faulty(given: unknown, target: Target, { path }: z.core.$ZodIssue): unknown {
  if (target !== "query") return valueAt(given, path);
  return [valueAt(given, path.slice(0, 1))].flat()[Number(path[1] ?? 0)];
}

/** Of a choice between shapes the one that came nearest. */
function deepest(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const issue = firstOf(issues);
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return issue;
  const [inner] = issue.errors.map(deepest).sort((one, other) => other.path.length - one.path.length);
  return inner === undefined ? issue : { ...inner, path: [...issue.path, ...inner.path] };
}

/** What the route declares. */
function knownNames(app: OpenAPIHono, context: Context, target: Target): string[] {
  const { method, routePath } = context.req;
  for (const definition of app.openAPIRegistry.definitions) {
    if (definition.type !== "route") continue;
    const { route } = definition;
    if (route.method !== method.toLowerCase() || route.path.replaceAll(/\{(\w+)\}/g, ":$1") !== routePath) continue;
    const body = route.request?.body?.content["application/json"] as { schema?: unknown } | undefined;
    const schema = (target === "query" ? route.request?.query : body?.schema) as { shape?: object } | undefined;
    return Object.keys(schema?.shape ?? {});
  }
  return [];
}
