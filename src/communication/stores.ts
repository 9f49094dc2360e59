// The streams beside the log: tasks' output (best effort, limited in size and age) and files (scripts by their hash).

import { DiscardPolicy, type NatsConnection, nanos, RetentionPolicy, StorageType } from "nats";
import { ClawError, messageOf } from "../common/errors.ts";
import { openFiles } from "./files.ts";
import { ensureStream, notTaken } from "./streams.ts";
import { subjects } from "./subjects.ts";

export interface OutputLimits {
  total_bytes: number;
  max_age_ms: number;
}

/** Removes the output of submissions that were pruned. Throws `broker`; what stays goes by its age and the stream's size. */
export async function removeOutput(
  connection: NatsConnection,
  cluster: string,
  numbers: readonly number[],
  domain?: string,
): Promise<void> {
  try {
    const manager = await connection.jetstreamManager(domain === undefined ? {} : { domain });
    for (const number of numbers) {
      const filter = subjects.outputOfSubmission(cluster, number);
      await manager.streams.purge(subjects.outputStream(cluster), { filter });
    }
  } catch (error) {
    throw new ClawError("broker", `the output cannot be removed: ${messageOf(error)}`, { cause: error });
  }
}

/** Makes what is missing and brings the output stream's limits up to the configuration. */
export async function openStores(
  connection: NatsConnection,
  cluster: string,
  output: OutputLimits,
  replicas: number,
  domain?: string,
): Promise<void> {
  const options = domain === undefined ? {} : { domain };
  const manager = await connection.jetstreamManager({ ...options, timeout: 10_000 });
  const name = subjects.outputStream(cluster);
  const wanted = {
    subjects: [subjects.allOutput(cluster)],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    num_replicas: replicas,
    max_bytes: output.total_bytes,
    max_age: nanos(output.max_age_ms),
  };
  // Output need not be on disk when it is acknowledged; the package passes the field on without knowing it.
  const lazily = replicas === 1 ? { persist_mode: "async" } : {};
  const known = await ensureStream(manager, { name, ...wanted, ...lazily });
  if (known.config.max_bytes !== wanted.max_bytes || known.config.max_age !== wanted.max_age) {
    await manager.streams.update(name, wanted).catch((error: unknown) => {
      throw notTaken(name, error);
    });
  }
  await openFiles(manager, cluster, replicas);
}
