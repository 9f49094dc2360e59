// What a body says of a task, and the specification that it becomes: with the same presets as the command line's options.

import { ClawError } from "../../common/errors.ts";
import { LIMITS } from "../../common/limits.ts";
import { Needs, Retry, Specification } from "../../common/models.ts";
import { parseIsoTime } from "../../common/runtime.ts";
import { isReserved } from "../../common/variables.ts";
import { PRIORITIES, RETRY_BACKOFF, TASK_TYPES, TYPE_PRESETS } from "../../common/vocabulary.ts";
import { z } from "./api.ts";

const { shape: own } = Specification;
/** Whatever a task may need can be said here, too. */
const { shape: needs } = Needs.omit({ executor: true, folder: true }).partial();

const fields = {
  command: z
    .array(z.string())
    .min(1)
    .max(10_000)
    .optional()
    .openapi({
      description: "the program and its arguments, without a shell",
      example: ["uname", "-a"],
    }),
  shell: z.string().min(1).optional().openapi({ description: "a line for `sh -c`" }),
  noop: z.literal(true).optional().openapi({ description: "runs nothing: for measuring" }),
  name: own.name,
  type: z.enum(TASK_TYPES).optional(),
  priority: z.enum(PRIORITIES).optional(),
  ...needs,
  cwd: Needs.shape.folder.meta({
    description:
      "an absolute path: the task goes to a node that has this folder, and runs in it; without it it gets one of its own",
  }),
  env: own.env,
  labels: own.labels,
  timeout_ms: own.timeout_ms,
  deadline_ms: own.deadline_ms,
  start_after_ms: own.start_after_ms,
  start_at: z.iso.datetime().optional(),
  grace_ms: own.grace_ms,
  retry: Retry.extend({
    limit: Retry.shape.limit
      .optional()
      .meta({ description: "attempts that may follow the first one; a daemon has none" }),
    backoff_ms: Retry.shape.backoff_ms.optional(),
    backoff_max_ms: Retry.shape.backoff_max_ms.optional(),
  })
    .optional()
    .openapi({
      description:
        "what follows a failure; the wait doubles from backoff_ms to backoff_max_ms; a daemon's is 100 at least",
    }),
  on_lost: own.on_lost,
};

/** What the fields alone do not say. */
const KINDS = [{ required: ["command"] }, { required: ["shell"] }, { required: ["noop"] }];

/** One of several tasks. */
export const OneOfMany = z.strictObject(fields).openapi("SubmitOneOfMany", { oneOf: KINDS });

export const ToSubmit = z
  .strictObject({
    ...fields,
    key: own.key.meta({ description: "an idempotency key: sent twice, by whomever, it is still one task" }),
    array: z.int().min(1).max(LIMITS.array_members).optional().openapi({ description: "so many members" }),
    inputs: z
      .array(z.string().max(LIMITS.input_bytes))
      .min(1)
      .max(LIMITS.inputs_per_request)
      .optional()
      .openapi({ description: "an array with a member for each; `shell` is a template for them: gzip -t {}" }),
  })
  .openapi("SubmitTask", {
    oneOf: [
      { required: ["command"], not: { required: ["inputs"] } },
      { required: ["shell"], not: { required: ["inputs", "array"] } },
      { required: ["noop"], not: { required: ["inputs"] } },
    ],
  });
export type ToSubmit = z.infer<typeof ToSubmit>;

/** Throws `bad_request` naming the field; `place` stands before it. */
export function specificationOf(given: ToSubmit, place = ""): Specification {
  const wrong = (field: string, message: string): never => {
    throw new ClawError("bad_request", `${place}${field}: ${message}`, { field: `${place}${field}` });
  };
  const kinds = [given.command, given.shell, given.noop].filter((kind) => kind !== undefined);
  if (kinds.length !== 1) wrong("command", "give one of command, shell and noop");
  if (given.inputs !== undefined && given.shell === undefined) wrong("inputs", "they go with shell, as its {}");
  if (given.inputs !== undefined && given.array !== undefined) wrong("array", "inputs say how many members there are");
  if (given.cwd !== undefined && !given.cwd.startsWith("/")) wrong("cwd", "it has to be an absolute path");
  const reserved = Object.keys(given.env ?? {}).find(isReserved);
  if (reserved !== undefined) wrong(`env.${reserved}`, "it may not be set: it changes which code runs on the node");
  const start_at = given.start_at === undefined ? undefined : Math.max(0, parseIsoTime(given.start_at));
  const type = given.type ?? "batch";
  const { name, env, labels, timeout_ms, deadline_ms, start_after_ms, grace_ms, on_lost, key } = given;
  const wanted = { name, env, labels, timeout_ms, deadline_ms, start_after_ms, start_at, grace_ms, on_lost, key };
  if (type !== "daemon" && given.retry?.limit === undefined && given.retry !== undefined) {
    wrong("retry.limit", "say how many attempts may follow the first one");
  }
  const unlimited = type === "daemon" ? { limit: LIMITS.retries } : {};
  const specification = {
    ...present(wanted),
    type,
    priority: given.priority ?? TYPE_PRESETS[type].priority,
    needs: needsOf(given, TYPE_PRESETS[type].cpu_millis),
    argv: given.command ?? (given.shell === undefined ? [] : [given.shell]),
    ...(given.inputs === undefined ? {} : { each: true }),
    ...(given.retry === undefined ? {} : { retry: { ...unlimited, ...RETRY_BACKOFF, ...present(given.retry) } }),
  };
  const { retry } = specification;
  if (retry !== undefined && retry.backoff_max_ms < retry.backoff_ms) {
    wrong("retry.backoff_max_ms", "must not be less than backoff_ms");
  }
  return specification as Specification;
}

/** What the coordinator refuses of a specification, by the names that the body has for it; `many`: it stands in `tasks`. */
export function inBody(given: readonly ToSubmit[], many = false): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof ClawError) || error.field === undefined) throw error;
    const [, position = "0", own = ""] = /^(?:specifications?\.(?:(\d+)\.)?)?(.*)$/s.exec(error.field) ?? [];
    const kind = given[Number(position)]?.command === undefined ? "shell" : "command";
    const name = own
      .replace(/^needs\.folder$/, "cwd")
      .replace(/^needs\./, "")
      .replace(/^argv(?=\.|$)/, kind)
      .replace(/^shell\..*/, "shell");
    const field = many && own !== error.field ? `tasks.${position}.${name}` : name;
    const wire = error.toWire();
    const said = [error.field, own].find((one) => wire.message.startsWith(one)) ?? "";
    const message = said === "" ? wire.message : field + wire.message.slice(said.length);
    throw ClawError.fromWire({ ...wire, message, field });
  };
}

function needsOf(given: ToSubmit, cpu_millis: number): Needs {
  const named = Object.fromEntries(Object.keys(needs).map((name) => [name, given[name as keyof typeof needs]])) as Pick<
    ToSubmit,
    keyof typeof needs
  >;
  return {
    ...present(named),
    executor: given.noop === true ? "noop" : given.shell === undefined ? "command" : "shell",
    cpu_millis: given.cpu_millis ?? cpu_millis,
    memory_mib: given.memory_mib ?? 0,
    gpus: given.gpus ?? 0,
    ...present({ folder: given.cwd }),
  };
}

/** Without the fields that are not there. */
function present<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
