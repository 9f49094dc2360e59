// A submission on its way through the whole cluster: taken once however often it is sent, run, recorded, and refused
// where it makes no sense, with the field that is wrong.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/common/limits.ts";
import { machineHash } from "../../src/common/machine.ts";
import type { TaskSubmit } from "../../src/communication/messages.ts";
import { formatTaskId } from "../../src/core/ids.ts";
import { type Cluster, openCluster, specificationOf, submission } from "../cluster.ts";
import { rejection } from "./rejection.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ workers: 2, worker: { "resources.cpus": 2 } });
});

afterAll(() => cluster.close());

const shell = (line: string) => ({ argv: [line], needs: { executor: "shell" as const } });
const submit = (request: TaskSubmit) => cluster.client.command("task.submit", request);
const noop = { needs: { executor: "noop" as const }, argv: [] };

describe("a submission", () => {
  test("is run, and its result recorded: exit code, output, times and node", async () => {
    const { number, id } = await cluster.submit({ ...shell("echo out; echo err >&2; exit 3"), name: "three" });
    const task = await cluster.finished(number);
    expect(task).toMatchObject({ id: formatTaskId(id), status: "failed", attempt: 1, name: "three", array: false });
    expect(task.outcome).toMatchObject({ reason: "exit", exit_code: 3, stdout_tail: "out\n", stderr_tail: "err\n" });
    expect(["worker-1", "worker-2"]).toContain(task.node_name ?? "");
    expect(task.started_at).toBeGreaterThanOrEqual(task.submitted_at - 1000);
    expect(task.finished_at).toBeGreaterThanOrEqual(task.started_at ?? Number.POSITIVE_INFINITY);
    expect(task.submitted_by).toStartWith("client_");
  });

  test("sent again with its nonce gets the same answer and runs once", async () => {
    const { request, id } = submission({
      ...shell("echo ran >> log"),
      origin: { machine: machineHash(), folder: cluster.cwd },
    });
    const answers = await Promise.all([submit(request), submit(request), submit(request)]);
    expect(new Set(answers.map(({ number }) => number)).size).toBe(1);
    await cluster.finished(answers[0].number);
    const again = await submit(request);
    expect(again.number).toBe(answers[0].number);
    expect(await Bun.file(`${cluster.cwd}/log`).text()).toBe("ran\n");
    const { tasks } = await cluster.client.query("task.list", { limit: LIMITS.list_rows });
    expect(tasks.filter((task) => task.id === formatTaskId(id))).toHaveLength(1);
  });

  test("under a key is there once, whoever sends it again and however much later; another one's key is refused", async () => {
    const keyed = (more: Parameters<typeof submission>[0] = {}) => submission({ ...noop, key: "nightly", ...more });
    const [one, other] = [keyed(), keyed()];
    const answers = await Promise.all([submit(one.request), submit(other.request), submit(one.request)]);
    const [{ number }] = answers;
    expect(answers.map((answer) => answer.number)).toEqual([number, number, number]);
    const first = answers[0].existing ?? one.id;
    expect(answers[1].existing).toBe(answers[0].existing === undefined ? one.id : undefined);
    await cluster.finished(number);
    for (let again = 0; again < 2; again++) {
      expect(await submit(keyed().request)).toMatchObject({ number, existing: first });
      expect(await rejection(submit(keyed({ argv: ["else"] }).request))).toMatchObject({
        code: "conflict",
        field: "key",
        message: expect.stringContaining(formatTaskId(first)),
      });
      await cluster.stopCoordinator();
      await cluster.startCoordinator();
    }
    const { tasks } = await cluster.client.query("task.list", { limit: LIMITS.list_rows });
    expect(tasks.filter(({ specification }) => specification.key === "nightly")).toHaveLength(1);
  });

  test("under a key is sent as a whole: neither open nor of several specifications", async () => {
    const specification = specificationOf({ ...noop, key: "k" });
    const { request } = submission(noop);
    const open = { id: 77, open: true };
    const { tasks: _tasks, ...bare } = request;
    expect(await rejection(submit({ ...bare, specifications: [specification], array: open }))).toMatchObject({
      code: "bad_request",
      field: "key",
    });
    expect(await rejection(submit({ ...request, specifications: [specification, specification] }))).toMatchObject({
      code: "bad_request",
      field: "key",
    });
  });

  test("with an id that another one has is refused, while that one is open, running and long over", async () => {
    const { request, id } = submission(noop);
    const { request: other } = submission(noop);
    const second = { ...other, tasks: [[id, 0]] as [number, number][] };
    const [, refused] = await Promise.all([submit(request), rejection(submit(second))]);
    expect(refused).toMatchObject({ code: "id_taken", field: formatTaskId(id) });
    const { number } = await submit(request);
    await cluster.finished(number);
    expect((await rejection(submit(second))).code).toBe("id_taken");
  });

  test("with a nonce that another one has, and more ids, is a conflict", async () => {
    const { request } = submission(noop);
    await submit(request);
    const { id: other } = submission(noop);
    const more = { ...request, tasks: [...(request.tasks ?? []), [other, 0]] as [number, number][] };
    expect(await rejection(submit(more))).toMatchObject({ code: "conflict", field: "nonce" });
  });

  test("of many separate tasks is one range, and each member has its own id and result", async () => {
    const specifications = [specificationOf(shell("echo one")), specificationOf(shell("echo two; exit 2"))];
    const { request } = submission();
    const ids = Array.from({ length: 6 }, () => submission().id);
    const tasks = ids.map((id, at): [number, number] => [id, at % 2]);
    const { number } = await submit({ ...request, specifications, tasks });
    const refs = ids.map((id) => formatTaskId(id));
    const { refs: resolved } = await cluster.client.query("task.resolve", { refs });
    expect(resolved.map((ref) => ref.number - number)).toEqual([0, 1, 0, 1, 0, 1]);
    for (const [at, { number: own, index }] of resolved.entries()) {
      const task = await cluster.finished(own, index);
      expect([task.id, task.outcome?.stdout_tail, task.outcome?.exit_code]).toEqual([
        refs[at]!,
        at % 2 === 0 ? "one\n" : "two\n",
        at % 2 === 0 ? 0 : 2,
      ]);
    }
  });

  test("of an array runs each member once; results come in the order of the log, in pages", async () => {
    const { number, id } = await cluster.submit(shell("echo $CLAW_TASK_INDEX; exit $((CLAW_TASK_INDEX % 2))"), {
      count: 10,
    });
    const whole = await cluster.finished(number);
    expect(whole).toMatchObject({ id: formatTaskId(id), status: "failed", array: true, open: false });
    expect(whole.counts).toMatchObject({ total: 10, completed: 5, failed: 5, pending: 0, running: 0 });
    const seen: [number, string][] = [];
    let cursor = 0;
    for (let finished = false; !finished; ) {
      const page = await cluster.client.query("task.results", { number, cursor, limit: 3, wait_ms: 0 });
      expect(page.results.length).toBeLessThanOrEqual(3);
      for (const { from, outcome } of page.results) seen.push([from, outcome.stdout_tail ?? ""]);
      finished = page.results.length === 0;
      cursor = page.cursor;
    }
    expect(seen.sort(([a], [b]) => a - b)).toEqual(Array.from({ length: 10 }, (_, index) => [index, `${index}\n`]));
    const member = await cluster.show(number, 3);
    expect([member.id, member.status, member.outcome?.stdout_tail]).toEqual([formatTaskId(id, 3), "failed", "3\n"]);
  });

  test("of a hundred thousand no-ops is a few rows and comes to its end", async () => {
    const { number } = await cluster.submit(noop, { count: 100_000 });
    const whole = await cluster.finished(number);
    expect(whole.counts).toMatchObject({ total: 100_000, completed: 100_000 });
    const { results } = await cluster.client.query("task.results", { number, cursor: 0, limit: 1000, wait_ms: 0 });
    expect(results.length).toBeLessThan(500);
    expect(results.reduce((sum, { from, to }) => sum + to - from, 0)).toBe(100_000);
  });
});

describe("a submission is refused", () => {
  const cases: [what: string, change: (request: TaskSubmit, id: number) => object, code: string, field: string][] = [
    ["with tasks and an array", (_, id) => ({ array: { id, count: 1 } }), "bad_request", "tasks"],
    ["with neither", () => ({ tasks: undefined }), "bad_request", "tasks"],
    ["without tasks", () => ({ tasks: [] }), "bad_request", "tasks"],
    [
      "with an id twice",
      (_, id) => ({
        tasks: [
          [id, 0],
          [id, 0],
        ],
      }),
      "bad_request",
      "tasks",
    ],
    ["with a specification that is not there", (_, id) => ({ tasks: [[id, 1]] }), "bad_request", "tasks"],
    ["for an array without members", (_, id) => ({ tasks: undefined, array: { id } }), "bad_request", "array.count"],
    [
      "with inputs that are not as many as it says",
      (_, id) => ({ tasks: undefined, array: { id, count: 3, inputs: ["a"] } }),
      "bad_request",
      "array.count",
    ],
    [
      "for an array of two specifications",
      ({ specifications }, id) => ({
        tasks: undefined,
        array: { id, count: 1 },
        specifications: [...specifications, ...specifications],
      }),
      "bad_request",
      "specifications",
    ],
    ["without a command", () => ({ specifications: [specificationOf({ argv: [] })] }), "bad_request", "argv"],
    [
      "for a script without a script",
      () => ({ specifications: [specificationOf({ needs: { executor: "script" } })] }),
      "bad_request",
      "script",
    ],
    ["with a nonce that is none", () => ({ nonce: "x" }), "bad_request", "nonce"],
    ["of a version to come", () => ({ v: 2 }), "bad_request", "v"],
  ];
  test.each(cases)("%s", async (_, change, code, field) => {
    const { request, id } = submission();
    const wrong = { ...request, ...change(request, id) } as TaskSubmit;
    expect(await rejection(submit(wrong))).toMatchObject({ code, field });
  });

  test("with a specification over its size", async () => {
    const half = "x".repeat(LIMITS.specification_bytes / 2);
    const argv = ["echo", half, half];
    const { request } = submission({ argv });
    const refused = await rejection(submit(request));
    expect([refused.code, refused.message]).toEqual([
      "too_large",
      expect.stringContaining(String(LIMITS.specification_bytes)),
    ]);
  });
});
