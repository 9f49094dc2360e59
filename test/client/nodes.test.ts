// `claw nodes …`: looking at nodes, taking them out of service and back, with what runs on them.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ManageOptions, manageCommand } from "../../src/client/commands/node-manage.ts";
import type { RequestClient } from "../../src/communication/request.ts";
import { type CliRun, testIo } from "../cli.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster({ workers: 2 });
});
afterAll(() => cluster.close());

const nodes = (...words: string[]) => cluster.runCli(["nodes", ...words]);

async function show(name: string): Promise<Record<string, unknown>> {
  return JSON.parse((await nodes("show", name, "--json")).stdout) as Record<string, unknown>;
}

async function submit(...words: string[]): Promise<string> {
  const { code, stdout } = await cluster.runCli(["submit", ...words]);
  expect(code).toBe(0);
  return stdout.trim();
}

async function task(id: string): Promise<Record<string, unknown>> {
  return JSON.parse((await cluster.runCli(["show", id, "--json"])).stdout) as Record<string, unknown>;
}

describe("claw nodes show", () => {
  test("tells what a node has, and what it runs", async () => {
    const id = await submit("--node", "worker-1", "--cpu", "0.5", "--", "sleep", "60");
    await until(async () => (await task(id))["status"] === "running", "the task to run");
    const { stdout } = await nodes("show", "worker-1");
    expect(stdout).toMatch(/^node +worker-1 node_\w{8}\nstatus +online\n/);
    expect(stdout).toContain(`${id}  running  sleep 60`);
    expect(await show("worker-1")).toMatchObject({
      name: "worker-1",
      status: "online",
      tasks: [{ id, status: "running" }],
    });
    await cluster.runCli(["cancel", id]);
    await cluster.runCli(["wait", id]);
  });

  test("tells of everything that it runs, however many answers that takes", async () => {
    const each = { argv: ["sleep", "60"], env: { X: "x".repeat(100_000) }, on_lost: "fail" as const };
    const { id: node } = (await show("worker-1")) as { id: string };
    const wanted = { ...each, needs: { node } };
    const made = [await cluster.submit(wanted, { count: 9 })];
    for (let left = 9; left > 0; left--) made.push(await cluster.submit(wanted));
    await until(async () => (await show("worker-1"))["held"] === 18, "all of them on the node");
    expect((await show("worker-1"))["tasks"]).toHaveLength(18);
    const { stderr } = await nodes("drain", "worker-1", "--deadline", "1h");
    expect(stderr).toContain("18 of them must not run twice");
    await nodes("resume", "worker-1");
    await cluster.client.command("task.cancel", { v: 1, targets: made.map(({ number }) => ({ number, from: 0 })) });
    for (const { number } of made) await cluster.finished(number);
  });

  test("tells how well it is, and what it did not begin", async () => {
    const id = await submit("--node", "worker-1", "--", "no-such-program-at-all");
    await cluster.runCli(["wait", id]);
    const { stdout } = await nodes("show", "worker-1");
    expect(stdout).toMatch(
      /^health +\d+ of 100: .*failures -\d+ \(\d+ % of the latest tasks\); not known: load, memory, disk$/m,
    );
    expect(stdout).toMatch(new RegExp(`^refused +lately\n +${id} +\\w+ ago: .*no-such-program-at-all`, "m"));
    expect(await show("worker-1")).toMatchObject({
      health: { score: expect.any(Number), parts: expect.arrayContaining([expect.objectContaining({ sign: "disk" })]) },
      refused: [{ at: expect.stringMatching(/Z$/), task: id, count: 1, reason: expect.stringContaining("no-such") }],
    });
    expect((await nodes()).stdout).toMatch(/NODE +ID +STATUS +HEALTH/);
    expect((await nodes("--json")).stdout).not.toContain("refused");
  });

  test("changes all that are named, or none, and says so", async () => {
    await nodes("cordon", "worker-1");
    for (const words of [
      ["resume", "worker-1", "worker-2", "nope"],
      ["cordon", "worker-2", "nope"],
      ["drain", "worker-2", "nope"],
      ["shutdown", "--yes", "worker-2", "nope"],
      ["rm", "--yes", "worker-2", "nope"],
      ["set", "worker-2", "nope", "--tag", "x"],
    ]) {
      const { code, stderr } = await nodes(...words);
      expect([words, code, stderr.split("\n")[0]]).toEqual([
        words,
        66,
        "claw: there is no node nope; nothing was changed",
      ]);
    }
    expect((await nodes("rm", "--yes", "worker-1", "worker-2")).stderr).toMatch(
      /^claw: .*only a node that is offline can be removed.*; nothing was changed\n/,
    );
    expect(await show("worker-1")).toMatchObject({ status: "maintenance" });
    expect(await show("worker-2")).toMatchObject({ status: "online" });
    await nodes("resume", "worker-1");
  });

  test("finds a node by the beginning of its id, and names the nearest where there is none", async () => {
    const { id } = (await show("worker-2")) as { id: string };
    for (const word of [id, id.slice(0, -1), id.slice("node_".length, -1)]) expect((await show(word))["id"]).toBe(id);
    const { code, stderr } = await nodes("show", "wroker-1");
    expect([code, stderr]).toEqual([66, "claw: there is no node wroker-1\n  did you mean worker-1?\n"]);
    expect((await nodes("show", "node_")).stderr).toContain("node_ may be node_");
  });
});

describe("a node out of service", () => {
  test("takes no new work, says why, and takes it again when it is back", async () => {
    expect((await nodes("cordon", "worker-1", "--reason", "new disk")).stderr).toBe(
      "claw: worker-1 takes no new work\n",
    );
    const listed = await nodes();
    expect(listed.stdout).toMatch(/worker-1 +node_\w+ +maintenance/);
    expect(listed.stderr).toContain("worker-1 is out of service and empty: new disk; claw nodes resume worker-1");
    const id = await submit("--node", "worker-1", "--", "true");
    expect((await cluster.runCli(["show", id])).stdout).toMatch(
      /waits +worker-1 is out of service since .*Z: new disk\n/,
    );
    expect((await nodes("show", "worker-1")).stdout).toMatch(/out +new disk, since \w+, by client_/);
    expect((await nodes("resume", "worker-1")).stderr).toBe("claw: worker-1 is back\n");
    expect((await nodes("resume", "worker-1")).stderr).toBe("claw: worker-1 was in service\n");
    expect((await cluster.runCli(["wait", id])).code).toBe(0);
    expect((await show("worker-1"))["cordon"]).toBeUndefined();
  });

  test("is emptied at its deadline: what runs there runs elsewhere, uncounted", async () => {
    const id = await submit("--cpu", "2", "--", "sh", "-c", 'test "$CLAW_NODE" != worker-1 || exec sleep 60');
    const elsewhere = await submit("--node", "worker-1", "--cpu", "2", "--retries", "1", "--", "sleep", "60");
    await until(async () => {
      const { tasks } = (await show("worker-1")) as { tasks: { status: string }[] };
      return tasks[0]?.status === "running";
    }, "something that runs on worker-1");
    const { code } = await nodes("drain", "worker-1", "--deadline", "200ms", "--json");
    expect(code).toBe(0);
    await until(async () => (await show("worker-1"))["held"] === 0, "an empty node");
    expect((await cluster.runCli(["wait", id])).code).toBe(0);
    const drained = [await task(id), await task(elsewhere)].flatMap(
      (one) => (one["attempts"] ?? []) as { reason: string; duration_ms?: number }[],
    );
    expect(drained).toMatchObject([{ reason: "drained", duration_ms: expect.any(Number) }]);
    await cluster.runCli(["cancel", elsewhere]);
    await nodes("resume", "worker-1");
  });

  test("says how far it is, what fails for it, and is waited for until it is empty", async () => {
    const where = ["--node", "worker-1", "--cpu", "0.1"];
    const once = await submit(...where, "--on-lost", "fail", "--", "sleep", "60");
    const again = await submit(...where, "--", "sleep", "60");
    for (const id of [once, again]) await until(async () => (await task(id))["status"] === "running", `${id} to run`);
    const late = await nodes("drain", "worker-1", "--deadline", "1h", "--wait", "--timeout", "200ms");
    expect(late.code).toBe(75);
    const [said, over] = late.stderr.split("\n");
    expect(said).toMatch(
      /^claw: worker-1 is being emptied until 2\S+Z, 2 tasks left; 1 of them must not run twice and fails then \(/,
    );
    expect(said).toEndWith(`(${once})`);
    expect(over).toBe("claw: still not empty after 200ms: worker-1 (2 tasks left)");
    expect((await nodes()).stderr).toMatch(
      /^worker-1 is out of service, being emptied until 2\S+Z, 2 tasks left: drained; claw nodes resume worker-1$/m,
    );
    const asked = await nodes("shutdown", "worker-1", "--deadline", "1h");
    expect(asked.stderr).toContain(
      `shut down worker-1, with 2 tasks there; 1 of them must not run twice and fails then (${once})`,
    );
    const waiting = cluster.startCli(["nodes", "drain", "worker-1", "--deadline", "10s", "--wait"], {
      terminal: { err: true },
    });
    await waiting.says("waiting for worker-1 (", "stderr");
    cluster.runtime.skip(10_000);
    expect((await waiting.done).code).toBe(0);
    expect(await show("worker-1")).toMatchObject({ held: 0 });
    expect(await task(once)).toMatchObject({ status: "failed", reason: "drained" });
    await cluster.runCli(["cancel", again]);
    const off = cluster.startCli(["nodes", "drain", "worker-1", "--wait"]);
    expect((await off.done).code).toBe(0);
    await nodes("resume", "worker-1");
  });

  test("keeps its deadline and its reason with the next command, which says so", async () => {
    const id = await submit("--node", "worker-1", "--cpu", "0.1", "--", "sleep", "60");
    await until(async () => (await task(id))["status"] === "running", "it to run");
    await nodes("drain", "worker-1", "--deadline", "1h", "--reason", "new disk");
    const { cordon } = (await show("worker-1")) as { cordon: { drain_at: string } };
    const line = `being emptied until ${cordon.drain_at}, 1 task left`;
    expect((await nodes("drain", "worker-1")).stderr).toBe(`claw: worker-1 is ${line}\n`);
    expect((await nodes("cordon", "worker-1")).stderr).toBe(`claw: worker-1 takes no new work; it is ${line}\n`);
    expect(JSON.parse((await nodes("cordon", "worker-1", "--json")).stdout)).toMatchObject([
      { drain_at: cordon.drain_at },
    ]);
    expect(await show("worker-1")).toMatchObject({ cordon: { reason: "new disk", drain_at: cordon.drain_at } });
    expect(await nodes("cordon", "worker-1", "--reason", "")).toMatchObject({ code: 64 });
    await nodes("resume", "worker-1");
    expect((await nodes("drain", "worker-1")).stderr).toBe("claw: worker-1 is being emptied\n");
    await nodes("resume", "worker-1");
    await cluster.runCli(["cancel", id]);
    await cluster.runCli(["wait", id]);
  });

  test("is waited for in vain when it is put into service again", async () => {
    const id = await submit("--node", "worker-1", "--cpu", "0.1", "--", "sleep", "60");
    await until(async () => (await task(id))["status"] === "running", "it to run");
    const waiting = cluster.startCli(["nodes", "drain", "worker-1", "--wait"]);
    await waiting.says("is being emptied", "stderr");
    await nodes("resume", "worker-1");
    const { code, stderr } = await waiting.done;
    expect([code, stderr.split("\n").at(-2)]).toEqual([
      1,
      "claw: worker-1 was put into service again before it was empty",
    ]);
    await cluster.runCli(["cancel", id]);
  });

  test("is forgotten only when it is offline", async () => {
    const { code, stderr } = await nodes("rm", "worker-2");
    expect(code).toBe(65);
    expect(stderr).toContain("only a node that is offline can be removed\n  claw nodes shutdown worker-2\n");
    await cluster.workers[1]?.stop();
    await until(async () => (await show("worker-2"))["status"] === "offline", "worker-2 to be offline");
    expect((await nodes("rm", "worker-2")).code).toBe(0);
    await nodes("cordon", "worker-1", "--reason", "all of them");
    const id = await submit("--", "true");
    expect((await cluster.runCli(["show", id])).stdout).toMatch(
      /waits +worker-1 is out of service since .*Z: all of them\n/,
    );
    await cluster.runCli(["cancel", id]);
    expect((await nodes("--json")).stdout).not.toContain("worker-2");
  });
});

describe("claw nodes rm", () => {
  /** What is sent, of a node that went away with two tasks. */
  async function remove(options: ManageOptions, run: CliRun = {}, held = 2) {
    const sent: string[] = [];
    const node = { id: "node_1", name: "gone", status: "offline", held };
    const task = (id: string, on_lost?: string) => ({ id, node: "node_1", specification: { on_lost } });
    const client = {
      query: (type: string) =>
        Promise.resolve(
          type === "node.list"
            ? { nodes: [node], more: false }
            : { tasks: [task("task_1"), task("task_2", "fail")].slice(0, held) },
        ),
      command: (type: string) => Promise.resolve(void sent.push(type)),
    } as unknown as RequestClient;
    const io = testIo(run);
    const said: string[] = [];
    io.err = (text) => void said.push(text);
    const code = await manageCommand(io, client, "remove", ["gone"], options).catch((error: unknown) => error);
    return { code, sent, said: said.join("") };
  }

  const WOULD =
    "forget gone and have 2 tasks there run elsewhere; 1 of them must not run twice and fails then (task_2)";
  const DONE = "claw: gone is forgotten, with 2 tasks there; 1 of them must not run twice and fails then (task_2)\n";

  test("asks before it gives up what an offline node holds, and names what must not run twice", async () => {
    const terminal = { in: true, err: true };
    expect(await remove({}, { terminal, stdin: "n\n" })).toEqual({ code: 1, sent: [], said: `${WOULD}? [y/N] ` });
    const yes = await remove({}, { terminal, stdin: "y\n" });
    expect([yes.code, yes.sent]).toEqual([0, ["node.manage"]]);
    expect(yes.said).toEndWith(DONE);
    expect(await remove({ yes: true })).toEqual({ code: 0, sent: ["node.manage"], said: DONE });
  });

  test("without a terminal wants --yes, and only where something is held", async () => {
    const { code, sent } = await remove({});
    expect(code).toMatchObject({ code: "usage", message: `this would ${WOULD}`, hint: "add --yes" });
    expect(sent).toEqual([]);
    expect(await remove({}, {}, 0)).toEqual({ code: 0, sent: ["node.manage"], said: "claw: gone is forgotten\n" });
  });
});
