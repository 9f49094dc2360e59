// Lines of --each arrive exactly as they were written, or are refused by their number.

import { describe, expect, test } from "bun:test";
import { readLines } from "../../src/client/lines.ts";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";

function streamOf(...chunks: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
      controller.close();
    },
  });
}

async function read(input: ReadableStream<Uint8Array>, null_separated = false) {
  const lines: string[] = [];
  let error: unknown;
  try {
    for await (const some of readLines(input, null_separated)) lines.push(...some);
  } catch (thrown) {
    error = thrown;
  }
  return { lines, error: error as ClawError | undefined };
}

describe("readLines", () => {
  test("a last line without an end counts, nothing at all is no line", async () => {
    expect(await read(streamOf("a\nb"))).toEqual({ lines: ["a", "b"], error: undefined });
    expect(await read(streamOf("a\nb\n"))).toEqual({ lines: ["a", "b"], error: undefined });
    expect(await read(streamOf())).toEqual({ lines: [], error: undefined });
  });

  test("empty lines, carriage returns, byte order marks and quotes stay as they are", async () => {
    const { lines } = await read(streamOf("\n\uFEFFa\r\n $(x) 'y' \"z\" \\n\n\n"));
    expect(lines).toEqual(["", "\uFEFFa\r", " $(x) 'y' \"z\" \\n", ""]);
  });

  test("a character and a line may be cut anywhere between chunks", async () => {
    const bytes = Buffer.from("grün\n日本\nend");
    const { lines } = await read(streamOf(...[...bytes].map((byte) => Uint8Array.of(byte))));
    expect(lines).toEqual(["grün", "日本", "end"]);
  });

  test("memory that the stream uses again does not change a line that was begun", async () => {
    const memory = Buffer.from("abc");
    let turn = 0;
    const input = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          turn += 1;
          if (turn === 1) controller.enqueue(memory);
          else if (turn === 2) {
            memory.fill("x");
            controller.enqueue(Buffer.from("d\n"));
          } else controller.close();
        },
      },
      { highWaterMark: 0 },
    );
    expect((await read(input)).lines).toEqual(["abcd"]);
  });

  test("with -0 a line may have line ends in it", async () => {
    expect((await read(streamOf("a\nb\0c\0"), true)).lines).toEqual(["a\nb", "c"]);
  });

  test("a line that is no UTF-8 is refused by its number, after those before it", async () => {
    const { lines, error } = await read(streamOf("one\ntwo\n", Uint8Array.of(0xff, 10), "four\n"));
    expect(lines).toEqual(["one", "two"]);
    expect(error).toBeInstanceOf(ClawError);
    expect(error?.code).toBe("bad_request");
    expect(error?.field).toBe("line 3");
  });

  test("a line of the longest length is taken, one byte more is refused without reading on", async () => {
    const longest = "x".repeat(LIMITS.input_bytes);
    expect((await read(streamOf(`${longest}\n`))).lines).toEqual([longest]);
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          pulled += 1;
          controller.enqueue(new Uint8Array(64 * 1024).fill(120));
        },
      },
      { highWaterMark: 0 },
    );
    const { lines, error } = await read(endless);
    expect(lines).toEqual([]);
    expect(error?.code).toBe("too_large");
    expect(error?.field).toBe("line 1");
    expect(pulled).toBe(LIMITS.input_bytes / (64 * 1024) + 1);
  });
});
