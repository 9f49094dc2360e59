// Tasks over HTTP: submit, list, show, wait, cancel and retry.

import { CUT_SHORT_HINT, isOnlyCutShort, onlyCutShort } from "../../common/cut-short.ts";
import { PlanDocument, TaskDocument } from "../../common/document-schemas.ts";
import { taskDocument } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { parseIsoTime } from "../../common/runtime.ts";
import { isTerminal, PRIORITIES, TASK_STATUSES, TERMINAL_STATUSES } from "../../common/vocabulary.ts";
import { retryTasks, submitTasks } from "../../communication/submitting.ts";
import { formatTaskId } from "../../core/ids.ts";
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
  severalOf,
  waitParameter,
  z,
} from "./api.ts";
import { taskParams as params, resolveTask, targetOf, taskRef } from "./refs.ts";
import { inBody, OneOfMany, specificationOf, ToSubmit } from "./submission.ts";

const ROWS = 100;
/** What stands around specifications and inputs in the message to the coordinator. */
const ENVELOPE_BYTES = 32 * 1024;

const Task = TaskDocument.meta({ id: "Task" });

const TaskList = z.strictObject({ tasks: z.array(Task), cursor: z.string().optional() }).openapi("Tasks");

const Submitted = z
  .strictObject({
    ids: z.array(z.string()),
    existing: z.boolean().openapi({ description: "its key had been used: nothing new was made" }),
  })
  .openapi("Submitted");

const listRoute = createRoute({
  method: "get",
  path: "/api/v1/tasks",
  summary: "Tasks, the newest first; an array is one of them",
  security: SECURED,
  request: {
    query: z.strictObject({
      limit: limitParameter(LIMITS.list_rows),
      cursor: z.string().max(64).optional().openapi({ description: "of the page before" }),
      status: severalOf(z.enum(TASK_STATUSES)),
      priority: z.enum(PRIORITIES).optional(),
      name: z.string().optional(),
      label: severalOf(z.string().regex(/^[^=]+=/, "is NAME=VALUE")),
      since: z.iso.datetime({ offset: true }).optional().openapi({ description: "submitted then or later" }),
      of: taskRef.optional().openapi({ description: "the members of this array" }),
    }),
  },
  responses: {
    200: json(TaskList, "A page of tasks: it may be empty, and only the last one has no cursor"),
    ...problems(404, 409),
  },
});

const submitRoute = createRoute({
  method: "post",
  path: "/api/v1/tasks",
  summary: "Submits a task, or an array",
  security: SECURED,
  request: { query: NO_QUERY, body: body(ToSubmit) },
  responses: {
    201: json(Submitted, "It is in the log"),
    200: json(Submitted, "There was one with this key"),
    ...problems(409),
  },
});

const submitManyRoute = createRoute({
  method: "post",
  path: "/api/v1/batch",
  summary: "Submits separate tasks, all of them or none",
  description:
    "Sent again after an answer that did not come, it may submit them a second time: what must not be there twice has a " +
    "`key`, and is sent to /api/v1/tasks by itself, or there as one array.",
  security: SECURED,
  request: {
    query: NO_QUERY,
    body: body(
      z.strictObject({ tasks: z.array(OneOfMany).min(1).max(LIMITS.tasks_per_request) }).openapi("SubmitTasks"),
    ),
  },
  responses: { 201: json(Submitted, "They are in the log, in this order"), ...problems(409) },
});

const planRoute = createRoute({
  method: "post",
  path: "/api/v1/plan",
  summary: "Where a task would go now, and why; nothing is submitted",
  security: SECURED,
  request: { query: NO_QUERY, body: body(ToSubmit) },
  responses: {
    200: json(PlanDocument.meta({ id: "Plan" }), "Where it would go, or why it would wait"),
    ...problems(409),
  },
});

const showRoute = createRoute({
  method: "get",
  path: "/api/v1/tasks/{id}",
  summary: "One task, or an array as a whole",
  security: SECURED,
  request: {
    params,
    query: z.strictObject({
      wait_ms: waitParameter.openapi({ description: "wait so long for its end" }),
    }),
  },
  responses: { 200: json(Task, "The task as it is"), ...problems(404, 409) },
});

const cancelRoute = createRoute({
  method: "post",
  path: "/api/v1/tasks/{id}/cancel",
  summary: "Cancels a task, or all that is left of an array",
  security: SECURED,
  request: { params, query: NO_QUERY, body: body(NOTHING, false) },
  responses: {
    200: json(
      z
        .strictObject({
          cancelled: z.int(),
          stopping: z.int(),
          finished: z.int(),
          closed: z
            .int()
            .optional()
            .openapi({ description: "1 if it was an array to which more inputs might have come" }),
        })
        .openapi("Cancelled", { description: "how many never ran, were told to stop, were over already" }),
      "Done",
    ),
    ...problems(404, 409),
  },
});

const retryRoute = createRoute({
  method: "post",
  path: "/api/v1/tasks/{id}/retry",
  summary: "Runs again what is over, as a new task that names the old one",
  security: SECURED,
  request: {
    params,
    query: NO_QUERY,
    body: body(
      z
        .strictObject({ statuses: z.array(z.enum(TERMINAL_STATUSES)).min(1).optional() })
        .openapi("Retry", { description: "only what ended so; failed, timeout and cancelled unless told" }),
      false,
    ),
  },
  responses: {
    201: json(z.strictObject({ id: z.string(), count: z.int() }).openapi("Retried"), "The new task"),
    ...problems(404, 409),
  },
});

export function taskRoutes(app: OpenAPIHono, source: HttpSource): void {
  app.openapi(listRoute, async (context) => {
    const { limit = ROWS, status, label, of, since, ...rest } = context.req.valid("query");
    const array = of === undefined ? undefined : await resolveTask(source, of, "of");
    const labels = label?.map((text): [string, string] => {
      const at = text.indexOf("=");
      return [text.slice(0, at), text.slice(at + 1)];
    });
    const { tasks, cursor } = await source.query("task.list", {
      ...rest,
      limit,
      statuses: status,
      labels: labels === undefined ? undefined : Object.fromEntries(labels),
      number: array?.number,
      ...(since === undefined ? {} : { since: Math.max(0, parseIsoTime(since)) }),
    });
    return context.json({ tasks: tasks.map(taskDocument), ...(cursor === undefined ? {} : { cursor }) }, 200);
  });
  app.openapi(submitRoute, async (context) => {
    const given = context.req.valid("json");
    const { array: count, inputs } = given;
    const members = count === undefined && inputs === undefined ? undefined : { count, inputs };
    const specifications = [specificationOf(given)];
    requireSize({ specifications, inputs });
    const sent = submitTasks(source.runtime, source.client(), specifications, members);
    const { ids, existing } = await sent.catch(inBody([given]));
    const names = ids.map((one) => formatTaskId(one));
    context.header("Location", `/api/v1/tasks/${names[0]}`);
    return context.json({ ids: names, existing }, existing ? 200 : 201);
  });
  app.openapi(submitManyRoute, async (context) => {
    const { tasks } = context.req.valid("json");
    const specifications = tasks.map((task, at) => specificationOf(task, `tasks.${at}.`));
    requireSize({ specifications });
    const { ids } = await submitTasks(source.runtime, source.client(), specifications).catch(inBody(tasks, true));
    return context.json({ ids: ids.map((one) => formatTaskId(one)), existing: false }, 201);
  });
  app.openapi(planRoute, async (context) => {
    const given = context.req.valid("json");
    const specification = specificationOf(given);
    requireSize({ specification });
    const { plan } = await source.query("task.plan", { specification }).catch(inBody([given]));
    return context.json(plan, 200);
  });
  app.openapi(showRoute, async (context) => {
    const target = targetOf(await resolveTask(source, context.req.valid("param").id));
    const { wait_ms = 0 } = context.req.valid("query");
    if (wait_ms > 0) {
      const wait = { ...target, until: "finished", wait_ms } as const;
      const { task } = await source.query("task.wait", wait, context.req.raw.signal);
      if (isTerminal(task.status)) return context.json(taskDocument(task), 200);
    }
    // One that waited in vain is told the same as one that did not wait: the answer to a wait has no failures then.
    const { task } = await source.query("task.show", target);
    return context.json(taskDocument(task), 200);
  });
  changingRoutes(app, source);
}

function changingRoutes(app: OpenAPIHono, source: HttpSource): void {
  app.openapi(cancelRoute, async (context) => {
    const { number, index } = await resolveTask(source, context.req.valid("param").id);
    const members = index === undefined ? { from: 0 } : { from: index, to: index + 1 };
    const answer = await source.client().command("task.cancel", { v: 1, targets: [{ number, ...members }] });
    const { cancelled, stopping, finished, closed } = answer;
    return context.json({ cancelled, stopping, finished, ...(closed === undefined ? {} : { closed }) }, 200);
  });
  app.openapi(retryRoute, async (context) => {
    const ref = await resolveTask(source, context.req.valid("param").id);
    // Hono leaves out a body that is not there.
    const { statuses = ["failed", "timeout", "cancelled"] } = (context.req.valid("json") ?? {}) as {
      statuses?: (typeof TERMINAL_STATUSES)[number][];
    };
    const target = targetOf(ref);
    const { retried } = await retryTasks(source.runtime, source.client(), [target], statuses);
    const [made] = retried;
    if (made === undefined) {
      const { task } = await source.query("task.show", target);
      if (isOnlyCutShort(task, statuses)) {
        throw new ClawError("conflict", onlyCutShort(task, statuses), { hint: CUT_SHORT_HINT });
      }
      throw new ClawError("conflict", `${ref.id} has nothing that is ${statuses.join(", ")}`, { field: "statuses" });
    }
    const name = formatTaskId(made.id);
    context.header("Location", `/api/v1/tasks/${name}`);
    return context.json({ id: name, count: made.count }, 201);
  });
}

/** What the coordinator would be sent has to fit a message. */
function requireSize(content: object): void {
  const size = Buffer.byteLength(JSON.stringify(content));
  if (size <= LIMITS.message_bytes - ENVELOPE_BYTES) return;
  throw new ClawError("too_large", `a submission of ${size} bytes`, { hint: "send it in several parts" });
}
