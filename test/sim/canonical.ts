// A view as text in one form, whatever batches its transactions were made of.

import type { View } from "../../src/storage/view.ts";

const ORDER: Record<string, string> = {
  submissions: "number",
  ids: "id",
  inputs: 'number, "offset"',
  results: "position",
  attempts: "number, first, attempt",
  nodes: "id",
  meta: "key",
};

export function canonical(view: View): string {
  return Object.entries(ORDER)
    .map(([table, order]) =>
      JSON.stringify([table, view.database.query(`SELECT * FROM ${table} ORDER BY ${order}`).all()]),
    )
    .join("\n");
}
