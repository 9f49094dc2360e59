// `retry`, and `cancel` by what tasks are: what is chosen, what is asked, and that a retry is the old task anew.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatTaskId } from "../../src/core/ids.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

const cli = (...words: string[]) => cluster.runCli(words);
const path = (name: string): string => join(cluster.cwd, name);

async function submit(...words: string[]): Promise<string> {
  const { code, stdout } = await cli("submit", ...words);
  expect(code).toBe(0);
  return stdout.trim();
}

async function show(id: string): Promise<Record<string, unknown>> {
  return JSON.parse((await cli("show", id, "--json")).stdout) as Record<string, unknown>;
}

describe("claw retry", () => {
  test("of a task makes a new one that names it", async () => {
    const id = await submit("--", "sh", "-c", "test -e there");
    expect((await cli("wait", id)).code).toBe(1);
    writeFileSync(path("there"), "");
    const { code, stdout } = await cli("retry", id);
    expect(code).toBe(0);
    const again = stdout.trim();
    expect(again).not.toBe(id);
    expect((await cli("wait", again)).code).toBe(0);
    expect(await show(again)).toMatchObject({ status: "completed", retry_of: id });
    expect((await cli("show", again)).stdout).toContain(`retry of   ${id}`);
    expect(await show(id)).toMatchObject({ status: "failed", retried_as: again });
    expect((await cli("show", id)).stdout).toContain(`retried as  ${again}`);
    expect(await show(again)).not.toHaveProperty("retried_as");
    rmSync(path("there"));
  });

  test("of an array takes the members that did not succeed, each with its own line and number", async () => {
    const lines = Array.from({ length: 20 }, (_, at) => `line ${at}`).join("\n");
    const run = await cluster.runCli(
      [
        "submit",
        "--each",
        "n=$(echo {} | tail -c 2); test -e pass || test $((n % 3)) != 0 || exit 9; echo {#} {} >> out",
      ],
      { stdin: `${lines}\n` },
    );
    const id = run.stdout.trim();
    expect((await cli("wait", id)).code).toBe(1);
    const failed = (await show(id))["counts"] as Record<string, number>;
    expect(failed["failed"]).toBe(8);
    writeFileSync(path("pass"), "");
    rmSync(path("out"));
    const again = (await cli("retry", id)).stdout.trim();
    expect((await cli("wait", again)).code).toBe(0);
    expect(await show(again)).toMatchObject({ counts: { total: 8, completed: 8 }, retry_of: id });
    const written = readFileSync(path("out"), "utf8").trimEnd().split("\n").sort();
    const wanted = [0, 3, 6, 9, 10, 13, 16, 19].map((at) => `${at + 1} line ${at}`).sort();
    expect(written).toEqual(wanted);
    expect(await show(`${again}.4`)).toMatchObject({ retry_of: `${id}.10` });
    expect(await show(`${id}.10`)).toMatchObject({ retried_as: `${again}.4` });
    expect(await show(`${id}.11`)).not.toHaveProperty("retried_as");
    expect(await show(id)).toMatchObject({ retried_as: again });
    rmSync(path("pass"));
  });

  test("of a retry stands for the first one's members", async () => {
    const line = "test -e third && echo $CLAW_TASK_INDEX >> seen; test -e third";
    const id = await submit("--array", "5", "--", "sh", "-c", `test $CLAW_TASK_INDEX -lt 3 || { ${line}; }`);
    expect((await cli("wait", id)).code).toBe(1);
    const second = (await cli("retry", id)).stdout.trim();
    expect((await cli("wait", second)).code).toBe(1);
    writeFileSync(path("third"), "");
    const third = (await cli("retry", `${second}.1`)).stdout.trim();
    expect((await cli("wait", third)).code).toBe(0);
    expect(readFileSync(path("seen"), "utf8")).toBe("4\n");
    expect(await show(third)).toMatchObject({ retry_of: `${id}.4` });
    for (const one of [`${id}.4`, second, `${second}.1`]) expect(await show(one)).toMatchObject({ retried_as: third });
    expect(await show(`${id}.3`)).toMatchObject({ retried_as: `${second}.0` });
    for (const name of ["third", "seen"]) rmSync(path(name));
  });

  test("of what succeeded is nothing, and says how to do it all the same", async () => {
    const id = await submit("--", "true");
    await cli("wait", id);
    const { code, stdout, stderr } = await cli("retry", id);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("1 task had nothing that is failed, timeout, cancelled");
    expect(stderr).toContain("--status completed");
    const again = await cli("retry", id, "--status", "completed", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject([{ count: 1 }]);
  });

  test("of what is not over is nothing, and says that, and what helps", async () => {
    const waits = await submit("--tag", "nowhere", "--", "true");
    const over = await submit("--", "true");
    await cli("wait", over);
    const { code, stdout, stderr } = await cli("retry", waits);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toBe(
      `claw: ${waits} is pending: only what is over can be retried\n` +
        `  claw cancel ${waits} ends it, claw wait ${waits} waits for its end\n`,
    );
    const both = await cli("retry", waits, over);
    expect(both.stderr).toContain(`${waits} is pending`);
    expect(both.stderr).toContain("1 task had nothing that is failed");
    expect((await cli("cancel", waits)).code).toBe(0);
    expect((await cli("retry", waits, "--json")).code).toBe(0);
    await cli("cancel", "--status", "pending", "--since", "1h", "--yes");
  });

  test("of an array that is called cancelled only because its inputs may be missing says that", async () => {
    const words = { argv: ["true", "{}"], each: true, labels: { job: "cut" } };
    const open = async (inputs: string[]): Promise<string> => {
      const { id, number } = await cluster.submit(words, { inputs, open: true });
      for (const index of inputs.keys()) await cluster.finished(number, index);
      const name = formatTaskId(id);
      expect((await cli("cancel", name)).code).toBe(0);
      expect(await show(name)).toMatchObject({ status: "cancelled" });
      return name;
    };
    const why = "is cancelled because inputs may be missing (closed after";
    const by = "it was cancelled before its client had closed it";
    const hint = "  submit the inputs that are missing as an array of their own\n";
    const completed = "  --status completed runs again what succeeded\n";
    const empty = await open([]);
    const without = await cli("retry", empty);
    const no_members = `claw: ${empty} ${why} 0 inputs: ${by}): it has no members\n`;
    expect([without.code, without.stdout, without.stderr]).toEqual([1, "", no_members + hint]);
    const name = await open(["a", "b"]);
    const named = await cli("retry", name);
    const all = `claw: ${name} ${why} 2 inputs: ${by}): all of its members succeeded\n`;
    expect([named.code, named.stdout, named.stderr]).toEqual([1, "", all + hint + completed]);
    const other = await cli("retry", name, "--status", "failed");
    expect(other.stderr).toBe("claw: 1 task had nothing that is failed\n");
    const chosen = await cli("retry", "--status", "cancelled", "--label", "job=cut", "--yes");
    expect([chosen.code, chosen.stderr]).toEqual([
      1,
      "claw: left out: 2 arrays of which no member ended so: inputs may be missing (claw retry ID says more)\n",
    ]);
    const again = await cli("retry", name, "--status", "completed", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject([{ count: 2 }]);
  });

  test("of what is named twice, or beside its array, makes one task of it", async () => {
    const lone = await submit("--", "false");
    const array = await submit("--array", "3", "--", "false");
    await cli("wait", lone, array);
    const named = ["-", lone, `${array}.1`, array, `${array}.0`];
    const { code, stdout } = await cluster.runCli(["retry", ...named, "--json"], { stdin: `${lone}\n${array}\n` });
    expect(code).toBe(0);
    const made = JSON.parse(stdout) as { count: number }[];
    expect(made.map(({ count }) => count)).toEqual([1, 3]);
    const members = await cli("retry", `${array}.1`, `${array}.2`, `${array}.1`, "--json");
    expect(JSON.parse(members.stdout)).toMatchObject([{ count: 1 }, { count: 1 }]);
  });

  test("by status, label and age; it wants --yes where nobody can be asked", async () => {
    const ids = await Promise.all([
      submit("--label", "job=a", "--", "false"),
      submit("--label", "job=b", "--", "false"),
    ]);
    for (const id of ids) await cli("wait", id);
    const refused = await cli("retry", "--status", "failed", "--label", "job=a");
    expect(refused.code).toBe(64);
    expect(refused.stderr).toContain("this would retry 1 task");
    const { code, stdout } = await cli("retry", "--status", "failed", "--label", "job=a", "--since", "1h", "--yes");
    expect(code).toBe(0);
    expect(await show(stdout.trim())).toMatchObject({ retry_of: ids[0]! });
    expect((await cli("retry", "--label", "job=z", "--yes")).stderr).toBe("claw: no such tasks\n");
    expect((await cli("retry")).stderr).toContain("which tasks?");
  });

  test("and cancel print what a script reads where nothing matches, or somebody thought better of it", async () => {
    const none = { cancelled: 0, stopping: 0, finished: 0 };
    for (const [command, wanted] of [["cancel", none] as const, ["retry", []] as const]) {
      const { code, stdout, stderr } = await cli(command, "--label", "job=z", "--yes", "--json");
      expect([code, JSON.parse(stdout), stderr]).toEqual([1, wanted, "claw: no such tasks\n"]);
    }
    const id = await submit("--label", "job=kept", "--tag", "nowhere", "--", "true");
    const words = ["cancel", "--label", "job=kept", "--json"];
    const no = await cluster.runCli(words, { terminal: { in: true, err: true }, stdin: "n\n" });
    expect([no.code, JSON.parse(no.stdout)]).toEqual([1, none]);
    expect((await cli("cancel", id)).code).toBe(0);
  });
});

describe("claw retry by what tasks are", () => {
  const chosen = ["--status", "failed", "--label", "job=again", "--yes"];

  test("leaves out what was retried already, whatever became of it, unless told", async () => {
    const lone = await submit("--label", "job=again", "--", "test", "-e", "ok");
    const members = ["--array", "4", "--", "sh", "-c", "test $CLAW_TASK_INDEX = 0 || test -e ok"];
    const array = await submit("--label", "job=again", ...members);
    await cli("wait", lone, array);
    const one = (await cli("retry", `${array}.2`)).stdout.trim();
    await cli("wait", one);
    // The lone one, two members of the array, and the one that was retried, as its retry.
    const first = await cli("retry", ...chosen, "--json");
    expect(first.stderr).toBe("claw: left out: 1 task retried already (--again takes them too)\n");
    const made = JSON.parse(first.stdout) as { id: string; count: number }[];
    expect(made.map(({ count }) => count)).toEqual([1, 2, 1]);
    await cli("wait", ...made.map(({ id }) => id));
    writeFileSync(path("ok"), "");
    const second = JSON.parse((await cli("retry", ...chosen, "--json")).stdout) as typeof made;
    expect(second.map(({ count }) => count)).toEqual([1, 2, 1]);
    expect((await cli("wait", ...second.map(({ id }) => id))).code).toBe(0);
    const third = await cli("retry", ...chosen);
    expect([third.code, third.stdout]).toEqual([1, ""]);
    expect(third.stderr).toBe("claw: left out: 9 tasks retried already (--again takes them too)\n");
    const again = await cli("retry", ...chosen, "--again", "--json");
    const counts = (JSON.parse(again.stdout) as typeof made).map(({ count }) => count);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(9);
    rmSync(path("ok"));
  });
});

describe("claw cancel", () => {
  test("--status pending leaves alone what runs, in an array, too", async () => {
    const id = await submit(
      "--array",
      "500",
      "--label",
      "job=c",
      "--cpu",
      "1",
      "--",
      "sh",
      "-c",
      "touch on; exec sleep 60",
    );
    await until(() => existsSync(path("on")), "one that runs");
    const { code, stderr } = await cli("cancel", "--status", "pending", "--label", "job=c", "--yes");
    expect(code).toBe(0);
    expect(stderr).toMatch(/^claw: \d+ cancelled\n$/);
    const counts = (await show(id))["counts"] as Record<string, number>;
    expect(counts["pending"]).toBe(0);
    expect(counts["scheduled"]! + counts["running"]!).toBeGreaterThan(0);
    await cli("cancel", id);
    await cli("wait", id);
  });

  test("counts what is named twice, or beside its array, once", async () => {
    const array = await submit("--array", "3", "--tag", "nowhere", "--", "true");
    const words = ["cancel", array, `${array}.1`, array, "--json"];
    const [first, second] = [await cli(...words), await cli(...words)];
    expect(JSON.parse(first.stdout)).toEqual({ cancelled: 3, stopping: 0, finished: 0 });
    // An array that is over counts as one.
    expect(JSON.parse(second.stdout)).toEqual({ cancelled: 0, stopping: 0, finished: 1 });
  });

  test("says of an open array that it closed it, also when it cancelled nothing of it", async () => {
    const open = async (inputs: string[]): Promise<string> => {
      const { id, number } = await cluster.submit({ argv: ["true", "{}"], each: true }, { inputs, open: true });
      for (const index of inputs.keys()) await cluster.finished(number, index);
      return formatTaskId(id);
    };
    const [some, none, last] = [await open(["a", "b"]), await open([]), await open(["a"])];
    const first = await cli("cancel", some);
    expect(first.stderr).toBe("claw: 2 over already, 1 open array closed (more inputs might have come)\n");
    const both = await cli("cancel", none, last, "--json");
    expect(JSON.parse(both.stdout)).toEqual({ cancelled: 0, stopping: 0, finished: 1, closed: 2 });
    expect((await cli("cancel", some)).stderr).toBe("claw: 1 over already\n");
  });

  test("asks on a terminal, and takes no for an answer", async () => {
    const id = await submit("--label", "job=d", "--tag", "nowhere", "--", "true");
    const terminal = { in: true, err: true };
    const words = ["cancel", "--label", "job=d"];
    const no = await cluster.runCli(words, { terminal, stdin: "n\n" });
    expect([no.code, no.stderr]).toEqual([1, "cancel 1 task? [y/N] "]);
    expect(await show(id)).toMatchObject({ status: "pending" });
    const yes = await cluster.runCli(words, { terminal, stdin: "y\n" });
    expect(yes.code).toBe(0);
    expect(await show(id)).toMatchObject({ status: "cancelled" });
  });
});
