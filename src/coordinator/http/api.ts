// What the routes share: whom they ask, how a refusal looks and is documented, and how a request is read. Every route is
// declared with its schemas, and /openapi.json is made of the declarations.

import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { ERRORS, type ErrorCode } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { Runtime } from "../../common/runtime.ts";
import type { QueryAnswers, QueryRequest, QueryType } from "../../communication/queries.ts";
import type { RequestClient } from "../../communication/request.ts";

export interface HttpSource {
  readonly runtime: Runtime;
  /** What keeps this coordinator from serving; empty when it leads, or follows one that does. */
  failing(): string[];
  /** Answered by whoever leads; one that waits ends when who asked has left, at once where it is answered here. */
  query<T extends QueryType>(
    type: T,
    request: Omit<QueryRequest<T>, "seen">,
    left?: AbortSignal,
  ): Promise<QueryAnswers[T]>;
  /** Sends commands to whoever leads, as any client does. */
  client(): RequestClient;
  /** The same for whoever follows something: a leader that is away is waited for. */
  patient(): RequestClient;
  /** Prometheus' text format. */
  metrics(): string;
  /** A bug: it was answered as an error, and whoever runs the coordinator has to know. */
  failed(error: unknown): void;
}

const Problem = z
  .strictObject({
    error: z.strictObject({
      code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
      message: z.string(),
      hint: z.string().optional().openapi({ description: "what to do next" }),
      field: z.string().optional().openapi({ description: "the parameter or field at fault" }),
    }),
  })
  .openapi("Problem");

const MEANINGS = {
  400: "something in the request is wrong; `field` says what",
  401: "the bearer token is missing or wrong",
  403: "refused",
  404: "there is no such thing",
  405: "there is no such method here",
  409: "it does not fit what there is",
  413: "too large",
  429: "too many requests are waiting",
  500: "a fault of claw or of its machine",
  501: "one of the coordinators is too old, or too new, for this",
  503: "nobody leads, or whether it was done is not known: send again what has a key, or what does no harm twice",
  504: "no answer in time",
  507: "no room is left where the cluster keeps its log",
} as const;
type Meaning = keyof typeof MEANINGS;

const EVERYWHERE = [400, 401, 403, 405, 413, 429, 500, 501, 503, 504, 507] as const;

type Problems<S extends Meaning> = Record<
  S | (typeof EVERYWHERE)[number],
  { description: string; content: { "application/json": { schema: typeof Problem } } }
>;

/** The refusals that a route documents, beside those that every route has. */
export function problems<S extends Meaning = never>(...statuses: S[]): Problems<S> {
  const content = { "application/json": { schema: Problem } };
  const found: object = Object.fromEntries(
    [...EVERYWHERE, ...statuses].map((status) => [status, { description: MEANINGS[status as Meaning], content }]),
  );
  return found as Problems<S>;
}

/** An answer in JSON, as a route documents it. */
export function json<T extends z.ZodType>(schema: T, description: string) {
  return { description, content: { "application/json": { schema } } };
}

/** A body in JSON, as a route takes it. */
export function body<T extends z.ZodType>(schema: T, required = true) {
  return { required, content: { "application/json": { schema } } };
}

/** For a body that would mean nothing without any field. */
export const SOMETHING = [
  (given: object): boolean => Object.keys(given).length > 0,
  "there is nothing in it: say what to set",
] as const;

export const SECURED = [{ token: [] }];

/** No parameters: one that is given all the same is refused. */
export const NO_QUERY = z.strictObject({});

/** The body of what takes none: who says more in it expects that it counts. */
export const NOTHING = z.strictObject({}).openapi("Nothing");

export const limitParameter = (most: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `must be a number from 1 to ${most}`)
    .transform(Number)
    .pipe(z.int().min(1, `must be a number from 1 to ${most}`).max(most, `must be a number from 1 to ${most}`))
    .optional()
    .openapi({ type: "integer", minimum: 1, maximum: most });

/** Milliseconds that an answer may be waited for. */
export const waitParameter = z
  .string()
  .regex(/^\d{1,9}$/, `must be a number from 0 to ${LIMITS.wait_ms}`)
  .transform(Number)
  .pipe(z.int().max(LIMITS.wait_ms, `must be a number from 0 to ${LIMITS.wait_ms}`))
  .optional()
  .openapi({ type: "integer", minimum: 0, maximum: LIMITS.wait_ms });

/** May be given several times. */
export function severalOf<T extends z.ZodType>(one: T) {
  const { $schema: _schema, ...items } = z.toJSONSchema(one);
  return z
    .preprocess((given) => (given === undefined || Array.isArray(given) ? given : [given]), z.array(one).optional())
    .openapi({ type: "array", items: items as { type: "string" } });
}

export { createRoute, OpenAPIHono, z };
