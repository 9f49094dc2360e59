// Many seeds, for a night or a doubt: `bun test/sim/seeds.ts FROM TO`. Each seed has one to three workers; those that
// fail are printed with what they found, and the exit code says whether there were any.

import { simulate } from "./world.ts";

const [from = 1, to = from] = process.argv.slice(2).map(Number);
let failed = 0;
for (let seed = from; seed <= to; seed++) {
  const workers = 1 + (seed % 3);
  const coordinators = 1 + (seed % 4 === 0 ? 0 : 2);
  try {
    await simulate(seed, workers, coordinators);
  } catch (error) {
    failed += 1;
    console.log(`${coordinators} coordinators, ${workers} workers: ${String(error)}\n`);
  }
}
console.log(`${to - from + 1} seeds, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
