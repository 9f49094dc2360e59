// Tests wait for what they want to see, with a deadline, and never for a time.

const DEADLINE_MS = 15_000;
const PAUSE_MS = 2;

/** Asks until there is an answer other than undefined and false; the deadline is an error that names what was waited for. */
export async function until<T>(
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  what: string,
  deadline_ms = DEADLINE_MS,
): Promise<T> {
  const end_ms = performance.now() + deadline_ms;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end_ms) throw new Error(`waited ${deadline_ms} ms in vain for ${what}`);
    await Bun.sleep(PAUSE_MS);
  }
}

/** What a promise gives, or an error that names what did not come in time. */
export async function within<T>(promise: Promise<T>, what: string, deadline_ms = DEADLINE_MS): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`waited ${deadline_ms} ms in vain for ${what}`)), deadline_ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
