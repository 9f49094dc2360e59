// Records of names that people choose: an array has a most of its own, a record of zod's has none.

import { z } from "zod";
import { LIMITS } from "./limits.ts";

/** No more names than a list of labels has. */
export function few<V extends z.ZodType>(name: z.ZodString, value: V) {
  return z
    .record(name, value)
    .refine((record) => Object.keys(record).length <= LIMITS.label_count, `has more than ${LIMITS.label_count} names`)
    .meta({ maxProperties: LIMITS.label_count });
}
