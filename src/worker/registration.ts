// A worker's registration: sent again until it is answered, and since when nobody has.

/** A registration is sent again, or may be, after so long. */
const REGISTER_AGAIN_MS = 500;
/** What is unanswered for longer is worth a word. */
const OVERDUE_MS = 2_000;

export class Registration {
  #sent_ms = Number.NEGATIVE_INFINITY;
  /** It was sent and not answered: nobody may have heard it. */
  #unanswered = false;
  /** The first one since anything came. */
  #first_ms: number | undefined;
  #told = false;

  get unanswered(): boolean {
    return this.#unanswered;
  }

  sent(now_ms: number): void {
    this.#sent_ms = now_ms;
    this.#unanswered = true;
    this.#first_ms ??= now_ms;
  }

  /** Long enough ago for another one. */
  mayAgain(now_ms: number): boolean {
    return now_ms - this.#sent_ms >= REGISTER_AGAIN_MS;
  }

  welcomed(): void {
    this.#unanswered = false;
  }

  /** Something came, or the connection is a new one: what was unheard before says nothing any more. */
  anew(): void {
    this.#first_ms = undefined;
    this.#told = false;
  }

  /** Whether it has been unanswered for so long that it is to be told: true once. */
  overdue(now_ms: number): boolean {
    if (this.#told || !this.#unanswered || this.#first_ms === undefined) return false;
    this.#told = now_ms - this.#first_ms >= OVERDUE_MS;
    return this.#told;
  }
}
