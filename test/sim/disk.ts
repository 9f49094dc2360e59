// A worker's disk: what is written is safe once it is synced, which is now and then; a machine that loses its power has the
// rest no more.

import { copyFileSync, existsSync, rmSync } from "node:fs";

const PARTS = ["", "-wal"];

export class SimDisk {
  readonly #path: string;
  #boots = 1;

  constructor(path: string) {
    this.#path = path;
  }

  /** Where it is, since when: after a loss of power it is another place. */
  get place(): string {
    return `${this.#path} ${this.#boots}`;
  }

  sync(): void {
    for (const part of PARTS) {
      rmSync(`${this.#path}.synced${part}`, { force: true });
      if (existsSync(this.#path + part)) copyFileSync(this.#path + part, `${this.#path}.synced${part}`);
    }
  }

  /** Back to what was synced; nothing was written to it since. */
  losePower(): void {
    this.#boots += 1;
    for (const part of [...PARTS, "-shm"]) {
      rmSync(this.#path + part, { force: true });
      const synced = `${this.#path}.synced${part}`;
      if (existsSync(synced)) copyFileSync(synced, this.#path + part);
    }
  }
}
