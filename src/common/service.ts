// One start/stop contract for everything that lives longer than a call.

/** `start` resolves when it serves; `stop` resolves when nothing of it is left, and may be called at any time, twice. */
export interface Service {
  readonly name: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Stops services in the reverse order of their start; the first error is thrown after all were asked. */
export async function stopAll(services: readonly Service[]): Promise<void> {
  let first: unknown;
  for (const service of [...services].reverse()) {
    try {
      await service.stop();
    } catch (error) {
      first ??= error;
    }
  }
  if (first !== undefined) throw first;
}
