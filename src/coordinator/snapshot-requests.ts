// What clients ask of the snapshots. One may take longer than a request may wait: it is asked for again with its nonce.

import { ClawError } from "../common/errors.ts";
import type { Runtime, Timer } from "../common/runtime.ts";
import type { Manifest } from "../common/snapshot.ts";
import type { Request } from "../communication/bus.ts";
import type { QueryRequest } from "../communication/queries.ts";
import type { Snapshots } from "./snapshots.ts";

const ANSWER_MS = 2_000;

export class SnapshotRequests {
  readonly #runtime: Runtime;
  readonly #snapshots: Snapshots;
  /** The one that was asked for last, and what became of it. */
  #asked: { nonce: string; taken: Promise<Manifest> } | undefined;

  constructor(runtime: Runtime, snapshots: Snapshots) {
    this.#runtime = runtime;
    this.#snapshots = snapshots;
  }

  /** Answers with the manifest, or, after a moment, without one: then it is to be asked again. */
  take(nonce: string, request: Request): void {
    if (this.#asked?.nonce !== nonce) {
      this.#asked = { nonce, taken: this.#snapshots.take() };
      this.#asked.taken.catch(() => undefined); // whoever asks again is told
    }
    const { taken } = this.#asked;
    let timer: Timer | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = this.#runtime.after(ANSWER_MS, () => resolve(undefined));
    });
    const answer = Promise.race([taken, late]).finally(() => timer?.cancel());
    respond(
      answer.then((manifest) => (manifest === undefined ? {} : { manifest })),
      request,
    );
  }

  query(type: "snapshot.list" | "snapshot.chunk", payload: unknown, request: Request): void {
    if (type === "snapshot.list") {
      respond(
        this.#snapshots.list().then((snapshots) => ({ snapshots })),
        request,
      );
      return;
    }
    const { id, at } = payload as QueryRequest<"snapshot.chunk">;
    const data = this.#snapshots.chunk(id, at).then((bytes) => ({ data: Buffer.from(bytes).toString("base64") }));
    respond(data, request);
  }
}

function respond(answer: Promise<object>, request: Request): void {
  answer.then(
    (given) => request.respond(given),
    (error: unknown) => {
      if (!(error instanceof ClawError)) throw error;
      request.respond(error);
    },
  );
}
