// Words as they were typed. What the runtime hands over is text, in which bytes that are no UTF-8 have become another
// character: a task would be given something else than what was typed.

import { ClawError } from "../common/errors.ts";

/** What stands in the place of such bytes, and may have been typed itself. */
const REPLACED = "\ufffd";

/** `raw` is the process's command line as the system knows it, each word ended by NUL; undefined where that cannot be told. */
export function refuseChanged(argv: readonly string[], raw: () => Uint8Array | undefined): void {
  if (!argv.some((word) => word.includes(REPLACED))) return;
  const words = wordsOf(raw() ?? new Uint8Array()).slice(-argv.length);
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for (const [at, word] of words.entries()) {
    try {
      strict.decode(word);
    } catch {
      throw new ClawError(
        "bad_request",
        `word ${at + 1} is no UTF-8, and claw never changes one silently: ${argv[at]}`,
        {
          hint: "write it so that a shell makes it: claw run --shell 'printf \"a\\377b\"'; or rename the file",
          field: `word ${at + 1}`,
        },
      );
    }
  }
}

function wordsOf(bytes: Uint8Array): Uint8Array[] {
  const words: Uint8Array[] = [];
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(0, from);
    const to = end < 0 ? bytes.length : end;
    words.push(bytes.subarray(from, to));
    from = to + 1;
  }
  return words;
}
