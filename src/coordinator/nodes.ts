// What the leader knows of its nodes beside the log: when it last heard of each (on its own monotonic clock), what the
// heartbeat said, and whether both sides agree on the attempts that the node holds.

import type { EventRun } from "../core/event.ts";

/** Heartbeats in a row that differ before the leader asks for a list. */
const PATIENCE = 2;

export interface Contact {
  heard_ms: number;
  /** It has registered with this leader, which so knows what the node says of itself. */
  registered: boolean;
  /** What the node says of its own checks. */
  trouble?: string | undefined;
  /** When it was asked whether it still has it. */
  asked_again_ms?: number;
  /** When the first ping was sent that has no answer yet. */
  pinged_ms?: number | undefined;
  cpu_percent?: number;
  free_memory_mib?: number;
  disk_free_percent?: number;
  differing: number;
  /** Held on the leader's side when the list was asked for; undefined when none is awaited. */
  asked: { list: number; runs: EventRun[]; got: EventRun[] } | undefined;
}

export class Contacts {
  readonly #contacts = new Map<string, Contact>();
  #lists = 0;

  heard(node: string, now_ms: number): Contact {
    const contact = this.#contacts.get(node);
    if (contact !== undefined) {
      contact.heard_ms = now_ms;
      return contact;
    }
    const made: Contact = { heard_ms: now_ms, registered: false, differing: 0, asked: undefined };
    this.#contacts.set(node, made);
    return made;
  }

  get(node: string): Contact | undefined {
    return this.#contacts.get(node);
  }

  forget(node: string): void {
    this.#contacts.delete(node);
  }

  /** `afresh`: its connection is new, so that what was sent before may be lost: one heartbeat that differs is enough. */
  registered(contact: Contact, trouble: string | undefined, afresh: boolean): void {
    contact.registered = true;
    contact.trouble = trouble;
    if (afresh) contact.differing = PATIENCE - 1;
  }

  /** Notes whether a heartbeat agrees; true when it is time to ask the node for its list. */
  compare(contact: Contact, agrees: boolean): boolean {
    contact.differing = agrees ? 0 : contact.differing + 1;
    return contact.differing >= PATIENCE;
  }

  ask(contact: Contact, runs: EventRun[]): number {
    this.#lists += 1;
    contact.asked = { list: this.#lists, runs, got: [] };
    contact.differing = 0;
    return this.#lists;
  }
}
