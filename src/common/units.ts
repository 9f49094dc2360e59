// Durations and sizes as people write them: `90s`, `5m`, `1h30m`, `512M`, `2GiB`. Inside they are integers.

import { ClawError } from "./errors.ts";

const MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const BYTES: Record<string, number> = { "": 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };
const LONGEST_MS = 10 ** 13;

/** Milliseconds; a bare number is refused, because nobody can know its unit. */
export function parseDuration(text: string): number {
  const pattern = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;
  if (!pattern.test(text)) {
    throw new ClawError("usage", `'${text}' is no duration`, { hint: "write 250ms, 90s, 5m, 2h or 1h30m" });
  }
  let total_ms = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total_ms += Number(amount) * (MS[unit ?? ""] ?? 0);
  }
  if (total_ms > LONGEST_MS) throw new ClawError("usage", `'${text}' is too long a time`);
  return Math.round(total_ms);
}

/** Bytes; powers of 1024 whichever way they are written. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?$/i.exec(text);
  const bytes = match === null ? Number.NaN : Number(match[1]) * (BYTES[(match[2] ?? "").toLowerCase()] ?? Number.NaN);
  if (!Number.isFinite(bytes) || bytes > Number.MAX_SAFE_INTEGER) {
    throw new ClawError("usage", `'${text}' is no size`, { hint: "write 512M, 2G or 1.5GiB" });
  }
  return Math.round(bytes);
}

/** The two largest units: for people; what was left out is not said. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)}ms`;
  if (ms < 59_500) return `${trim(ms / 1_000)}s`;
  const parts: string[] = [];
  let left = Math.round(ms / 1_000);
  for (const [unit, seconds] of [
    ["d", 86_400],
    ["h", 3_600],
    ["m", 60],
    ["s", 1],
  ] as const) {
    const amount = Math.floor(left / seconds);
    left -= amount * seconds;
    if (amount > 0) parts.push(`${amount}${unit}`);
  }
  return parts.slice(0, 2).join("");
}

export function formatSize(bytes: number): string {
  let value = bytes;
  for (const unit of ["", "K", "M", "G"]) {
    if (Math.round(value) < 1024) return `${trim(value)}${unit}`;
    value /= 1024;
  }
  return `${trim(value)}T`;
}

function trim(value: number): string {
  return String(value >= 10 ? Math.round(value) : Number(value.toFixed(1)));
}

/** `1 task`, `3 tasks`. */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Amounts as people ask for them; memory to the MiB, because what is short may be little. */
export const SAY = {
  cpu: (millis: number): string => `${millis / 1000} cpu`,
  memory: (mib: number): string => `${mib % 1024 === 0 ? `${mib / 1024}G` : `${mib}M`} of memory`,
  gpus: (count: number): string => plural(count, "gpu"),
} as const;
