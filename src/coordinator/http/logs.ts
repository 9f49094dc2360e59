// What a task has written, over HTTP: as it stands, or as it comes.

import { stream } from "hono/streaming";
import { ClawError } from "../../common/errors.ts";
import { isTerminal } from "../../common/vocabulary.ts";
import {
  type Ended,
  followTask,
  printFinished,
  printSoFar,
  type Sink,
  type TaskRef,
  type UntilOver,
} from "../../communication/follow.ts";
import { endedOf, waitThrough } from "../../communication/waiting.ts";
import { createRoute, type HttpSource, type OpenAPIHono, problems, SECURED, z } from "./api.ts";
import { taskParams as params, resolveTask } from "./refs.ts";
import type { OpenStream, Streams } from "./streams.ts";

const logsRoute = createRoute({
  method: "get",
  path: "/api/v1/tasks/{id}/logs",
  summary: "What one task has written",
  security: SECURED,
  request: {
    params,
    query: z.strictObject({
      follow: z.enum(["true", "false"]).optional().openapi({ description: "until the task is over" }),
      stream: z.enum(["stdout", "stderr"]).optional().openapi({ description: "only this one" }),
    }),
  },
  responses: {
    200: { description: "The bytes as the task wrote them", content: { "text/plain": { schema: z.string() } } },
    ...problems(404, 409),
  },
});

export function logRoutes(app: OpenAPIHono, source: HttpSource, streams: Streams): void {
  app.openapi(logsRoute, async (context) => {
    const { follow, stream: only } = context.req.valid("query");
    const ref = await resolveTask(source, context.req.valid("param").id);
    const { id: name, number, index } = ref;
    if (index === undefined) {
      throw new ClawError("conflict", `${name} is an array: its members have output`, {
        hint: `/api/v1/tasks/${name}.0/logs`,
        field: "id",
      });
    }
    const open = streams.open(context.req.raw.signal);
    context.header("Content-Type", "text/plain; charset=utf-8");
    context.header("X-Content-Type-Options", "nosniff");
    return stream(
      context,
      async (out) => {
        out.onAbort(open.end);
        const write = async (data: string | Uint8Array, from: "stdout" | "stderr"): Promise<void> => {
          if (open.signal.aborted) throw new Gone();
          if (only === undefined || only === from) await out.write(data);
        };
        const sink: Sink = {
          runtime: source.runtime,
          out: (data) => write(data, "stdout"),
          passError: (data) => write(data, "stderr"),
          err: () => undefined, // the task's document says what was not kept
        };
        try {
          await printTask(source, sink, { id: name, number, index }, open, follow === "true");
        } catch (error) {
          if (!(error instanceof Gone)) throw error;
        } finally {
          open.end();
        }
      },
      async (error) => {
        // What was begun as output cannot become a refusal: it ends where it is.
        if (!(error instanceof ClawError)) source.failed(error);
        await Promise.resolve();
      },
    ) as never;
  });
}

/** Whoever asked has left. */
class Gone extends Error {}

async function printTask(
  source: HttpSource,
  sink: Sink,
  ref: TaskRef,
  open: OpenStream,
  follow: boolean,
): Promise<void> {
  const { number, index } = ref;
  const { task } = await source.query("task.show", { number, index });
  const now = { ...ref, now: task };
  if (isTerminal(task.status)) await printFinished(sink, source.client(), ref, endedOf(task), task.attempts);
  else if (!follow) await printSoFar(sink, source.client(), now, task.attempts);
  else await followTask(sink, source.client(), now, (tell) => endOf(source, ref, open.signal, tell));
}

/** Rejects when nobody is interested any more. */
async function endOf(
  source: HttpSource,
  ref: TaskRef,
  left: AbortSignal,
  tell: Parameters<UntilOver>[0],
): Promise<Ended> {
  const { promise, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(new Gone());
  left.addEventListener("abort", leave);
  const over = waitThrough(source.patient(), ref, tell, left);
  const task = await Promise.race([over, promise]).finally(() => left.removeEventListener("abort", leave));
  return endedOf(task);
}
