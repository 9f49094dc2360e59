// Files that only their owner can read: keys, credentials, and what tells local clients where to go.

import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { ClawError, messageOf, writeProblem } from "../common/errors.ts";

/** Writes such a file, whole or not at all; a durable one also outlives the machine's power from then on. */
export function writePrivate(path: string, text: string, durable = false): void {
  placed(path, text, durable, renameSync);
}

/** A durable one that is written once for ever: of several processes that make it at the same time, the first wins. */
export function createPrivate(path: string, text: string): void {
  placed(path, text, true, (draft) => {
    try {
      linkSync(draft, path);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? "";
      if (["EPERM", "ENOTSUP", "EOPNOTSUPP"].includes(code))
        renameSync(draft, path); // there are no links here
      else if (code !== "EEXIST") throw error;
    } finally {
      discard(draft);
    }
  });
}

function placed(path: string, text: string, durable: boolean, place: (draft: string, path: string) => void): void {
  const folder = dirname(path);
  const draft = `${path}.${process.pid}.new`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    discard(draft);
    const fd = openSync(draft, "wx", 0o600);
    try {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    place(draft, path);
    if (durable) syncFolder(folder);
  } catch (error) {
    discard(draft);
    throw writeProblem(error, `write ${path}`);
  }
}

/** Removes what did not get its name. Where the path itself is wrong, even a forced removal throws. */
export function discard(draft: string): void {
  try {
    unlinkSync(draft);
  } catch {
    // there is none
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Refuses one that others can read, as ssh does: what they could read is no longer a secret. */
export function readPrivate(path: string): string {
  try {
    if ((statSync(path).mode & 0o077) !== 0) {
      throw new ClawError("refused", `others than its owner can use ${path}`, {
        hint: `chmod 600 ${path}`,
        field: path,
      });
    }
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof ClawError) throw error;
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const why = missing ? `there is no ${path}` : `cannot read ${path}: ${messageOf(error)}`;
    throw new ClawError(missing ? "not_found" : "io", why, {
      hint: missing ? "is the name right?" : "does it belong to the user that runs claw?",
      field: path,
      cause: error,
    });
  }
}
