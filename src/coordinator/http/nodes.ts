// Nodes over HTTP: list them, look at one, take them out of service and back.

import { NodeDocument } from "../../common/document-schemas.ts";
import { nodeDocument } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import type { NodeView } from "../../common/models.ts";
import { NodeSettings } from "../../common/settings.ts";
import {
  body,
  createRoute,
  type HttpSource,
  json,
  limitParameter,
  NO_QUERY,
  NOTHING,
  type OpenAPIHono,
  problems,
  SECURED,
  SOMETHING,
  z,
} from "./api.ts";
import { resolveNode } from "./refs.ts";

const ROWS = 100;

const params = z.object({
  node: z
    .string()
    .min(1)
    .max(LIMITS.name_chars)
    .openapi({
      param: { name: "node", in: "path" },
      description: "a name, an id, or a unique beginning of an id",
    }),
});

const Node = NodeDocument.meta({ id: "Node" });
const NodeList = z.strictObject({ nodes: z.array(Node), cursor: z.string().optional() }).openapi("Nodes");

const listRoute = createRoute({
  method: "get",
  path: "/api/v1/nodes",
  summary: "Nodes, in the order of their ids",
  security: SECURED,
  request: {
    query: z.strictObject({
      limit: limitParameter(LIMITS.list_rows),
      cursor: z.string().max(64).optional().openapi({ description: "of the page before" }),
    }),
  },
  responses: { 200: json(NodeList, "A page of nodes"), ...problems() },
});

const showRoute = createRoute({
  method: "get",
  path: "/api/v1/nodes/{node}",
  summary: "One node",
  security: SECURED,
  request: { params, query: NO_QUERY },
  responses: { 200: json(Node, "The node as it is"), ...problems(404, 409) },
});

const reason = z
  .string()
  .min(1)
  .max(LIMITS.label_chars)
  .optional()
  .openapi({ description: "for those who wonder; absent: as it was, where it is out of service already" });
const deadline_ms = z
  .int()
  .min(0)
  .max(10 ** 13)
  .optional()
  .openapi({
    description:
      "what still runs then is stopped and runs elsewhere; absent: as it was, else it may take its time; resume lifts it",
  });

const ACTIONS = {
  cordon: ["Gives it no new work; what runs there goes on", z.strictObject({ reason }).openapi("Cordon")],
  drain: ["Empties it", z.strictObject({ reason, deadline_ms }).openapi("Drain")],
  shutdown: ["Empties it; then its worker ends", z.strictObject({ reason, deadline_ms }).openapi("Shutdown")],
  resume: ["Gives it work again", NOTHING],
} as const;

function actionRoute(action: keyof typeof ACTIONS) {
  const [summary, schema] = ACTIONS[action];
  return createRoute({
    method: "post",
    path: `/api/v1/nodes/{node}/${action}`,
    summary,
    security: SECURED,
    request: { params, query: NO_QUERY, body: body(schema, false) },
    responses: { 200: json(Node, "The node as it is now"), ...problems(404, 409) },
  });
}

const configureRoute = createRoute({
  method: "patch",
  path: "/api/v1/nodes/{node}",
  summary: "Sets what counts of it over what its worker says",
  security: SECURED,
  request: {
    params,
    query: NO_QUERY,
    body: body(
      z
        .strictObject({ reset: z.boolean().optional(), set: NodeSettings.optional() })
        .refine(...SOMETHING)
        .openapi("ConfigureNode", { description: "`reset` takes back what was set before", minProperties: 1 }),
    ),
  },
  responses: { 200: json(Node, "The node as it is now"), ...problems(404, 409) },
});

const removeRoute = createRoute({
  method: "delete",
  path: "/api/v1/nodes/{node}",
  summary: "Forgets a node that is offline",
  security: SECURED,
  request: { params, query: NO_QUERY, body: body(NOTHING, false) },
  responses: {
    200: json(z.strictObject({ id: z.string() }).openapi("Removed"), "It is forgotten"),
    ...problems(404, 409),
  },
});

async function nodeNamed(source: HttpSource, word: string): Promise<NodeView> {
  const node = await resolveNode(source, word);
  const { nodes } = await source.query("node.list", { node: node.id });
  return nodes.find(({ id }) => id === node.id) ?? node;
}

export function nodeRoutes(app: OpenAPIHono, source: HttpSource): void {
  app.openapi(listRoute, async (context) => {
    const { limit = ROWS, cursor: after } = context.req.valid("query");
    const { nodes, more } = await source.query("node.list", { limit, after });
    const cursor = more ? nodes.at(-1)?.id : undefined;
    return context.json({ nodes: nodes.map(nodeDocument), ...(cursor === undefined ? {} : { cursor }) }, 200);
  });
  app.openapi(showRoute, async (context) => {
    return context.json(nodeDocument(await nodeNamed(source, context.req.valid("param").node)), 200);
  });
  for (const action of Object.keys(ACTIONS) as (keyof typeof ACTIONS)[]) {
    app.openapi(actionRoute(action), async (context) => {
      const { id } = await nodeNamed(source, context.req.valid("param").node);
      const given = (context.req.valid("json") ?? {}) as { reason?: string; deadline_ms?: number };
      await source.client().command("node.manage", { v: 1, action, nodes: [id], ...given });
      return context.json(nodeDocument(await nodeNamed(source, id)), 200);
    });
  }
  app.openapi(configureRoute, async (context) => {
    const { id } = await nodeNamed(source, context.req.valid("param").node);
    await source.client().command("node.configure", { v: 1, nodes: [id], ...context.req.valid("json") });
    return context.json(nodeDocument(await nodeNamed(source, id)), 200);
  });
  app.openapi(removeRoute, async (context) => {
    const { id, name, status } = await nodeNamed(source, context.req.valid("param").node);
    if (status !== "offline") {
      throw new ClawError("conflict", `${name} is ${status}: only a node that is offline can be removed`, {
        hint: "stop its worker first",
        field: "node",
      });
    }
    await source.client().command("node.manage", { v: 1, action: "remove", nodes: [id] });
    return context.json({ id }, 200);
  });
}
