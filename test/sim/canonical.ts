// A view as text in one form, whatever batches its transactions were made of.

import type { View } from "../../src/storage/view.ts";

/** What pruned submissions left behind is removed bit by bit: it does not count any more. */
const THERE = "WHERE number IN (SELECT number FROM submissions)";

const ORDER: Record<string, string> = {
  submissions: "number",
  ids: "id",
  pruned: "id",
  inputs: 'number, "offset"',
  results: "position",
  attempts: "number, first, attempt",
  nodes: "id",
  meta: "key",
};

function whereOf(table: string): string {
  return ["inputs", "results", "attempts"].includes(table) ? THERE : "";
}

export function canonical(view: View): string {
  return Object.entries(ORDER)
    .map(([table, order]) =>
      JSON.stringify([table, view.database.query(`SELECT * FROM ${table} ${whereOf(table)} ORDER BY ${order}`).all()]),
    )
    .join("\n");
}

/** What the cluster knows, but for how far its log and its clock are. */
export function knowledge(view: View): string {
  return canonical(view)
    .replace(/,?\{"key":"witness".*/, "")
    .replace(/\\"time_ms\\":\d+/, "");
}
