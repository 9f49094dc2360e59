// Nodes as people name them: by name, by id or by a unique beginning of an id; a name that several have stands for none.

import { ClawError } from "./errors.ts";
import type { NodeView } from "./models.ts";
import { nearest } from "./nearest.ts";
import type { NodeStatus } from "./vocabulary.ts";

const SHARING_NAMED = 5;

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

/** Names that several nodes that are there have, as hostnames may repeat; those nodes' ids. */
export function sharedNames(
  nodes: Iterable<{ id: string; status: NodeStatus; info: { name: string } }>,
): Map<string, string[]> {
  const named = new Map<string, string[]>();
  for (const { id, status, info } of nodes) {
    if (status !== "offline") named.set(info.name, [...(named.get(info.name) ?? []), id]);
  }
  return new Map([...named].filter(([, ids]) => ids.length > 1).map(([name, ids]) => [name, ids.sort()]));
}

export function sharedNameText(name: string, ids: readonly string[]): string {
  const some = ids.length > SHARING_NAMED ? `${ids.slice(0, SHARING_NAMED).join(", ")}, …` : ids.join(", ");
  return `${ids.length} nodes are called ${name} (${some}): give each its own with name: in worker.yaml, or --name`;
}
