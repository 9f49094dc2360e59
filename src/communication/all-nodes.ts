// All nodes of a cluster, however many answers they take.

import type { NodeView } from "../common/models.ts";
import type { QueryAnswers, QueryRequest } from "./queries.ts";

export interface AsksForNodes {
  query(type: "node.list", request: Omit<QueryRequest<"node.list">, "seen">): Promise<QueryAnswers["node.list"]>;
}

/** In the order of their ids. */
export async function allNodes(asks: AsksForNodes): Promise<NodeView[]> {
  const nodes: NodeView[] = [];
  for (let more = true; more; ) {
    const last = nodes.at(-1)?.id;
    const page = await asks.query("node.list", last === undefined ? {} : { after: last });
    nodes.push(...page.nodes);
    more = page.more && page.nodes.length > 0;
  }
  return nodes;
}
