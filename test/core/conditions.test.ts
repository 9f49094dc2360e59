// Conditions on a node's attributes: as they are typed, as they are told again, and where they hold.

import { describe, expect, test } from "bun:test";
import { Condition } from "../../src/common/models.ts";
import { attributeOf, conditionText, holds, parseCondition } from "../../src/core/conditions.ts";
import { nodeOf } from "./placing-model.ts";

const { info } = nodeOf("a", {}, { attributes: { zone: "eu-1", empty: "", name: "mine" } });

describe("a condition", () => {
  const cases: [text: string, said: string, there: boolean][] = [
    ["zone=eu-1", "zone=eu-1", true],
    ["zone = eu-2", "zone=eu-2", false],
    ["zone==eu-1", "zone=eu-1", true],
    ["zone!=eu-1", "zone!=eu-1", false],
    ["zone != us", "zone!=us", true],
    ["rack!=7", "rack!=7", true],
    ["rack=7", "rack=7", false],
    ["zone in us,eu-1", "zone in us,eu-1", true],
    ["zone in (us, eu-2)", "zone in us,eu-2", false],
    ["zone", "zone", true],
    ["zone exists", "zone", true],
    ["rack", "rack", false],
    ["empty=", "empty=", true],
    ["empty", "empty", true],
    ["os=linux", "os=linux", true],
    ["arch in x64,arm64", "arch in x64,arm64", true],
    ["name=mine", "name=mine", true],
    ["toString", "toString", false],
    ["formula=a=b", "formula=a=b", false],
  ];
  test.each(cases)("%s", (text, said, there) => {
    const condition = parseCondition("--where", text);
    expect(Condition.parse(condition)).toEqual(condition);
    expect(conditionText(condition)).toBe(said);
    expect(parseCondition("--where", said)).toEqual(condition);
    expect(holds(info, condition)).toBe(there);
  });

  test.each(["", " ", "=eu", "zone in", "zone in ,", "zone eu", "!zone", "(zone)"])("'%s' is none", (text) => {
    expect(() => parseCondition("--prefer", text)).toThrow(
      expect.objectContaining({ code: "usage", field: "--prefer" }) as Error,
    );
  });

  test("has as many values as its comparison takes", () => {
    const parse = (op: string, values: string[]): boolean =>
      Condition.safeParse({ attribute: "zone", op, values }).success;
    expect([parse("=", []), parse("=", ["a"]), parse("=", ["a", "b"])]).toEqual([false, true, false]);
    expect([parse("in", []), parse("in", ["a", "b"])]).toEqual([false, true]);
    expect([parse("exists", []), parse("exists", ["a"])]).toEqual([true, false]);
    expect(parse(">", ["a"])).toBe(false);
  });

  test("every node has some attributes, and its owner's own come first", () => {
    expect(["os", "arch", "name", "version", "pid"].map((name) => attributeOf(info, name))).toEqual([
      "linux",
      "x64",
      "mine",
      "0",
      undefined,
    ]);
  });
});
