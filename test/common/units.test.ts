import { describe, expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../../src/common/units.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function refusal(parse: () => number): ClawError {
  try {
    const value = parse();
    throw new Error(`it was taken for ${value}`);
  } catch (error) {
    if (error instanceof ClawError) return error;
    throw error;
  }
}

describe("a duration", () => {
  test.each([
    ["250ms", 250],
    ["0s", 0],
    ["90s", 90 * SECOND],
    ["5m", 5 * MINUTE],
    ["2h", 2 * HOUR],
    ["1d", DAY],
    ["1h30m", HOUR + 30 * MINUTE],
    ["1.5s", 1_500],
    ["0.4ms", 0],
    ["1m250ms", MINUTE + 250],
  ])("%s is %d ms", (text, expected) => expect(parseDuration(text)).toBe(expected));

  test.each(["", "10", "s", "-5s", "5 s", "5S", "1w", "1h30", "1..5s", "five", "1e3s", "٣s", "5s\n"])(
    "%j is refused",
    (text) => {
      const error = refusal(() => parseDuration(text));
      expect(error.code).toBe("usage");
      expect(error.message).toContain(`'${text}'`);
      expect(error.hint).toContain("90s");
    },
  );

  test("a time that no clock reaches is refused", () => {
    expect(parseDuration("100000d")).toBe(100_000 * DAY);
    expect(refusal(() => parseDuration("200000d")).message).toContain("too long");
    expect(refusal(() => parseDuration(`${"9".repeat(400)}d`)).message).toContain("too long");
  });

  test.each([
    [0, "0ms"],
    [999.4, "999ms"],
    [999.7, "1s"],
    [1_500, "1.5s"],
    [9_999, "10s"],
    [59_400, "59s"],
    [59_999, "1m"],
    [90 * SECOND, "1m30s"],
    [HOUR - 1, "1h"],
    [HOUR, "1h"],
    [DAY + HOUR + MINUTE, "1d1h"],
    [7 * DAY, "7d"],
  ])("%d ms reads %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

  test("what is said can be read again", () => {
    for (const ms of [0, 1, 999, SECOND, 5 * SECOND, 59 * SECOND, MINUTE, 61 * SECOND, HOUR, 25 * HOUR, 7 * DAY]) {
      expect(parseDuration(formatDuration(ms))).toBe(ms);
    }
  });
});

describe("a size", () => {
  test.each([
    ["0", 0],
    ["512", 512],
    ["1b", 1],
    ["64k", 64 * 1024],
    ["64KiB", 64 * 1024],
    ["512M", 512 * 1024 ** 2],
    ["512 MB", 512 * 1024 ** 2],
    ["1GiB", 1024 ** 3],
    ["1.5G", 1.5 * 1024 ** 3],
    ["2T", 2 * 1024 ** 4],
  ])("%s is %d bytes", (text, expected) => expect(parseSize(text)).toBe(expected));

  test.each(["", "G", "-1G", "1P", "1 0M", "half", "1e9", "0x10", "1,5G"])("%j is refused", (text) => {
    const error = refusal(() => parseSize(text));
    expect(error.code).toBe("usage");
    expect(error.message).toContain(`'${text}'`);
    expect(error.hint).toContain("512M");
  });

  test("more than can be counted exactly is refused", () => {
    expect(parseSize("8191T")).toBe(8191 * 1024 ** 4);
    expect(refusal(() => parseSize("8192T")).code).toBe("usage");
    expect(refusal(() => parseSize("9".repeat(400))).code).toBe("usage");
  });

  test.each([
    [0, "0"],
    [1023, "1023"],
    [1024, "1K"],
    [1536, "1.5K"],
    [10_189, "10K"],
    [1024 ** 2 - 1, "1M"],
    [64 * 1024 ** 2, "64M"],
    [1024 ** 3, "1G"],
    [3000 * 1024 ** 4, "3000T"],
  ])("%d bytes read %s", (bytes, text) => expect(formatSize(bytes)).toBe(text));
});
