// What is said of a snapshot: which state it is, and by what it can be checked. Stands beside it in the cluster's store and
// at the head of a file that `claw snapshot save` wrote.

import { z } from "zod";
import { LIMITS } from "./limits.ts";

const integer = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** An earlier stream of this cluster's log, and how far this state has it: a view of that stream up to there is older. */
const Ancestor = z.strictObject({ stream_created: z.string().max(64), sequence: integer });
export type Ancestor = z.infer<typeof Ancestor>;

export const Manifest = z.strictObject({
  v: z.literal(1),
  /** Its sequence and 64 random bits: two of one sequence are told apart. */
  id: z.string().regex(/^\d{1,16}-[0-9a-f]{16}$/),
  /** The cluster's name, and its random id, which no other cluster has. */
  cluster: z.string().max(64),
  cluster_id: z.string().max(64),
  epoch: integer,
  /** The last batch in it, that batch's hash, and the stream that they are of. */
  sequence: integer,
  hash: z.string().max(64),
  stream_created: z.string().max(64),
  /** Streams that this one took the place of, oldest first. */
  ancestors: z.array(Ancestor).max(1000),
  /** The tables' format, and the claw that wrote them. */
  format: z.int().min(1),
  version: z.string().max(64),
  /** Wall milliseconds. */
  created_at: integer,
  /** Rows of all tables and a hash over them in canonical form. */
  rows: integer,
  rows_sha256: sha256,
  /** The SQLite file unpacked, and as it is stored. */
  view_bytes: integer,
  bytes: integer,
  sha256,
});
export type Manifest = z.infer<typeof Manifest>;

/** zstd's own number for a frame that it passes over. */
export const MANIFEST_MAGIC = 0x184d2a51;

/** A frame that says something to us and nothing to zstd. */
export function skippable(magic: number, content: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(magic, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, content]);
}

/** What a saved file begins with, before the stored bytes. */
export function headOf(manifest: Manifest): Uint8Array {
  return skippable(MANIFEST_MAGIC, new TextEncoder().encode(JSON.stringify(manifest)));
}

/** In how many pieces it is stored. */
export function chunksOf(manifest: Manifest): number {
  return Math.ceil(manifest.bytes / LIMITS.snapshot_chunk_bytes);
}
