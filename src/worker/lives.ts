// Lives of a node that are certain to be over. A worker that starts has its data folder to itself (a lock), so the lives
// that this folder noted are dead: a fast restart need not wait until the leader no longer hears of the earlier one. A copy
// of the folder says nothing of the original, which may be alive: the note names the place that it was made in.

import { statSync } from "node:fs";
import { LIMITS } from "../common/limits.ts";
import { machineHash, type ReadText, readText } from "../common/machine.ts";

/** What of the outbox is used. */
export interface Notes {
  get(key: string): string | undefined;
  set(key: string, value: string): void;
}

const KEY = "lives";

/** This folder on this machine, since it was booted: a copy of the file has another inode, an image's clone boots anew. */
export function placeOf(file: string, read: ReadText = readText): string {
  const { dev, ino } = statSync(file);
  const boot = read("/proc/sys/kernel/random/boot_id") ?? "";
  return [machineHash(read), boot, dev, ino].join(" ");
}

/** Gives the lives before this one, the latest first, and notes this one. */
export function noteLife(notes: Notes, place: string, incarnation: string): string[] {
  const [where, ...lives] = (notes.get(KEY) ?? "").split("\n");
  const earlier = where === place ? lives : [];
  const kept = [incarnation, ...earlier].slice(0, LIMITS.earlier_lives);
  notes.set(KEY, [place, ...kept].join("\n"));
  return earlier;
}
