// Requests and messages between the roles, over one connection: what arrives is parsed by its schema, and what does not
// parse, or is too large, is answered with what is wrong with it; where nobody asked, it is counted, logged once a sender, and
// dropped.

import type { Msg, NatsConnection, Subscription } from "nats";
import type { z } from "zod";
import { ClawError, messageOf } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { firstOf, valueAt, wordsOf } from "../common/problem-words.ts";
import { requireWellFormed } from "../common/well-formed.ts";
import { COMMANDS, type CommandType, DownMessage, UpMessage } from "./messages.ts";
import { forbidden, inboxPrefix, isForbidden } from "./permissions.ts";
import { QUERIES, type QueryType } from "./queries.ts";
import { senderOf, subjects } from "./subjects.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** An open request: answered once. */
export interface Request {
  /** Aborted when nobody waits for the answer any more, where that can be known. */
  readonly left?: AbortSignal | undefined;
  respond(answer: object | ClawError): void;
}

export interface CoordinatorHandlers {
  command(type: CommandType, payload: unknown, who: string, bytes: number, request: Request): void;
  query(type: QueryType, payload: unknown, who: string, request: Request): void;
  up(node: string, message: UpMessage, bytes: number): void;
}

/** Told of the first unreadable message of each sender. */
export type OnDropped = (sender: string, why: string) => void;

function encode(message: object): Uint8Array {
  return encoder.encode(JSON.stringify(message));
}

/** A name that no field can have: it would be left out without a word. */
function refuseParent(name: string, value: unknown): unknown {
  if (name !== "__proto__") return value;
  throw new ClawError("bad_request", "nothing may be named __proto__", { field: name });
}

/** What people and programs ask: their texts are kept as they are, or refused. */
function parseRequest<T>(schema: z.ZodType<T>, data: Uint8Array): T {
  return parseMessage(schema, data, requireWellFormed);
}

/**
 * Parses one message; throws a typed rejection that names the field. A role's own are taken with whatever texts they have:
 * a report that is refused is sent for ever.
 */
function parseMessage<T>(
  schema: z.ZodType<T>,
  data: Uint8Array,
  check: (json: string, read: () => unknown) => void = () => undefined,
): T {
  if (data.length > LIMITS.message_bytes) {
    throw new ClawError("too_large", `a message of ${data.length} bytes, at most ${LIMITS.message_bytes}`);
  }
  let text: string;
  let value: unknown;
  try {
    text = decoder.decode(data);
    value = text.includes("proto") ? JSON.parse(text, refuseParent) : JSON.parse(text);
  } catch (error) {
    if (error instanceof ClawError) throw error;
    throw new ClawError("bad_request", `not JSON: ${messageOf(error)}`, { cause: error });
  }
  check(text, () => value);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = firstOf(parsed.error.issues);
  const field = issue.path.join(".");
  const given = valueAt(value, issue.path);
  const { message, ...hint } = wordsOf(issue, field === "" ? "the message" : field, undefined, given);
  throw new ClawError("bad_request", message, { field, ...hint });
}

/**
 * The broker hands out what its streams keep on any subject that somebody names for an answer, and with the right to publish
 * everywhere: such a message bears the name of the stream, or the subject that it was kept under. Nobody said it here.
 */
function requireSaid(message: Msg, subject: string): void {
  const parts = message.subject.split(".");
  const wanted = subject.split(".");
  const here = wanted.every((part, at) => part === ">" || part === "*" || part === parts[at]);
  if (!here || message.headers?.has("Nats-Stream") === true) {
    throw new ClawError("refused", "a message out of a stream, which nobody sent here");
  }
}

class Dropped {
  count = 0;
  readonly #senders = new Set<string>();
  readonly #tell: OnDropped;

  constructor(tell: OnDropped) {
    this.#tell = tell;
  }

  drop(sender: string, error: unknown): void {
    this.count += 1;
    if (this.#senders.has(sender) || this.#senders.size >= 1000) return;
    this.#senders.add(sender);
    this.#tell(sender, messageOf(error));
  }
}

/** A bug. Thrown through the connection it would end the reading of it, and not the process: nothing would be heard again. */
function endWith(thrown: unknown): void {
  queueMicrotask(() => {
    throw thrown;
  });
}

export class CoordinatorBus {
  readonly #connection: NatsConnection;
  readonly #cluster: string;
  readonly #dropped: Dropped;
  #subscriptions: Subscription[] = [];

  constructor(connection: NatsConnection, cluster: string, onDropped: OnDropped) {
    this.#connection = connection;
    this.#cluster = cluster;
    this.#dropped = new Dropped(onDropped);
  }

  get dropped(): number {
    return this.#dropped.count;
  }

  serve(handlers: CoordinatorHandlers): void {
    const c = this.#cluster;
    this.#listen(subjects.allUp(c), (message) => {
      const node = senderOf(message.subject).who;
      handlers.up(node, parseMessage(UpMessage, message.data), message.data.length);
    });
    this.#listen(subjects.allCommands(c), (message) => {
      const { who, rest } = senderOf(message.subject);
      const type = rest.slice("cmd.".length);
      if (!Object.hasOwn(COMMANDS, type)) throw new ClawError("unsupported", `there is no command ${type}`);
      const payload = parseRequest(COMMANDS[type as CommandType] as z.ZodType<unknown>, message.data);
      handlers.command(type as CommandType, payload, who, message.data.length, requestOf(message, who));
    });
    this.#listen(subjects.allNodeQueries(c), (message) => {
      const { who, rest } = senderOf(message.subject);
      const type = rest.slice("query.".length);
      if (type !== "file.chunk") throw new ClawError("unsupported", `a worker may not ask for ${type}`);
      handlers.query(type, parseMessage(QUERIES[type], message.data), who, requestOf(message, who));
    });
    this.#listen(subjects.allQueries(c), (message) => {
      const { who, rest } = senderOf(message.subject);
      const type = rest.slice("query.".length);
      if (!Object.hasOwn(QUERIES, type)) throw new ClawError("unsupported", `there is no query ${type}`);
      const payload = parseRequest(QUERIES[type as QueryType] as z.ZodType<unknown>, message.data);
      handlers.query(type as QueryType, payload, who, requestOf(message, who));
    });
    // Behind the subscriptions: who asks again is heard.
    this.#connection.publish(subjects.lead(c));
  }

  #listen(subject: string, handle: (message: Msg) => void): void {
    const subscription = this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) {
          this.#dropped.drop(subject, error);
          return;
        }
        try {
          requireSaid(message, subject);
          handle(message);
        } catch (thrown) {
          if (!(thrown instanceof ClawError)) {
            endWith(thrown);
            return;
          }
          const { who } = senderOf(message.subject);
          const request = requestOf(message, who);
          // Who is told what is wrong needs nobody else to know of it.
          if (request.answerable) request.respond(thrown);
          else this.#dropped.drop(who, thrown);
        }
      },
    });
    this.#subscriptions.push(subscription);
  }

  send(node: string, message: DownMessage): void {
    if (this.#connection.isClosed()) return;
    this.#connection.publish(subjects.down(this.#cluster, node), encode(message));
  }

  stop(): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    this.#subscriptions = [];
  }
}

/**
 * Answers go to the sender's own inbox, or to the one that everybody shares where a foreign NATS knows no identities, and
 * nowhere else: the coordinator may publish everything, so whoever chose another subject would borrow that power.
 */
function requestOf(message: Msg, who: string): Request & { answerable: boolean } {
  const reply = message.reply ?? "";
  const answerable = reply.startsWith(`${inboxPrefix(who)}.`) || reply.startsWith("_INBOX.");
  return {
    answerable,
    respond(answer) {
      if (!answerable) return;
      const bodyOf = (given: object | ClawError): Uint8Array =>
        encode(given instanceof ClawError ? { ok: false, error: given.toWire() } : { ok: true, ...given });
      const body = bodyOf(answer);
      if (body.length <= LIMITS.message_bytes) message.respond(body);
      else message.respond(bodyOf(new ClawError("too_large", `the answer has ${body.length} bytes: ask for less`)));
    },
  };
}

export class WorkerBus {
  readonly #connection: NatsConnection;
  readonly #cluster: string;
  readonly #node: string;
  readonly #dropped: Dropped;
  readonly #refused: (error: ClawError) => void;
  #subscription: Subscription | undefined;

  /** `onRefused`: its credentials may not hear what is said to it, so nothing can come. */
  constructor(
    connection: NatsConnection,
    cluster: string,
    node: string,
    onDropped: OnDropped,
    onRefused: (error: ClawError) => void = (error) => onDropped("the broker", error.message),
  ) {
    this.#connection = connection;
    this.#cluster = cluster;
    this.#node = node;
    this.#dropped = new Dropped(onDropped);
    this.#refused = onRefused;
  }

  /** Called again it subscribes anew: the server may have forgotten the subscription that there was. */
  listen(handle: (message: DownMessage) => void): void {
    const before = this.#subscription;
    const subject = subjects.down(this.#cluster, this.#node);
    this.#subscription = this.#connection.subscribe(subject, {
      callback: (error, message) => {
        if (isForbidden(error)) {
          this.#refused(forbidden(this.#cluster, error));
          return;
        }
        try {
          if (error !== null) throw new ClawError("broker", messageOf(error));
          requireSaid(message, subject);
          handle(parseMessage(DownMessage, message.data));
        } catch (thrown) {
          if (thrown instanceof ClawError) this.#dropped.drop("the leader", thrown);
          else endWith(thrown);
        }
      },
    });
    before?.unsubscribe();
  }

  send(message: UpMessage): void {
    if (this.#connection.isClosed()) return;
    this.#connection.publish(subjects.up(this.#cluster, this.#node), encode(message));
  }

  stop(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
  }
}
