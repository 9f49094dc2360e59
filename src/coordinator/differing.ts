// A coordinator that folded a batch otherwise than its writer ends rather than go on wrong, and leaves what it takes to
// find out why.

import { join } from "node:path";
import { ClawError, messageOf } from "../common/errors.ts";
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
    super("fold_differs", `batch ${sequence} by ${leader} gives another state here: ended rather than go on wrong`);
    this.sequence = sequence;
    const { submissions, nodes, ...added } = changes;
    const rows = { ...added, submissions: [...submissions.values()], nodes: Object.fromEntries(nodes) };
    this.dump = { v: 1, version: VERSION, sequence, differs: what, theirs: batch.fold, ours, batch, rows };
  }
}

/** The same error with what to do about it; its dump is in the folder then, if there was room. */
export function explained(error: unknown, folder: string): unknown {
  if (!(error instanceof FoldDiffers)) return error;
  const path = join(folder, `fold-${error.sequence}.json`);
  const { message, code } = error;
  let kept = `${path} has both hashes, the batch and its rows`;
  try {
    writePrivate(path, `${JSON.stringify(error.dump, null, 1)}\n`);
  } catch (failure) {
    kept = `${path} could not be written (${messageOf(failure)})`;
  }
  return new ClawError(code, message, {
    hint: `${kept}. Run the claw version that wrote it (\`claw status\`); if it does already, move view.sqlite away and start again: it is made anew. Should it differ once more, that file belongs in a bug report`,
    cause: error,
  });
}
