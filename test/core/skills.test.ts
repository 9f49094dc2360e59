// Which skills can be used on a node, with all that they need; what is said of those that cannot; what is refused at once.

import { describe, expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import type { Skill } from "../../src/common/skills.ts";
import { type NodeSkills, requirePossible, skillObstacle, usableSkills } from "../../src/core/skills.ts";
import { forSeeds } from "./seeds.ts";

function skill(name: string, requires: string[] = [], missing: string[] = []): Skill {
  return {
    ...{ name, description: "", source: "config", hash: "0123456789abcdef" },
    ...(requires.length === 0 ? {} : { requires }),
    ...(missing.length === 0 ? {} : { missing }),
  };
}

const node = (...list: Skill[]): NodeSkills => ({ hash: "", list });

function refusal(nodes: NodeSkills[], ...wanted: string[]): string | undefined {
  try {
    requirePossible(
      nodes.map((skills) => ({ skills })),
      wanted,
    );
    return undefined;
  } catch (error) {
    if (error instanceof ClawError) return `${error.code}: ${error.message}`;
    throw error;
  }
}

describe("a skill can be used", () => {
  test("where it lacks nothing", () => {
    const skills = node(skill("a"), skill("b", [], ["bin ffmpeg", "env KEY"]));
    expect([...usableSkills(skills)]).toEqual(["a"]);
    expect(skillObstacle(skills, "a")).toBeUndefined();
    expect(skillObstacle(skills, "b")).toBe("has the skill b, which lacks bin ffmpeg, env KEY");
    expect(skillObstacle(skills, "c")).toBe("has no skill c");
    expect(skillObstacle(undefined, "c")).toBe("has no skill c");
  });

  test("where all that it needs can be, and what that needs", () => {
    const whole = node(skill("a", ["b", "c"]), skill("b", ["c"]), skill("c"));
    expect([...usableSkills(whole)].sort()).toEqual(["a", "b", "c"]);
    const broken = node(skill("a", ["b"]), skill("b", ["c"]), skill("c", [], ["os darwin"]));
    expect([...usableSkills(broken)]).toEqual([]);
    expect(skillObstacle(broken, "a")).toBe(
      "has the skill a, which needs b: it has the skill b, which needs c: it has the skill c, which lacks os darwin",
    );
    expect(skillObstacle(node(skill("a", ["b"])), "a")).toBe("has the skill a, which needs b: it has no skill b");
  });

  test("never where it needs itself, by whatever way", () => {
    for (const skills of [
      node(skill("a", ["a"])),
      node(skill("a", ["b"]), skill("b", ["a"])),
      node(skill("a", ["b"]), skill("b", ["c"]), skill("c", ["b"])),
    ]) {
      expect([...usableSkills(skills)]).toEqual([]);
      expect(skillObstacle(skills, "a")).toContain("which needs");
    }
  });

  test("exactly when everything that can be reached from it lacks nothing and does not come back, in random graphs", () => {
    forSeeds(300, (chance) => {
      const names = ["a", "b", "c", "d", "e"];
      const list = names
        .filter(() => chance.between(0, 4) > 0)
        .map((name) => {
          const requires = names.filter(() => chance.between(0, 4) === 0);
          return skill(name, requires, chance.between(0, 5) === 0 ? ["bin x"] : []);
        });
      const by_name = new Map(list.map((one) => [one.name, one]));
      const fine = (name: string, above: string[]): boolean => {
        const one = by_name.get(name);
        if (one === undefined || one.missing !== undefined || above.includes(name)) return false;
        return (one.requires ?? []).every((other) => fine(other, [...above, name]));
      };
      const skills = node(...list);
      const wanted = names.filter((name) => fine(name, []));
      expect([...usableSkills(skills)].sort()).toEqual(wanted);
      for (const name of names) expect(skillObstacle(skills, name) === undefined).toBe(wanted.includes(name));
    });
  });
});

describe("a submission", () => {
  test("waits for a skill that no node has yet, or that lacks something where it is", () => {
    expect(refusal([], "a")).toBeUndefined();
    expect(refusal([node(skill("b"))], "a")).toBeUndefined();
    expect(refusal([node(skill("a", [], ["bin x"]))], "a")).toBeUndefined();
    expect(refusal([node(skill("a", ["b"])), node(skill("b"))], "a")).toBeUndefined();
  });

  test("is refused for one that needs what nobody has, and for one that needs itself, by name", () => {
    expect(refusal([node(skill("a", ["b"]))], "a")).toBe("conflict: a needs b, and no node has a skill of that name");
    expect(refusal([node(skill("a", ["b"]), skill("b", ["c"]))], "x", "a")).toBe(
      "conflict: a needs b needs c, and no node has a skill of that name",
    );
    expect(refusal([node(skill("a", ["b"]), skill("b", ["a"]))], "a")).toBe(
      "conflict: the skill a needs itself: a needs b needs a",
    );
  });

  test("is taken when one node's version is sound", () => {
    const cyclic = node(skill("a", ["b"]), skill("b", ["a"]));
    expect(refusal([cyclic, node(skill("a"))], "a")).toBeUndefined();
    expect(refusal([cyclic, node(skill("a", ["c"]), skill("c", [], ["bin x"]))], "a")).toBeUndefined();
  });

  test("is decided at once, however many ways there are through what its skill needs", () => {
    // Each of a layer needs each of the next one: 16 to the power of 18 ways.
    const layers = Array.from({ length: 18 }, (_, layer) => Array.from({ length: 16 }, (_, at) => `l${layer}-${at}`));
    const list = (last: string[]): Skill[] =>
      layers.flatMap((names, layer) => names.map((name) => skill(name, layers[layer + 1] ?? last)));
    expect(refusal([node(...list([]).map((one) => ({ ...one, missing: ["bin x"] })))], "l0-0")).toBeUndefined();
    expect(refusal([node(...list(["gone"]))], "l0-0")).toContain("needs gone, and no node has a skill of that name");
    expect(refusal([node(...list(["l0-0"]))], "l0-0")).toContain("the skill l0-0 needs itself");
    expect(refusal([node(...list(["gone"])), node(...list(["l0-1"]))], "l0-0")).toContain("conflict");
  }, 5_000);

  test("of which what is in the way is told in few words, however deep it stands", () => {
    const deep = node(...Array.from({ length: 300 }, (_, at) => skill(`s${at}`, [`s${at + 1}`])));
    expect(skillObstacle(deep, "s0")?.length).toBeLessThan(500);
  });
});
