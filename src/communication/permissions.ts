// What each kind of identity may say and hear (design, sections 7 and 8): exactly its own subjects.

import type { Permissions } from "./jwt.ts";
import { subjects } from "./subjects.ts";

export type Role = "coordinator" | "worker" | "client";

export function inboxPrefix(id: string): string {
  return `_INBOX_${id}`;
}

/** Reading one stream through consumers of one's own. */
function readStream(stream: string): string[] {
  return [
    `$JS.API.STREAM.INFO.${stream}`,
    `$JS.API.STREAM.MSG.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.>`,
    `$JS.API.CONSUMER.CREATE.${stream}`,
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.INFO.${stream}.*`,
    `$JS.API.CONSUMER.DELETE.${stream}.*`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
  ];
}

/** STREAM.NAMES: the package of NATS asks which stream has a subject before it reads an object. */
const READER = ["$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.ACK.>", "$JS.FC.>"];

export function permissionsOf(role: Role, cluster: string, id: string): Permissions {
  const files = subjects.filesBucket(cluster);
  const read_files = readStream(`OBJ_${files}`);
  const inbox = `${inboxPrefix(id)}.>`;
  switch (role) {
    case "coordinator":
      return { pub: {}, sub: {} };
    case "worker": {
      const own = `claw.${cluster}.node.${id}`;
      return {
        pub: { allow: [`${own}.up`, `${own}.out.>`, ...READER, ...read_files] },
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
            ...READER,
            ...readStream(subjects.outputStream(cluster)),
            ...read_files,
            `$O.${files}.>`,
            // Two that send the same file at once: the package of NATS purges the chunks of the earlier one.
            `$JS.API.STREAM.PURGE.OBJ_${files}`,
          ],
        },
        sub: { allow: [inbox, `claw.${cluster}.event.>`] },
      };
    }
  }
}
