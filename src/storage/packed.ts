// A snapshot's bytes: the view in pieces, each a zstd frame, behind a frame that says its length. Frames that say something
// are skippable ones, which every zstd passes over: `zstd -d` makes the SQLite file of a saved snapshot. Only a piece at a
// time is in memory.

import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { ClawError, messageOf, writeProblem } from "../common/errors.ts";
import { MANIFEST_MAGIC, Manifest, skippable } from "../common/snapshot.ts";

const PIECE_BYTES = 1024 * 1024;
const LENGTH_MAGIC = 0x184d2a50;
const HEAD_BYTES = 8;
const MANIFEST_BYTES = 256 * 1024;
const LEVEL = 3;

const ANOTHER =
  "a file that `claw snapshot save` wrote, whole; without one: `claw snapshot restore --from-view` goes on with what this machine has";

function damaged(path: string): ClawError {
  return new ClawError("io", `${path} is damaged, or no snapshot at all`, {
    hint: ANOTHER,
    field: path,
  });
}

function unreadable(path: string, error: unknown): ClawError {
  const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
  return new ClawError(missing ? "not_found" : "io", `cannot read ${path}: ${messageOf(error)}`, {
    hint: ANOTHER,
    field: path,
    cause: error,
  });
}

class Reader {
  readonly #fd: number;
  readonly #path: string;
  readonly hash = new Bun.CryptoHasher("sha256");
  bytes = 0;

  constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /** The next `length` bytes; undefined at the end of the file. */
  take(length: number): Buffer | undefined {
    const bytes = Buffer.alloc(length);
    let at = 0;
    while (at < length) {
      const read = this.#read(bytes, at);
      if (read === 0) break;
      at += read;
    }
    if (at === 0 && length > 0) return undefined;
    if (at < length) throw damaged(this.#path);
    this.hash.update(bytes);
    this.bytes += length;
    return bytes;
  }

  #read(bytes: Uint8Array, at: number): number {
    try {
      return readSync(this.#fd, bytes, at, bytes.length - at, null);
    } catch (error) {
      throw unreadable(this.#path, error); // a folder, a disk that fails
    }
  }

  /** The content of a skippable frame; undefined at the end. */
  frame(magic: number, most: number): Buffer | undefined {
    const head = this.take(HEAD_BYTES);
    if (head === undefined) return undefined;
    const length = head.readUInt32LE(4);
    if (head.readUInt32LE(0) !== magic || length > most) throw damaged(this.#path);
    return this.take(length) ?? Buffer.alloc(0);
  }
}

function createFile(path: string): number {
  try {
    return openSync(path, "wx", 0o600);
  } catch (error) {
    throw writeProblem(error, `write ${path}`);
  }
}

/** All of it: what is written to a disk that fills up may be less. */
function write(fd: number, bytes: Uint8Array, path: string): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } catch (error) {
    throw writeProblem(error, `write ${path}`);
  }
}

/** Packs `from` into the new file `to`; gives its size and hash. */
export function pack(from: string, to: string): { view_bytes: number; bytes: number; sha256: string } {
  const input = openSync(from, "r");
  const output = createFile(to);
  const hash = new Bun.CryptoHasher("sha256");
  let [view_bytes, bytes] = [0, 0];
  const put = (part: Uint8Array): void => {
    hash.update(part);
    bytes += part.length;
    write(output, part, to);
  };
  try {
    const piece = Buffer.alloc(PIECE_BYTES);
    for (;;) {
      const length = readSync(input, piece, 0, PIECE_BYTES, null);
      if (length === 0) break;
      const packed = Bun.zstdCompressSync(piece.subarray(0, length), { level: LEVEL });
      const size = Buffer.alloc(4);
      size.writeUInt32LE(packed.length);
      put(skippable(LENGTH_MAGIC, size));
      put(packed);
      view_bytes += length;
    }
  } finally {
    closeSync(input);
    closeSync(output);
  }
  return { view_bytes, bytes, sha256: hash.digest("hex") };
}

/** The manifest at the head of a saved file. */
export function readManifest(path: string): Manifest {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    return manifestIn(path, new Reader(path, fd));
  } finally {
    closeSync(fd);
  }
}

function manifestIn(path: string, reader: Reader): Manifest {
  const text = reader.frame(MANIFEST_MAGIC, MANIFEST_BYTES);
  try {
    const parsed = Manifest.safeParse(JSON.parse(text?.toString("utf8") ?? ""));
    if (parsed.success) return parsed.data;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw damaged(path);
}

/**
 * Unpacks a body (with a head before it, if `headed`) into the new file `to`. Throws `io` for one that is not, byte for
 * byte, what its manifest says.
 */
export function unpack(from: string, to: string, manifest: Manifest, headed: boolean): void {
  const input = openSync(from, "r");
  const output = createFile(to);
  try {
    if (headed) manifestIn(from, new Reader(from, input));
    const reader = new Reader(from, input);
    let view_bytes = 0;
    for (let size = reader.frame(LENGTH_MAGIC, 4); size !== undefined; size = reader.frame(LENGTH_MAGIC, 4)) {
      const packed = size.length === 4 ? reader.take(Math.min(size.readUInt32LE(0), 2 * PIECE_BYTES)) : undefined;
      if (packed === undefined) throw damaged(from);
      const piece = decompressed(packed, from);
      view_bytes += piece.length;
      write(output, piece, to);
    }
    const same = reader.hash.digest("hex") === manifest.sha256 && reader.bytes === manifest.bytes;
    if (!same || view_bytes !== manifest.view_bytes) throw damaged(from);
  } finally {
    closeSync(input);
    closeSync(output);
  }
}

function decompressed(packed: Uint8Array, path: string): Uint8Array {
  try {
    return Bun.zstdDecompressSync(packed);
  } catch {
    throw damaged(path);
  }
}
