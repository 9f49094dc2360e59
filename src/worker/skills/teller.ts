// Tells the cluster of this machine's skills until it says that it has them, and not more often than its log should grow:
// each telling is the whole list.

import { LIMITS } from "../../common/limits.ts";
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
  /** The hash of what it was told last. */
  #told: string | undefined;
  #told_ms = Number.NEGATIVE_INFINITY;
  /** When it was told of something else than before. */
  #news_ms = Number.NEGATIVE_INFINITY;
  #changed_ms = Number.NEGATIVE_INFINITY;
  /** What has to pass between two of them while the skills change all the time. */
  #pause_ms = 0;

  constructor(incarnation: string, send: (message: UpMessage) => void) {
    this.#incarnation = incarnation;
    this.#send = send;
  }

  found(skills: NodeSkills, now_ms: number): void {
    if (this.#skills?.hash === skills.hash) return;
    this.#calm(now_ms);
    this.#changed_ms = now_ms;
    this.#skills = skills;
  }

  /** What the cluster says that it has; another leader may never have heard what the last one was told. */
  known(hash: string | undefined): void {
    if (hash !== this.#known) this.#told_ms = Number.NEGATIVE_INFINITY;
    this.#known = hash;
  }

  tell(now_ms: number): void {
    const skills = this.#skills;
    if (skills === undefined || skills.hash === this.#known) return;
    // That there are none is news only where some were known: of an earlier life, or from another machine's copy of the key.
    if (skills.list.length === 0 && this.#known === undefined) return;
    // The same once more costs nothing: the log has it, or never got it.
    if (skills.hash === this.#told ? now_ms - this.#told_ms < AGAIN_MS : !this.#mayTellNews(now_ms)) return;
    const { hash, list } = skills;
    this.#told = hash;
    this.#told_ms = now_ms;
    this.#send({ type: "skill.update", incarnation: this.#incarnation, hash, skills: [...list] });
  }

  /** A change is told at once, the next ones in ever longer intervals, until nothing changes for a while. */
  #mayTellNews(now_ms: number): boolean {
    this.#calm(now_ms);
    if (now_ms - this.#news_ms < this.#pause_ms) return false;
    const { skills_pause_ms, skills_pause_most_ms } = LIMITS;
    // What is found at the start is no change.
    if (this.#told !== undefined) {
      this.#pause_ms = Math.min(Math.max(2 * this.#pause_ms, skills_pause_ms), skills_pause_most_ms);
    }
    this.#news_ms = now_ms;
    return true;
  }

  #calm(now_ms: number): void {
    if (now_ms - this.#changed_ms >= LIMITS.skills_quiet_ms) this.#pause_ms = 0;
  }
}
