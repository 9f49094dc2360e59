// Which of a node's graphics processors a task has: the lowest numbers that nobody else has. CUDA and its like are told by
// their variables; a task that asks for none is told nothing.

export class Devices {
  readonly #taken = new Set<number>();

  take(count: number): number[] {
    const found: number[] = [];
    for (let number = 0; found.length < count; number++) if (!this.#taken.has(number)) found.push(number);
    for (const number of found) this.#taken.add(number);
    return found;
  }

  release(numbers: readonly number[]): void {
    for (const number of numbers) this.#taken.delete(number);
  }
}

/** What programs look at, of either maker. */
const VISIBLE = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"];

export function deviceVariables(numbers: readonly number[]): Record<string, string> {
  if (numbers.length === 0) return {};
  return Object.fromEntries(VISIBLE.map((name) => [name, numbers.join(",")]));
}
