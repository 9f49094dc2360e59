// Who asks is answered here: at once out of the view, or when what the request waits for has happened. Only who leads
// answers: so no two coordinators ever give two answers, and none has to know how far another is.

import { ClawError, isFault, messageOf } from "../common/errors.ts";
import type { ClusterState, NodeView } from "../common/models.ts";
import type { Runtime } from "../common/runtime.ts";
import type { Request } from "../communication/bus.ts";
import type { FileStore } from "../communication/files.ts";
import type { QueryAnswers, QueryRequest, QueryType } from "../communication/queries.ts";
import { requireFolder } from "../core/decide-specification.ts";
import { Queries } from "../storage/queries.ts";
import type { View } from "../storage/view.ts";
import { Answers } from "./answers.ts";
import type { Committed } from "./committer.ts";
import { EventFeed, type ReadableLog } from "./feed.ts";
import type { SnapshotRequests } from "./snapshot-requests.ts";
import type { Terms } from "./term.ts";
import { Waiters } from "./waiters.ts";

export interface DeskOptions {
  runtime: Runtime;
  view: View;
  log: ReadableLog;
  terms: Terms;
  /** Scripts. */
  files: Pick<FileStore, "piece">;
  /** Undefined while it starts. */
  snapshots: () => SnapshotRequests | undefined;
  status: () => ClusterState;
  /** A bug. */
  failed: (error: unknown) => void;
}

/** What everybody waits for who waits for any event. */
const ANY = -1;
/** And who waits for what nodes say of a folder. */
const FOLDERS = -2;
/** A node that has not answered by then does not count. */
const LOOK_MS = 2_000;

export class Desk {
  readonly #options: DeskOptions;
  readonly #answers: Answers;
  readonly #feed: EventFeed;
  readonly #waiters: Waiters;
  #changed = new Set<number>();

  constructor(options: DeskOptions) {
    const { runtime, view, terms, log } = options;
    const queries = new Queries(view);
    this.#options = options;
    this.#waiters = new Waiters(runtime);
    this.#answers = new Answers(
      queries,
      () => terms.leader,
      () => runtime.monotonic_ms(),
    );
    const names = {
      idsOf: (number: number) => {
        terms.flush();
        return queries.idsOf(number);
      },
      nodeName: (id: string) => terms.leader?.state.nodes.get(id)?.info.name,
    };
    this.#feed = new EventFeed(log, names, runtime);
  }

  /** Every one, as `node.list` tells of it; throws `not_leading`. */
  nodes(): NodeView[] {
    return this.#answers.everyNode();
  }

  /** Answers, now or later. */
  query(type: QueryType, payload: unknown, request: Request): void {
    const { terms } = this.#options;
    const { seen } = payload as { seen?: number };
    try {
      this.#requireLeading();
      if (seen !== undefined && seen > terms.sequence) {
        throw new ClawError("not_leading", `this coordinator has ${terms.sequence}, not yet ${seen}`);
      }
      this.#serve(type, payload, request);
    } catch (error) {
      this.#refuse(request, error);
    }
  }

  /** What is not the request's fault ends this coordinator, and whoever asked asks the next one. */
  #refuse(request: Request, error: unknown): void {
    if (error instanceof ClawError && !isFault(error)) {
      request.respond(error);
      return;
    }
    request.respond(new ClawError("not_leading", `this coordinator ends: ${messageOf(error)}`));
    this.#options.failed(error);
  }

  #serve(type: QueryType, payload: unknown, request: Request): void {
    switch (type) {
      case "snapshot.list":
      case "snapshot.chunk": {
        const snapshots = this.#options.snapshots();
        if (snapshots === undefined) throw new ClawError("not_leading", "it is starting");
        snapshots.query(type, payload, request);
        return;
      }
      case "file.chunk":
        this.#giveFile(payload as QueryRequest<"file.chunk">, request);
        return;
      case "task.wait":
        this.#wait(payload as QueryRequest<"task.wait">, request);
        return;
      case "task.results":
        this.#waitResults(payload as QueryRequest<"task.results">, request);
        return;
      case "task.plan":
        this.#plan(payload as QueryRequest<"task.plan">, request);
        return;
      case "event.list":
        this.#listEvents(payload as QueryRequest<"event.list">, request, this.#options.runtime.monotonic_ms());
        return;
      default:
        this.#options.terms.flush();
        request.respond(this.#answer(type, payload));
    }
  }

  #answer(
    type: Exclude<
      QueryType,
      "task.wait" | "task.results" | "task.plan" | "event.list" | "file.chunk" | `snapshot.${string}`
    >,
    payload: unknown,
  ): object {
    switch (type) {
      case "task.resolve":
        return this.#answers.resolve(payload as QueryRequest<"task.resolve">);
      case "task.list":
        return this.#answers.list(payload as QueryRequest<"task.list">);
      case "task.show":
        return this.#answers.show(payload as QueryRequest<"task.show">);
      case "node.list":
        return this.#answers.nodes(payload as QueryRequest<"node.list">);
      case "skill.list":
        return this.#answers.skills(payload as QueryRequest<"skill.list">);
      case "cluster.status":
        return { status: this.#options.status() } satisfies QueryAnswers["cluster.status"];
    }
  }

  #giveFile({ sha256, at }: QueryRequest<"file.chunk">, request: Request): void {
    const { files } = this.#options;
    files
      .piece(sha256, at)
      .then(({ bytes, chunks }) => {
        const data = Buffer.from(bytes).toString("base64");
        request.respond({ data, chunks } satisfies QueryAnswers["file.chunk"]);
      })
      .catch((error: unknown) => {
        // A script that came damaged from the store is that script's trouble.
        if (error instanceof ClawError) request.respond(error);
        else this.#refuse(request, error);
      });
  }

  /** What is read here may be old if another leads by now: the lease says that none does. */
  #requireLeading(): void {
    if (this.#options.terms.leader === undefined) {
      throw new ClawError("not_leading", "this coordinator is not leading");
    }
  }

  #wait(query: QueryRequest<"task.wait">, request: Request): void {
    this.#attempt(query.number, query.wait_ms, request, (late) => {
      return this.#answers.wait(query) ?? (late ? this.#answers.soFar(query) : undefined);
    });
  }

  #waitResults(query: QueryRequest<"task.results">, request: Request): void {
    this.#attempt(query.number, query.wait_ms, request, (late) => {
      const answer = this.#answers.results(query);
      return answer.results.length > 0 || answer.finished || late ? answer : undefined;
    });
  }

  /** As soon as the nodes have said whether they have the folder that it wants. */
  #plan(query: QueryRequest<"task.plan">, request: Request): void {
    const { runtime, terms } = this.#options;
    const { needs } = query.specification;
    requireFolder(needs);
    this.#attempt(FOLDERS, needs.folder === undefined ? 0 : LOOK_MS, request, (late) => {
      const now = { wall_ms: runtime.wall_ms(), monotonic_ms: runtime.monotonic_ms() };
      return !late && terms.leader?.looks(needs, now) === true ? undefined : this.#answers.plan(query);
    });
  }

  #attempt(number: number, wait_ms: number, request: Request, ask: (late: boolean) => object | undefined): void {
    this.#waiters.wait(number, wait_ms, request.left, (late) => {
      try {
        this.#requireLeading();
        this.#options.terms.flush();
        const answer = ask(late);
        if (answer !== undefined) request.respond(answer);
        return answer !== undefined;
      } catch (error) {
        this.#refuse(request, error);
        return true;
      }
    });
  }

  #listEvents(query: QueryRequest<"event.list">, request: Request, since_ms: number): void {
    const { terms, runtime } = this.#options;
    const at = terms.sequence;
    this.#feed
      .list(query)
      .then((answer) => {
        this.#requireLeading();
        const left_ms = Math.max(0, query.wait_ms - (runtime.monotonic_ms() - since_ms));
        const { events, more, missed, cursor, before } = answer;
        // There may be older ones that it did not get to: who asked looks on.
        const found = events.length > 0 || more || missed === true || before !== undefined;
        if (found || left_ms === 0) request.respond(answer);
        else this.#listLater({ ...query, after: cursor }, request, since_ms, left_ms, at);
      })
      .catch((error: unknown) => this.#refuse(request, error));
  }

  /** As soon as the log has more than `at`. */
  #listLater(query: QueryRequest<"event.list">, request: Request, since_ms: number, left_ms: number, at: number): void {
    this.#waiters.wait(ANY, left_ms, request.left, (late) => {
      if (!late && this.#options.terms.sequence <= at) return false;
      this.#listEvents(late ? { ...query, wait_ms: 0 } : query, request, since_ms);
      return true;
    });
  }

  committed({ changes, sequence, payload }: Committed): void {
    this.#feed.committed({ sequence, payload });
    this.#tell(changes.submissions.keys(), ANY);
  }

  /** A node has said which folders it has. */
  looked(): void {
    this.#tell([], FOLDERS);
  }

  /** Tells those who wait, once for everything of this turn. */
  #tell(submissions: Iterable<number>, what: number): void {
    const idle = this.#changed.size === 0;
    for (const number of submissions) if (this.#waiters.has(number)) this.#changed.add(number);
    if (this.#waiters.has(what)) this.#changed.add(what);
    if (!idle || this.#changed.size === 0) return;
    this.#options.runtime.soon(() => {
      const changed = this.#changed;
      this.#changed = new Set();
      for (const number of changed) this.#waiters.changed(number);
    });
  }

  /** Answers everybody now: the coordinator stops or steps down. */
  close(): void {
    this.#waiters.close();
  }
}
