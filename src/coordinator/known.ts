// What was submitted before, by id and by idempotency key: what this leader made and the view may not have yet, then the
// view itself.

import { contentOf, type FindIds, type FindKey, type KnownId, type KnownKey } from "../core/decide.ts";
import type { Event } from "../core/event.ts";
import type { LeaderView } from "./leader-world.ts";

type Submitted = Extract<Event, { t: "submitted" }>;

export class Known {
  readonly #view: Pick<LeaderView, "findIds" | "findKey">;
  readonly #ids = new Map<number, KnownId>();
  readonly #keys = new Map<string, KnownKey>();
  /** Keys by submission, to forget them with it. */
  readonly #key_of = new Map<number, string>();
  /** Retries by what they stand on. */
  readonly #source_of = new Map<number, number>();
  /** What is being forgotten: the view has it for as long as that is on its way to the log. */
  readonly #leaving = new Set<number>();

  constructor(view: Pick<LeaderView, "findIds" | "findKey">) {
    this.#view = view;
  }

  readonly ids: FindIds = (ids) => {
    const found = new Map<number, KnownId>();
    const unknown: number[] = [];
    for (const id of ids) {
      const known = this.#ids.get(id);
      if (known === undefined) unknown.push(id);
      else found.set(id, known);
    }
    for (const [id, known] of this.#view.findIds(unknown)) found.set(id, known);
    return found;
  };

  readonly key: FindKey = (key) => {
    const found = this.#keys.get(key) ?? this.#view.findKey(key);
    return found === undefined || this.#leaving.has(found.number) ? undefined : found;
  };

  /** Whether a retry that the view may not have yet stands on it. */
  isSource(number: number): boolean {
    for (const source of this.#source_of.values()) if (source === number) return true;
    return false;
  }

  /** Nothing new may stand on it. */
  isLeaving(number: number): boolean {
    return this.#leaving.has(number);
  }

  leave(number: number, ids: readonly number[]): void {
    this.forget(number, ids);
    this.#leaving.add(number);
  }

  /** All that were leaving are gone from the view. */
  left(): void {
    this.#leaving.clear();
  }

  note({ number, nonce, ids, spec, array, count, inputs, source }: Submitted): void {
    if (source !== undefined) this.#source_of.set(number, source.number);
    const counted = count > 0 && inputs === undefined;
    for (const id of ids) this.#ids.set(id, { number, nonce, counted });
    const { key } = spec;
    const [id] = ids;
    if (key === undefined || id === undefined) return;
    this.#keys.set(key, { number, id, content: contentOf(spec, array, count) });
    this.#key_of.set(number, key);
  }

  /** The view has it now. */
  forget(number: number, ids: readonly number[]): void {
    for (const id of ids) this.#ids.delete(id);
    this.#source_of.delete(number);
    const key = this.#key_of.get(number);
    if (key === undefined) return;
    this.#key_of.delete(number);
    this.#keys.delete(key);
  }
}
