// Tasks that keep apart: the counts by place are what a look at every node would find, and nobody looks at all of them again.

import { expect, test } from "bun:test";
import type { Needs } from "../../src/common/models.ts";
import { Neighbours, placeOf } from "../../src/core/neighbours.ts";
import { type PlaceNow, place } from "../../src/core/place.ts";
import { addUse, apartKey, emptyUsed } from "../../src/core/state.ts";
import { DEFAULT_PLACEMENT, needsOf, nodeOf } from "./placing-model.ts";
import { forSeeds } from "./seeds.ts";

const WAYS = ["node", "zone", "rack"];
const apart = (by: string, among: string): Needs => needsOf({ cpu_millis: 10, spread: { by, among } });

test("are as many as a look at all nodes finds, while more are given", () => {
  forSeeds(200, (chance) => {
    const nodes = ["a", "b", "c", "d", "e"].map((id) => {
      const zone = chance.once(5) ? {} : { zone: `z${chance.below(2)}` };
      return nodeOf(id, {}, { used: emptyUsed(), attributes: { ...zone, rack: `r${chance.below(3)}` } });
    });
    const random = (): Needs => apart(WAYS[chance.below(3)]!, `set ${chance.below(2)}`);
    const pick = () => nodes[chance.below(nodes.length)]!;
    for (let given = chance.below(6); given > 0; given--) addUse(pick().used, random(), 1);
    const neighbours = new Neighbours(nodes);
    for (let step = 0; step < 20; step++) {
      const [needs, node] = [random(), pick()];
      const { by, among = "" } = needs.spread!;
      const there = nodes.filter((one) => placeOf(one, by) === placeOf(node, by));
      expect(neighbours.of(needs, node)).toBe(
        there.reduce((sum, { used }) => sum + (used.spread[apartKey(among)] ?? 0), 0),
      );
      if (!chance.once(3)) continue;
      addUse(node.used, needs, 1);
      neighbours.given(needs, node, 1);
    }
  });
});

/** How often a turn looks at where a node is. */
function looks(lanes: number, taken: boolean, count: number): number {
  let asked = 0;
  const nodes = Array.from({ length: count }, (_, at) => {
    const node = nodeOf(String(at).padStart(4, "0"), {}, { used: emptyUsed() });
    const attributes = { zone: `z${at % 3}` };
    Object.defineProperty(node.info, "attributes", {
      get: () => {
        asked += 1;
        return attributes;
      },
    });
    if (taken) for (let lane = 0; lane < lanes; lane++) addUse(node.used, apart("zone", `svc${lane}`), 1);
    return node;
  });
  const ready = Array.from({ length: lanes }, (_, lane) => ({
    needs: apart("zone", `svc${lane}`),
    waiting: 5,
    queue: [{ turn: 0, number: lane + 1, count: 5 }],
    since: 0,
  }));
  const now: PlaceNow = { at: DEFAULT_PLACEMENT.reserve_after_ms, seed: 1, settings: DEFAULT_PLACEMENT };
  const { placements } = place(ready, nodes, now);
  expect(placements.length).toBe(taken ? 0 : lanes * 3);
  return asked;
}

test.each([
  ["three zones that are free", false],
  ["zones that are all taken", true],
])("%s: a turn costs by lanes and nodes, not by nodes times nodes", (_, taken) => {
  const [few, many] = [looks(4, taken, 100), looks(4, taken, 1_000)];
  expect(many).toBeLessThanOrEqual(few * 11);
  expect(many).toBeLessThanOrEqual(4 * 1_000 * 40);
});
