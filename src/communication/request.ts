// The client's side of commands and queries. Sending again is safe, because the client chose the ids: so a coordinator
// that restarts, or hands over, is waited for instead of failing what a person asked.

import type { NatsConnection } from "nats";
import type { z } from "zod";
import { ClawError, type WireError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { type Runtime, sleep, type Timer } from "../common/runtime.ts";
import type { COMMANDS, CommandAnswers, CommandType } from "./messages.ts";
import { forbidden, isForbidden } from "./permissions.ts";
import type { QueryAnswers, QueryRequest, QueryType } from "./queries.ts";
import { subjects } from "./subjects.ts";
import { type Asker, AWAY, isLate, unanswered } from "./unanswered.ts";

/** Beyond what the request itself waits for. */
const REQUEST_MS = 5_000;
/** For somebody who never answered yet: a person waits for the error. */
const FIRST_ANSWER_MS = 3_000;
/** Longer than another coordinator takes to lead. */
const TAKEOVER_MS = 10_000;
/** A restart that is over sooner is not worth a word. */
const OVERDUE_MS = 1_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 500;
/** Before the time is over NATS itself is asked, so that it is known then whose silence it is. */
const PROBE_MS = 1_000;
const AGAIN_CODES = new Set(["unknown_outcome", "not_leading"]);

export interface RequestOptions extends Asker {
  runtime: Runtime;
  who: string;
  /** How long an unanswered request is sent again. */
  patience_ms: number;
  /** How long a connection may be away before nothing is waited for any more; otherwise as long as patience goes. */
  away_ms?: number;
  /** Told once when an answer is overdue. */
  onWaiting: (why: string) => void;
}

export class RequestClient {
  readonly connection: NatsConnection;
  readonly cluster: string;
  readonly #options: RequestOptions;
  #seen = 0;
  #told = false;
  /** Requests that are sent again. An outage lasts as long as there is one. */
  #waiting = 0;
  #answered = false;
  /** away: for longer than is waited for. */
  #link: "up" | "lost" | "away" = "up";
  /** Give up what is on its way: its answer will not come, as the connection was lost or another coordinator leads. */
  readonly #on_way = new Set<(why: Error) => void>();

  constructor(connection: NatsConnection, options: RequestOptions) {
    this.connection = connection;
    this.cluster = options.cluster;
    this.#options = options;
    void this.#watch();
    // Where that may not be heard (credentials of an earlier claw, somebody else's NATS), what is asked ends with its time.
    connection.subscribe(subjects.lead(options.cluster), {
      callback: (error) => {
        if (error === null) this.#giveUp("another coordinator leads");
      },
    });
  }

  /** False as soon as the broker is known to be gone. */
  get connected(): boolean {
    return this.#link === "up";
  }

  #giveUp(why: string): void {
    for (const giveUp of this.#on_way) giveUp(new Error(why));
  }

  async #watch(): Promise<void> {
    const { runtime, away_ms } = this.#options;
    let overdue: Timer | undefined;
    let away: Timer | undefined;
    for await (const { type } of this.connection.status()) {
      if (type === "disconnect" && this.connected) {
        this.#link = "lost";
        if (away_ms !== undefined) {
          away = runtime.after(away_ms, () => {
            this.#link = "away";
            this.#giveUp(AWAY);
          });
        }
        overdue = runtime.after(OVERDUE_MS, () => {
          if (this.#on_way.size > 0) this.#tell("the connection was lost");
        });
      } else if (type === "reconnect") {
        this.#link = "up";
        overdue?.cancel();
        away?.cancel();
        this.#giveUp("the connection was lost meanwhile");
      }
    }
    overdue?.cancel();
    away?.cancel();
  }

  /** Once an outage. */
  #tell(why: string): void {
    if (this.#told) return;
    this.#told = true;
    this.#options.onWaiting(why);
  }

  async command<T extends CommandType>(type: T, payload: z.input<(typeof COMMANDS)[T]>): Promise<CommandAnswers[T]> {
    const { cluster, who } = this.#options;
    const answer = await this.#ask(subjects.command(cluster, who, type), payload, 0);
    const { sequence } = answer as { sequence?: number };
    if (sequence !== undefined) this.#seen = Math.max(this.#seen, sequence);
    return answer as CommandAnswers[T];
  }

  async query<T extends QueryType>(type: T, payload: Omit<QueryRequest<T>, "seen">): Promise<QueryAnswers[T]> {
    const { cluster, who } = this.#options;
    const { wait_ms } = payload as { wait_ms?: number };
    const subject = subjects.query(cluster, who, type);
    return (await this.#ask(subject, { ...payload, seen: this.#seen }, wait_ms ?? 0)) as QueryAnswers[T];
  }

  async #ask(subject: string, payload: object, wait_ms: number): Promise<object> {
    const { runtime, patience_ms } = this.#options;
    let since_ms: number | undefined;
    let pause_ms = FIRST_PAUSE_MS;
    try {
      for (;;) {
        const late_ms = this.#answered ? REQUEST_MS : FIRST_ANSWER_MS;
        const sent_ms = runtime.monotonic_ms();
        const failure = await this.#once(subject, payload, wait_ms + late_ms);
        if (!(failure instanceof ClawError)) return failure;
        if (since_ms === undefined) this.#waiting += 1;
        // As long as the leader may take its time, nobody is waited for in vain.
        since_ms ??= Math.min(runtime.monotonic_ms(), sent_ms + wait_ms);
        const waited_ms = runtime.monotonic_ms() - since_ms;
        const patience = this.#answered ? patience_ms : Math.min(patience_ms, firstPatience(failure));
        // After close() nothing is on its way any more.
        if (!isTransient(failure) || this.#link === "away" || waited_ms > patience || this.connection.isClosed())
          throw failure;
        if (waited_ms > OVERDUE_MS) this.#tell(failure.message);
        await sleep(runtime, pause_ms);
        pause_ms = Math.min(pause_ms * 2, LONGEST_PAUSE_MS);
      }
    } finally {
      if (since_ms !== undefined) this.#waiting -= 1;
      if (this.#waiting === 0) this.#told = false;
    }
  }

  /** One try: the answer, or what kept it away. */
  async #once(subject: string, payload: object, timeout_ms: number): Promise<object | ClawError> {
    const text = fitting(payload);
    if (this.#link === "away") return this.#unanswered(new Error(AWAY));
    let body: { ok: true } | { ok: false; error: WireError };
    const { promise: lost, reject: giveUp } = Promise.withResolvers<never>();
    this.#on_way.add(giveUp);
    const probe = this.#probeAfter(Math.max(0, timeout_ms - PROBE_MS));
    try {
      const asked = this.connection.request(subject, text, { timeout: timeout_ms });
      body = (await Promise.race([asked, lost])).json();
    } catch (error) {
      return this.#unanswered(error, probe.silent && isLate(error));
    } finally {
      probe.timer.cancel();
      this.#on_way.delete(giveUp);
    }
    this.#answered = true;
    return body.ok ? body : ClawError.fromWire(body.error);
  }

  /** Silent from when NATS is asked until it answers. */
  #probeAfter(delay_ms: number): { silent: boolean; timer: Timer } {
    const probe = {
      silent: false,
      timer: this.#options.runtime.after(delay_ms, () => {
        probe.silent = true;
        this.connection.flush().then(
          () => {
            probe.silent = false;
          },
          () => undefined, // the connection was lost, which is known in another way
        );
      }),
    };
    return probe;
  }

  #unanswered(error: unknown, silent = false): ClawError {
    if (isForbidden(error)) return forbidden(this.cluster, error);
    return unanswered(this.#options, this.connected ? (silent ? "silent" : "there") : "lost", error);
  }

  async close(): Promise<void> {
    if (!this.connection.isClosed()) await this.connection.close();
  }
}

/** No broker takes more, however often it is sent. */
function fitting(payload: object): string {
  const text = JSON.stringify(payload);
  const size = Buffer.byteLength(text);
  if (size <= LIMITS.message_bytes) return text;
  throw new ClawError("too_large", `what is asked has ${size} bytes, at most ${LIMITS.message_bytes}`);
}

/** Who hears and does not answer may be a leader that hangs: another one takes over. */
function firstPatience({ cause }: ClawError): number {
  return isLate(cause) ? TAKEOVER_MS : FIRST_ANSWER_MS;
}

function isTransient(error: ClawError): boolean {
  return error.code === "no_coordinator" || AGAIN_CODES.has(error.code);
}
