// What one run of the simulation has: its size, and which faults befall it. A seed has a plan of its own; shrinking makes
// a plan smaller. A fault that is off is drawn for all the same, so that the rest of the run stays what it was.

import type { Retention } from "../../src/core/prune.ts";

export const FAULTS = [
  "crash", // processes are killed between two effects
  "leave", // workers stop cleanly
  "away", // a worker stays away for long
  "lose", // messages get lost
  "repeat", // messages come twice
  "slow", // messages overtake each other
  "log", // appends and their acknowledgements get lost, or come late
  "lease", // questions about the lease get lost
  "handover", // coordinators stop cleanly
  "sleep", // coordinators are stopped for a while
  "cut", // coordinators are cut off from the broker
  "skew", // wall clocks are wrong
  "forget", // the broker forgets the lease
  "disk", // a coordinator that was killed has lost its view
  "twin", // a second process claims to be a node
  "deaf", // what is sent to a worker is lost until it subscribes or connects anew
  "power", // a worker's machine loses what its disk had not synced
  "full", // a worker's disk takes nothing for a while
  "maintain", // nodes are cordoned, drained, removed
  "folders", // what tasks ask for comes and goes on machines
] as const;
export type Fault = (typeof FAULTS)[number];

export interface Plan {
  coordinators: number;
  workers: number;
  /** Submissions by clients, beside the retries that they ask for. */
  submissions: number;
  /** How long faults go on; then everything has to finish. */
  faults_ms: number;
  /** What is over is forgotten so soon, in some seeds. */
  retention: Retention;
  /** Some tasks ask for folders that not every machine has. */
  folders: boolean;
  off: readonly Fault[];
}

/** Most seeds have three coordinators, some one; one to five workers. */
export function planOf(seed: number): Plan {
  const workers = [1, 2, 3, 5][seed % 4] ?? 1;
  const retention =
    seed % 3 === 0
      ? { age_ms: 15_000, keep_ms: 3_000, tasks: 120 }
      : { age_ms: 7 * 86_400_000, keep_ms: 3_600_000, tasks: 1_000_000 };
  const folders = seed % 5 === 0 || seed % 5 > 2;
  const size = { coordinators: seed % 5 === 0 ? 1 : 3, workers, submissions: 12, faults_ms: 60_000 };
  return { ...size, retention, folders, off: [] };
}

/** Plans that are a little smaller in one way each. */
export function smaller(plan: Plan): Plan[] {
  const found: Plan[] = [];
  const half = (value: number): number => Math.ceil(value / 2);
  for (const fault of FAULTS) if (!plan.off.includes(fault)) found.push({ ...plan, off: [...plan.off, fault] });
  if (plan.submissions > 1) {
    found.push({ ...plan, submissions: half(plan.submissions) }, { ...plan, submissions: plan.submissions - 1 });
  }
  if (plan.faults_ms > 1_000) found.push({ ...plan, faults_ms: half(plan.faults_ms) });
  if (plan.workers > 1) found.push({ ...plan, workers: plan.workers - 1 });
  if (plan.coordinators > 1) found.push({ ...plan, coordinators: plan.coordinators - 1 });
  return found;
}
