// Why a task waits: the line that says it, and what would change it, for each kind of reason.

import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import type { Needs } from "../../src/common/models.ts";
import type { NodeSettings } from "../../src/common/settings.ts";
import type { Skill } from "../../src/common/skills.ts";
import { withSettings } from "../../src/core/configure.ts";
import { type NodeLoad, obstacle, roomOf, suits } from "../../src/core/fit.ts";
import { Neighbours } from "../../src/core/neighbours.ts";
import { needsText } from "../../src/core/requirements.ts";
import { addUse, emptyUsed } from "../../src/core/state.ts";
import { explain } from "../../src/core/why.ts";
import { needsOf, nodeOf } from "./placing-model.ts";
import { forSeeds } from "./seeds.ts";

const eu = nodeOf("a", {}, { tags: ["ssd"], attributes: { zone: "eu" } });
const big = nodeOf("b", { cpu_millis: 8_000, memory_mib: 16_384, resources: { license: 1 } }, { tags: ["gpu"] });

function busy(node: NodeLoad, needs: Needs, count: number): NodeLoad {
  const used = emptyUsed();
  addUse(used, needs, count);
  return { ...node, used, held: count };
}

const drained = (node: NodeLoad): NodeLoad => {
  return { ...node, open: false, cordoned: true, closed: "is out of service since 12:04: drained" };
};
const gone = (node: NodeLoad): NodeLoad => ({ ...node, open: false, closed: "is offline since 12:04" });

describe("no node will do", () => {
  const cases: [what: string, needs: Partial<Needs>, summary: string, change: string[]][] = [
    ["a node that is not there", { node: "gpu-1" }, "needs the node gpu-1, which has not joined", ["--name gpu-1"]],
    [
      "a tag",
      { tags: ["ffmpeg"] },
      "needs the tag ffmpeg, which no node has",
      ["claw nodes set NODE --tag ffmpeg, or tags: [ffmpeg]"],
    ],
    [
      "an attribute",
      { where: [{ attribute: "zone", op: "=", values: ["us"] }] },
      "needs zone=us, which no node has",
      ["zone=us is true: claw nodes set NODE --attribute zone=us"],
    ],
    [
      "any value of an attribute, and another one than all have",
      {
        where: [
          { attribute: "my rack", op: "exists", values: [] },
          { attribute: "os", op: "!=", values: ["linux"] },
        ],
      },
      "needs my rack, which no node has; needs os!=linux, which no node has",
      ["--attribute 'my rack'=…", "a node of which os!=linux is true"],
    ],
    [
      "what to spread by",
      { spread: { by: "rack" } },
      "needs an attribute rack to spread by",
      ["attributes: {rack: …}"],
    ],
    [
      "the executor",
      { executor: "script" },
      "needs a node that runs script tasks, and there is none",
      ["script among its executors"],
    ],
    [
      "processors",
      { cpu_millis: 9_500 },
      "needs 9.5 cpu, the most that a node has is 8 cpu (name-b)",
      ["a larger node, or at most --cpu 8"],
    ],
    [
      "memory",
      { memory_mib: 20_000 },
      "needs 20000M of memory, the most that a node has is 16G of memory (name-b)",
      ["at most --memory 16384M"],
    ],
    ["graphics", { gpus: 2 }, "needs 2 gpus, which no node has", ["a node with 2 gpus"]],
    [
      "a resource",
      { resources: { license: 2 } },
      "the most that a node has is 1 license (name-b)",
      ["claw nodes set name-b --resource license=2, or at most --resource license=1"],
    ],
    [
      "several",
      { tags: ["ffmpeg", "ssd"], gpus: 1 },
      "needs the tag ffmpeg, which no node has; needs 1 gpu, which no node has",
      ["ffmpeg", "a node with 1 gpu"],
    ],
    [
      "all of it in one place",
      { tags: ["ssd"], cpu_millis: 6_000 },
      "no node has all of it: name-a needs 6 cpu, has 4; name-b lacks the tag ssd",
      ["on name-a: at most --cpu 4"],
    ],
  ];
  test.each(cases)("%s", (_, needs, summary, change) => {
    const why = explain(needsOf(needs), [eu, big]);
    expect(why.summary).toContain(summary);
    expect(why.change.length).toBe(change.length);
    for (const [at, part] of change.entries()) expect(why.change[at]).toContain(part);
    expect(why.nodes.map(({ node }) => node)).toEqual(["name-a", "name-b"]);
  });

  test("because there is none", () => {
    const why = explain(needsOf(), []);
    expect(why).toEqual({ summary: "no worker has joined yet", nodes: [], change: ["a worker: claw --role worker"] });
  });
});

test("a skill that nodes have and cannot use is told from one that none has", () => {
  const skill = (name: string, more: object): Skill => ({
    ...{ name, description: "", source: "config", hash: "0123456789abcdef" },
    ...more,
  });
  const lame = { ...eu, skills: { hash: "1", list: [skill("video", { missing: ["bin ffmpeg"] })] } };
  const needy = { ...big, skills: { hash: "2", list: [skill("video", { requires: ["codec"] })] } };
  expect(explain(needsOf({ skills: ["video"] }), [lame, needy])).toMatchObject({
    summary:
      "needs the skill video, which no node can use: on name-a it lacks bin ffmpeg; on name-b it needs codec: it has no skill codec",
    change: ["a node on which the skill video can be used: claw skills"],
  });
  expect(explain(needsOf({ skills: ["video"] }), [eu, big]).summary).toBe("needs the skill video, which no node has");
});

describe("a folder", () => {
  const needs = needsOf({ folder: "/data/x y" });
  const says = (node: NodeLoad, usable: boolean): NodeLoad => ({
    ...node,
    folders: new Map([["/data/x y", usable]]),
  });

  test("that no node has, or that some have not said yet to have", () => {
    expect(explain(needs, [says(eu, false), says(big, false)])).toEqual({
      summary: "needs the folder /data/x y, which no node has",
      nodes: ["name-a", "name-b"].map((node) => ({ node, reason: "has no folder /data/x y" })),
      change: [
        "that folder on a node that suits otherwise: mkdir -p '/data/x y', unless something else has that name there",
      ],
    });
    const why = explain(needs, [says(eu, false), big, gone(nodeOf("c"))]);
    expect(why.summary).toBe(
      "needs the folder /data/x y, which no node is known to have: name-b has not said yet; name-c is offline since 12:04",
    );
    expect(why.nodes.slice(1)).toEqual([
      { node: "name-b", reason: "has not said yet whether it has the folder /data/x y" },
      {
        node: "name-c",
        reason: "has not said yet whether it has the folder /data/x y; is offline since 12:04",
      },
    ]);
  });

  test("and what else is missing: who lacks that was not asked", () => {
    const tagged = needsOf({ ...needs, tags: ["ssd"] });
    expect(explain(tagged, [says(eu, false), big]).summary).toBe(
      "no node has all of it: name-a has no folder /data/x y; name-b lacks the tag ssd",
    );
    expect(explain(needsOf({ ...needs, gpus: 3 }), [eu, big]).summary).toBe("needs 3 gpus, which no node has");
  });

  test("that one has which takes nothing", () => {
    expect(explain(needs, [says(eu, false), drained(says(big, true))])).toMatchObject({
      summary: "needs the folder /data/x y, which name-b has, but it is out of service since 12:04: drained",
      change: ["claw nodes resume name-b"],
    });
  });
});

test("of what is nearly called so the name is told, and what the node lacks that lacks least", () => {
  const near = (needs: Partial<Needs>): string | undefined => explain(needsOf(needs), [eu, big]).change[0];
  expect(near({ tags: ["sdd"] })).toBe("did you mean --tag ssd?");
  expect(near({ where: [{ attribute: "zoen", op: "exists", values: [] }] })).toBe("did you mean --where zone?");
  expect(near({ node: "name-c" })).toBe("did you mean --node name-a?");
  expect(near({ spread: { by: "zoe" } })).toBe("did you mean --spread zone?");
  // The value is another one: the attribute is what was meant.
  expect(near({ where: [{ attribute: "zone", op: "=", values: ["us"] }] })).toContain(
    "claw nodes set NODE --attribute",
  );
  expect(
    explain(needsOf({ tags: ["gpu"], where: [{ attribute: "zone", op: "=", values: ["eu"] }] }), [eu, big]),
  ).toMatchObject({
    change: ["on name-a: claw nodes set name-a --tag gpu, or tags: [gpu] in its worker.yaml"],
  });
});

test("what is typed as it says, helps", () => {
  const [one, other] = [nodeOf("a", { cpu_millis: 4_000 }), nodeOf("b", { cpu_millis: 8_000 })];
  const cases: [Partial<Needs>, NodeSettings][] = [
    [{ tags: ["x y"] }, { tags_added: ["x y"] }],
    [{ where: [{ attribute: "zone", op: "=", values: ["us"] }] }, { attributes: { zone: "us" } }],
    [{ where: [{ attribute: "zone", op: "in", values: ["us", "eu"] }] }, { attributes: { zone: "us" } }],
    [{ resources: { license: 2 } }, { resources: { license: 2 } }],
  ];
  for (const [asked, settings] of cases) {
    const needs = needsOf(asked);
    expect(explain(needs, [one, other]).change[0]).toContain("claw nodes set NODE --");
    expect(suits(needs, one)).toBe(false);
    expect(suits(needs, { ...one, info: withSettings(one.info, settings) })).toBe(true);
  }
});

describe("those that would do take nothing", () => {
  test("what sets them apart is named, and how they come back", () => {
    const why = explain(needsOf({ tags: ["gpu"] }), [eu, drained(big)]);
    expect(why.summary).toBe("needs the tag gpu, which name-b has, but it is out of service since 12:04: drained");
    expect(why.change).toEqual(["claw nodes resume name-b"]);
  });

  test("and all that has to happen, where it is more than one thing", () => {
    const both = { ...drained(gone(eu)), absent: "offline" as const };
    const change = ["the worker on name-a has to be there again, and then claw nodes resume name-a"];
    expect(explain(needsOf(), [both]).change).toEqual(change);
    const sick = { ...eu, open: false, closed: "is in error: no room", absent: "error" as const };
    expect(explain(needsOf(), [sick]).change).toEqual([
      "what is wrong on name-a has to be put right (claw nodes show name-a)",
    ]);
  });

  test("one alone, several, many", () => {
    expect(explain(needsOf(), [gone(eu)])).toMatchObject({
      summary: "name-a is offline since 12:04",
      change: ["the worker on name-a has to be there again"],
    });
    expect(explain(needsOf(), [gone(eu), drained(big)]).summary).toBe(
      "no node takes new work: name-a is offline since 12:04; name-b is out of service since 12:04: drained",
    );
    const many = Array.from({ length: 9 }, (_, at) => gone(nodeOf(`n${at}`)));
    const why = explain(needsOf(), many);
    expect(why.summary).toEndWith("name-n2 is offline since 12:04; and 6 more");
    expect([why.nodes.length, why.change.length]).toEqual([9, 3]);
    expect(explain(needsOf({ tags: ["ssd"] }), [...many, big]).summary).toBe(
      "needs the tag ssd, and of those that have it none takes new work: " +
        "name-n0 is offline since 12:04; name-n1 is offline since 12:04; name-n2 is offline since 12:04; and 6 more",
    );
  });
});

describe("others are there", () => {
  const full = [busy(eu, needsOf(), 4), busy(big, needsOf(), 7)];

  test("the node that is nearest to having room is named, and by how much it has not", () => {
    const why = explain(needsOf({ cpu_millis: 3_000 }), full);
    expect(why.summary).toBe(
      "no room yet: name-b needs 3 cpu, has free 1, and the other node that suits is no nearer to it",
    );
    expect(why.change).toEqual(["something that runs on name-b ends"]);
    expect(why.nodes[0]).toEqual({ node: "name-a", reason: "needs 3 cpu, has free 0" });
    expect(explain(needsOf({ tags: ["ssd"] }), full).summary).toBe("no room yet: name-a needs 1 cpu, has free 0");
    expect(explain(needsOf(), [full[0]!]).summary).toBe("name-a needs 1 cpu, has free 0");
  });

  test("where its like runs, that is in the way, and not what else runs there", () => {
    const spread = { by: "node", among: "x" };
    const apart = needsOf({ cpu_millis: 2_000, spread });
    const with_like = busy(eu, needsOf({ cpu_millis: 0, spread }), 1);
    const full_of_others = busy(big, needsOf(), 7);
    expect(explain(apart, [with_like, full_of_others])).toMatchObject({
      summary: "no room yet: name-b needs 2 cpu, has free 1, and the other node that suits is no nearer to it",
      change: ["something that runs on name-b ends"],
    });
    expect(explain(apart, [with_like]).change).toEqual(["its like on name-a ends, or on another node"]);
    const zoned = { ...needsOf({ spread: { by: "zone", among: "x" } }) };
    expect(explain(zoned, [busy(eu, { ...zoned, cpu_millis: 0 }, 1)]).change).toEqual(["its like in zone=eu ends"]);
  });

  test("a daemon does not end by itself", () => {
    const daemon = busy(eu, needsOf({ cpu_millis: 100 }), 1);
    const beside = { ...daemon, lasting: { used: daemon.used, held: 1 } };
    expect(explain(needsOf({ cpu_millis: 4_000 }), [beside]).change).toEqual([
      "a daemon on name-a ends (daemons do not end by themselves)",
    ]);
    expect(explain(needsOf({ cpu_millis: 3_950 }), [beside, full[1]!]).change).toEqual([
      "something that runs on name-b ends",
    ]);
  });

  test("as many as a node may hold", () => {
    const idle = needsOf({ cpu_millis: 0 });
    const held = { ...busy(eu, idle, 1), held: LIMITS.node_processes };
    expect(explain(idle, [held]).summary).toBe(`name-a holds ${LIMITS.node_processes} tasks, as many as a node may`);
  });

  test("there is something in the way exactly when there is no room", () => {
    forSeeds(300, (chance) => {
      const nodes = ["a", "b", "c"].map((id) => {
        const node = nodeOf(id, { resources: { license: chance.below(3) } }, { tags: chance.once(2) ? ["ssd"] : [] });
        const ran = needsOf({
          cpu_millis: chance.below(3) * 1_000,
          exclusive: chance.once(5),
          spread: { by: "node", among: "x" },
        });
        const count = chance.below(3);
        const held = chance.once(9) ? LIMITS.node_processes : count;
        return { ...busy(node, ran, count), held, open: !chance.once(4) };
      });
      const needs = needsOf({
        cpu_millis: chance.below(5) * 1_000,
        ...(chance.once(3) ? { tags: ["ssd"] } : {}),
        ...(chance.once(3) ? { resources: { license: 1 } } : {}),
        ...(chance.once(3) ? { exclusive: true } : {}),
        ...(chance.once(3) ? { spread: { by: "node", among: "x" } } : {}),
      });
      const neighbours = new Neighbours(nodes);
      for (const node of nodes) {
        const may = suits(needs, node) && node.open && roomOf(needs, node, neighbours) > 0;
        expect([needs, node, obstacle(needs, node, neighbours) === undefined]).toEqual([needs, node, may]);
      }
    });
  });

  test("a node that is being emptied says for whom", () => {
    const one = needsOf({ cpu_millis: 8_000 });
    expect(explain(one, full, { node: "b", own: true }).summary).toContain("is being emptied for it, 7 tasks to go");
    const small = explain(needsOf({ cpu_millis: 500, tags: ["gpu"] }), full, { node: "b", own: false });
    expect(small.summary).toBe("no room yet: name-b is being emptied for a task that has waited longer");
  });

  test("or it is placed in a moment", () => {
    expect(explain(needsOf(), [eu]).summary).toBe("it is about to be placed");
  });
});

test("what a task asks for, in a line", () => {
  const needs = needsOf({
    ...{ cpu_millis: 500, memory_mib: 2_048, gpus: 1, resources: { license: 2 }, tags: ["ssd"], node: "a" },
    where: [{ attribute: "zone", op: "in", values: ["eu", "us"] }],
    spread: { by: "node" },
    exclusive: true,
    folder: "/data",
  });
  expect(needsText(needs)).toBe(
    "the node a, the tag ssd, zone in eu,us, the folder /data, 0.5 cpu, 2G of memory, 1 gpu, 2 license, " +
      "a node for itself, a node without its like",
  );
  expect(needsText(needsOf({ cpu_millis: 0 }))).toBe("nothing");
});
