// Texts that no UTF-8 can say, in what was sent as JSON.

import { expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { requireWellFormed } from "../../src/common/well-formed.ts";

function refused(json: string): string | undefined {
  try {
    requireWellFormed(json, () => JSON.parse(json) as unknown);
    return undefined;
  } catch (error) {
    if (!(error instanceof ClawError)) throw error;
    return error.field;
  }
}

test("half of a pair is named by its field, wherever it is, and a whole one is text", () => {
  const cases: [json: string, field: string | undefined][] = [
    [String.raw`{"a": ["x", {"b": "\ud800"}]}`, "a.1.b"],
    [String.raw`{"a": {"\udc00": 1}}`, "a"],
    [String.raw`"\udfff"`, "body"],
    [String.raw`{"a": "\ud83d\ude00", "b": ["\\ud800"]}`, undefined],
    [`{"a": "é"}`, undefined],
  ];
  for (const [json, field] of cases) expect([json, refused(json)]).toEqual([json, field]);
});

test("a text may be as deep as it likes: that ends nobody", () => {
  const deep = (text: string): string => `{"a":${"[".repeat(200_000)}${text}${"]".repeat(200_000)}}`;
  expect(refused(deep(String.raw`"\ud83d\ude00"`))).toBeUndefined();
  expect(refused(deep(String.raw`"\ud83d"`))).toBe("a.0.0.0.0.0.0.0");
});
