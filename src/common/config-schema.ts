// The settings of each role: their names in files, their defaults, and what they become inside (integers with their unit
// in the name). config/*.yaml.example documents every one; a test holds the two together.

import { z } from "zod";
import { ClawError } from "./errors.ts";
import { EXECUTORS } from "./models.ts";
import { parseDuration, parseSize } from "./units.ts";

/** A text that a parser of ours reads; its complaint becomes the field's. */
function parsed(parse: (text: string) => number) {
  return z.union([z.string(), z.int()]).transform((value, context): number => {
    try {
      return parse(String(value));
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
      context.addIssue({ code: "custom", message: error.hint === undefined ? error.message : `${error.message}: ${error.hint}` });
      return z.NEVER;
    }
  });
}

const duration = parsed(parseDuration);
const size = parsed(parseSize);
const port = z.int().min(1).max(65_535);
const text = z.string().min(1).max(4096);
const cluster = z.string().regex(/^[a-z0-9][a-z0-9-]{0,15}$/, "lower-case letters, digits and hyphens, at most 16");

const log = z
  .strictObject({
    level: z.enum(["debug", "info", "warn", "error"]).default("info"),
    format: z.enum(["auto", "json", "pretty"]).default("auto"),
  })
  .prefault({});

export const CoordinatorFile = z.strictObject({
  cluster: cluster.default("default"),
  listen: text.default("127.0.0.1"),
  nats: z
    .strictObject({
      port: port.default(7422),
      url: text.optional(),
      creds: text.optional(),
      domain: text.optional(),
      server: text.optional(),
      replicas: z.literal([1, 3, 5]).default(1),
    })
    .prefault({}),
  http: z
    .strictObject({ enabled: z.boolean().default(true), host: text.default("127.0.0.1"), port: port.default(7433) })
    .prefault({}),
  heartbeat: z.strictObject({ interval: duration.prefault("10s"), missed: z.int().min(1).max(100).default(3) }).prefault({}),
  output: z.strictObject({ total_size: size.prefault("1G"), max_age: duration.prefault("7d") }).prefault({}),
  log,
});

export const WorkerFile = z.strictObject({
  name: z.string().min(1).max(128).optional(),
  cluster: cluster.default("default"),
  nats: z
    .strictObject({ url: text.optional(), creds: text.optional(), domain: text.optional() })
    .prefault({}),
  resources: z
    .strictObject({
      cpus: z.number().positive().max(10_000).optional(),
      memory: size.optional(),
      gpus: z.int().min(0).max(1024).optional(),
      named: z.record(z.string().min(1).max(64), z.int().min(0)).prefault({}),
    })
    .prefault({}),
  tags: z.array(text).max(32).prefault([]),
  attributes: z.record(text, z.string().max(256)).prefault({}),
  executors: z.array(z.enum(EXECUTORS)).min(1).prefault([...EXECUTORS]),
  output: z.strictObject({ task_size: size.prefault("64M") }).prefault({}),
  stop: z.strictObject({ grace: duration.prefault("5s") }).prefault({}),
  metrics: z.boolean().default(true),
  log,
});

export type ConfigRole = "coordinator" | "worker";
export const SCHEMAS = { coordinator: CoordinatorFile, worker: WorkerFile } as const;

const MIB = 1024 * 1024;

export function coordinatorConfig(file: z.output<typeof CoordinatorFile>) {
  const { heartbeat, output, ...rest } = file;
  return {
    ...rest,
    heartbeat: { interval_ms: heartbeat.interval, missed: heartbeat.missed },
    output: { total_bytes: output.total_size, max_age_ms: output.max_age },
  };
}
export type CoordinatorConfig = ReturnType<typeof coordinatorConfig>;

export function workerConfig(file: z.output<typeof WorkerFile>) {
  const { resources, output, stop, ...rest } = file;
  const { memory, ...others } = resources;
  return {
    ...rest,
    resources: { ...others, ...(memory === undefined ? {} : { memory_mib: Math.floor(memory / MIB) }) },
    output: { task_bytes: output.task_size },
    stop: { grace_ms: stop.grace },
  };
}
export type WorkerConfig = ReturnType<typeof workerConfig>;

/** Every field's path with its type's name, for names that are near and for the environment. */
export function fieldPaths(role: ConfigRole): string[] {
  return pathsOf(SCHEMAS[role], "");
}

function pathsOf(schema: z.ZodType, prefix: string): string[] {
  const inner = unwrap(schema);
  if (!(inner instanceof z.ZodObject)) return [prefix];
  return Object.entries(inner.shape).flatMap(([name, field]) =>
    pathsOf(field as z.ZodType, prefix === "" ? name : `${prefix}.${name}`),
  );
}

function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return unwrap(schema.unwrap() as z.ZodType);
  }
  return schema;
}
