import { describe, expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { formatTaskId, parseTaskRef } from "../../src/core/ids.ts";
import { forSeeds } from "./seeds.ts";

describe("ids of tasks", () => {
  test("are read as they are written", () => {
    forSeeds(200, (chance) => {
      const id = chance.u32();
      const index = chance.once(2) ? undefined : chance.below(10_000_000);
      const text = formatTaskId(id, index);
      expect(text).toMatch(/^task_[0-9a-f]{8}(\.\d+)?$/);
      const ref = { low: id, high: id, exact: true };
      expect(parseTaskRef(text)).toEqual(index === undefined ? ref : { ...ref, index });
      expect(parseTaskRef(text.slice("task_".length))).toEqual(parseTaskRef(text));
    });
    expect(formatTaskId(0x35f04cf1, 17)).toBe("task_35f04cf1.17");
    expect(formatTaskId(1)).toBe("task_00000001");
  });

  test("may be typed as a prefix, which means all that begin with it", () => {
    expect(parseTaskRef("task_35f")).toEqual({ low: 0x35f00000, high: 0x35ffffff, exact: false });
    expect(parseTaskRef("0.5")).toEqual({ low: 0, high: 0x0fffffff, exact: false, index: 5 });
  });

  test.each(["", "task_", "task_xyz", "35F0", "task_123456789", "1.", "1.01", "1.-1", "1.9999999999", "1.2.3", " 1"])(
    "'%s' is none",
    (text) => {
      expect(() => parseTaskRef(text)).toThrow(ClawError);
    },
  );
});
