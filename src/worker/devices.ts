// Which of a node's graphics processors a task has: the first that nobody else has. CUDA and its like are told by
// their variables; a task that asks for none is told nothing.

export class Devices {
  readonly #listed: readonly string[];
  readonly #taken = new Set<string>();

  /** Those that the worker may see. Without any, and for what the node is said to have beyond them, numbers count from 0. */
  constructor(listed: readonly string[] = []) {
    this.#listed = listed;
  }

  take(count: number): string[] {
    const found = this.#listed.filter((name) => !this.#taken.has(name)).slice(0, count);
    for (let number = 0; found.length < count; number++) {
      const name = String(number);
      if (!this.#taken.has(name) && !this.#listed.includes(name)) found.push(name);
    }
    for (const name of found) this.#taken.add(name);
    return found;
  }

  release(names: readonly string[]): void {
    for (const name of names) this.#taken.delete(name);
  }
}

/** What programs look at, of either maker. */
const VISIBLE = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"];

export function deviceVariables(devices: readonly string[]): Record<string, string> {
  if (devices.length === 0) return {};
  return Object.fromEntries(VISIBLE.map((name) => [name, devices.join(",")]));
}
