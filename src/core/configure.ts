// Settings that people change while the cluster runs: what of a node is otherwise than its worker says, and how tasks are
// placed. What is set is kept beside what the worker or the file says, so that taking it back needs neither.

import type { z } from "zod";
import { ClawError } from "../common/errors.ts";
import { NodeInfo } from "../common/models.ts";
import { firstOf, wordsOf } from "../common/problem-words.ts";
import { NodeSettings, PlacementChange } from "../common/settings.ts";
import type { Event } from "./event.ts";
import type { PlacementSettings } from "./place.ts";
import type { State } from "./state.ts";

/** A node as it counts: what its worker says, and what was set over it. */
export function withSettings(declared: NodeInfo, settings: NodeSettings | undefined): NodeInfo {
  if (settings === undefined) return declared;
  const {
    cpu_millis,
    memory_mib,
    gpus,
    resources = {},
    tags_added = [],
    tags_removed = [],
    attributes = {},
  } = settings;
  const { capacity } = declared;
  const facts = Object.entries({ ...declared.attributes, ...attributes });
  return {
    ...declared,
    capacity: {
      cpu_millis: cpu_millis ?? capacity.cpu_millis,
      memory_mib: memory_mib ?? capacity.memory_mib,
      gpus: gpus ?? capacity.gpus,
      resources: { ...capacity.resources, ...resources },
    },
    tags: [...new Set([...declared.tags, ...tags_added])].filter((tag) => !tags_removed.includes(tag)),
    attributes: Object.fromEntries(facts.filter((entry): entry is [string, string] => entry[1] !== null)),
  };
}

/** What was set before, and what is set now. */
function merged(before: NodeSettings, change: NodeSettings): NodeSettings {
  const { tags_added: added = [], tags_removed: removed = [], resources, attributes, ...amounts } = change;
  const tags_added = [...new Set([...(before.tags_added ?? []), ...added])].filter((tag) => !removed.includes(tag));
  const tags_removed = [...new Set([...(before.tags_removed ?? []), ...removed])].filter((tag) => !added.includes(tag));
  const all = {
    ...before,
    ...amounts,
    resources: { ...before.resources, ...resources },
    attributes: { ...before.attributes, ...attributes },
    tags_added,
    tags_removed,
  };
  const said = Object.entries(all).filter(([, value]) => typeof value !== "object" || Object.keys(value).length > 0);
  return Object.fromEntries(said) as NodeSettings;
}

export interface ConfigureNodes {
  nodes: readonly string[];
  /** Back to what the worker says, before `set`. */
  reset?: boolean | undefined;
  set?: NodeSettings | undefined;
}

/** All of them or none. */
export function decideConfigureNodes(state: State, command: ConfigureNodes, by: string, now: number): Event[] {
  const { nodes, reset, set = {} } = command;
  return [...new Set(nodes)].flatMap((id): Event[] => {
    const node = state.nodes.get(id);
    if (node === undefined) throw new ClawError("not_found", `there is no node ${id}`, { field: id });
    const before = node.settings ?? {};
    const { name } = node.info;
    const whole = merged(reset === true ? {} : before, set);
    const settings = valid(NodeSettings, whole, `${name} would have more set than can be kept`);
    if (JSON.stringify(settings) === JSON.stringify(before)) return [];
    // What its worker says may have grown beyond it meanwhile: that is not the fault of what is set now.
    if (NodeInfo.safeParse(node.info).success) {
      valid(NodeInfo, withSettings(node.declared, settings), `${name} would be no node`);
    }
    return [{ t: "configured", node: id, settings, by, at: now }];
  });
}

/**
 * What was set bit by bit has to be sound as a whole: it is kept, told and read as one. As its readers will have it, fields
 * in the schema's order: whoever wrote it and whoever reads it keep the same row.
 */
function valid<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = firstOf(parsed.error.issues);
  const field = issue.path.join(".");
  throw new ClawError("bad_request", `${what}: ${wordsOf(issue, field).message}`, {
    field,
    hint: "`claw nodes set NODE --reset` goes back to what its worker says",
  });
}

export interface ConfigurePlacement {
  reset?: boolean | undefined;
  placement?: PlacementChange | undefined;
}

export function decidePlacement(state: State, command: ConfigurePlacement, by: string, now: number): Event[] {
  const before = command.reset === true ? {} : (state.placement ?? {});
  const { weights, ...plain } = command.placement ?? {};
  const all = { ...before, ...plain, weights: { ...before.weights, ...weights } };
  const { weights: both, ...rest } = all;
  const whole = Object.keys(both).length === 0 ? rest : all;
  const placement = valid(PlacementChange, whole, "placement would have more set than can be kept");
  if (JSON.stringify(placement) === JSON.stringify(state.placement ?? {})) return [];
  return [{ t: "placement", placement, by, at: now }];
}

/** How tasks are placed: as the file says, but for what was set. */
export function withPlacement(file: PlacementSettings, set: PlacementChange | undefined): PlacementSettings {
  if (set === undefined) return file;
  const said = Object.entries(set).filter(([name]) => name !== "weights");
  const weights = Object.entries(set.weights ?? {}).map(([name, thousandths]) => [name, (thousandths ?? 0) / 1000]);
  return { ...file, ...Object.fromEntries(said), weights: { ...file.weights, ...Object.fromEntries(weights) } };
}
