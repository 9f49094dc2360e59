// The attempts that a node holds, as a count and a hash that leader and worker compute alike: a heartbeat carries both,
// so that a message lost on either way is noticed.

/** Order-free: members are combined by XOR. */
export class Held {
  count = 0;
  #hash = 0;

  add(number: number, from: number, to: number, attempt: number): void {
    this.count += to - from;
    for (let index = from; index < to; index++) this.#hash ^= mix(number, index, attempt);
  }

  remove(number: number, from: number, to: number, attempt: number): void {
    this.count -= to - from;
    for (let index = from; index < to; index++) this.#hash ^= mix(number, index, attempt);
  }

  /** Eight hex digits. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, "0");
  }
}

/** 32 bits that say little of what they were made of. */
export function mix(number: number, index: number, attempt: number): number {
  let h = Math.imul(number ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index ^ 0xc2b2ae35, 0x27d4eb2f);
  h ^= Math.imul(attempt, 0x165667b1);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return h ^ (h >>> 15);
}
