// Which members of an earlier submission a retry is made of: ascending ranges, as text in the log and in the view (a
// hundred thousand scattered failures take some hundred KiB), and the way from a new member to the one that it stands for.

export interface Range {
  from: number;
  /** Excluded. */
  to: number;
}

/** `gap` or `gap+more`, from the end of the range before: `3,0+9` is member 3, then 4 to 13. */
export function encodeMembers(ranges: Iterable<Range>): string {
  const parts: string[] = [];
  let end = 0;
  for (const { from, to } of ranges) {
    if (from < end || to <= from) throw new Error(`members ${from} to ${to} after ${end}`);
    const more = to - from - 1;
    parts.push(more > 0 ? `${from - end}+${more}` : String(from - end));
    end = to;
  }
  return parts.join(",");
}

export class Members {
  /** For each range the first new member and the old one that it stands for. */
  readonly #first: number[] = [];
  readonly #stands_for: number[] = [];
  readonly count: number;

  constructor(text: string) {
    let count = 0;
    let end = 0;
    for (const part of text.split(",")) {
      const [gap = 0, more = 0] = part.split("+").map(Number);
      this.#first.push(count);
      this.#stands_for.push(end + gap);
      count += 1 + more;
      end += gap + 1 + more;
    }
    this.count = count;
  }

  /** The members that new members [from, to) stand for, in order. */
  *standFor(from: number, to: number): Iterable<Range> {
    let at = lastUpTo(this.#first, from);
    for (let member = from; member < Math.min(to, this.count); at++) {
      const past = Math.min(to, this.#first[at + 1] ?? this.count);
      const start = (this.#stands_for[at] ?? 0) + member - (this.#first[at] ?? 0);
      yield { from: start, to: start + past - member };
      member = past;
    }
  }

  /** The member that a new one stands for. */
  oldOf(member: number): number | undefined {
    if (member >= this.count) return undefined;
    const at = lastUpTo(this.#first, member);
    return (this.#stands_for[at] ?? 0) + member - (this.#first[at] ?? 0);
  }

  /** The new member that stands for an old one, if any does. */
  newOf(old: number): number | undefined {
    const at = lastUpTo(this.#stands_for, old);
    const within = old - (this.#stands_for[at] ?? 0);
    const [first = 0, next = this.count] = [this.#first[at], this.#first[at + 1]];
    return within >= 0 && first + within < next ? first + within : undefined;
  }
}

/** Where the last of ascending numbers stands that is not above one; 0 where all are. */
function lastUpTo(numbers: readonly number[], most: number): number {
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((numbers[middle] ?? 0) <= most) low = middle;
    else high = middle - 1;
  }
  return low;
}
