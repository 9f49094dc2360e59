// Seeded chance: the same seed gives the same run.

export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0;
    for (let warm = 0; warm < 8; warm++) this.u32();
  }

  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** From 0 up to, but not, `end`. */
  below(end: number): number {
    return this.u32() % end;
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True once in `of` times. */
  once(of: number): boolean {
    return this.below(of) === 0;
  }

  hex(bytes: number): string {
    let text = "";
    while (text.length < bytes * 2) text += this.u32().toString(16).padStart(8, "0");
    return text.slice(0, bytes * 2);
  }
}
