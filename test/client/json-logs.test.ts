// `logs --json`: bytes as text, however they were cut on their way, and as base64 where they are none.

import { describe, expect, test } from "bun:test";
import { JsonLogs } from "../../src/client/json-logs.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import type { Sink } from "../../src/communication/follow.ts";

interface Piece {
  id: string;
  stream: string;
  text?: string;
  base64?: string;
}

/** Takes what a terminal would get. */
function sink() {
  const got = {
    runtime: systemRuntime,
    stdout: "",
    stderr: "",
    out: (text: string | Uint8Array): Promise<void> => {
      got.stdout += String(text);
      return Promise.resolve();
    },
    passError: (): Promise<void> => Promise.reject(new Error("JSON goes to standard output")),
    err: (text: string): void => {
      got.stderr += text;
    },
  };
  return got satisfies Sink;
}

/** What a document of these writes says. */
async function written(
  chunks: readonly (string | Uint8Array)[],
  lines = false,
): Promise<{ raw: string; all: Piece[] }> {
  const io = sink();
  const logs = new JsonLogs(io, lines);
  const task = logs.of("task_1");
  for (const chunk of chunks) await task.out(chunk);
  await task.end();
  await logs.end();
  const raw = io.stdout;
  const all = lines
    ? raw
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as Piece)
    : (JSON.parse(raw) as Piece[]);
  return { raw, all };
}

const textOf = (pieces: readonly Piece[]): string => pieces.map(({ text }) => text ?? "").join("");

describe("a character that was cut", () => {
  test.each(["é", "日", "🎉", "a🎉b", "日本é"])("'%s' is whole again, wherever it was cut", async (word) => {
    const bytes = Buffer.from(word);
    for (let at = 0; at <= bytes.length; at++) {
      for (let end = at; end <= bytes.length; end++) {
        const { all } = await written([bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)]);
        expect(all.every(({ base64 }) => base64 === undefined)).toBe(true);
        expect(textOf(all)).toBe(word);
      }
    }
  });

  test("and never came to its end is bytes", async () => {
    const { all } = await written(["a", Buffer.from("日").subarray(0, 2)]);
    expect(all).toEqual([
      { id: "task_1", stream: "stdout", text: "a" },
      { id: "task_1", stream: "stdout", base64: Buffer.from("日").subarray(0, 2).toString("base64") },
    ]);
  });
});

describe("the document", () => {
  test("keeps what is no text byte for byte", async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
    const { all } = await written([bytes]);
    const back = all.map(({ text, base64 }) =>
      base64 === undefined ? Buffer.from(text ?? "") : Buffer.from(base64, "base64"),
    );
    expect(Buffer.concat(back)).toEqual(Buffer.from(bytes));
  });

  test("of nothing is an empty array; with -f it is an object a line, of nothing nothing", async () => {
    expect((await written([])).raw).toBe("[]\n");
    const io = sink();
    await new JsonLogs(io, true).end();
    expect(io.stdout).toBe("");
    const { raw } = await written(["a\n", "b"], true);
    expect(raw).toBe('{"id":"task_1","stream":"stdout","text":"a\\n"}\n{"id":"task_1","stream":"stdout","text":"b"}\n');
  });

  test("tells several tasks and both streams apart, and what claw says of them goes elsewhere", async () => {
    const io = sink();
    const logs = new JsonLogs(io, false);
    const [one, two] = [logs.of("one"), logs.of("two")];
    await one.out("1");
    await two.passError("2");
    one.err("claw: cut\n");
    for (const task of [one, two]) await task.end();
    await logs.end();
    expect(JSON.parse(io.stdout)).toEqual([
      { id: "one", stream: "stdout", text: "1" },
      { id: "two", stream: "stderr", text: "2" },
    ]);
    expect(io.stderr).toBe("claw: cut\n");
  });

  test("says of which attempt a piece is, and never joins what two of them left half", async () => {
    const io = sink();
    const logs = new JsonLogs(io, false);
    const task = logs.of("one");
    const [first = 0, second = 0] = Buffer.from("é");
    await task.of?.(1, "node_a");
    await task.out(Uint8Array.of(first));
    await task.of?.(2, undefined);
    await task.out(Uint8Array.of(second));
    await task.end();
    await logs.end();
    expect(JSON.parse(io.stdout)).toEqual([
      { id: "one", attempt: 1, node: "node_a", stream: "stdout", base64: "ww==" },
      { id: "one", attempt: 2, stream: "stdout", base64: "qQ==" },
    ]);
  });
});
