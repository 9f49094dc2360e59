// A coordinator that folded a batch otherwise than its writer ends rather than go on wrong, and leaves what it takes to
// find out why.

import { join } from "node:path";
import { ClawError, messageOf } from "../common/errors.ts";
import type { Logger } from "../common/logging.ts";
import { VERSION } from "../common/version.ts";
import { writePrivate } from "../communication/private.ts";
import type { Changes } from "../core/changes.ts";
import type { Batch } from "../core/event.ts";
import type { Fold } from "../core/fold.ts";

export class FoldDiffers extends ClawError {
  readonly sequence: number;
  /** As JSON: the batch, both hashes, and the rows that it touched here. */
  readonly dump: object;

  constructor(what: "state" | "changes", sequence: number, batch: Batch, ours: Fold, changes: Changes) {
    const { leader } = changes.meta;
    super("fold_differs", `batch ${sequence} gives another state here than it gave ${leader}`);
    this.sequence = sequence;
    const { submissions, nodes, ...added } = changes;
    const rows = { ...added, submissions: [...submissions.values()], nodes: Object.fromEntries(nodes) };
    this.dump = { v: 1, version: VERSION, sequence, differs: what, theirs: batch.fold, ours, batch, rows };
  }
}

/** Told of a batch that gives another state here than where it was written: throws, or it is folded all the same. */
export type Differs = (difference: FoldDiffers) => void;

/** What is done about one: the coordinator ends, or warns of the first and goes on with what it has folded. */
export function differing(choice: "end" | "warn", folder: string, logger: Logger): Differs {
  let told = false;
  return (difference) => {
    const error = explained(difference, folder);
    if (choice === "end") throw error;
    if (told) return;
    told = true;
    logger.warn(error.message, { code: error.code, hint: error.hint });
  };
}

/** The same error with what to do about it; its dump is in the folder then, if there was room. */
function explained(error: FoldDiffers, folder: string): ClawError {
  const path = join(folder, `fold-${error.sequence}.json`);
  const { message, code } = error;
  let kept = `${path} has both hashes, the batch and its rows`;
  try {
    writePrivate(path, `${JSON.stringify(error.dump, null, 1)}\n`);
  } catch (failure) {
    kept = `${path} could not be written (${messageOf(failure)})`;
  }
  const hint = `${kept}. Run the claw version that wrote it (\`claw status\`); if it does already, move view.sqlite away and start again: it is made anew. Should it differ once more, that file belongs in a bug report, and \`on_difference: warn\` goes on with what it gives here`;
  return new ClawError(code, message, { hint, cause: error });
}
