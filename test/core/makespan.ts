// The shortest time in which a handful of tasks can be through, found by trying every order on every node (a schedule
// in which nothing can begin earlier is among the shortest), cut off where it can be no better than what is known.

export interface Job {
  cpu_millis: number;
  memory_mib: number;
  runs_ms: number;
}
export type Machine = Omit<Job, "runs_ms">;

interface Slot extends Job {
  machine: number;
  begins: number;
  ends: number;
}

export function shortestMakespan(jobs: readonly Job[], machines: readonly Machine[], known_ms: number): number {
  const least_ms = leastMakespan(jobs, machines);
  const slots: Slot[] = [];
  const used = jobs.map(() => false);
  let best = known_ms;
  const go = (end: number): void => {
    if (best <= least_ms || end >= best) return;
    if (slots.length === jobs.length) {
      best = end;
      return;
    }
    for (const [at, job] of jobs.entries()) {
      if (used[at]) continue;
      used[at] = true;
      for (const [machine, { cpu_millis, memory_mib }] of machines.entries()) {
        if (job.cpu_millis > cpu_millis || job.memory_mib > memory_mib) continue;
        const begins = earliest(job, slots, machine, machines[machine]!);
        slots.push({ ...job, machine, begins, ends: begins + job.runs_ms });
        go(Math.max(end, begins + job.runs_ms));
        slots.pop();
      }
      used[at] = false;
    }
  };
  go(0);
  return best;
}

/** No schedule is shorter than its longest task, or than all the work spread evenly. */
function leastMakespan(jobs: readonly Job[], machines: readonly Machine[]): number {
  const even = (name: keyof Machine): number =>
    jobs.reduce((sum, job) => sum + job[name] * job.runs_ms, 0) / machines.reduce((sum, one) => sum + one[name], 0);
  return Math.max(even("cpu_millis"), even("memory_mib"), ...jobs.map(({ runs_ms }) => runs_ms));
}

function earliest(job: Job, slots: readonly Slot[], machine: number, room: Machine): number {
  const mine = slots.filter((slot) => slot.machine === machine);
  const moments = [0, ...mine.map(({ ends }) => ends)].sort((a, b) => a - b);
  const found = moments.find((begins) => {
    const marks = [begins, ...mine.map((slot) => slot.begins).filter((at) => at > begins && at < begins + job.runs_ms)];
    return marks.every((mark) => {
      const there = mine.filter((slot) => slot.begins <= mark && slot.ends > mark);
      const sum = (name: keyof Machine): number => there.reduce((all, slot) => all + slot[name], job[name]);
      return sum("cpu_millis") <= room.cpu_millis && sum("memory_mib") <= room.memory_mib;
    });
  });
  return found!;
}
