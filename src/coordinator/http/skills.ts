// The skills of the cluster's nodes over HTTP.

import { SkillDocument } from "../../common/document-schemas.ts";
import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import {
  createRoute,
  type HttpSource,
  json,
  limitParameter,
  NO_QUERY,
  type OpenAPIHono,
  problems,
  SECURED,
  z,
} from "./api.ts";

const ROWS = 100;
const Skill = SkillDocument.meta({ id: "Skill" });

const listRoute = createRoute({
  method: "get",
  path: "/api/v1/skills",
  summary: "Skills by name, and where each can be used",
  security: SECURED,
  request: {
    query: z.strictObject({
      limit: limitParameter(LIMITS.list_rows),
      cursor: z.string().max(64).optional().openapi({ description: "of the page before" }),
    }),
  },
  responses: {
    200: json(
      z.strictObject({ skills: z.array(Skill), cursor: z.string().optional() }).openapi("Skills"),
      "A page of skills",
    ),
    ...problems(),
  },
});

const showRoute = createRoute({
  method: "get",
  path: "/api/v1/skills/{skill}",
  summary: "One skill",
  security: SECURED,
  request: {
    params: z.object({
      skill: z
        .string()
        .min(1)
        .max(64)
        .openapi({ param: { name: "skill", in: "path" } }),
    }),
    query: NO_QUERY,
  },
  responses: { 200: json(Skill, "The skill"), ...problems(404) },
});

export function skillRoutes(app: OpenAPIHono, source: HttpSource): void {
  app.openapi(listRoute, async (context) => {
    const { limit = ROWS, cursor: after } = context.req.valid("query");
    const { skills, more } = await source.query("skill.list", { limit, after });
    const cursor = more ? skills.at(-1)?.name : undefined;
    return context.json({ skills, ...(cursor === undefined ? {} : { cursor }) }, 200);
  });
  app.openapi(showRoute, async (context) => {
    const { skill: name } = context.req.valid("param");
    const [skill] = (await source.query("skill.list", { name, limit: 1 })).skills;
    if (skill !== undefined) return context.json(skill, 200);
    throw new ClawError("not_found", `no node has a skill ${name}`, { field: "skill", hint: "see /api/v1/skills" });
  });
}
