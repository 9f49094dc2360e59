// Nodes as people name them: by name, by id or by a unique beginning of an id; a name that several have stands for none.

import { ClawError } from "./errors.ts";
import type { NodeView } from "./models.ts";
import { nearest } from "./nearest.ts";

/** Throws `not_found`, `ambiguous`. */
export function findNodes(nodes: readonly NodeView[], words: readonly string[]): NodeView[] {
  return words.map((word) => {
    const exact = nodes.filter(({ id, name }) => id === word || name === word);
    const found =
      exact.length > 0 ? exact : nodes.filter(({ id }) => id.startsWith(word) || id.startsWith(`node_${word}`));
    const [node] = found;
    if (node === undefined) {
      const near = nearest(
        word,
        nodes.flatMap(({ id, name }) => [id, name]),
      );
      throw new ClawError("not_found", `there is no node ${word}`, {
        hint: near === undefined ? "`claw nodes` lists them" : `did you mean ${near}?`,
        field: word,
      });
    }
    if (found.length === 1) return node;
    const names = found.map(({ id }) => id).join(", ");
    throw new ClawError("ambiguous", `${word} may be ${names}`, { hint: "type the id", field: word });
  });
}
