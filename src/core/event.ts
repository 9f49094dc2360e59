// What happened, as the log keeps it. An event carries every id, time and choice that its readers need: applying it asks
// nobody anything. A run is [submission, from, to, attempt], `to` excluded; times are wall milliseconds.

import { z } from "zod";
import { Capacity, NodeInfo, Outcome, Specification } from "../common/models.ts";
import { NodeSettings, PlacementChange } from "../common/settings.ts";
import { Skill } from "../common/skills.ts";
import { END_REASONS, NODE_STATUSES, STOP_REASONS } from "../common/vocabulary.ts";
import { Fold } from "./fold.ts";

const integer = z.int().min(0);
const run = z.tuple([integer, integer, integer, integer]);
export type EventRun = z.infer<typeof run>;
/** [submission, from, to], `to` excluded. */
const span = z.tuple([integer, integer, integer]);

/** Whatever was taken once has to be read for ever: how many names there may be was not bounded from the beginning. */
const amounts = z.record(z.string(), integer);
const info = NodeInfo.extend({
  capacity: Capacity.extend({ resources: amounts }),
  attributes: z.record(z.string(), z.string()),
});
const settings = NodeSettings.extend({
  resources: amounts.optional(),
  tags_added: z.array(z.string()).optional(),
  tags_removed: z.array(z.string()).optional(),
  attributes: z.record(z.string(), z.string().nullable()).optional(),
});

export const Event = z.discriminatedUnion("t", [
  z.strictObject({ t: z.literal("cluster"), cluster_id: z.string(), name: z.string(), at: integer }),
  /** A new term's barrier: opens before anything is served. */
  z.strictObject({ t: z.literal("term"), epoch: integer, leader: z.string(), at: integer }),
  z.strictObject({
    t: z.literal("submitted"),
    number: integer,
    nonce: z.string(),
    by: z.string(),
    at: integer,
    spec: Specification,
    /** One id for an array; one a member for separate tasks. */
    array: z.boolean(),
    ids: z.array(integer),
    count: integer,
    open: z.boolean().optional(),
    inputs: z.array(z.string()).optional(),
    /** A retry: the submission whose members it stands for, and which (core/members.ts). */
    source: z.strictObject({ number: integer, members: z.string() }).optional(),
  }),
  z.strictObject({
    t: z.literal("extended"),
    number: integer,
    offset: integer,
    inputs: z.array(z.string()),
    at: integer,
  }),
  /**
   * No more inputs come. True: nobody extended it; false: a cancel or its deadline closed it; absent: its client did (in logs
   * up to format 7 that may have been any but the first). A follower of an earlier version refuses a batch with a new field.
   */
  z.strictObject({ t: z.literal("closed"), number: integer, at: integer, abandoned: z.boolean().optional() }),
  z.strictObject({
    t: z.literal("registered"),
    node: z.string(),
    incarnation: z.string(),
    info,
    at: integer,
  }),
  z.strictObject({
    t: z.literal("node"),
    node: z.string(),
    status: z.enum(NODE_STATUSES),
    reason: z.string(),
    at: integer,
  }),
  /**
   * It takes no new work; with `drain_at`, what still runs there at that log time is stopped and runs elsewhere; with
   * `shutdown` its worker ends when it is empty.
   */
  z.strictObject({
    t: z.literal("cordoned"),
    node: z.string(),
    reason: z.string(),
    by: z.string(),
    drain_at: integer.optional(),
    shutdown: z.boolean().optional(),
    at: integer,
  }),
  /** What a node has found, in place of what it told before. */
  z.strictObject({ t: z.literal("skills"), node: z.string(), hash: z.string(), skills: z.array(Skill), at: integer }),
  z.strictObject({ t: z.literal("resumed"), node: z.string(), at: integer }),
  /** What people set over what its worker says of it: all of it, in place of what was set before. */
  z.strictObject({ t: z.literal("configured"), node: z.string(), settings, by: z.string(), at: integer }),
  /** What people set over the coordinator's file, in place of what was set before. */
  z.strictObject({ t: z.literal("placement"), placement: PlacementChange, by: z.string(), at: integer }),
  z.strictObject({ t: z.literal("removed"), node: z.string(), at: integer }),
  z.strictObject({ t: z.literal("assigned"), node: z.string(), runs: z.array(run), at: integer }),
  /** [submission, from, to, attempt, started_at by the node's clock] */
  z.strictObject({
    t: z.literal("started"),
    node: z.string(),
    runs: z.array(z.tuple([integer, integer, integer, integer, integer])),
    at: integer.optional(), // logs of format 1 have none
  }),
  /** Plain successes: [submission, from, to, attempt, started_at, ended_at]. */
  z.strictObject({
    t: z.literal("succeeded"),
    node: z.string(),
    runs: z.array(z.tuple([integer, integer, integer, integer, integer, integer])),
  }),
  z.strictObject({
    t: z.literal("ended"),
    node: z.string(),
    results: z.array(z.strictObject({ task: z.tuple([integer, integer, integer]), outcome: Outcome })),
  }),
  /** Attempts that failed, by tasks that may try again: not before the given log time. */
  z.strictObject({
    t: z.literal("retried"),
    node: z.string(),
    results: z.array(
      z.strictObject({
        task: z.tuple([integer, integer, integer]),
        outcome: Outcome,
        not_before: integer,
        /** Failures that count from now on. */
        failures: integer,
      }),
    ),
    at: integer,
  }),
  /** Members whose time has come: they wait for a node now. */
  z.strictObject({ t: z.literal("due"), runs: z.array(span), at: integer }),
  /** Attempts that gave no result: their tasks wait again. `started`: when each began, 0 for one that is not known to have. */
  z.strictObject({
    t: z.literal("requeued"),
    node: z.string(),
    runs: z.array(run),
    started: z.array(integer).optional(), // logs up to format 6 have none
    reason: z.enum(END_REASONS),
    at: integer,
  }),
  /** Waiting members that will never run, with the outcome that they all share. */
  z.strictObject({
    t: z.literal("dropped"),
    number: integer,
    from: integer,
    to: integer,
    outcome: Outcome,
  }),
  /** Submissions that were over for long enough, or had too many behind them; `counts`: how their members had ended. */
  z.strictObject({
    t: z.literal("pruned"),
    numbers: z.array(integer).min(1),
    counts: z.strictObject({ completed: integer, failed: integer, cancelled: integer, timeout: integer }),
    at: integer,
  }),
  /** Attempts that were told to stop; their end is reported by their node. */
  z.strictObject({
    t: z.literal("stopping"),
    node: z.string(),
    runs: z.array(run),
    reason: z.enum(STOP_REASONS).default("cancel"), // logs of format 1 have none
    at: integer,
  }),
]);
export type Event = z.infer<typeof Event>;

/**
 * One append. `prev` is the hash of the batch before it: a chain that a view can check the log by. `fold` is what its writer
 * folded it to, by which others see whether they did the same; logs of format 1 have none.
 */
export const Batch = z.strictObject({
  v: z.literal(1),
  cluster_id: z.string(),
  epoch: integer,
  prev: z.string(),
  at: integer,
  fold: Fold.optional(),
  events: z.array(Event),
});
export type Batch = z.infer<typeof Batch>;
