// How well a node is: 100, less what each sign takes away, with the reason for it. For people and for alarms; nothing is
// decided by it.

import type { HealthPart, NodeHealth } from "../common/models.ts";
import { formatDuration, formatSize } from "../common/units.ts";
import type { NodeStatus } from "../common/vocabulary.ts";

const MIB = 1024 * 1024;

/** Attempts that ended on a node lately. Older ones weigh less and less: `ended` never exceeds RECENT. */
export interface Recent {
  ended: number;
  failed: number;
  /** Of those, because the node could not start a process. */
  unstarted: number;
}

export const RECENT = 20;

export interface Signs {
  status: NodeStatus;
  reason: string;
  /** Since it was heard last; undefined: not by whom is asked. */
  silent_ms: number | undefined;
  heartbeat_ms: number;
  /** Heartbeats after which it counts as offline. */
  missed: number;
  cpu_percent: number | undefined;
  free_memory_mib: number | undefined;
  memory_mib: number;
  disk_free_percent: number | undefined;
  recent: Recent;
}

/** What each sign may take at most. Together they take more than there is: two bad ones are enough for a node to be bad. */
const MOST = { status: 80, heartbeat: 40, load: 15, memory: 25, disk: 30, failures: 30 } as const;
const LOAD_FROM = 80;
const SCARCE_PERCENT = 15;
/** So many ends make a judgement; of fewer each weighs less. */
const ENOUGH = 5;
/** A task that fails by itself says little of its node, unless many do. */
const FAILED_WEIGHT = 0.25;
const UNTOLD = "no heartbeat told it yet, its metrics are off, or it cannot be read there";

export function healthOf(signs: Signs): NodeHealth {
  if (signs.status === "offline") {
    const says = signs.reason === "" ? "offline" : `offline: ${signs.reason}`;
    return { score: 0, parts: [{ sign: "status", lost: 100, says }] };
  }
  const parts = [status(signs), heartbeat(signs), load(signs), memory(signs), disk(signs), failures(signs)];
  const lost = parts.reduce((sum, part) => sum + part.lost, 0);
  return { score: Math.max(0, 100 - lost), parts };
}

/** `share` from 0 (all is well) to 1 of what the sign may take. */
function part(sign: keyof typeof MOST, share: number, says: string): HealthPart {
  return { sign, lost: Math.round(Math.min(1, Math.max(0, share)) * MOST[sign]), says };
}

function unknown(sign: keyof typeof MOST, says: string): HealthPart {
  return { sign, lost: 0, says, unknown: true };
}

function status({ status: is, reason }: Signs): HealthPart {
  return is === "error" ? part("status", 1, `in error: ${reason}`) : part("status", 0, is);
}

/** One that is late by a little is none; the loss grows until it counts as offline. */
function heartbeat({ silent_ms, heartbeat_ms, missed }: Signs): HealthPart {
  if (silent_ms === undefined) return unknown("heartbeat", "not heard yet by whoever leads now");
  const late = silent_ms / heartbeat_ms - 1.5;
  const says = `heard ${formatDuration(Math.round(silent_ms))} ago, every ${formatDuration(heartbeat_ms)} when it is well`;
  return part("heartbeat", late / Math.max(0.5, missed - 1), says);
}

function load({ cpu_percent }: Signs): HealthPart {
  if (cpu_percent === undefined) return unknown("load", UNTOLD);
  return part("load", (cpu_percent - LOAD_FROM) / (100 - LOAD_FROM), `${cpu_percent} % of its processors busy`);
}

function memory({ free_memory_mib, memory_mib }: Signs): HealthPart {
  if (free_memory_mib === undefined) return unknown("memory", UNTOLD);
  const free = memory_mib > 0 ? (100 * free_memory_mib) / memory_mib : 100;
  const says = `${formatSize(free_memory_mib * MIB)} free, it offers ${formatSize(memory_mib * MIB)}`;
  return part("memory", (SCARCE_PERCENT - free) / SCARCE_PERCENT, says);
}

function disk({ disk_free_percent }: Signs): HealthPart {
  if (disk_free_percent === undefined) return unknown("disk", UNTOLD);
  const share = (SCARCE_PERCENT - disk_free_percent) / SCARCE_PERCENT;
  return part("disk", share, `${disk_free_percent} % of the disk with its data free`);
}

function failures({ recent: { ended, failed, unstarted } }: Signs): HealthPart {
  if (ended === 0) return part("failures", 0, "nothing ended there lately");
  const bad = (unstarted + (failed - unstarted) * FAILED_WEIGHT) / ended;
  const percent = Math.round((100 * failed) / ended);
  const own = unstarted > 0 ? `, ${Math.round((100 * unstarted) / ended)} % because it could not start them` : "";
  const says = failed === 0 ? "none of the latest tasks" : `${percent} % of the latest tasks${own}`;
  return part("failures", bad * Math.min(1, ended / ENOUGH), says);
}

/** More ends: the earlier ones weigh less. */
export function ended(recent: Recent, more: Recent): Recent {
  const sum = {
    ended: recent.ended + more.ended,
    failed: recent.failed + more.failed,
    unstarted: recent.unstarted + more.unstarted,
  };
  const scale = Math.min(1, RECENT / sum.ended);
  return { ended: sum.ended * scale, failed: sum.failed * scale, unstarted: sum.unstarted * scale };
}
