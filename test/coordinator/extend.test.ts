// An open array: inputs come while its first members already run. A gap is refused, a repeat answered, and one whose
// client went away is closed.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TaskDocument } from "../../src/common/document-schemas.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { isoTime } from "../../src/common/runtime.ts";
import { formatTaskId } from "../../src/core/ids.ts";
import { type Cluster, openCluster, type Submitted, type Wanted } from "../cluster.ts";
import { until } from "../until.ts";
import { rejection } from "./rejection.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await openCluster({ worker: { "resources.cpus": 4 }, coordinator: { "heartbeat.interval": "200ms" } });
});

afterAll(() => cluster.close());

function open(inputs: string[] = [], more: Wanted = {}): Promise<Submitted> {
  const wanted = { ...more, argv: ["echo got {}"], each: true, needs: { executor: "shell" as const } };
  return cluster.submit(wanted, { inputs, open: true });
}

const extend = ({ id, nonce }: Submitted, offset: number, inputs: string[], total?: number) =>
  cluster.client.command("task.extend", {
    v: 1,
    id,
    nonce,
    offset,
    inputs,
    ...(total === undefined ? {} : { close: { total } }),
  });

async function tails(number: number): Promise<(string | undefined)[]> {
  const { counts } = await cluster.finished(number);
  const members = Array.from({ length: counts?.total ?? 0 }, (_, index) => cluster.show(number, index));
  return (await Promise.all(members)).map(({ outcome }) => outcome?.stdout_tail);
}

describe("an open array", () => {
  test("runs what came, waits for more, and is over when it was closed with its total", async () => {
    const array = await open(["a"]);
    const first = await cluster.finished(array.number, 0);
    expect([first.status, first.outcome?.stdout_tail]).toEqual(["completed", "got a\n"]);
    expect(await cluster.show(array.number)).toMatchObject({ open: true, status: "pending" });
    expect((await extend(array, 1, ["b", "c"])).total).toBe(3);
    expect((await extend(array, 3, ["d"], 4)).total).toBe(4);
    expect(await tails(array.number)).toEqual(["got a\n", "got b\n", "got c\n", "got d\n"]);
    expect(await cluster.show(array.number)).toMatchObject({ open: false, status: "completed" });
  });

  test("refuses a gap and names where to go on", async () => {
    const array = await open(["a"]);
    const refused = await rejection(extend(array, 3, ["d"]));
    expect(refused).toMatchObject({ code: "gap", field: "offset", message: expect.stringContaining("has 1 inputs") });
    await extend(array, 1, [], 1);
  });

  test("answers a repeat, whole or in part, and takes each input once", async () => {
    const array = await open(["a", "b"]);
    expect((await extend(array, 0, ["a", "b"])).total).toBe(2);
    expect((await extend(array, 1, ["b", "c"])).total).toBe(3);
    const last = () => extend(array, 3, ["d"], 4);
    expect([(await last()).total, (await last()).total]).toEqual([4, 4]);
    expect(await tails(array.number)).toEqual(["got a\n", "got b\n", "got c\n", "got d\n"]);
    // Long over and out of the memory: still the same answer, and nothing more is taken.
    expect((await last()).total).toBe(4);
    expect((await rejection(extend(array, 4, ["e"]))).code).toBe("conflict");
  });

  test("refuses a total that is not its own, another one's nonce, and an array that is not there", async () => {
    const array = await open(["a"]);
    expect(await rejection(extend(array, 1, [], 5))).toMatchObject({ code: "conflict", field: "close.total" });
    expect((await rejection(extend({ ...array, nonce: "0".repeat(32) }, 1, ["b"]))).code).toBe("conflict");
    expect((await rejection(extend({ ...array, id: (array.id ^ 1) >>> 0 }, 1, ["b"]))).code).toBe("not_found");
    await extend(array, 1, [], 1);
    expect((await rejection(extend(array, 1, ["b"]))).code).toBe("conflict");
  });

  test("has at most as many members as an array may have", async () => {
    const array = await open(["a"]);
    const far = await rejection(extend(array, 1, Array<string>(LIMITS.inputs_per_request + 1).fill("x")));
    expect(far).toMatchObject({ code: "bad_request", field: "inputs" });
    await extend(array, 1, [], 1);
  });

  test("with inputs of many sizes: each member gets its own, however they are cut into messages", async () => {
    const sizes = [0, 1, 100, 70_000, 3, 200_000, 100_000, 5, 90_000];
    const wanted = { argv: ["printf %s {} | wc -c"], each: true, needs: { executor: "shell" as const } };
    const array = await cluster.submit(wanted, { inputs: [], open: true });
    for (const [index, size] of sizes.entries()) {
      if (size < LIMITS.argument_bytes - 100) await extend(array, index, ["x".repeat(size)]);
      else await extend(array, index, ["y".repeat(size / 4)]);
    }
    await extend(array, sizes.length, [], sizes.length);
    const wanted_sizes = sizes.map((size) => (size < LIMITS.argument_bytes - 100 ? size : size / 4));
    expect((await tails(array.number)).map((tail) => Number(tail))).toEqual(wanted_sizes);
  });

  test("that nobody extends for ten minutes is closed as abandoned, and one that is extended is not", async () => {
    const [left, kept] = [await open(["a"]), await open(["a"])];
    await cluster.finished(left.number, 0);
    cluster.runtime.skip(9 * 60_000);
    await extend(kept, 1, []);
    expect((await cluster.show(left.number)).open).toBe(true);
    cluster.runtime.skip(2 * 60_000);
    await until(async () => !((await cluster.show(left.number)).open ?? false), "the end of the abandoned one");
    // Its inputs may have been more: it is no success.
    expect(await cluster.show(left.number)).toMatchObject({
      ...{ open: false, status: "failed", cut_short: "abandoned" },
      counts: { total: 1, completed: 1 },
    });
    expect((await cluster.show(kept.number)).open).toBe(true);
    expect((await rejection(extend(left, 1, ["b"]))).code).toBe("conflict");
    expect((await extend(kept, 1, ["b"], 2)).total).toBe(2);
    expect(await tails(kept.number)).toEqual(["got a\n", "got b\n"]);
    const closed = await cluster.show(kept.number);
    expect([closed.status, closed.cut_short, closed.extended_at]).toEqual(["completed", undefined, undefined]);
  });

  test("tells while it waits when its client was heard last, and when it is closed without it", async () => {
    const { id, number } = await open(["a"]);
    const before = await cluster.show(number);
    expect((before.abandoned_at ?? 0) - (before.extended_at ?? 0)).toBeGreaterThanOrEqual(600_000);
    cluster.runtime.skip(120_000);
    const text = await cluster.runCli(["show", formatTaskId(id)]);
    const [last, end] = [before.extended_at, before.abandoned_at].map((at) => isoTime(at ?? 0));
    expect(text.stdout).toContain(`more may come; last sign of its client ${last} (`);
    expect(text.stdout).toContain(`; without another one it is closed at ${end}\n`);
    const { stdout } = await cluster.runCli(["show", formatTaskId(id), "--json"]);
    const document = TaskDocument.parse(JSON.parse(stdout));
    expect(document).toMatchObject({ open: true, extended_at: last, abandoned_at: end });
    await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
  });

  test.each(["abandoned", "cancelled", "deadline"] as const)(
    "that another than its client closes (%s) is no success",
    async (how) => {
      const { id, number } = await open(["a", "b"], how === "deadline" ? { deadline_ms: 300_000 } : {});
      for (const index of [0, 1]) await cluster.finished(number, index);
      if (how === "abandoned") cluster.runtime.skip(11 * 60_000);
      else if (how === "deadline") cluster.runtime.skip(6 * 60_000);
      else await cluster.client.command("task.cancel", { v: 1, targets: [{ number, from: 0 }] });
      await until(async () => (await cluster.show(number)).cut_short !== undefined, "its end");
      const name = formatTaskId(id);
      const { status, why } = {
        abandoned: { status: "failed", why: "its client was gone" },
        cancelled: { status: "cancelled", why: "it was cancelled before its client had closed it" },
        deadline: { status: "timeout", why: "its deadline passed before its client had closed it" },
      }[how];
      const waited = await cluster.runCli(["wait", name]);
      expect([waited.code, waited.stderr]).toEqual([1, `claw: ${name}: 2 completed; closed after 2 inputs: ${why}\n`]);
      const { stdout } = await cluster.runCli(["show", name]);
      expect(stdout).toContain(status);
      expect(stdout).toContain(`closed after 2 inputs: ${why}\n`);
      const json = await cluster.runCli(["show", name, "--json"]);
      expect(TaskDocument.parse(JSON.parse(json.stdout))).toMatchObject({ status, cut_short: how, open: false });
      const listed = async (wanted: string) => (await cluster.runCli(["ls", "--quiet", "--status", wanted])).stdout;
      expect(await listed(status)).toContain(name);
      expect(await listed("completed")).not.toContain(name);
    },
  );
});
