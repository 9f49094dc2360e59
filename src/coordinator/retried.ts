// Which task does another one again: the newest retry of it, by the id that people know.

import { LIMITS } from "../common/limits.ts";
import { formatTaskId } from "../core/ids.ts";
import { Members } from "../core/members.ts";
import { memberId } from "../core/state.ts";
import type { Queries, SubmissionRecord } from "../storage/queries.ts";

/** Of a member, or of a whole array. A retry of a retry stands on the first one, as that one does. */
export function retriedAs(
  queries: Pick<Queries, "newestRetries">,
  { number, source }: Pick<SubmissionRecord, "number" | "source">,
  index: number | undefined,
): string | undefined {
  const own = source === undefined ? undefined : new Members(source.members);
  const root = source?.number ?? number;
  const member = index === undefined || own === undefined ? index : own.oldOf(index);
  for (const retry of queries.newestRetries(root, number, LIMITS.retries_looked)) {
    const members = new Members(retry.members);
    if (member === undefined) {
      const first = members.oldOf(0);
      if (own !== undefined && (first === undefined || own.newOf(first) === undefined)) continue;
      return formatTaskId(retry.ids[0] ?? 0);
    }
    const at = members.newOf(member);
    if (at === undefined) continue;
    const { id, index: place } = memberId(retry, at);
    return formatTaskId(id, place);
  }
  return undefined;
}
