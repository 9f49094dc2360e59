// Property tests with seeded chance: what fails names its seed, which is then run alone with `CLAW_SEED=N`.

import { Chance } from "../sim/chance.ts";

export function forSeeds(count: number, body: (chance: Chance, seed: number) => void): void {
  const only = process.env["CLAW_SEED"];
  const seeds = only === undefined ? Array.from({ length: count }, (_, at) => at + 1) : [Number(only)];
  for (const seed of seeds) {
    try {
      body(new Chance(seed), seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}
