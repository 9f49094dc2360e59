// `claw events` over a log that is long: one answer looks back for a moment only, and the command goes on from there.

import { expect, test } from "bun:test";
import { eventsCommand } from "../../src/client/commands/events.ts";
import type { Io } from "../../src/client/io.ts";
import type { QueryRequest } from "../../src/communication/queries.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { testIo } from "../cli.ts";

const event = (id: string) => ({ id, at: "2026-01-01T00:00:00.000Z", type: "node.joined" });

/** Answers as the coordinator does when each look ends before it has found enough. */
async function newest(terminal: boolean) {
  const pages = [
    { events: [], cursor: "900", more: false, before: "600.0" },
    { events: [event("400.0")], cursor: "900", more: false, before: "300.0" },
    { events: [event("2.0")], cursor: "900", more: false },
  ];
  const asked: Partial<QueryRequest<"event.list">>[] = [];
  const client = {
    query: (_type: string, query: QueryRequest<"event.list">) => {
      asked.push(query);
      return Promise.resolve(pages[asked.length - 1]);
    },
  } as unknown as RequestClient;
  const [printed, drawn]: [string[], string[]] = [[], []];
  const io: Io = {
    ...testIo({ terminal: { err: terminal } }),
    out: (text) => Promise.resolve(void printed.push(String(text))),
    err: (text) => void printed.push(text),
    draw: (line) => void drawn.push(line),
    terminal: { out: false, err: terminal, in: false },
  };
  await eventsCommand(io, client, [], { tail: "30", type: ["node"] });
  return { asked: asked.map(({ tail, before }) => ({ tail, before })), printed, drawn };
}

test("the newest of a filter are looked for until the log's beginning is reached", async () => {
  const { asked, printed, drawn } = await newest(false);
  expect(asked).toEqual([
    { tail: 30, before: undefined },
    { tail: 30, before: "600.0" },
    { tail: 29, before: "300.0" },
  ]);
  expect(printed.map((line) => line.trim())).toEqual([
    "2026-01-01T00:00:00.000Z node.joined",
    "2026-01-01T00:00:00.000Z node.joined",
  ]);
  expect(drawn).toEqual([]);
});

test("who waits at a terminal sees how far it is, and no trace of it at the end", async () => {
  expect((await newest(true)).drawn).toEqual([
    "looking further back, before 600.0 (Ctrl-C ends it)",
    "looking further back, before 300.0 (Ctrl-C ends it)",
    "",
  ]);
});
