// What becomes of a request that this coordinator cannot answer: a refusal is an answer, its own disk is not.

import { expect, test } from "bun:test";
import { ClawError } from "../../src/common/errors.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import type { QueryType } from "../../src/communication/queries.ts";
import { Desk, type DeskOptions } from "../../src/coordinator/desk.ts";
import { View } from "../../src/storage/view.ts";

/** A desk whose view cannot be brought up to the log; the answer to one question, and what ended the coordinator. */
function ask(type: QueryType, payload: object, flush: () => void): { answer: unknown; failed: unknown } {
  const view = new View(":memory:");
  const asked: { answer: unknown; failed: unknown } = { answer: undefined, failed: undefined };
  const desk = new Desk({
    ...{ runtime: systemRuntime, view, snapshots: () => undefined, status: () => ({}) },
    terms: { leader: {}, sequence: 5, flush },
    log: {},
    files: {},
    failed: (error: unknown) => {
      asked.failed = error;
    },
  } as unknown as DeskOptions);
  desk.query(type, payload, {
    payload,
    respond: (answer: unknown) => {
      asked.answer = answer;
    },
  } as never);
  desk.close();
  view.close();
  return asked;
}

const QUESTIONS: [QueryType, object][] = [
  ["task.list", { limit: 1 }],
  ["task.wait", { number: 1, until: "finished", wait_ms: 0 }],
];

test.each(QUESTIONS)(
  "%s: a full disk is the coordinator's end, and whoever asked asks the next one",
  (type, payload) => {
    const full = new ClawError("disk_full", "no room left to write view.sqlite");
    const { answer, failed } = ask(type, payload, () => {
      throw full;
    });
    expect(failed).toBe(full);
    expect(answer).toMatchObject({
      code: "not_leading",
      message: "this coordinator ends: no room left to write view.sqlite",
    });
  },
);

test.each(QUESTIONS)("%s: a bug as well", (type, payload) => {
  const { answer, failed } = ask(type, payload, () => {
    throw new TypeError("x is not a function");
  });
  expect(failed).toBeInstanceOf(TypeError);
  expect(answer).toMatchObject({ code: "not_leading" });
});

test("what is refused is answered, and the coordinator goes on", () => {
  const { answer, failed } = ask("task.show", { number: 404 }, () => undefined);
  expect(failed).toBeUndefined();
  expect(answer).toMatchObject({ code: "not_found" });
});
