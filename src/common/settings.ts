// What people set while a cluster runs, over what its files and its workers say: it stands in the log, so every coordinator
// knows it and no restart forgets it.

import { z } from "zod";
import { LIMITS } from "./limits.ts";
import { few } from "./records.ts";
import { STRATEGIES } from "./vocabulary.ts";

const count = z.int().min(0);
const label = z.string().min(1).max(LIMITS.label_chars);
const tags = z.array(label).max(LIMITS.label_count);
/** In thousandths: what the log keeps are integers. */
const weight = z.int().min(0).max(1_000_000).describe("in thousandths: 600 is 0.6");
const millis = z
  .int()
  .min(0)
  .max(10 ** 13);

/** Over what a worker says of its node. */
export const NodeSettings = z.strictObject({
  cpu_millis: count.max(10_000_000).optional(),
  memory_mib: count.max(2 ** 31).optional(),
  gpus: count.max(1024).optional(),
  /** By name; the others stay as they are. */
  resources: few(z.string().min(1).max(64), count.max(2 ** 31)).optional(),
  tags_added: tags.optional(),
  tags_removed: tags.optional(),
  /** By name; null: it has none. */
  attributes: few(label, z.string().max(LIMITS.label_chars).nullable()).optional(),
});
export type NodeSettings = z.infer<typeof NodeSettings>;

/** Over what coordinator.yaml says of placement. */
export const PlacementChange = z.strictObject({
  strategy: z.enum(STRATEGIES).optional(),
  weights: z
    .strictObject({
      cpu: weight.optional(),
      memory: weight.optional(),
      tasks: weight.optional(),
      affinity: weight.optional(),
    })
    .optional(),
  aging_ms: millis.min(1_000).optional(),
  reserve_after_ms: millis.optional(),
});
export type PlacementChange = z.infer<typeof PlacementChange>;
