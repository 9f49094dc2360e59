// `run --each` and `submit --each`: a task a line, in the order and with the ends that were asked for.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatTaskId } from "../../src/core/ids.ts";
import type { CliRun } from "../cli.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster({ workers: 2 });
});
afterAll(() => cluster.close());

const each = (template: string, options: string[] = [], run: CliRun = {}) =>
  cluster.runCli(["run", "--each", template, ...options], run);
const file = (name: string): string => join(cluster.cwd, name);
const lines = (text: string): string[] => text.split("\n").slice(0, -1);
const tasks = async (): Promise<unknown[]> => JSON.parse((await cluster.runCli(["ls", "--json"])).stdout);

describe("lines become tasks", () => {
  test("each its own, and all succeeded is 0", async () => {
    const { code, stdout, stderr } = await each("echo got {}", [], { stdin: "a\nb c\n$(d)\n" });
    expect([code, lines(stdout).sort()]).toEqual([0, ["got $(d)", "got a", "got b c"]]);
    expect(stderr).toMatch(/^claw: task_[0-9a-f]{8}: 3 succeeded in .+ \(\d+ tasks\/s\)/);
  });

  test("one that fails is said, and the whole is 1", async () => {
    const { code, stdout, stderr } = await each("exit {}", ["-k"], { stdin: "0\n3\n0\n" });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/task_[0-9a-f]{8}\.1: exit code 3\n/);
    expect(stderr).toMatch(/: 2 succeeded, 1 failed in /);
  });

  test("none at all is 0 and runs nothing", async () => {
    const { code, stdout, stderr } = await each("echo got {}");
    expect([code, stdout]).toEqual([0, ""]);
    expect(stderr).toContain("0 succeeded");
  });

  test("-k prints them in the order of the lines, however slow the first is", async () => {
    const flag = file("others-are-over");
    const template = `if [ {} = 0 ]; then until [ -e ${flag} ]; do sleep 0.01; done; fi; [ {} != 9 ] || touch ${flag}; echo {}`;
    const { stdout } = await each(template, ["--keep-order"], { stdin: "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n" });
    expect(lines(stdout)).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  });

  test("-0 ends them with NUL, -r passes over blank ones, {#} counts those that run", async () => {
    expect((await each("echo {}", ["-0", "-k"], { stdin: "a\nb\0c\0" })).stdout).toBe("a\nb\nc\n");
    const blank = await each("echo {#} {}", ["-r", "-k"], { stdin: "\na\n  \nb\n" });
    expect([blank.code, blank.stdout]).toEqual([0, "1 a\n2 b\n"]);
    expect((await each("echo x{}", ["-k"], { stdin: "\n\n" })).stdout).toBe("x\nx\n");
  });

  test("--arg-file has them instead of standard input", async () => {
    writeFileSync(file("names"), "one\ntwo\n");
    const { stdout } = await each("echo {}", ["--arg-file", "names", "-k"], { stdin: "three\n" });
    expect(stdout).toBe("one\ntwo\n");
  });

  test("--json is an object a line, with what the task wrote", async () => {
    const { stdout } = await each("echo {}; exit {}", ["--json", "-k", "--quiet"], { stdin: "0\n5\n" });
    const documents = lines(stdout).map((line) => JSON.parse(line));
    expect(documents).toMatchObject([
      { index: 0, status: "completed", exit_code: 0, stdout_tail: "0\n" },
      { index: 1, status: "failed", exit_code: 5, stdout_tail: "5\n" },
    ]);
    expect(documents[0].finished_at).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
  });

  test("the summary says what each node did, and --quiet says nothing", async () => {
    const stdin = Array.from({ length: 40 }, (_, index) => `${index}\n`).join("");
    const { stderr } = await each(": {}; sleep 0.02", [], { stdin });
    expect(stderr).toMatch(/: 40 succeeded in .*; worker-\d \d+, worker-\d \d+\n$/);
    expect((await each("true", ["--quiet"], { stdin })).stderr).toBe("");
  });

  test("progress is drawn on a terminal, and gone at the end", async () => {
    const run = { stdin: "1\n2\n3\n", terminal: { err: true } };
    const { stderr } = await each("true {}", [], run);
    expect(stderr.split("\r\u001b[2K")[1]).toMatch(/^[█░]{20} \d\/\d\+?, \d+\/s/);
    expect(stderr.split("\r\u001b[2K").at(-1)).toMatch(/^claw: task_.*3 succeeded/);
    expect((await each("true {}", [], { stdin: "1\n" })).stderr).not.toContain("\x1b");
  });
});

describe("--halt", () => {
  const many = Array.from({ length: 200 }, (_, index) => `${index}\n`).join("");

  test("soon sends no more, lets end what runs, and says how much was sent ahead", async () => {
    const { code, stderr } = await each("[ {} != 3 ] || exit 7; sleep 0.02", ["--halt", "soon,fail=1"], {
      stdin: many,
    });
    expect(code).toBe(1);
    const said = /--halt soon,fail=1: no more are sent(?:; (one|\d+) that (?:was|were) sent ahead still runs?)?\n/.exec(
      stderr,
    );
    expect(said).not.toBeNull();
    const ahead = said?.[1] === "one" ? 1 : Number(said?.[1] ?? 0);
    const [, succeeded, cancelled] = /: (\d+) succeeded, 1 failed, (\d+) cancelled in /.exec(stderr) ?? [];
    // Those, and what ran or had ended when it was said.
    expect(Number(succeeded)).toBeGreaterThanOrEqual(ahead);
    expect(Number(cancelled)).toBeGreaterThan(0);
    expect(Number(succeeded) + Number(cancelled)).toBe(199);
  });

  test("now stops what runs too", async () => {
    const stdin = "60\n60\n1\n";
    const { code, stderr } = await each("[ {} = 1 ] && exit 1; exec sleep {}", ["--halt", "now,fail=1"], { stdin });
    expect([code, stderr.includes("--halt now,fail=1: stopping\n")]).toEqual([1, true]);
    expect(stderr).toMatch(/0 succeeded, 1 failed, 2 cancelled in /);
  });
});

describe("--joblog", () => {
  test("has GNU parallel's columns and each task once", async () => {
    await each("echo {}; exit {}", ["--joblog", "log", "--quiet"], { stdin: "0\n4\n" });
    const [head, ...rows] = lines(readFileSync(file("log"), "utf8"));
    expect(head?.split("\t")).toEqual("Seq Host Starttime JobRuntime Send Receive Exitval Signal Command".split(" "));
    const cells = rows.map((row) => row.split("\t")).sort((a, b) => Number(a[0]) - Number(b[0]));
    expect(cells.map(([seq, , , , , receive, exit, signal, command]) => [seq, receive, exit, signal, command])).toEqual(
      [
        ["1", "2", "0", "0", "echo 0; exit 0"],
        ["2", "2", "4", "0", "echo 4; exit 4"],
      ],
    );
    for (const [, host, start, took] of cells) {
      expect(host).toMatch(/^worker-\d$/);
      expect([Number(start) > 1e9, Number(took) >= 0]).toEqual([true, true]);
    }
  });

  test("tells a signal as such", async () => {
    await each("kill -KILL $$ {}", ["--joblog", "killed", "--quiet"], { stdin: "x\n" });
    const [, row] = lines(readFileSync(file("killed"), "utf8"));
    expect(row?.split("\t").slice(6, 8)).toEqual(["0", "9"]);
  });

  test("has a line for each task that began, and for no other", async () => {
    const stdin = Array.from({ length: 60 }, (_, index) => `${index}\n`).join("");
    const template = "touch began-{}; [ {} != 1 ] || exit 1; exec sleep 60";
    const { stderr } = await each(template, ["--halt", "now,fail=1", "--joblog", "halted"], { stdin });
    expect(stderr).toMatch(/0 succeeded, 1 failed, 59 cancelled in /);
    const rows = lines(readFileSync(file("halted"), "utf8"))
      .slice(1)
      .map((row) => row.split("\t"));
    // One that was stopped as it began may not have come to its first word.
    const began = readdirSync(cluster.cwd).filter((name) => name.startsWith("began-"));
    expect(rows.map(([seq]) => `began-${Number(seq) - 1}`)).toEqual(expect.arrayContaining(began));
    expect(rows.length).toBeLessThan(60);
    expect(rows.filter(([, host]) => host === "")).toEqual([]);
  });

  test("has a line for each task that was called off behind an attempt: of the one that it had", async () => {
    const words = ["run", "--each", "echo try{}; exit 9", "--name", "tried", "--retries", "3", "--backoff", "1h"];
    const run = cluster.startCli([...words, "--joblog", "tried"], { stdin: "a\nb\n" });
    const tried = async (): Promise<boolean> => {
      const [array] = JSON.parse((await cluster.runCli(["ls", "--name", "tried", "--json"])).stdout);
      if (array?.counts.total !== 2) return false;
      const shown = await cluster.runCli(["show", `${array.id}.0`, `${array.id}.1`, "--json"]);
      return JSON.parse(shown.stdout).every(({ attempts = [] }) => attempts.length === 1);
    };
    await until(tried, "an attempt of each");
    run.signal("SIGINT");
    expect((await run.done).code).toBe(130);
    const [, ...rows] = lines(readFileSync(file("tried"), "utf8"));
    const cells = rows.map((row) => row.split("\t"));
    expect(cells.map(([seq, , , , , receive, exit, signal, command]) => [seq, receive, exit, signal, command])).toEqual(
      [
        ["1", "5", "9", "0", "echo trya; exit 9"],
        ["2", "5", "9", "0", "echo tryb; exit 9"],
      ],
    );
    for (const [, host] of cells) expect(host).toMatch(/^worker-\d$/);
  });

  test.each([
    ["its timeout", "--timeout", "-1", "15", "exec sleep 60"],
    ["its deadline", "--deadline", "-1", "15", "exec sleep 60"],
    ["its timeout, and that says how itself,", "--timeout", "3", "0", "trap 'exit 3' TERM; sleep 60 & wait"],
    ["its timeout, and that calls this a success,", "--timeout", "-1", "0", "trap 'exit 0' TERM; sleep 60 & wait"],
  ])("of what %s ended says what GNU parallel does", async (_, option, exit, signal, command) => {
    await each(`${command} # {}`, [option, "1s", "--joblog", "late", "--quiet"], { stdin: "x\n" });
    const [, row] = lines(readFileSync(file("late"), "utf8"));
    expect(row?.split("\t").slice(6, 8)).toEqual([exit, signal]);
  });
});

describe("what is wrong is said before anything is submitted", () => {
  const wrong: [string, string[], RegExp, string][] = [
    ["an --arg-file that is not there", ["--arg-file", "nowhere"], /cannot read .*nowhere/, "--arg-file"],
    ["a --joblog that cannot be written", ["--joblog", "no/folder"], /cannot write the job log .*folder/, "--joblog"],
    ["a --halt of another kind", ["--halt", "later"], /--halt 'later' is not known/, "--halt"],
    ["words behind the command", ["more", "words"], /one word, and 'more' follows it/, "--each"],
  ];
  for (const [name, options, message, field] of wrong) {
    test(name, async () => {
      const before = (await tasks()).length;
      const { code, stdout, stderr } = await cluster.runCli(["run", "--json", "--each", "echo {}", ...options]);
      const problem = JSON.parse(stderr);
      expect([code, stdout, problem.field]).toEqual([125, "", field]);
      expect(problem.message).toMatch(message);
      expect((await tasks()).length).toBe(before);
    });
  }

  test("a command behind --", async () => {
    const { code, stderr } = await cluster.runCli(["run", "--each", "--", "gzip", "-t", "{}"]);
    expect([code, stderr]).toEqual([125, expect.stringContaining("claw run --each 'gzip -t {}'")]);
  });
});

describe("a line that cannot be taken", () => {
  const bad: [string, Uint8Array, RegExp][] = [
    ["with a NUL byte", Buffer.from("a\0b"), /NUL/],
    ["that is no UTF-8", Uint8Array.of(0xff, 0xfe), /no UTF-8/],
    ["too long for any kernel", Buffer.alloc(140_000, "x"), /is 140\d+ bytes long/],
  ];
  for (const [name, bytes, message] of bad) {
    test(`${name} is named by its number; those before it run`, async () => {
      async function* stdin() {
        yield "one\ntwo\n";
        yield bytes;
        yield "\nfour\n";
      }
      const { code, stdout, stderr } = await each("echo {}", ["-k"], { stdin: stdin() });
      expect([code, stdout]).toEqual([125, "one\ntwo\n"]);
      expect(stderr).toContain("2 succeeded");
      expect(stderr).toContain("line 3");
      expect(stderr).toMatch(message);
    });
  }
});

describe("an end from outside", () => {
  test("Ctrl-C with an idle standard input ends at once", async () => {
    const idle = Promise.withResolvers<void>();
    async function* stdin() {
      yield "1\n";
      await idle.promise;
    }
    const run = cluster.startCli(["run", "--each", "echo {}"], { stdin: stdin() });
    await run.says("1\n");
    run.signal("SIGINT");
    const { code, stderr } = await run.done;
    idle.resolve();
    expect([code, stderr.includes("claw: cancelling task_")]).toEqual([130, true]);
  });

  test("SIGTERM leaves the work alone and says its id", async () => {
    const go = file("go");
    const run = cluster.startCli(["run", "--each", `: {}; echo on; until [ -e ${go} ]; do sleep 0.01; done`, "-d"], {
      stdin: "1\n",
    });
    const id = (await run.done).stdout.trim();
    const second = cluster.startCli(["run", "--each", `: {}; until [ -e ${go} ]; do sleep 0.01; done`], {
      stdin: "1\n2\n",
    });
    await second.listening();
    second.signal("SIGTERM");
    const { code, stderr } = await second.done;
    const left = /claw: (task_[0-9a-f]{8}) goes on without this command/.exec(stderr)?.[1] ?? "";
    expect(code).toBe(143);
    writeFileSync(go, "");
    expect((await cluster.runCli(["wait", id, left])).code).toBe(0);
    expect((await cluster.runCli(["logs", id])).stdout).toBe("0: on\n");
  });

  test("a reader that goes away ends with 141, and what was sent goes on", async () => {
    const next = Promise.withResolvers<void>();
    async function* stdin() {
      yield "1\n";
      await next.promise;
      yield "2\n3\n";
    }
    const run = cluster.startCli(["run", "--each", "echo {}"], { stdin: stdin() });
    await run.says("1\n");
    run.closeOutput();
    next.resolve();
    const { code, stderr } = await run.done;
    const id = /nobody reads the output any more; (task_[0-9a-f]{8})/.exec(stderr)?.[1] ?? "";
    expect(code).toBe(141);
    expect((await cluster.runCli(["wait", id])).code).toBe(0);
  });
});

test("logs -f of an array goes on as long as members may come", async () => {
  const { number, id, nonce } = await cluster.submit({ argv: ["echo", "on"] }, { open: true });
  const extend = (offset: number, close?: { total: number }) =>
    cluster.client.command("task.extend", {
      v: 1,
      id,
      nonce,
      offset,
      inputs: ["x"],
      ...(close === undefined ? {} : { close }),
    });
  await extend(0);
  await cluster.finished(number, 0);
  const logs = cluster.startCli(["logs", "-f", formatTaskId(id)]);
  await logs.says("0: on\n");
  await extend(1, { total: 2 });
  const { code, stdout } = await logs.done;
  expect([code, stdout]).toEqual([0, "0: on\n1: on\n"]);
});

describe("submit --each", () => {
  /** Whether members may still come. */
  const open = async (id: string): Promise<boolean | undefined> => {
    const { refs } = await cluster.client.query("task.resolve", { refs: [id] });
    return (await cluster.client.query("task.show", { number: refs[0]?.number ?? 0 })).task.open;
  };

  test("says the id of what was submitted before a line that cannot be taken", async () => {
    async function* stdin() {
      yield "a\nb\n";
      yield Uint8Array.of(0xff, 10);
    }
    const { code, stdout, stderr } = await cluster.runCli(["submit", "--each", "echo {}"], { stdin: stdin() });
    expect([code, stdout]).toEqual([65, ""]);
    expect(stderr).toContain("line 3 is no UTF-8");
    const id = /claw: (task_[0-9a-f]{8}) goes on without this command/.exec(stderr)?.[1] ?? "";
    expect((await cluster.runCli(["wait", id])).code).toBe(0);
    expect((await cluster.runCli(["logs", id])).stdout).toBe("0: a\n1: b\n");
  });

  test.each([
    ["SIGINT", 130, "claw: cancelling (task_[0-9a-f]{8})"],
    ["SIGTERM", 143, "claw: (task_[0-9a-f]{8}) goes on without this command"],
    ["SIGHUP", 129, "claw: (task_[0-9a-f]{8}) goes on without this command"],
  ] as const)("that %s ends says its id and closes the array", async (signal, exit, says) => {
    const idle = Promise.withResolvers<void>();
    const read = Promise.withResolvers<void>();
    async function* stdin() {
      yield "a\n";
      read.resolve();
      await idle.promise;
    }
    const run = cluster.startCli(["submit", "--each", "echo {}"], { stdin: stdin() });
    await read.promise;
    await run.listening();
    run.signal(signal);
    const { code, stdout, stderr } = await run.done;
    idle.resolve();
    expect([code, stdout]).toEqual([exit, ""]);
    const id = new RegExp(says).exec(stderr)?.[1] ?? "";
    expect(await open(id)).toBe(false);
  });

  test("prints the array's id when all lines are in", async () => {
    const { code, stdout } = await cluster.runCli(["submit", "--each", "echo {}"], { stdin: "a\nb\n" });
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^task_[0-9a-f]{8}\n$/)]);
    const id = stdout.trim();
    expect((await cluster.runCli(["wait", id])).code).toBe(0);
    expect((await cluster.runCli(["logs", id])).stdout).toBe("0: a\n1: b\n");
  });

  test("--json says how many there are", async () => {
    const { stdout } = await cluster.runCli(["submit", "--json", "--each", "true"], { stdin: "a\nb\n" });
    expect(JSON.parse(stdout)).toEqual({ id: expect.stringMatching(/^task_/), count: 2 });
  });
});
