// What people read of a task: everything that was asked for, and nothing in it that steers their terminal.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { TaskDocument } from "../../src/common/document-schemas.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

const cli = (...words: string[]) => cluster.runCli(words);

async function shown(...words: string[]): Promise<Map<string, string>> {
  const { stdout: id } = await cli("submit", ...words);
  const { code, stdout } = await cli("show", id.trim());
  expect(code).toBe(0);
  return new Map(stdout.split("\n").map((line) => [line.split("  ")[0]!, line.slice(line.indexOf("  ")).trim()]));
}

describe("claw show", () => {
  test("says what was asked for: the name and the command, and each need, limit and label", async () => {
    const needs = [
      "--cpu",
      "2",
      "--memory",
      "1G",
      "--gpu",
      "1",
      "--resource",
      "r=3",
      "--tag",
      "t",
      "--node",
      "nowhere",
    ];
    const rest = ["--where", "zone=eu", "--exclusive", "--cwd", "/tmp", "--strategy", "pack", "--spread", "rack"];
    const life = ["--retries", "3", "--backoff", "1s..1m", "--retry-on", "75,timeout", "--timeout", "5m"];
    const what = ["--name", "train", "--type", "compute", "--priority", "high", "--on-lost", "fail", "--key", "k"];
    const lines = await shown(
      ...[...needs, ...rest, ...life, ...what],
      ...["--label", "job=a", "--env", "TOKEN=secret", "--", "train", "--fast"],
    );
    expect(lines.get("name")).toBe("train");
    expect(lines.get("command")).toBe("train --fast");
    expect(lines.get("type")).toBe("compute");
    expect(lines.get("priority")).toBe("high");
    const wanted = ["2 cpu", "1G of memory", "1 gpu", "r=3", "tag t", "zone=eu", "spread by rack", "a node for itself"];
    expect(lines.get("needs")).toBe([...wanted, "strategy pack", "node nowhere", "folder /tmp"].join(", "));
    expect(lines.get("labels")).toBe("job=a");
    expect(lines.get("env")).toBe("TOKEN");
    expect(lines.get("key")).toBe("k");
    expect(lines.get("timeout")).toBe("5m");
    expect(lines.get("retries")).toBe("3, after 1s..1m, only on 75, timeout");
    expect(lines.get("on lost")).toBe("fail: never a second time");
  });

  test("of a daemon has how long it waits before it runs again", async () => {
    const daemon = ["--type", "daemon", "--tag", "nowhere"];
    const doubling = await shown(...daemon, "--backoff", "10s..1m", "--", "true");
    expect([doubling.get("backoff"), doubling.has("retries")]).toEqual(["10s..1m", false]);
    expect((await shown(...daemon, "--backoff", "30s", "--", "true")).get("backoff")).toBe("30s");
    expect((await shown(...daemon, "--", "true")).has("backoff")).toBe(false);
  });

  test("is silent about what is as it is anyway", async () => {
    const lines = await shown("--tag", "nowhere", "--", "true");
    for (const name of ["name", "type", "priority", "labels", "env", "key", "timeout", "retries", "on lost"])
      expect(lines.has(name)).toBe(false);
    expect(lines.get("needs")).toBe("tag nowhere");
  });
});

describe("what others wrote does not steer the terminal", () => {
  const evil = "\x1b[2J\x1b]0;owned\x07\u202eexe";
  const plain = "\\u001b[2J\\u001b]0;owned\\u0007\\u202eexe";

  test("a name, a command, an end's message, a node's reason, and the output that show quotes", async () => {
    const run = await cli("run", "--name", evil, "--", evil);
    expect(run.code).toBe(127);
    expect(run.stderr).toContain(`'${plain}' was not found`);
    const { stdout: id } = await cli("submit", "--", "printf", `a\tb\n${evil}\n`);
    await cli("wait", id.trim());
    const { stdout } = await cli("show", id.trim());
    expect(stdout).toContain(`stdout:\na\tb\n${plain}\n`);
    await cli("nodes", "cordon", "worker-1", "--reason", evil);
    const nodes = await cli("nodes");
    expect(nodes.stderr).toContain(plain);
    await cli("nodes", "resume", "worker-1");
    const list = await cli("ls");
    for (const text of [run.stderr, stdout, nodes.stderr, list.stdout]) {
      for (const control of ["\x07", "\x1b", "\u202e"]) expect(text).not.toContain(control);
    }
  });

  test("what a node says of itself, and the tags that a task waits for", async () => {
    const worker = await cluster.addWorker({ attributes: { [evil]: evil }, tags: [evil] });
    const waits = ["--tag", `no${evil}`, "--cpu", "9999"];
    const { stdout: id } = await cli("submit", ...waits, "--", "true");
    const texts = [
      await cli("status"),
      await cli("nodes", "show", "worker-2"),
      await cli("plan", ...waits, "--", "true"),
      await cli("show", id.trim()),
    ].map(({ stdout }) => stdout);
    for (const text of texts) {
      expect(text).toContain(plain);
      for (const control of ["\x07", "\x1b", "\u202e"]) expect(text).not.toContain(control);
    }
    await cli("cancel", id.trim());
    await worker.stop();
  });

  test("a task's own output is passed on as it is", async () => {
    const { stdout } = await cli("run", "--", "printf", `${evil}`);
    expect(stdout).toBe(evil);
  });
});

test("claw ls --since lists what was submitted within so long", async () => {
  const { stdout: id } = await cli("submit", "--", "true");
  for (const within of ["1h", "90000d"]) {
    expect((await cli("ls", "--quiet", "--since", within)).stdout).toStartWith(id);
  }
  cluster.runtime.skip(7_200_000);
  const { stdout: later } = await cli("submit", "--", "true");
  const { tasks } = await cluster.client.query("task.list", { limit: 2 });
  const since = (tasks[0]?.submitted_at ?? 0) - 3_600_000;
  const found = await cluster.client.query("task.list", { limit: 10, since });
  expect(found.tasks.map((task) => task.id)).toEqual([later.trim()]);
  expect(found.cursor).toBeUndefined();
  expect((await cli("ls", "--since", "soon")).code).toBe(64);
});

test("claw wait counts an array's ends", async () => {
  const { stdout: id } = await cli("submit", "--array", "3", "--", "sh", "-c", "exit $CLAW_TASK_INDEX");
  const { code, stderr } = await cli("wait", id.trim());
  expect([code, stderr]).toEqual([1, `claw: ${id.trim()}: 1 completed, 2 failed\n`]);
});

describe("claw credentials export --out", () => {
  test("writes a file that only its owner can read, and never over one that is there", async () => {
    const { code, stdout, stderr } = await cli("credentials", "export", "--role", "worker", "--out", "w.creds");
    expect([code, stdout]).toEqual([0, ""]);
    expect(stderr).toMatch(/^claw: credentials of node_[0-9a-f]{8}; .* --creds w\.creds\n$/);
    const path = join(cluster.cwd, "w.creds");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const before = readFileSync(path, "utf8");
    expect(before).toContain("BEGIN USER NKEY SEED");
    const again = await cli("credentials", "export", "--role", "worker", "--out", "w.creds");
    expect([again.code, again.stderr.split("\n")[0]]).toEqual([
      65,
      `claw: ${path} is there already, and may be some machine's identity`,
    ]);
    expect(readFileSync(path, "utf8")).toBe(before);
    const json = await cli("credentials", "export", "--role", "client", "--out", "c.creds", "--json");
    expect(Object.keys(JSON.parse(json.stdout) as object).sort()).toEqual(["id", "nats_url"]);
    expect(existsSync(join(cluster.cwd, "c.creds"))).toBe(true);
  });
});

test("an array whose members wait for their next attempts says when the first of them is", async () => {
  const line = "exit $CLAW_TASK_INDEX";
  const words = ["--array", "4", "--retries", "1", "--backoff", "1h..2h", "--", "sh", "-c", line];
  const id = (await cli("submit", ...words)).stdout.trim();
  const members = async (): Promise<TaskDocument[]> =>
    await Promise.all(
      [1, 2, 3].map(async (index) => JSON.parse((await cli("show", `${id}.${index}`, "--json")).stdout)),
    );
  const times = async () => (await members()).flatMap(({ not_before }) => not_before ?? []).sort();
  await until(async () => (await times()).length === 3, "the end of their first attempts");
  const [first] = await times();
  const summary = `for its next attempt, not before ${first}`;
  expect((await cli("show", id)).stdout).toContain(`waits      ${summary}\n`);
  expect(JSON.parse((await cli("show", id, "--json")).stdout)).toMatchObject({ waiting: { summary, nodes: [] } });
  await cli("cancel", id);
});

test("claw show names the first of an array's members that did not succeed, in JSON as well", async () => {
  const line = "exit $((CLAW_TASK_INDEX > 1 ? CLAW_TASK_INDEX : 0))";
  const id = (await cli("submit", "--array", "14", "--", "sh", "-c", line)).stdout.trim();
  const [waited] = JSON.parse((await cli("wait", id, "--json")).stdout) as [TaskDocument];
  const shown = TaskDocument.parse(JSON.parse((await cli("show", id, "--json")).stdout));
  const first = Array.from({ length: 10 }, (_, at) => at + 2);
  expect(shown.failures).toEqual(
    first.map((at) => ({ id: `${id}.${at}`, status: "failed", reason: "exit", exit_code: at })),
  );
  expect(waited).toEqual(shown);
  const { stdout } = await cli("show", id);
  const lines = first.map((at) => `  ${id}.${at}  exit code ${at}\n`).join("");
  expect(stdout).toEndWith(`did not succeed:\n${lines}  and 2 more\n`);
  const well = (await cli("submit", "--array", "2", "--", "true")).stdout.trim();
  await cli("wait", well);
  expect(JSON.parse((await cli("show", well, "--json")).stdout)).not.toHaveProperty("failures");
});

describe("what never began has no start in a document, and says how long it waited", () => {
  async function documentOf(id: string): Promise<TaskDocument> {
    return TaskDocument.parse(JSON.parse((await cli("show", id, "--json")).stdout));
  }

  test("put off and cancelled", async () => {
    const id = (await cli("submit", "--start-after", "1h", "--", "true")).stdout.trim();
    cluster.runtime.skip(5_000);
    await cli("cancel", id);
    const [task] = JSON.parse((await cli("wait", id, "--json")).stdout) as [TaskDocument];
    const shown = await documentOf(id);
    expect(shown).toEqual(task);
    expect(shown).toMatchObject({ status: "cancelled", finished_at: expect.any(String) });
    expect(shown.waited_ms).toBeGreaterThanOrEqual(5_000);
    for (const field of ["started_at", "duration_ms", "attempt"]) expect(shown).not.toHaveProperty(field);
    const listed = JSON.parse((await cli("ls", "--json")).stdout) as TaskDocument[];
    expect(listed.find((one) => one.id === id)).not.toHaveProperty("started_at");
  });

  test.each(["cancelled", "timeout"] as const)("between two attempts: %s", async (status) => {
    const end = status === "timeout" ? ["--deadline", "1h"] : [];
    const { stdout } = await cli("submit", "--retries", "1", "--backoff", "2h", ...end, "--", "false");
    const id = stdout.trim();
    const retried = async () => ((await documentOf(id)).attempts?.length ?? 0) > 0;
    await until(retried, "the end of its first attempt");
    if (status === "cancelled") await cli("cancel", id);
    else cluster.runtime.skip(3_660_000);
    await cli("wait", id);
    const shown = await documentOf(id);
    expect(shown).toMatchObject({ status, attempt: 1, attempts: [{ attempt: 1, exit_code: 1 }] });
    const [first] = shown.attempts ?? [];
    expect(first?.duration_ms).toBeNumber();
    expect(shown.waited_ms).toBe(Date.parse(shown.finished_at ?? "") - Date.parse(first?.at ?? ""));
    for (const field of ["started_at", "duration_ms"]) expect(shown).not.toHaveProperty(field);
  });

  test("one that ran has both", async () => {
    const id = (await cli("submit", "--", "true")).stdout.trim();
    await cli("wait", id);
    const shown = await documentOf(id);
    expect([shown.started_at, shown.duration_ms]).toEqual([expect.any(String), expect.any(Number)]);
    expect(shown).not.toHaveProperty("waited_ms");
  });
});
