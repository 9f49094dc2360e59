// Runs one text with /bin/sh; for `--each` the template filled in with the member's line.

import { checkCommandLength, renderTemplate } from "../../core/template.ts";
import type { AttemptContext, Executor } from "./executor.ts";
import { type Plan, startProcess } from "./process.ts";

function planOf({ specification, input, place }: AttemptContext): Plan {
  const template = specification.argv[0] ?? "";
  const text = specification.each === true ? renderTemplate(template, input, place) : template;
  checkCommandLength(text);
  return { argv: ["/bin/sh", "-c", text] };
}

export const shellExecutor: Executor = {
  start: (attempt, events) => startProcess(attempt, events, () => planOf(attempt)),
};
