// Settings over what a worker or a file says: what counts, what is kept, what is refused, and that taking back gives what was.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import { NodeSettings, PlacementChange } from "../../src/common/settings.ts";
import { decideConfigureNodes, decidePlacement, withPlacement, withSettings } from "../../src/core/configure.ts";
import { Event } from "../../src/core/event.ts";
import { Cluster } from "./cluster.ts";
import { DEFAULT_PLACEMENT, nodeOf } from "./placing-model.ts";

const { info } = nodeOf("n1", { resources: { licence: 1 } }, { tags: ["ssd"], attributes: { zone: "eu", rack: "7" } });

test("a node counts as it was set, and as its worker says where nothing was", () => {
  expect(withSettings(info, undefined)).toBe(info);
  const set: NodeSettings = {
    cpu_millis: 500,
    resources: { licence: 0, seats: 3 },
    tags_added: ["fast", "ssd"],
    tags_removed: ["old"],
    attributes: { zone: "us", rack: null, shelf: "2" },
  };
  expect(withSettings(info, set)).toEqual({
    ...info,
    capacity: { ...info.capacity, cpu_millis: 500, resources: { licence: 0, seats: 3 } },
    tags: ["ssd", "fast"],
    attributes: { zone: "us", shelf: "2" },
  });
  expect(withSettings(info, { tags_removed: ["ssd"] }).tags).toEqual([]);
  expect(withSettings(info, { memory_mib: 1, gpus: 2 }).capacity).toMatchObject({ memory_mib: 1, gpus: 2 });
});

function cluster(): Cluster {
  const made = new Cluster();
  made.add({ t: "registered", node: "n1", incarnation: "1", info, at: 1 });
  return made;
}

/** What is decided is folded, and told. */
function fold(one: Cluster, events: Event[]): Event[] {
  for (const event of events) one.add(event);
  return events;
}

describe("what is set of a node", () => {
  const set = (one: Cluster, settings: NodeSettings, reset?: boolean): Event[] =>
    fold(one, decideConfigureNodes(one.state, { nodes: ["n1", "n1"], set: settings, reset }, "me", 5));

  test("adds to what was set before; the same again is nothing", () => {
    const one = cluster();
    set(one, { cpu_millis: 2_000, tags_added: ["a", "b"], attributes: { zone: "us" } });
    expect(set(one, { cpu_millis: 2_000, tags_added: ["a"] })).toEqual([]);
    const [event] = set(one, {
      memory_mib: 64,
      tags_removed: ["a", "ssd"],
      tags_added: ["c"],
      attributes: { rack: null },
    });
    const settings = {
      cpu_millis: 2_000,
      memory_mib: 64,
      tags_added: ["b", "c"],
      tags_removed: ["a", "ssd"],
      attributes: { zone: "us", rack: null },
    };
    expect(event).toEqual({
      t: "configured",
      node: "n1",
      settings: expect.objectContaining(settings),
      by: "me",
      at: 5,
    });
    expect(NodeSettings.parse(settings)).toEqual(settings);
    const node = one.state.nodes.get("n1")!;
    expect(node.info.tags).toEqual(["b", "c"]);
    expect(node.info.capacity).toMatchObject({ cpu_millis: 2_000, memory_mib: 64 });
    set(one, { tags_added: ["ssd"] });
    expect(node.info.tags).toEqual(["ssd", "b", "c"]);
  });

  test("stays when its worker registers anew, and what that says counts beneath it", () => {
    const one = cluster();
    set(one, { cpu_millis: 2_000 });
    const larger = { ...info, capacity: { ...info.capacity, cpu_millis: 64_000, gpus: 4 } };
    one.add({ t: "registered", node: "n1", incarnation: "2", info: larger, at: 6 });
    const node = one.state.nodes.get("n1")!;
    expect(node.info.capacity).toMatchObject({ cpu_millis: 2_000, gpus: 4 });
    expect(node.declared).toEqual(larger);
    expect(set(one, {}, true)).toEqual([{ t: "configured", node: "n1", settings: {}, by: "me", at: 5 }]);
    expect([node.info, node.settings]).toEqual([larger, undefined]);
    expect(set(one, {}, true)).toEqual([]);
  });

  test("is all of it or nothing, and makes no node that could not be", () => {
    const one = cluster();
    expect(() => decideConfigureNodes(one.state, { nodes: ["n1", "n2"], set: { gpus: 1 } }, "me", 5)).toThrow(
      "no node n2",
    );
    const many = Array.from({ length: 32 }, (_, at) => `tag ${at}`);
    expect(() => set(one, { tags_added: many })).toThrow("would be no node: tags");
    expect(one.state.nodes.get("n1")!.settings).toBeUndefined();
  });

  test("bit by bit is still sound as a whole, so that the log can be read", () => {
    const one = cluster();
    for (let at = 0; at < LIMITS.label_count; at++) set(one, { tags_removed: [`old ${at}`] });
    expect(() => set(one, { tags_removed: ["one more"] })).toThrow("more set than can be kept: tags_removed");
    set(one, { cpu_millis: 2_000 });
    const { settings } = one.state.nodes.get("n1")!;
    expect(NodeSettings.parse(settings)).toEqual(settings!);
    // A log that was written before that was looked at.
    const many = Array.from({ length: 100 }, (_, at) => `old ${at}`);
    const written = { t: "configured", node: "n1", settings: { tags_removed: many }, by: "me", at: 5 };
    expect(Event.parse(written)).toMatchObject(written);
    one.add(written as Event);
    expect(() => set(one, { cpu_millis: 3_000 })).toThrow("can be kept");
    set(one, { cpu_millis: 3_000 }, true);
    expect(one.state.nodes.get("n1")!.settings).toEqual({ cpu_millis: 3_000 });
  });

  test("counts also where a worker says more than before", () => {
    const one = cluster();
    set(one, { tags_added: Array.from({ length: 20 }, (_, at) => `set ${at}`) });
    const more = { ...info, tags: Array.from({ length: 20 }, (_, at) => `own ${at}`) };
    one.add({ t: "registered", node: "n1", incarnation: "2", info: more, at: 6 });
    expect(one.state.nodes.get("n1")!.info.tags.length).toBe(40);
    expect(set(one, { cpu_millis: 2_000 }).length).toBe(1);
  });
});

describe("how tasks are placed", () => {
  const set = (one: Cluster, placement: PlacementChange, reset?: boolean): Event[] =>
    fold(one, decidePlacement(one.state, { placement, reset }, "me", 5));

  test("is as the file says, but for what was set", () => {
    const one = cluster();
    expect(withPlacement(DEFAULT_PLACEMENT, one.state.placement)).toBe(DEFAULT_PLACEMENT);
    set(one, { strategy: "pack", weights: { tasks: 500 } });
    expect(set(one, { strategy: "pack" })).toEqual([]);
    set(one, { aging_ms: 5_000, weights: { cpu: 0 } });
    expect(PlacementChange.parse(one.state.placement)).toEqual(one.state.placement!);
    expect(withPlacement(DEFAULT_PLACEMENT, one.state.placement)).toEqual({
      strategy: "pack",
      weights: { ...DEFAULT_PLACEMENT.weights, tasks: 0.5, cpu: 0 },
      aging_ms: 5_000,
      reserve_after_ms: DEFAULT_PLACEMENT.reserve_after_ms,
    });
    set(one, { strategy: "random" }, true);
    expect(one.state.placement).toEqual({ strategy: "random" });
    set(one, {}, true);
    expect(one.state.placement).toBeUndefined();
  });
});
