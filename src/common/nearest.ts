// The valid name that somebody most likely meant.

/** Nobody mistypes a name longer than this, and the cost grows with the square. */
const LONGEST_CHARS = 256;

/**
 * Undefined when nothing is near enough to be worth saying. What is the beginning of just one name means that one (`cpu`:
 * `cpu_millis`). A name in a section (`nats.port`) is also known by its last part. `most` is how many letters may differ.
 */
export function nearest(
  name: string,
  valid: readonly string[],
  most = Math.max(2, Math.floor(name.length / 3)),
): string | undefined {
  if (name.length > LONGEST_CHARS) return undefined;
  const [begun, other] = valid.filter((candidate) => name.length >= 2 && candidate.startsWith(name));
  if (begun !== undefined && other === undefined) return begun;
  let best: string | undefined;
  let least = most + 1;
  for (const candidate of valid) {
    const last = candidate.split(".").at(-1) ?? candidate;
    const distance = Math.min(editDistance(name, candidate), editDistance(name, last));
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

/** Letters inserted, removed or changed. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
