// What `claw show` says of a task, from what the coordinator knows of it: times, attempts, what is going on with its node.

import { describe, expect, test } from "bun:test";
import { taskText } from "../../src/client/show.ts";
import { LIMITS } from "../../src/common/limits.ts";
import type { AttemptView, Outcome, TaskView } from "../../src/common/models.ts";
import { specificationOf } from "../core/cluster.ts";

const AT = Date.UTC(2026, 10, 24, 9);
const S = 1000;

function task(more: Partial<TaskView> = {}): TaskView {
  return {
    id: "task_0000000a",
    number: 1,
    index: 0,
    array: false,
    status: "completed",
    specification: specificationOf(),
    submitted_by: "client_1",
    submitted_at: AT,
    ...more,
  };
}

function lines(view: TaskView, now = AT + 600 * S): Map<string, string> {
  const found = taskText(view, now).split("\n");
  return new Map(found.map((line) => [line.split("  ")[0]!, line.slice(line.indexOf("  ")).trim()]));
}

const outcome = (started_at: number, ended_at: number, more: Partial<Outcome> = {}): Outcome => {
  return { status: "failed", reason: "exit", exit_code: 3, started_at, ended_at, ...more };
};

describe("attempts", () => {
  test("say how long each waited and ran", () => {
    const attempts: AttemptView[] = [
      { attempt: 1, node: "n1", reason: "exit", at: AT + 7 * S, outcome: outcome(AT + 2 * S, AT + 7 * S) },
      { attempt: 2, node: "n1", node_name: "w1", reason: "lost", at: AT + 90 * S, started_at: AT + 10 * S },
      { attempt: 3, node: "n2", reason: "drained", at: AT + 91 * S },
    ];
    const text = lines(task({ attempts, outcome: outcome(AT + 92 * S, AT + 93 * S) }));
    expect(text.get("attempt 1")).toBe("exit code 3 on n1 after 5s (it had waited 2s), 2026-11-24T09:00:07.000Z");
    expect(text.get("attempt 2")).toBe("lost on w1 after 1m20s (it had waited 3s), 2026-11-24T09:01:30.000Z");
    expect(text.get("attempt 3")).toBe("drained on n2, 2026-11-24T09:01:31.000Z");
    expect(text.get("ran for")).toBe("1s, after a wait of 1s");
    expect(text.has("attempts")).toBe(false);
  });

  test("whose message says where do not say it again", () => {
    const message = "'no-such' was not found on n1";
    const unfound = outcome(AT + S, AT + S, { reason: "not_found", message });
    const text = lines(
      task({ attempts: [{ attempt: 1, node: "n1", reason: "not_found", at: AT + S, outcome: unfound }] }),
    );
    expect(text.get("attempt 1")).toBe(`${message} after 0ms (it had waited 1s), 2026-11-24T09:00:01.000Z`);
  });

  test("that their worker's end cut off say so; those that a node took and did not begin are named as well", () => {
    const attempts: AttemptView[] = [
      { attempt: 2, node: "n1", node_name: "w1", reason: "stopped", at: AT + 20 * S, started_at: AT + 15 * S },
      { attempt: 5, node: "n1", node_name: "w1", reason: "lost", at: AT + 30 * S },
    ];
    const back = "given back by its node";
    const running = lines(task({ status: "running", attempt: 6, attempts }));
    expect(running.get("attempt 1")).toBe(back);
    expect(running.get("attempt 2")).toBe(
      "stopped with its worker on w1 after 5s (it had waited 15s), 2026-11-24T09:00:20.000Z",
    );
    expect(running.get("attempts 3 to 4")).toBe(back);
    expect(running.get("attempt 5")).toStartWith("lost on w1, ");
    expect(running.get("attempt 6")).toBeUndefined();
    const waits = lines(task({ status: "pending", attempt: 6, attempts }));
    expect(waits.get("attempt 6")).toBe(back);
    expect(lines(task({ status: "pending" })).size).toBe(lines(task({ status: "pending", attempts: [] })).size);
  });

  test("of a daemon are the newest so many, and that is said", () => {
    const attempts = Array.from({ length: LIMITS.attempts_kept }, (_, place): AttemptView => {
      const at = AT + place * S;
      return { attempt: place + 2, node: "n1", reason: "exit", at, outcome: outcome(at - 10, at) };
    });
    const text = lines(task({ status: "running", attempts }));
    expect(text.get("attempts")).toBe(`the newest ${LIMITS.attempts_kept}; earlier ones are not kept`);
    expect(text.get("attempt 2")).not.toContain("waited");
    expect(text.get("attempt 3")).toContain("(it had waited 990ms)");
  });

  test("that nobody heard begin did not run for no time at all", () => {
    const gone: Outcome = { status: "failed", reason: "lost", started_at: AT + 74 * S, ended_at: AT + 74 * S };
    const text = lines(task({ status: "failed", outcome: gone }));
    expect(text.get("waited")).toBe("1m14s, and is not known to have begun");
    expect(text.has("ran for")).toBe(false);
    const failed: AttemptView = {
      attempt: 1,
      node: "n1",
      reason: "exit",
      at: AT + 7 * S,
      outcome: outcome(AT, AT + 7 * S),
    };
    const at = AT + 19 * S;
    const cancelled: Outcome = { status: "cancelled", reason: "cancelled", started_at: at, ended_at: at };
    const between = lines(task({ status: "cancelled", attempts: [failed], outcome: cancelled }));
    expect(between.get("waited")).toBe("12s for its next attempt");
    const sudden = lines(task({ status: "cancelled", outcome: { ...cancelled, signal: "SIGKILL" } }));
    expect([sudden.has("waited"), sudden.get("ran for")]).toEqual([false, expect.stringContaining("0ms")]);
  });
});
