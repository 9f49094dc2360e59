// What each kind of identity may say and hear (design, sections 7 and 8): exactly its own subjects. What a permission
// cannot hold is where an answer goes: whoever may ask names that subject freely. So nothing of worth may be open to
// whoever knows its name (log.ts, streams.ts), nobody is answered outside his inbox (bus.ts), and who need not ask the
// broker anything may not: a worker's scripts come from the coordinator.

import { ClawError } from "../common/errors.ts";
import type { Permissions } from "./jwt.ts";
import { subjects } from "./subjects.ts";

export type Role = "coordinator" | "worker" | "client";

export function inboxPrefix(id: string): string {
  return `_INBOX_${id}`;
}

/** Following one stream through consumers of one's own: pulled, so that nothing is sent to where it was not asked for. */
function followStream(stream: string): string[] {
  return [
    `$JS.API.STREAM.INFO.${stream}`,
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.INFO.${stream}.*`,
    `$JS.API.CONSUMER.DELETE.${stream}.*`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
  ];
}

/** The broker refused a subject. */
export function isForbidden(error: unknown): boolean {
  return (error as { code?: string } | null)?.code === "PERMISSIONS_VIOLATION";
}

/** What a subject of one's own in another cluster is refused for. */
export function forbidden(cluster: string, cause: unknown): ClawError {
  return new ClawError("wrong_cluster", `these credentials may do nothing in the cluster ${cluster}`, {
    hint: "credentials are for one cluster: leave --cluster away, or take those of that one",
    field: "--cluster",
    cause,
  });
}

export function permissionsOf(role: Role, cluster: string, id: string): Permissions {
  const inbox = `${inboxPrefix(id)}.>`;
  switch (role) {
    case "coordinator":
      return { pub: {}, sub: {} };
    case "worker": {
      const own = `claw.${cluster}.node.${id}`;
      return {
        pub: { allow: [`${own}.up`, `${own}.out.>`, subjects.nodeQuery(cluster, id, "file.chunk")] },
        sub: { allow: [`${own}.down`, `${own}.in.>`, inbox] },
      };
    }
    case "client": {
      const own = `claw.${cluster}.client.${id}`;
      return {
        pub: {
          allow: [
            `${own}.cmd.>`,
            `${own}.query.>`,
            `claw.${cluster}.node.*.in.>`,
            ...followStream(subjects.outputStream(cluster)),
            subjects.allFiles(cluster),
            `$JS.API.DIRECT.GET.${subjects.fileStream(cluster)}.${subjects.allFiles(cluster)}`,
          ],
        },
        sub: { allow: [inbox, subjects.lead(cluster)] },
      };
    }
  }
}
