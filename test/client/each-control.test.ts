// What ends `run --each` early: Ctrl-C, a closed terminal, a reader that goes away. And what keeps it alive: an input that
// says nothing for a long time.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Sender } from "../../src/client/each/sender.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { testIo } from "../cli.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { TestRuntime } from "../runtime.ts";
import { until, within } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

/** An input that gives these lines and then says nothing until it is let go. */
function idle(...lines: string[]): { stdin: AsyncIterable<string>; end: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  async function* chunks(): AsyncGenerator<string> {
    for (const line of lines) yield `${line}\n`;
    await promise;
  }
  return { stdin: chunks(), end: resolve };
}

const idIn = (text: string): string => /task_[0-9a-f]{8}/.exec(text)?.[0] ?? "none";

async function show(id: string): Promise<{ status: string; open: boolean; counts: Record<string, number> }> {
  return JSON.parse((await cluster.runCli(["show", "--json", id])).stdout);
}

describe("Ctrl-C", () => {
  test("ends at once when the input is idle: 130, and the array is closed", async () => {
    const input = idle("a", "b");
    const run = cluster.startCli(["run", "--each", "echo {}"], { stdin: input.stdin });
    await run.says("a\n");
    await run.says("b\n");
    run.signal("SIGINT");
    const { code, stderr } = await within(run.done, "the end of an idle --each", 3_000);
    input.end();
    expect(code).toBe(130);
    expect(stderr).toContain("2 succeeded");
    const { status, open } = await show(idIn(stderr));
    // There may have been more lines: what was cancelled is no success.
    expect([status, open]).toEqual(["cancelled", false]);
  });

  test("and another's cancel while the input is idle: what is over has completed, and it is said that lines may be missing", async () => {
    const input = idle("a");
    const run = cluster.startCli(["run", "--each", "echo {}"], { stdin: input.stdin });
    await run.says("a\n");
    const { stdout: id } = await cluster.runCli(["ls", "--quiet", "--status", "pending"]);
    await cluster.runCli(["cancel", id.trim()]);
    input.end();
    const { code, stderr } = await within(run.done, "the end of a cancelled --each", 10_000);
    expect(stderr).toContain(
      `claw: ${id.trim()}: closed after 1 input: it was cancelled before its client had closed it\n`,
    );
    expect(code).toBe(1);
  });

  test("cancels what runs and what waits, and counts it", async () => {
    const stdin = Array.from({ length: 50 }, (_, index) => `${index}\n`).join("");
    const run = cluster.startCli(["run", "--each", "echo up; sleep 60 && echo {}"], { stdin });
    await run.listening();
    const id = await until(async () => {
      const { stdout } = await cluster.runCli(["ls", "--quiet", "--status", "running"]);
      return stdout === "" ? undefined : stdout.trim();
    }, "the array to run");
    await until(async () => (await show(id)).counts["total"] === 50, "all lines to be there");
    run.signal("SIGINT");
    const { code, stderr } = await run.done;
    expect(code).toBe(130);
    expect(stderr).toContain("50 cancelled");
    expect(await show(id)).toMatchObject({ open: false, counts: { cancelled: 50, running: 0, pending: 0 } });
  });

  test("twice leaves: 130, and what takes its time goes on", async () => {
    const end = join(cluster.cwd, "each-end");
    const line = `trap "touch each-told" TERM; touch each-up; while [ ! -e ${end} ]; do sleep 0.02; done; echo {}`;
    const run = cluster.startCli(["run", "--grace", "60s", "--each", line], { stdin: "x\n" });
    await until(() => existsSync(join(cluster.cwd, "each-up")), "the task to run");
    run.signal("SIGINT");
    run.signal("SIGINT");
    const { code, stderr } = await within(run.done, "the end of a command that was left", 5_000);
    const id = idIn(stderr);
    expect([code, stderr.includes(`${id} goes on without this command`)]).toEqual([130, true]);
    await until(() => existsSync(join(cluster.cwd, "each-told")), "the order to stop");
    writeFileSync(end, "");
    expect((await cluster.runCli(["wait", "--quiet", id])).code).toBe(1);
  });
});

describe("leaving", () => {
  test.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s closes the array, says its id, and its tasks go on", async (signal, wanted) => {
    const input = idle("1", "2");
    const go = join(cluster.cwd, `go-${signal}`);
    const run = cluster.startCli(["run", "--each", `while [ ! -e ${go} ]; do sleep 0.02; done; echo {}`], input);
    await run.listening();
    const id = await until(async () => {
      const { stdout } = await cluster.runCli(["ls", "--quiet", "--status", "running"]);
      return stdout === "" || (await show(stdout.trim())).counts["total"] !== 2 ? undefined : stdout.trim();
    }, "both lines to be there");
    run.signal(signal);
    const { code, stdout, stderr } = await run.done;
    input.end();
    expect([code, stdout, stderr.includes(`claw wait ${id}`)]).toEqual([wanted, "", true]);
    expect((await show(id)).open).toBe(false);
    writeFileSync(go, "");
    expect((await cluster.runCli(["wait", id])).code).toBe(0);
    expect((await show(id)).counts["completed"]).toBe(2);
  });

  test("a reader that goes away: 141, a line with the id, and the lines that were sent run", async () => {
    const input = idle("1", "2", "3");
    const go = join(cluster.cwd, "go-reader");
    const line = `[ {} = 1 ] || while [ ! -e ${go} ]; do sleep 0.02; done; echo {}`;
    const run = cluster.startCli(["run", "--name", "lecteur \u00e9", "--each", line], input);
    await run.says("1\n");
    const { stdout: listed } = await cluster.runCli(["ls", "--quiet", "--name", "lecteur e\u0301"]);
    await until(async () => (await show(listed.trim())).counts["total"] === 3, "all lines to be there");
    run.closeOutput();
    writeFileSync(go, "");
    const { code, stdout, stderr } = await run.done;
    input.end();
    const id = idIn(stderr);
    expect([code, stdout]).toEqual([141, "1\n"]);
    expect(stderr).toContain("nobody reads the output any more");
    expect((await cluster.runCli(["wait", id])).code).toBe(0);
    expect((await show(id)).counts["completed"]).toBe(3);
  });
});

describe("an input that says nothing", () => {
  interface Extension {
    offset: number;
    inputs: string[];
    close?: { total: number };
  }

  test("keeps the array open once a minute, and no longer than there is something to come", async () => {
    const sent: Extension[] = [];
    const runtime = new TestRuntime();
    const command = (_type: string, payload: Extension): Promise<object> => {
      sent.push({ offset: payload.offset, inputs: payload.inputs, ...(payload.close && { close: payload.close }) });
      return Promise.resolve({ sequence: sent.length });
    };
    const io = testIo({ runtime });
    const array = { id: 1, number: 1, nonce: "n" };
    const sender = new Sender(io, { command } as unknown as RequestClient, array, { template: "x", skip_blank: false });
    const { promise: quiet, resolve: end } = Promise.withResolvers<void>();
    async function* lines(): AsyncGenerator<string[]> {
      yield ["a", "b"];
      await quiet;
      yield ["c"];
    }
    const run = sender.run(lines());
    await until(() => sent.length === 1, "the first lines");
    for (const renewals of [1, 2, 3]) {
      runtime.skip(60_000);
      await until(() => sent.length === 1 + renewals, `renewal ${renewals}`);
    }
    runtime.skip(59_000);
    end();
    await run;
    expect(sent).toEqual([
      { offset: 0, inputs: ["a", "b"] },
      { offset: 2, inputs: [] },
      { offset: 2, inputs: [] },
      { offset: 2, inputs: [] },
      { offset: 2, inputs: ["c"] },
      { offset: 3, inputs: [], close: { total: 3 } },
    ]);
    expect([sender.over, sender.sent, runtime.waiting]).toEqual([true, 3, []]);
  });

  test("a renewal that fails does not end it; a line that cannot be sent does", async () => {
    const runtime = new TestRuntime();
    const answers = [undefined, new Error("away"), undefined, new Error("no room"), undefined];
    let asked = 0;
    const command = (): Promise<object> => {
      const failure = answers[asked++];
      return failure === undefined ? Promise.resolve({}) : Promise.reject(failure);
    };
    const array = { id: 1, number: 1, nonce: "n" };
    const options = { template: "x", skip_blank: false };
    const sender = new Sender(testIo({ runtime }), { command } as unknown as RequestClient, array, options);
    const { promise: quiet, resolve: end } = Promise.withResolvers<void>();
    async function* lines(): AsyncGenerator<string[]> {
      yield ["a"];
      await quiet;
      yield ["b"];
      yield ["c"];
    }
    const run = sender.run(lines());
    run.catch(() => undefined);
    await until(() => asked === 1, "the first line");
    runtime.skip(60_000);
    await until(() => asked === 2, "the renewal that fails");
    end();
    expect(run).rejects.toThrow("no room");
    await run.catch(() => undefined);
    expect([sender.sent, runtime.waiting]).toEqual([2, []]);
  });
});
