// `plan`: where a task would go if it were submitted now, and why there; nothing is.

import type { PlanView } from "../../common/models.ts";
import { formatSize } from "../../common/units.ts";
import type { Strategy } from "../../common/vocabulary.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { sayPast } from "../life.ts";
import { sheet } from "../output.ts";
import { specificationOf, type TaskOptions } from "../specification.ts";

const MIB = 1024 * 1024;

const REASONS: Record<Strategy, string> = {
  best_fit: "it has most free, by the cluster's weights",
  least_tasks: "it holds the fewest tasks",
  round_robin: "it was given something longest ago",
  pack: "it is the fullest that has room",
  random: "by chance: the next may go elsewhere",
  affinity: "it has most of what the task prefers, or ran its like last",
};

export async function planCommand(
  io: Io,
  client: RequestClient,
  words: readonly string[],
  options: TaskOptions & { json?: boolean },
): Promise<number> {
  // What a script's bundle would be called: nothing of it is sent.
  const put = (bytes: Uint8Array): Promise<string> =>
    Promise.resolve(new Bun.CryptoHasher("sha256").update(bytes).digest("hex"));
  const specification = await specificationOf(options, { words, each: false, cwd: io.cwd }, () => ({ put }));
  const { plan } = await client.query("task.plan", { specification });
  sayPast(io, specification, options);
  await io.out(options.json === true ? `${JSON.stringify(plan)}\n` : planText(plan));
  return 0;
}

function planText({ strategy, node, node_name, nodes, waiting }: PlanView): string {
  const lines: [string, string][] = [];
  if (node !== undefined) lines.push(["would go to", `${node_name ?? node} (${strategy}: ${REASONS[strategy]})`]);
  if (waiting !== undefined) lines.push(["would wait", waiting.summary]);
  for (const sentence of waiting?.change ?? []) lines.push(["would help", sentence]);
  for (const { node: name, room, free, held, reason } of nodes) {
    const there = `${free.cpu_millis / 1000} cpu and ${formatSize(free.memory_mib * MIB)} free, holds ${held}`;
    lines.push([`  ${name}`, reason ?? `has room for ${room} (${there})`]);
  }
  return sheet(lines);
}
