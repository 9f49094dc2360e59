// What nodes say of folders that tasks ask for (`--cwd`). In memory only: whoever leads next asks again. A node is asked
// while something waits that would suit it otherwise, and again when no answer came, or when what it said is old; until then
// it counts.

import { LIMITS } from "../common/limits.ts";
import type { Needs } from "../common/models.ts";
import { type NodeLoad, suitsOtherwise } from "../core/fit.ts";

/** What was said so long ago is asked again. */
const OLD_MS = 10_000;
/** Without an answer for so long the question, or the answer, got lost. */
const LOST_MS = 2_000;

interface Asked {
  asked_ms: number;
  /** An answer is awaited. */
  open: boolean;
  /** What it said last, and when. */
  usable?: boolean;
  said_ms?: number;
}

/** One node's, whose present life it was asked in. */
class Book {
  /** What was asked for longest ago comes first. */
  readonly #asked = new Map<string, Asked>();
  /** Where the next look through everything that waits begins: where there is more than can be asked for, all have their turn. */
  #next = 0;

  get(folder: string): boolean | undefined {
    return this.#asked.get(folder)?.usable;
  }

  isFresh(folder: string, now_ms: number): boolean {
    const { said_ms } = this.#asked.get(folder) ?? {};
    return said_ms !== undefined && now_ms - said_ms < OLD_MS;
  }

  #isDue(folder: string, now_ms: number): boolean {
    const asked = this.#asked.get(folder);
    if (asked === undefined) return this.#hasRoom(now_ms);
    return asked.open ? now_ms - asked.asked_ms >= LOST_MS : !this.isFresh(folder, now_ms);
  }

  /** What is not old yet is not given up for another folder: else two would push each other out for ever. */
  #hasRoom(now_ms: number): boolean {
    const [oldest] = this.#asked.values();
    return this.#asked.size < LIMITS.node_folders || oldest === undefined || now_ms - oldest.asked_ms >= OLD_MS;
  }

  /** What it has to be asked for, which counts as asked then. */
  ask(wanted: readonly Needs[], node: NodeLoad, now_ms: number): string[] {
    const found: string[] = [];
    const first = this.#next;
    for (let step = 0; step < wanted.length && found.length < LIMITS.look_folders; step++) {
      const at = (first + step) % wanted.length;
      const needs = wanted[at];
      const folder = needs?.folder;
      if (needs === undefined || folder === undefined) continue;
      if (!this.#isDue(folder, now_ms) || !suitsOtherwise(needs, node)) continue;
      this.#note(folder, now_ms);
      this.#next = at + 1;
      found.push(folder);
    }
    return found;
  }

  #note(folder: string, now_ms: number): void {
    const before = this.#asked.get(folder);
    const [oldest] = this.#asked.keys();
    if (before !== undefined) this.#asked.delete(folder);
    else if (oldest !== undefined && this.#asked.size >= LIMITS.node_folders) this.#asked.delete(oldest);
    this.#asked.set(folder, { ...before, asked_ms: now_ms, open: true });
  }

  /** Only what it was asked for: nobody fills this with what nothing waits for. */
  said(folder: string, usable: boolean, now_ms: number): void {
    const asked = this.#asked.get(folder);
    if (asked !== undefined) this.#asked.set(folder, { ...asked, open: false, usable, said_ms: now_ms });
  }

  forget(folder: string): void {
    this.#asked.delete(folder);
  }
}

export class Folders {
  readonly #books = new Map<string, Book>();

  /** What a node said, as placing asks for it. */
  of(node: string): NodeLoad["folders"] {
    return this.#books.get(node);
  }

  /** Whom to ask for what, for those that want a folder: open nodes that suit otherwise. All of it counts as asked then. */
  ask(wanted: readonly Needs[], nodes: readonly NodeLoad[], now_ms: number): Map<string, string[]> {
    const asks = new Map<string, string[]>();
    for (const node of nodes) {
      if (!node.open) continue;
      const book = this.#books.get(node.id) ?? new Book();
      const folders = book.ask(wanted, node, now_ms);
      if (folders.length === 0) continue;
      this.#books.set(node.id, book);
      asks.set(node.id, folders);
    }
    return asks;
  }

  /** Whether some node that may have the folder has not said so lately. */
  awaits(needs: Needs, nodes: readonly NodeLoad[], now_ms: number): boolean {
    const { folder } = needs;
    if (folder === undefined) return false;
    return nodes.some((node) => {
      return node.open && suitsOtherwise(needs, node) && this.#books.get(node.id)?.isFresh(folder, now_ms) !== true;
    });
  }

  /** A node has answered. */
  said(node: string, folders: readonly (readonly [folder: string, usable: boolean])[], now_ms: number): void {
    const book = this.#books.get(node);
    for (const [folder, usable] of folders) book?.said(folder, usable, now_ms);
  }

  /** A task found no such folder there: whatever the node said, it has to be asked anew. */
  missed(node: string, folder: string): void {
    this.#books.get(node)?.forget(folder);
  }

  /** It is gone, or another life of it has begun, maybe on another machine. */
  forget(node: string): void {
    this.#books.delete(node);
  }
}
