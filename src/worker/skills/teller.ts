// Tells the cluster of this machine's skills until it says that it has them.

import type { UpMessage } from "../../communication/messages.ts";
import type { NodeSkills } from "../../core/skills.ts";

/** An answer that does not come within this time was lost. */
const AGAIN_MS = 2_000;

export class SkillTeller {
  readonly #incarnation: string;
  readonly #send: (message: UpMessage) => void;
  #skills: NodeSkills | undefined;
  /** The hash of what the cluster has. */
  #known: string | undefined;
  #told_ms = Number.NEGATIVE_INFINITY;

  constructor(incarnation: string, send: (message: UpMessage) => void) {
    this.#incarnation = incarnation;
    this.#send = send;
  }

  found(skills: NodeSkills): void {
    if (this.#skills?.hash !== skills.hash) this.#told_ms = Number.NEGATIVE_INFINITY;
    this.#skills = skills;
  }

  /** What the cluster says that it has; another leader may never have heard what the last one was told. */
  known(hash: string | undefined): void {
    if (hash !== this.#known) this.#told_ms = Number.NEGATIVE_INFINITY;
    this.#known = hash;
  }

  tell(now_ms: number): void {
    const skills = this.#skills;
    if (skills === undefined || skills.hash === this.#known || now_ms - this.#told_ms < AGAIN_MS) return;
    // That there are none is news only where some were known: of an earlier life, or from another machine's copy of the key.
    if (skills.list.length === 0 && this.#known === undefined) return;
    this.#told_ms = now_ms;
    const { hash, list } = skills;
    this.#send({ type: "skill.update", incarnation: this.#incarnation, hash, skills: [...list] });
  }
}
