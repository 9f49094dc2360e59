// Where tasks leave word of what they did, in the order in which they did it: a file that each appends lines to.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Cluster, Wanted } from "../cluster.ts";
import { until } from "../until.ts";

export class Notes {
  readonly path: string;

  constructor(cluster: Cluster, name: string) {
    this.path = join(cluster.cwd, name);
  }

  /** A task that runs this line; `note X` in it writes X. */
  task(line: string, more: Wanted = {}): Wanted {
    return {
      ...more,
      argv: [`note() { echo "$1" >> '${this.path}'; }; ${line}`],
      needs: { ...more.needs, executor: "shell" },
    };
  }

  /** A task that notes its name when it starts, and then runs until `release` was called with that name. */
  held(name: string, more: Wanted = {}): Wanted {
    return this.task(`note ${name}; until [ -e '${this.path}.${name}' ]; do sleep 0.01; done`, { ...more, name });
  }

  async release(name: string): Promise<void> {
    await Bun.write(`${this.path}.${name}`, "");
  }

  get lines(): string[] {
    return existsSync(this.path) ? readFileSync(this.path, "utf8").trim().split("\n") : [];
  }

  /** Waits for so many lines. */
  async written(count: number): Promise<string[]> {
    await until(() => this.lines.length >= count && this.lines[0] !== "", `${count} notes`);
    return this.lines;
  }
}
