// `placement`: how a node is chosen, for the whole cluster and while it runs.

import type { PlacementRequest } from "../../common/document-schemas.ts";
import { placementChange, placementDocument } from "../../common/documents.ts";
import { ClawError } from "../../common/errors.ts";
import type { ClusterState } from "../../common/models.ts";
import type { PlacementChange } from "../../common/settings.ts";
import { formatDuration } from "../../common/units.ts";
import { STRATEGIES } from "../../common/vocabulary.ts";
import type { RequestClient } from "../../communication/request.ts";
import type { Io } from "../io.ts";
import { distinct, duration, number, oneOf } from "../values.ts";

interface PlacementOptions {
  strategy?: string;
  weight?: string[];
  aging?: string;
  reserveAfter?: string;
  json?: boolean;
}

const WEIGHTS = ["cpu", "memory", "tasks", "affinity"] as const;

function requestOf({ strategy, weight, aging, reserveAfter }: PlacementOptions): PlacementRequest {
  const weights = Object.entries(distinct("--weight", weight) ?? {}).map(([name, text]) => [
    oneOf("--weight", name, WEIGHTS),
    number("--weight", text, 1000),
  ]);
  return {
    ...(strategy === undefined ? {} : { strategy: oneOf("--strategy", strategy, STRATEGIES) }),
    ...(weights.length === 0 ? {} : { weights: Object.fromEntries(weights) as PlacementRequest["weights"] }),
    ...(aging === undefined ? {} : { aging_ms: atLeast("--aging", aging, 1_000) }),
    ...(reserveAfter === undefined ? {} : { reserve_after_ms: duration("--reserve-after", reserveAfter) }),
  };
}

function atLeast(option: string, text: string, least_ms: number): number {
  const value = duration(option, text);
  if (value >= least_ms) return value;
  throw new ClawError("usage", `${option} ${text} is too little: at least ${formatDuration(least_ms)}`, {
    field: option,
  });
}

export async function placementCommand(
  io: Io,
  client: RequestClient,
  what: "show" | "set" | "reset",
  options: PlacementOptions,
): Promise<number> {
  if (what === "set") {
    const placement = placementChange(requestOf(options));
    if (Object.keys(placement).length === 0) {
      throw new ClawError("usage", "what shall be set?", { hint: "claw placement set --strategy pack" });
    }
    await client.command("cluster.configure", { v: 1, placement });
  } else if (what === "reset") await client.command("cluster.configure", { v: 1, reset: true });
  const { placement } = (await client.query("cluster.status", {})).status;
  await io.out(options.json === true ? `${JSON.stringify(placementDocument(placement))}\n` : placementText(placement));
  return 0;
}

function placementText({ strategy, weights, aging_ms, reserve_after_ms, set }: ClusterState["placement"]): string {
  const own = (name: keyof PlacementChange): string => (set?.[name] === undefined ? "" : " (set)");
  const counted = WEIGHTS.map((name) => `${name} ${weights[name]}`).join(", ");
  return [
    `strategy       ${strategy}${own("strategy")}`,
    `weights        ${counted}${own("weights")}`,
    `aging          ${formatDuration(aging_ms)}${own("aging_ms")}`,
    `reserve after  ${formatDuration(reserve_after_ms)}${own("reserve_after_ms")}`,
    "",
  ].join("\n");
}
