// May there be such a task at all? What no node could run, no system be given, or nobody mean, is refused by its field.

import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import type { Needs, Specification } from "../common/models.ts";
import { formatDuration } from "../common/units.ts";
import { requirePossible } from "./skills.ts";
import type { State } from "./state.ts";

export function checkSpecification(state: State, spec: Specification, now: number): void {
  const size = Buffer.byteLength(JSON.stringify(spec));
  if (size > LIMITS.specification_bytes) {
    throw new ClawError("too_large", `the specification has ${size} bytes, at most ${LIMITS.specification_bytes}`);
  }
  const { executor, resources } = spec.needs;
  const strange = Object.keys(resources ?? {}).find((name) => name in {});
  if (strange !== undefined) {
    throw new ClawError("bad_request", `'${strange}' is no name for a resource`, { field: "needs.resources" });
  }
  if (executor === "script" && spec.script === undefined) {
    throw new ClawError("bad_request", "a script task names its script", { field: "script" });
  }
  if ((executor === "command" || executor === "shell") && spec.argv.length === 0) {
    throw new ClawError("bad_request", "no command", { field: "argv" });
  }
  if (executor === "command" && spec.argv[0] === "") {
    throw new ClawError("bad_request", "argv.0: a program's name must not be empty", { field: "argv.0" });
  }
  checkLife(spec, now);
  checkSystemTexts(spec);
  requireFolder(spec.needs);
  checkNames(spec);
  if (spec.needs.skills !== undefined) requirePossible(state.nodes.values(), spec.needs.skills);
}

/** What could never come about. */
function checkLife({ type, retry, start_after_ms = 0, start_at = 0, deadline_ms }: Specification, now: number): void {
  if (type === "daemon" && retry !== undefined && retry.limit < LIMITS.retries) {
    throw new ClawError("bad_request", "retry.limit: a daemon is kept running, however often it ends", {
      hint: "leave the limit away; the backoff says how long it waits",
      field: "retry.limit",
    });
  }
  const start = Math.max(now + start_after_ms, start_at);
  if (deadline_ms === undefined || start < now + deadline_ms) return;
  const field = start_at > now + start_after_ms ? "start_at" : "start_after_ms";
  const after = formatDuration(start - now);
  throw new ClawError(
    "bad_request",
    `${field}: it would start after ${after}, its deadline is ${formatDuration(deadline_ms)}`,
    {
      hint: "the deadline counts from the submission on: waiting is in it",
      field,
    },
  );
}

/** What a system is to be given: it takes no NUL, and a variable's name ends at its first `=`. */
function checkSystemTexts({ argv, env = {}, origin }: Specification): void {
  const texts: [field: string, texts: readonly (string | undefined)[]][] = [
    ["argv", argv],
    ["env", Object.entries(env).flat()],
    ["origin.folder", [origin?.folder]],
  ];
  for (const [field, some] of texts) if (some.some((text) => text?.includes("\0"))) throw nulIn(field);
  const strange = Object.keys(env).find((name) => name.includes("="));
  if (strange !== undefined) {
    throw new ClawError("bad_request", `'${strange}' is no name for a variable`, { field: "env" });
  }
}

function nulIn(field: string): ClawError {
  return new ClawError("bad_request", `${field}: no program can be given a NUL character`, { field });
}

/** A folder that no node can have is waited for in vain. */
export function requireFolder({ folder = "/" }: Needs): void {
  const field = "needs.folder";
  if (folder.includes("\0")) throw nulIn(field);
  if (folder.startsWith("/")) return;
  throw new ClawError("bad_request", `${field}: '${folder.slice(0, 100)}' is not an absolute path`, { field });
}

/** What is compared with what others wrote: two names that look the same have to be the same. */
function checkNames({ name, labels = {}, key, needs }: Specification): void {
  const { tags = [], where = [], prefer = [], resources = {}, spread } = needs;
  const words = (some: typeof where): string[] => some.flatMap(({ attribute, values }) => [attribute, ...values]);
  const names: [field: string, names: readonly (string | undefined)[]][] = [
    ["name", [name]],
    ["labels", Object.entries(labels).flat()],
    ["key", [key]],
    ["needs.tags", tags],
    ["needs.where", words(where)],
    ["needs.prefer", words(prefer)],
    ["needs.resources", Object.keys(resources)],
    ["needs.spread", [spread?.by, spread?.among]],
  ];
  for (const [field, some] of names) {
    const strange = some.find((text) => text !== undefined && text !== text.normalize("NFC"));
    if (strange === undefined) continue;
    throw new ClawError("bad_request", `${field}: '${strange}' is not in Unicode's normal form C`, {
      hint: "write it with composed characters (é as one): what looks the same would not match otherwise",
      field,
    });
  }
}

/** Control characters take six bytes on the wire: what a worker could not be sent is refused now. */
export function checkInputs(inputs: readonly string[]): void {
  for (const input of inputs) {
    if (input.length * 6 <= LIMITS.input_json_bytes) continue;
    const size = Buffer.byteLength(JSON.stringify(input));
    if (size > LIMITS.input_json_bytes) {
      throw new ClawError("too_large", `an input has ${size} bytes as JSON, at most ${LIMITS.input_json_bytes}`, {
        field: "inputs",
      });
    }
  }
}
