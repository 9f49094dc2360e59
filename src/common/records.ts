// Records of names that people choose: a record of zod's leaves out one name without a word, and has no most of its own.

import { z } from "zod";
import { LIMITS } from "./limits.ts";

/** What JavaScript has made its own: zod would leave it out, as if it had not been said. */
const NO_NAME = "__proto__";

/** By name. */
export function named<V extends z.ZodType>(name: z.ZodString, value: V) {
  return z.preprocess(
    (given, context) => {
      if (typeof given === "object" && given !== null && Object.hasOwn(given, NO_NAME)) {
        context.addIssue({ code: "custom", message: `'${NO_NAME}' is no name that can be used here`, input: given });
      }
      return given;
    },
    z.record(name, value),
  );
}

/** No more names than a list of labels has. */
export function few<V extends z.ZodType>(name: z.ZodString, value: V) {
  return named(name, value)
    .refine((record) => Object.keys(record).length <= LIMITS.label_count, `has more than ${LIMITS.label_count} names`)
    .meta({ maxProperties: LIMITS.label_count });
}
