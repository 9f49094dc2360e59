// An array that was submitted by its count: inputs that come for it later are refused, not dropped.

import { afterEach, expect, test } from "bun:test";
import type { TaskExtend } from "../../src/communication/messages.ts";
import { submission } from "../cluster.ts";
import { Coordinator } from "./lone-coordinator.ts";
import { ScriptedLog } from "./scripted-log.ts";

const started: Coordinator[] = [];

async function serving(log: ScriptedLog): Promise<Coordinator> {
  const made = new Coordinator(log);
  started.push(made);
  await made.serve();
  return made;
}

afterEach(() => {
  for (const { terms, view, runtime, failures } of started.splice(0)) {
    terms.stop();
    view.close();
    expect(runtime.waiting).toEqual([]);
    expect(failures).toEqual([]);
  }
});

const NOOP = { needs: { executor: "noop" as const }, argv: [] };

test("an array with a count is not open, and takes no inputs, of the leader that took it and of the next", async () => {
  const log = new ScriptedLog();
  const one = await serving(log);
  const counted = submission(NOOP, { count: 2 });
  const open = { ...counted.request, array: { id: counted.id, count: 2, open: true } };
  expect(await one.ask("task.submit", open).answered()).toMatchObject({ code: "bad_request", field: "array.count" });
  const lines = submission(NOOP, { inputs: ["a"], open: true });
  for (const { request } of [counted, lines]) await one.ask("task.submit", request).answered();
  const extend = (of: typeof lines, inputs: string[]): TaskExtend => ({
    ...{ v: 1, id: of.id, nonce: of.request.nonce, offset: 1, inputs },
  });
  const refused = { code: "bad_request", field: "inputs" };
  expect(await one.ask("task.extend", extend(counted, ["x"])).answered()).toMatchObject(refused);
  one.terms.stop();
  const two = await serving(log);
  expect(await two.ask("task.extend", extend(counted, ["x"])).answered()).toMatchObject(refused);
  expect(await two.ask("task.extend", extend(lines, ["b"])).answered()).toMatchObject({ total: 2 });
});
