// Work on whole views beside the loop that serves: a thread of its own for each piece of it, which is gone with its memory
// when it is done.

import { ClawError, type WireError } from "../common/errors.ts";
import type { Checking, Taken, Taking } from "./snapshot.ts";

export type Job = { kind: "take"; taking: Taking } | { kind: "check"; checking: Checking };

export type Done = { ok: true; taken?: Taken; state?: string } | { ok: false; error?: WireError; bug?: string };

/**
 * The binary has the thread as a second entry point beside main.ts, under its path in src; from source it stands beside
 * this file.
 */
function entryPoint(): string {
  const bundled = import.meta.url.includes("/$bunfs/") || import.meta.url.includes("~BUN");
  return bundled ? "./storage/thread-entry.ts" : new URL("./thread-entry.ts", import.meta.url).href;
}

/** Snapshots as whoever takes them sees it: in a thread, or, in a simulation, at once. */
export interface SnapshotMaker {
  take(taking: Taking): Promise<Taken>;
  /** Gives the hash of the state that it is. */
  check(checking: Checking): Promise<string>;
  /** Breaks off what is under way: it rejects with `not_leading`, and nothing of it goes on. */
  stop(): void;
}

export class ThreadedMaker implements SnapshotMaker {
  #stop: (() => void) | undefined;

  async take(taking: Taking): Promise<Taken> {
    const { taken } = await this.#run({ kind: "take", taking });
    if (taken === undefined) throw new Error("the thread gave no snapshot");
    return taken;
  }

  async check(checking: Checking): Promise<string> {
    const { state } = await this.#run({ kind: "check", checking });
    if (state === undefined) throw new Error("the thread looked at no snapshot");
    return state;
  }

  #run(job: Job): Promise<Extract<Done, { ok: true }>> {
    const { promise, resolve, reject } = Promise.withResolvers<Extract<Done, { ok: true }>>();
    const worker = new Worker(entryPoint());
    worker.onmessage = ({ data }: MessageEvent<Done>) => {
      if (data.ok) resolve(data);
      else reject(data.error === undefined ? new Error(data.bug) : ClawError.fromWire(data.error));
      worker.terminate();
    };
    worker.onerror = ({ message }) => reject(new Error(`the snapshot's thread ended: ${message}`));
    // In the middle of a statement it ends when that is over.
    worker.addEventListener("close", () => reject(new ClawError("not_leading", "the snapshot was broken off")));
    worker.postMessage(job);
    this.#stop = () => worker.terminate();
    return promise;
  }

  stop(): void {
    this.#stop?.();
  }
}
