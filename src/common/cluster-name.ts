// A cluster's name.

import { z } from "zod";

/** It is part of subjects and of streams' names. */
export const ClusterName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,15}$/, "must be lower-case letters, digits and hyphens, at most 16, no hyphen first");
