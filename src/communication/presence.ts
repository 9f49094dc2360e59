// How coordinators know of each other: each says now and then that it is there, and how far it is.

import type { NatsConnection } from "nats";
import { z } from "zod";
import { LIMITS } from "../common/limits.ts";
import { subjects } from "./subjects.ts";

export const Presence = z.strictObject({
  v: z.literal(1),
  id: z.string().max(64),
  /** For people: its machine. */
  name: z.string().max(128),
  version: z.string().max(32),
  /** The log's sequence that it has. */
  sequence: z.int().min(0),
  /** Told once, at the end. */
  leaving: z.boolean(),
});
export type Presence = z.infer<typeof Presence>;

/** What is no presence is dropped: only coordinators may publish there, and one of a later version may say more. */
export function listenForPresence(
  connection: NatsConnection,
  cluster: string,
  heard: (presence: Presence) => void,
): () => void {
  const subscription = connection.subscribe(subjects.allPresence(cluster), {
    callback: (error, message) => {
      if (error !== null || message.data.length > LIMITS.presence_bytes) return;
      try {
        heard(Presence.parse(message.json()));
      } catch {
        // dropped
      }
    },
  });
  return () => subscription.unsubscribe();
}

export function sayPresence(connection: NatsConnection, cluster: string, presence: Presence): void {
  if (!connection.isClosed()) connection.publish(subjects.presence(cluster, presence.id), JSON.stringify(presence));
}
