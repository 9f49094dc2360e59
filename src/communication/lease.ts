// The lease that says who leads: one key in a bucket, written by compare-and-set. In memory: losing it costs a moment in
// which nobody leads, never what is true, and a lease that is renewed on a disk would never let that disk rest.

import { type KV, type NatsConnection, StorageType } from "nats";
import { z } from "zod";
import { ClawError, messageOf } from "../common/errors.ts";
import { Outages } from "./outages.ts";
import { errorCode, isStreamMissing } from "./streams.ts";
import { subjects } from "./subjects.ts";

const LeaseRecord = z.strictObject({
  v: z.literal(1),
  /** The coordinator's id, the same in each of its lives. */
  holder: z.string(),
  /** For people. */
  name: z.string(),
  lease_ms: z.int().min(1),
  /** Another number each time that it is written: a broker that forgot everything counts its revisions anew. */
  beat: z.int().min(0),
  /** Where its writer believed to write it. In another place it may lie over somebody's, and says nothing. */
  bucket: z.string().optional(), // claw 0.1.0 before this field
  /** Given back: nobody has to wait for it. */
  released: z.boolean(),
});
export type LeaseRecord = z.infer<typeof LeaseRecord>;

/** `revision` is 0 where there is no record; `bucket` tells one memory of the broker from another. */
export interface LeaseEntry {
  record: LeaseRecord | undefined;
  revision: number;
  bucket: string;
}

/** Where a write came to stand. Not where it was meant to, if the broker forgot everything and counts up to there again. */
export type LeaseWritten = Omit<LeaseEntry, "record">;

/** The port: the real one here, one in the simulator. Reading and writing throw `broker` when it does not answer. */
export interface Lease {
  read(): Promise<LeaseEntry>;
  /** Undefined when the present revision is not `revision`. */
  write(record: LeaseRecord, revision: number): Promise<LeaseWritten | undefined>;
  /** Calls whenever somebody wrote, or tried to; gives what ends that. */
  watch(changed: () => void): () => void;
}

const KEY = "leader";
const WRONG_LAST_SEQUENCE = 10071;

export async function openLease(
  connection: NatsConnection,
  cluster: string,
  replicas: number,
  timeout_ms: number,
  domain?: string,
): Promise<Lease> {
  const js = connection.jetstream({ timeout: timeout_ms, ...(domain === undefined ? {} : { domain }) });
  const options = { history: 1, storage: StorageType.Memory, replicas, timeout: timeout_ms };
  const open = (): Promise<KV> => js.views.kv(subjects.leaseBucket(cluster), options);
  return new NatsLease(connection, await open(), open, subjects.leaseKey(cluster, KEY));
}

class NatsLease implements Lease {
  readonly #connection: NatsConnection;
  readonly #outages: Outages;
  #kv: KV;
  readonly #open: () => Promise<KV>;
  readonly #subject: string;

  constructor(connection: NatsConnection, kv: KV, open: () => Promise<KV>, subject: string) {
    this.#connection = connection;
    this.#outages = new Outages(connection);
    this.#kv = kv;
    this.#open = open;
    this.#subject = subject;
  }

  read(): Promise<LeaseEntry> {
    return this.#asked(async () => {
      const bucket = await this.#bucket();
      const entry = await this.#kv.get(KEY);
      if (entry === null || entry.operation !== "PUT") {
        return { record: undefined, revision: entry?.revision ?? 0, bucket };
      }
      // What nobody of us wrote counts as nobody's.
      const record = LeaseRecord.safeParse(entry.json());
      return { record: record.success ? record.data : undefined, revision: entry.revision, bucket };
    });
  }

  async #bucket(): Promise<string> {
    return (await this.#kv.status()).streamInfo.created;
  }

  write(record: LeaseRecord, revision: number): Promise<LeaseWritten | undefined> {
    return this.#asked(async () => {
      try {
        const written = await this.#kv.put(KEY, JSON.stringify(record), { previousSeq: revision });
        return { revision: written, bucket: await this.#bucket() };
      } catch (error) {
        if (errorCode(error) === WRONG_LAST_SEQUENCE) return undefined;
        throw error;
      }
    });
  }

  /** A server that was started anew has not even the bucket any more. */
  async #asked<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await this.#outages.answer(
        ask().catch(async (error: unknown) => {
          if (!isGone(error)) throw error;
          this.#kv = await this.#open();
          return await ask();
        }),
      );
    } catch (error) {
      throw new ClawError("broker", `the broker does not answer for the lease: ${messageOf(error)}`, { cause: error });
    }
  }

  watch(changed: () => void): () => void {
    const subscription = this.#connection.subscribe(this.#subject, { callback: () => changed() });
    return () => subscription.unsubscribe();
  }
}

function isGone(error: unknown): boolean {
  return isStreamMissing(error) || (error as { code?: string }).code === "503";
}
