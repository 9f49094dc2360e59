// What happened, as people and programs watch it: read out of the log itself, the newest of it out of memory. So an event
// has a place for good, whoever watches goes on where he was with any coordinator, nothing is missed, and nobody pays for
// what nobody watches.

import type { EventDocument } from "../common/document-schemas.ts";
import type { EventType } from "../common/documents.ts";
import { ClawError } from "../common/errors.ts";
import { LIMITS } from "../common/limits.ts";
import { isoTime, type Runtime } from "../common/runtime.ts";
import { isBehind, type LogEntry, type LogUpkeep } from "../communication/log.ts";
import type { QueryAnswers, QueryRequest } from "../communication/queries.ts";
import type { Batch, Event } from "../core/event.ts";
import { formatTaskId } from "../core/ids.ts";
import { type NumberedBatch, RecentBatches } from "./recent.ts";
import { decodeBatch } from "./replica.ts";

export type ReadableLog = Pick<LogUpkeep, "extent" | "read">;

/** What a submission's members are called. */
export interface Ids {
  ids: readonly number[];
  array: boolean;
}

export interface Names {
  idsOf(number: number): Ids | undefined;
  nodeName(id: string): string | undefined;
}

type Query = QueryRequest<"event.list">;
type Answer = QueryAnswers["event.list"];

/** What one event tells, before it has its place; `number` and the members that it is about, for the filter. */
interface Told extends Omit<EventDocument, "id" | "at"> {
  about?: { numbers: readonly number[]; from: number; to: number };
}

/** Where a reader is: behind a whole batch, or behind its event `after`. */
interface Place {
  sequence: number;
  after: number | undefined;
}

/** What a list is read from: all that the log has, or its newest batches in memory. */
interface Stretch {
  first: number;
  last: number;
  from(sequence: number): AsyncIterable<NumberedBatch> | Iterable<NumberedBatch>;
}

/** One list looks back through so many parts of the log, or more: what it has found so far is worth an answer. */
const PARTS_A_LOOK = 4;

/** How often one list is begun anew because the log was shortened under it. */
const CUTS = 3;

export class EventFeed {
  readonly #log: ReadableLog;
  readonly #names: Names;
  readonly #runtime: Pick<Runtime, "soon" | "monotonic_ms">;
  readonly #recent = new RecentBatches();
  #turn: Promise<void> = Promise.resolve();
  readonly #known = new Map<number, Ids | undefined>();

  constructor(log: ReadableLog, names: Names, runtime: Pick<Runtime, "soon" | "monotonic_ms">) {
    this.#log = log;
    this.#names = names;
    this.#runtime = runtime;
  }

  /** The log has this, behind what it had before: in memory for those who watch. */
  committed(entry: LogEntry): void {
    this.#recent.add(entry);
  }

  /** Events behind `after`, or the newest `tail`; without either, where the log ends now. Throws `bad_request`, `broker`. */
  async list(query: Query): Promise<Answer> {
    const place = query.after === undefined ? undefined : placeOf(query.after);
    await this.#inTurn();
    for (let left = CUTS; ; left--) {
      try {
        if (place === undefined) return await this.#newest(query);
        return await this.#behind(query, place, this.#inMemory(place) ?? (await this.#inLog()));
      } catch (error) {
        // Shortened after it was asked how far it reaches: it is asked anew, and what is gone was missed.
        if (left === 0 || !isBehind(error)) throw error;
      }
    }
  }

  /** One list a turn of the event loop: what comes out of memory waits for nothing, and many of them would keep it busy. */
  #inTurn(): Promise<void> {
    this.#turn = this.#turn.then(() => new Promise((resolve) => this.#runtime.soon(resolve)));
    return this.#turn;
  }

  /** Undefined when what is asked for is older than what memory has, or newer: the log may be ahead of who leads it. */
  #inMemory(place: Place | undefined): Stretch | undefined {
    const { extent } = this.#recent;
    if (extent === undefined) return undefined;
    if (place !== undefined && (startOf(place) < extent.first || place.sequence > extent.last)) return undefined;
    return { ...extent, from: (sequence) => this.#recent.from(sequence) };
  }

  async #inLog(): Promise<Stretch> {
    const log = this.#log;
    const { first, last } = await log.extent();
    return {
      ...{ first, last },
      async *from(start) {
        for await (const { sequence, payload } of log.read(start)) {
          yield { sequence, batch: decodeBatch(sequence, payload) };
        }
      },
    };
  }

  async #behind(query: Query, place: Place, stretch: Stretch): Promise<Answer> {
    const { first, last } = stretch;
    if (place.sequence > last) throw new ClawError("bad_request", "no such event", { field: "after" });
    const start = startOf(place);
    if (start < first) {
      // What was there is in a snapshot by now, which has no events.
      const begin = { sequence: first - 1, after: undefined };
      return { ...(await this.#from(query, begin, stretch)), missed: true };
    }
    if (start > last) return { events: [], cursor: query.after ?? "", more: false };
    return await this.#from(query, place, stretch);
  }

  async #from(query: Query, place: Place, stretch: Stretch): Promise<Answer> {
    const { limit } = query;
    const start = startOf(place);
    const events: EventDocument[] = [];
    let cursor = String(start - 1);
    let bytes = 0;
    try {
      for await (const { sequence, batch } of stretch.from(start)) {
        const after = sequence === place.sequence ? place.after : undefined;
        for (const event of this.#wanted(query, sequence, batch, after)) {
          bytes += Buffer.byteLength(JSON.stringify(event));
          if (events.length > 0 && bytes > LIMITS.answer_bytes) return { events, cursor, more: true };
          events.push(event);
          cursor = event.id;
          if (events.length === limit) return { events, cursor, more: true };
        }
        cursor = String(sequence);
        if (sequence - start >= LIMITS.feed_batches) return { events, cursor, more: true };
      }
    } catch (error) {
      // What was read before the log was shortened is told; that some was missed then comes with what is behind it.
      if (!isBehind(error) || cursor === String(start - 1)) throw error;
      return { events, cursor, more: true };
    }
    return { events, cursor, more: false };
  }

  /** What memory has not enough of is looked for in the log. */
  async #newest(query: Query): Promise<Answer> {
    const { tail = 0, before } = query;
    const until_ms = this.#runtime.monotonic_ms() + LIMITS.feed_look_ms;
    const memory = before === undefined ? this.#inMemory(undefined) : undefined;
    const near = memory === undefined ? undefined : await this.#backwards(query, memory, until_ms);
    if (near !== undefined && near.events.length === tail) return near;
    return await this.#backwards(query, await this.#inLog(), until_ms);
  }

  /**
   * The newest `tail`, looked for from the end back, as far as one list may look: who asks waits for the answer, and knows
   * by `before` where to go on. A part is read forwards, so it counts only as a whole: each is as long as the one before
   * lets expect that there is time for.
   */
  async #backwards(query: Query, stretch: Stretch, until_ms: number): Promise<Answer> {
    const { first, last } = stretch;
    const { tail = 0 } = query;
    const before = query.before === undefined ? undefined : placeOf(query.before, "before");
    let end = Math.min(last + 1, before === undefined ? last + 1 : endOfPlace(before));
    let events: EventDocument[] = [];
    // Each batch has about one, unless a filter leaves few.
    let size = Math.min(tail, LIMITS.feed_batches);
    for (let parts = 0; events.length < tail && end > first && parts < LIMITS.feed_parts; parts++) {
      const since_ms = this.#runtime.monotonic_ms();
      if (parts > 0 && since_ms >= until_ms) break;
      const start = Math.max(first, end - size);
      events = [...(await this.#between(query, stretch, start, end, before)), ...events].slice(-tail);
      const took_ms = Math.max(1, this.#runtime.monotonic_ms() - since_ms);
      const fits = Math.floor(((end - start) * LIMITS.feed_look_ms) / PARTS_A_LOOK / took_ms);
      size = Math.min(Math.max(1, fits), LIMITS.feed_batches);
      end = start;
    }
    const told = fitting(events);
    const whole = told.length < tail && told.length === events.length;
    const older = whole ? (end > first ? `${end}.0` : undefined) : told[0]?.id;
    return { events: told, cursor: String(last), more: false, ...(older === undefined ? {} : { before: older }) };
  }

  /** The newest `tail` of those from `start` up to, but not, `end`. */
  async #between(query: Query, stretch: Stretch, start: number, end: number, before?: Place): Promise<EventDocument[]> {
    const { tail = 0 } = query;
    let events: EventDocument[] = [];
    for await (const { sequence, batch } of stretch.from(start)) {
      if (sequence >= end) break;
      const until = sequence === before?.sequence ? (before.after ?? 0) : Number.POSITIVE_INFINITY;
      for (const event of this.#wanted(query, sequence, batch, undefined, until)) {
        events.push(event);
        // One batch may tell of more tasks than fit in memory twice.
        if (events.length > 2 * tail) events = events.slice(-tail);
      }
    }
    return events.slice(-tail);
  }

  /** Of a batch, those behind `after` and before `until`. */
  *#wanted(
    query: Query,
    sequence: number,
    batch: Batch,
    after: number | undefined,
    until = Number.POSITIVE_INFINITY,
  ): Iterable<EventDocument> {
    let place = -1;
    for (const event of batch.events) {
      for (const { about, ...told } of this.#tell(event)) {
        place += 1;
        if (place >= until) return;
        if (after !== undefined && place <= after) continue;
        if (!wants(query, told, about)) continue;
        const { node } = told;
        const node_name = node === undefined ? undefined : this.#names.nodeName(node);
        const id = `${sequence}.${place}`;
        yield { id, at: isoTime(batch.at), ...told, ...(node_name === undefined ? {} : { node_name }) };
      }
    }
  }

  #tell(event: Event): Told[] {
    switch (event.t) {
      case "cluster":
      case "term":
        return [clusterEvent(event)];
      case "registered":
      case "node":
      case "cordoned":
      case "skills":
      case "resumed":
      case "configured":
      case "removed":
        return [nodeEvent(event)];
      case "placement":
        return [{ type: "cluster.configured", by: event.by }];
      case "submitted":
        this.#know(event.number, { ids: event.ids, array: event.array });
        return this.#members("task.submitted", event.number, 0, event.count, {
          by: event.by,
          ...(event.spec.name === undefined ? {} : { name: event.spec.name }),
        });
      case "extended":
        return this.#members("task.extended", event.number, event.offset, event.offset + event.inputs.length);
      case "closed":
        return this.#members(
          "task.closed",
          event.number,
          0,
          0,
          event.abandoned === true ? { reason: "abandoned" } : {},
        );
      case "dropped":
        return this.#members(`task.${event.outcome.status}`, event.number, event.from, event.to, endOf(event.outcome));
      case "pruned": {
        const { completed, failed, cancelled, timeout } = event.counts;
        const count = completed + failed + cancelled + timeout;
        return [
          { type: "task.pruned", count, about: { numbers: event.numbers, from: 0, to: Number.MAX_SAFE_INTEGER } },
        ];
      }
      default:
        return this.#attempts(event);
    }
  }

  #attempts(event: Extract<Event, { t: AttemptEvents }>): Told[] {
    switch (event.t) {
      case "due":
        return event.runs.flatMap(([number, from, to]) => this.#members("task.ready", number, from, to));
      case "ended":
      case "retried":
        return event.results.flatMap((result) => {
          const [number, index, attempt] = result.task;
          const { outcome } = result;
          const type: EventType = event.t === "ended" ? `task.${outcome.status}` : "task.retried";
          const again = "not_before" in result ? { not_before: isoTime(result.not_before as number) } : {};
          const more = { node: event.node, attempt, ...endOf(outcome), ...again };
          return this.#members(type, number, index, index + 1, more);
        });
      default: {
        const type = RUN_EVENTS[event.t];
        const reason = "reason" in event ? { reason: event.reason } : {};
        return (event.runs as readonly (readonly [number, number, number, number, ...number[]])[]).flatMap(
          ([number, from, to, attempt]) =>
            this.#members(type, number, from, to, { node: event.node, attempt, ...reason }),
        );
      }
    }
  }

  /** One of a range of an array; of tasks that have ids of their own, one for each. */
  #members(type: EventType, number: number, from: number, to: number, more: Partial<Told> = {}): Told[] {
    const known = this.#idsOf(number);
    if (known === undefined) return [{ type, count: to - from, ...more, about: { numbers: [number], from, to } }];
    const { ids, array } = known;
    if (array) {
      const id = ids[0] ?? 0;
      const single = to - from === 1 && type !== "task.submitted";
      const range = single || to <= from ? {} : { first: from, last: to - 1 };
      const task = formatTaskId(id, single ? from : undefined);
      return [{ type, task, ...range, count: to - from, ...more, about: { numbers: [number], from, to } }];
    }
    const told: Told[] = [];
    for (let index = from; index < to; index++) {
      const about = { numbers: [number], from: index, to: index + 1 };
      told.push({ type, task: formatTaskId(ids[index] ?? 0), count: 1, ...more, about });
    }
    return told;
  }

  #idsOf(number: number): Ids | undefined {
    if (!this.#known.has(number)) this.#know(number, this.#names.idsOf(number));
    return this.#known.get(number);
  }

  #know(number: number, ids: Ids | undefined): void {
    if (this.#known.size >= LIMITS.recent_specifications) this.#known.clear();
    this.#known.set(number, ids);
  }
}

const RUN_EVENTS = {
  assigned: "task.scheduled",
  started: "task.started",
  succeeded: "task.completed",
  requeued: "task.requeued",
  stopping: "task.stopping",
} as const;

type AttemptEvents = keyof typeof RUN_EVENTS | "due" | "ended" | "retried";

function clusterEvent(event: Extract<Event, { t: "cluster" | "term" }>): Told {
  if (event.t === "cluster") return { type: "cluster.created", name: event.name };
  return { type: "leader.elected", name: event.leader, epoch: event.epoch };
}

type NodeEvents = "registered" | "node" | "cordoned" | "skills" | "resumed" | "configured" | "removed";

function nodeEvent(event: Extract<Event, { t: NodeEvents }>): Told {
  const { node } = event;
  switch (event.t) {
    case "registered":
      return { type: "node.joined", node, name: event.info.name };
    case "node":
      return { type: `node.${event.status}`, node, ...(event.reason === "" ? {} : { reason: event.reason }) };
    case "cordoned": {
      const drain = event.drain_at === undefined ? {} : { drain_at: isoTime(event.drain_at) };
      return { type: "node.cordoned", node, reason: event.reason, by: event.by, ...drain };
    }
    case "skills":
      return { type: "node.skills", node, count: event.skills.length };
    case "resumed":
      return { type: "node.resumed", node };
    case "configured":
      return { type: "node.configured", node, by: event.by };
    case "removed":
      return { type: "node.removed", node };
  }
}

function endOf({ reason, exit_code, signal, message }: { reason: string } & Partial<Told>): Partial<Told> {
  return {
    reason,
    ...(exit_code === undefined ? {} : { exit_code }),
    ...(signal === undefined ? {} : { signal }),
    ...(message === undefined ? {} : { message }),
  };
}

function wants({ types, node, number, index }: Query, told: Omit<Told, "about">, about: Told["about"]): boolean {
  if (types !== undefined && !types.some((type) => told.type === type || told.type.startsWith(`${type}.`)))
    return false;
  if (node !== undefined && told.node !== node) return false;
  if (number === undefined) return true;
  if (about === undefined || !about.numbers.includes(number)) return false;
  return index === undefined || about.to <= about.from || (about.from <= index && index < about.to);
}

/** The first batch to read. */
function startOf({ sequence, after }: Place): number {
  return after === undefined ? sequence + 1 : sequence;
}

/** Behind the last batch that has something before it. */
function endOfPlace({ sequence, after = 0 }: Place): number {
  return after === 0 ? sequence : sequence + 1;
}

function placeOf(text: string, field = "after"): Place {
  const [, sequence, after] = /^(\d{1,15})(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  if (sequence !== undefined) {
    return { sequence: Number(sequence), after: after === undefined ? undefined : Number(after) };
  }
  throw new ClawError("bad_request", `'${text}' is no place among the events`, {
    field,
    hint: "take the id of an event, or the cursor of the list before",
  });
}

/** The newest of them that one answer can carry. */
function fitting(events: EventDocument[]): EventDocument[] {
  let bytes = 0;
  let from = events.length;
  while (from > 0) {
    bytes += Buffer.byteLength(JSON.stringify(events[from - 1]));
    if (bytes > LIMITS.answer_bytes) break;
    from -= 1;
  }
  return events.slice(from);
}
