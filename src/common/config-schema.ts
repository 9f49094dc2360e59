// The settings of each role: their names in files, their defaults, and what they become inside (integers with their unit
// in the name). config/*.yaml.example documents every one; a test holds the two together.

import { z } from "zod";
import { ClusterName } from "./cluster-name.ts";
import { ClawError } from "./errors.ts";
import { parseNatsUrls } from "./nats-url.ts";
import { few } from "./records.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";
import { EXECUTORS, STRATEGIES } from "./vocabulary.ts";

const MIB = 1024 * 1024;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

interface Quantity {
  parse: (text: string) => number;
  format: (value: number) => string;
  say: string;
}

const DURATION: Quantity = {
  parse: parseDuration,
  format: formatDuration,
  say: "a duration such as 250ms, 90s or 1h30m",
};
const SIZE: Quantity = { parse: parseSize, format: formatSize, say: "a size such as 512M, 2G or 1.5GiB" };

/** A quantity as people write it, between two bounds; inside it is an integer. */
function quantity({ parse, format, say }: Quantity, least: number, most: number) {
  return z.union([z.string(), z.int()], { error: `must be ${say}` }).transform((written, context): number => {
    const refuse = (message: string): never => {
      context.addIssue({ code: "custom", message });
      return z.NEVER;
    };
    try {
      const value = parse(String(written));
      if (value < least) return refuse(`${written} is too little: at least ${format(least)}`);
      if (value > most) return refuse(`${written} is too much: at most ${format(most)}`);
      return value;
    } catch (error) {
      if (!(error instanceof ClawError)) throw error;
      return refuse(`'${written}' is wrong: it must be ${say}`);
    }
  });
}

const duration = (least_ms: number, most_ms: number) => quantity(DURATION, least_ms, most_ms);
const size = (least_bytes: number) => quantity(SIZE, least_bytes, Number.MAX_SAFE_INTEGER);
const port = z.int().min(1).max(65_535);
const weight = z.number().min(0).max(1000);
const text = z.string().min(1).max(4096);
const natsUrl = text.refine((url) => parseNatsUrls(url) !== undefined, "must look like nats://HOST:4222");

const log = z
  .strictObject({
    level: z.enum(["debug", "info", "warn", "error"]).default("info"),
    format: z.enum(["auto", "json", "pretty"]).default("auto"),
  })
  .prefault({});

const CoordinatorFile = z.strictObject({
  cluster: ClusterName.default("default"),
  listen: text.default("127.0.0.1"),
  nats: z
    .strictObject({
      port: port.default(7422),
      url: natsUrl.optional(),
      creds: text.optional(),
      domain: text.optional(),
      server: text.optional(),
      replicas: z.literal([1, 3, 5]).default(1),
    })
    .prefault({}),
  http: z
    .strictObject({ enabled: z.boolean().default(true), host: text.default("127.0.0.1"), port: port.default(7433) })
    .prefault({}),
  heartbeat: z
    .strictObject({
      interval: duration(100, 60 * MINUTE_MS).prefault("10s"),
      missed: z.int().min(1).max(100).default(3),
      lost_after: duration(1_000, 30 * DAY_MS).optional(),
    })
    .prefault({}),
  lease: duration(500, MINUTE_MS).prefault("2s"),
  on_difference: z.enum(["end", "warn"]).default("end"),
  output: z
    .strictObject({ total_size: size(MIB).prefault("1G"), max_age: duration(1_000, 3650 * DAY_MS).prefault("7d") })
    .prefault({}),
  retention: z
    .strictObject({
      age: duration(1_000, 36_500 * DAY_MS).prefault("7d"),
      keep: duration(1_000, 36_500 * DAY_MS).prefault("1h"),
      tasks: z.int().min(1).max(1_000_000_000).default(1_000_000),
    })
    .prefault({}),
  placement: z
    .strictObject({
      strategy: z.enum(STRATEGIES).default("best_fit"),
      weights: z
        .strictObject({
          cpu: weight.default(0.3),
          memory: weight.default(0.3),
          tasks: weight.default(0.2),
          affinity: weight.default(0.2),
        })
        .prefault({}),
      aging: duration(1_000, 3650 * DAY_MS).prefault("10m"),
      reserve_after: duration(0, 3650 * DAY_MS).prefault("30s"),
    })
    .prefault({}),
  snapshot: z
    .strictObject({
      size: size(MIB).prefault("64M"),
      batches: z.int().min(1).max(1_000_000_000).default(100_000),
      interval: duration(1_000, 3650 * DAY_MS).prefault("1h"),
      keep: z.int().min(1).max(100).default(3),
    })
    .prefault({}),
  log,
});

const WorkerFile = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(128)
    .regex(/^[^\s\p{Cc}\p{Cf}]*$/u, "must be without blanks and control characters")
    .optional(),
  cluster: ClusterName.default("default"),
  nats: z.strictObject({ url: natsUrl.optional(), creds: text.optional(), domain: text.optional() }).prefault({}),
  resources: z
    .strictObject({
      cpus: z.number().min(0.001).max(10_000).optional(),
      memory: size(MIB).optional(),
      gpus: z.int().min(0).max(1024).optional(),
      named: few(z.string().min(1).max(64), z.int().min(0)).prefault({}),
    })
    .prefault({}),
  tags: z.array(z.string().min(1).max(256)).max(32).prefault([]),
  attributes: few(z.string().min(1).max(256), z.string().max(256)).prefault({}),
  executors: z
    .array(z.enum(EXECUTORS))
    .min(1)
    .prefault([...EXECUTORS]),
  skills: z
    .strictObject({
      enabled: z.boolean().default(true),
      folders: z.array(text).max(32).prefault([]),
      openclaw: text.optional(),
    })
    .prefault({}),
  output: z.strictObject({ task_size: size(0).prefault("64M") }).prefault({}),
  stop: z.strictObject({ grace: duration(0, DAY_MS).prefault("5s") }).prefault({}),
  limits: z.boolean().default(true),
  metrics: z.boolean().default(true),
  log,
});

export type ConfigRole = "coordinator" | "worker";
export const SCHEMAS = { coordinator: CoordinatorFile, worker: WorkerFile } as const;

export function coordinatorConfig(file: z.output<typeof CoordinatorFile>) {
  const { heartbeat, lease, output, retention, placement, snapshot, ...rest } = file;
  return {
    ...rest,
    lease_ms: lease,
    heartbeat: { interval_ms: heartbeat.interval, missed: heartbeat.missed, lost_after_ms: heartbeat.lost_after },
    output: { total_bytes: output.total_size, max_age_ms: output.max_age },
    retention: { age_ms: retention.age, keep_ms: retention.keep, tasks: retention.tasks },
    placement: {
      strategy: placement.strategy,
      weights: placement.weights,
      aging_ms: placement.aging,
      reserve_after_ms: placement.reserve_after,
    },
    snapshot: {
      every_bytes: snapshot.size,
      every_batches: snapshot.batches,
      every_ms: snapshot.interval,
      keep: snapshot.keep,
    },
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

/** How a text from the environment becomes the value of a field: as it is, split, or read as YAML. */
export type FieldKind = "text" | "list" | "map" | "value";

export interface Field {
  path: string;
  kind: FieldKind;
  /** As one would write it in the file. */
  initial?: unknown;
}

/** Every field of a role, in the order of its file. */
export function fieldsOf(role: ConfigRole): Field[] {
  return walk(SCHEMAS[role], "").fields;
}

/** The fields that hold other fields. */
export function sectionsOf(role: ConfigRole): string[] {
  return walk(SCHEMAS[role], "").sections;
}

function walk(schema: z.ZodType, path: string): { fields: Field[]; sections: string[] } {
  const { inner, initial } = unwrap(schema);
  if (!(inner instanceof z.ZodObject)) {
    return { fields: [{ path, kind: kindOf(inner), ...(initial === undefined ? {} : { initial }) }], sections: [] };
  }
  const parts = Object.entries(inner.shape).map(([name, field]) =>
    walk(field as z.ZodType, path === "" ? name : `${path}.${name}`),
  );
  return {
    fields: parts.flatMap(({ fields }) => fields),
    sections: [...(path === "" ? [] : [path]), ...parts.flatMap(({ sections }) => sections)],
  };
}

function unwrap(schema: z.ZodType): { inner: z.ZodType; initial?: unknown } {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) {
    return { inner: schema.unwrap() as z.ZodType, initial: schema.def.defaultValue };
  }
  return { inner: schema instanceof z.ZodOptional ? (schema.unwrap() as z.ZodType) : schema };
}

function kindOf(schema: z.ZodType): FieldKind {
  if (schema instanceof z.ZodString || schema instanceof z.ZodEnum) return "text";
  if (schema instanceof z.ZodArray) return "list";
  // What is looked at before it is a record is one all the same.
  const whole = schema instanceof z.ZodPipe ? schema.out : schema;
  return whole instanceof z.ZodRecord ? "map" : "value";
}
