// The only place that knows the time, chance and timers. Everything else is given a Runtime, so that the simulator can
// hand out a virtual one (style 4). Durations are integer milliseconds.

/** A started timer; `cancel` is safe to call more than once and after it fired. */
export interface Timer {
  cancel(): void;
}

export interface Runtime {
  /** Milliseconds since the Unix epoch. May jump either way: use it for people, never for deadlines. */
  wall_ms(): number;
  /** Milliseconds since an arbitrary start, never going back. */
  monotonic_ms(): number;
  /** Cryptographically random bytes (seeded ones in a simulation). */
  random_bytes(length: number): Uint8Array;
  /** Runs `action` once, after `delay_ms`. */
  after(delay_ms: number, action: () => void): Timer;
  /** Runs `action` when this turn of the event loop has taken what arrived. */
  soon(action: () => void): void;
}

/** What the system can wait at once: a timer that is set for longer fires at once. */
const LONGEST_MS = 2 ** 31 - 1;

function systemTimer(delay_ms: number, action: () => void): Timer {
  const handle = setTimeout(action, delay_ms);
  return { cancel: () => clearTimeout(handle) };
}

/** However long it is: one timer of the system after the other. */
export function longTimer(after: Runtime["after"], delay_ms: number, action: () => void): Timer {
  if (delay_ms <= LONGEST_MS) return after(delay_ms, action);
  let timer = after(LONGEST_MS, () => {
    timer = longTimer(after, delay_ms - LONGEST_MS, action);
  });
  return { cancel: () => timer.cancel() };
}

export const systemRuntime: Runtime = {
  wall_ms: () => Date.now(),
  monotonic_ms: () => performance.now(),
  random_bytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
  after(delay_ms, action) {
    return longTimer(systemTimer, delay_ms, action);
  },
  soon(action) {
    setImmediate(action);
  },
};

/** Resolves after `delay_ms`; for shells (code at the edge that may await), never for handlers. */
export function sleep(runtime: Runtime, delay_ms: number): Promise<void> {
  return new Promise((resolve) => {
    runtime.after(delay_ms, resolve);
  });
}

/** Stops the whole process for a moment: only where a call must not return before it is done. */
export function blockFor(delay_ms: number): void {
  Bun.sleepSync(delay_ms);
}

/** A random unsigned 32-bit integer. */
export function randomU32(runtime: Runtime): number {
  const bytes = runtime.random_bytes(4);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0);
}

/** A random number from 0 up to, but not, 1. */
export function randomUnit(runtime: Runtime): number {
  return randomU32(runtime) / 2 ** 32;
}

/** `length` random bytes as lower-case hex (2 characters a byte). */
export function randomHex(runtime: Runtime, length: number): string {
  return Buffer.from(runtime.random_bytes(length)).toString("hex");
}

/** An ISO-8601 UTC instant for people and for `--json`. */
export function isoTime(wall_ms: number): string {
  return new Date(wall_ms).toISOString();
}

/** Wall milliseconds of an ISO-8601 instant; NaN for what is none. `Date` itself takes February 31st for March 3rd. */
export function parseIsoTime(text: string): number {
  const day = /^\d{4}-\d\d-\d\d/.exec(text)?.[0];
  const at = day === undefined ? Number.NaN : Date.parse(`${day}T00:00:00Z`);
  return Number.isFinite(at) && isoTime(at).startsWith(`${day}T`) ? Date.parse(text) : Number.NaN;
}
