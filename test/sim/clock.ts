// Virtual time: things happen in the order of their time, ties in the order of their making.

interface Due {
  at_ms: number;
  order: number;
  action: () => void | Promise<void>;
}

export class Clock {
  now_ms = 0;
  #order = 0;
  #due: Due[] = [];

  after(delay_ms: number, action: () => void | Promise<void>): void {
    this.#order += 1;
    const due = { at_ms: this.now_ms + delay_ms, order: this.#order, action };
    let low = 0;
    let high = this.#due.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#due[middle]!;
      if (other.at_ms < due.at_ms || (other.at_ms === due.at_ms && other.order < due.order)) low = middle + 1;
      else high = middle;
    }
    this.#due.splice(low, 0, due);
  }

  /** Does the next thing; false when there is none before `until_ms`. */
  async step(until_ms: number): Promise<boolean> {
    const next = this.#due[0];
    if (next === undefined || next.at_ms > until_ms) return false;
    this.#due.shift();
    this.now_ms = next.at_ms;
    await next.action();
    return true;
  }
}
