// How a run of the simulation ends badly: it stalls, it crashes, or something is wrong.

/** The faults are over, and something is not finished. */
export class Stall extends Error {
  constructor(what: string) {
    super(`it does not finish: ${what}`);
  }
}

/** What a seed found, and what happened before. */
export class Found extends Error {
  readonly told: readonly string[];
  readonly kind: "stall" | "crash" | "wrong";

  constructor(seed: number, cause: unknown, told: readonly string[]) {
    super(`seed ${seed}: ${cause instanceof Error ? cause.stack : String(cause)}`, { cause });
    this.told = told;
    const crashed = cause instanceof TypeError || cause instanceof RangeError || cause instanceof ReferenceError;
    this.kind = cause instanceof Stall ? "stall" : crashed ? "crash" : "wrong";
  }
}
