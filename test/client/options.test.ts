// What can be typed: claw's options before the command, the command's own untouched, and for everything that is wrong the
// name of what is wrong and what to type instead.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, openCluster, runCli } from "../cluster.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
  writeFileSync(join(cluster.cwd, "words.ts"), "console.log(JSON.stringify(process.argv.slice(2)));\n");
});
afterAll(() => cluster.close());

/** What the task was given, as its own process saw it. */
async function argv(...words: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await cluster.runCli(words);
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as string[];
}

/** Refused: exit code and JSON error. */
async function refused(...words: string[]): Promise<{ code: number; error: Record<string, unknown> }> {
  const { code, stdout, stderr } = await cluster.runCli(words);
  expect(stdout).toBe("");
  return { code, error: JSON.parse(stderr) as Record<string, unknown> };
}

test("events of a type that there is not are refused: nobody would ever hear of them", async () => {
  const { code, error } = await refused("events", "-f", "--json", "--type", "task.fialed");
  expect([code, error["field"], error["hint"]]).toEqual([64, "--type", "did you mean task.failed?"]);
  expect((await refused("events", "--json", "--type", "zebra")).error["hint"]).toContain("task.failed");
  expect((await cluster.runCli(["events", "--json", "--type", "node,leader.elected"])).code).toBe(0);
});

describe("what the coordinator would refuse", () => {
  test.each([
    [["--name", "", "true"], "--name must not be empty", "--name"],
    [["--name", "x".repeat(129), "true"], "--name is too long: at most 128", "--name"],
    [["--tag", "", "true"], "--tag must not be empty", "--tag"],
    [["--label", `a=${"x".repeat(300)}`, "true"], "--label is too long: at most 256", "--label"],
    [["--", ""], "what shall be run?", undefined],
    [["  "], "what shall be run?", undefined],
  ])("is refused before it is sent, by the option's name: %p", async (words, message, field) => {
    const { code, error } = await refused("submit", "--json", ...words);
    expect([code, error["message"], error["field"]]).toEqual([64, message, field]);
  });
});

describe("what would be ignored", () => {
  test.each([
    [["run", "--arg-file", "f", "true"], "--arg-file without --each", "--arg-file"],
    [["run", "-k", "true"], "--keep-order without --each", "--keep-order"],
    [["run", "--joblog", "f", "true"], "--joblog without --each", "--joblog"],
    [["submit", "-r", "true"], "--no-run-if-empty without --each", "--no-run-if-empty"],
    [["run", "-d", "--joblog", "f", "--each", "true"], "--joblog with --detach: nobody stays", "--joblog"],
    [["run", "-d", "--halt", "now,fail=1", "--each", "true"], "--halt with --detach", "--halt"],
    [["submit", "--array", "5", "--each", "true"], "--array or --each, not both", "--array"],
    [["nodes", "drain", "worker-1", "--timeout", "1s"], "--timeout without --wait", "--timeout"],
    [["events", "--after", "1.0", "--tail", "2"], "--after or --tail, not both", "--tail"],
    [["ls", "--nats", "nats://127.0.0.1:1", "--profile", "lab"], "--profile or --nats, not both", "--profile"],
    [["cancel", "--label", "job=a", "--label", "job=b"], "--label job has two values: a and b", "--label"],
    [["submit", "--label", "job=a", "--label", "job=b", "true"], "--label job has two values: a and b", "--label"],
    [["cancel", "35f0", "--name", "x", "--yes"], "ids or --name, not both", "--name"],
    [["retry", "35f0", "--label", "job=a"], "ids or --label, not both", "--label"],
    [["cancel", "35f0", "--since", "1h"], "ids or --since, not both", "--since"],
    [
      ["submit", "--start-after", "2h", "--deadline", "1h", "true"],
      "--start-after 2h is not before --deadline 1h",
      "--start-after",
    ],
  ])("is refused by its name: %p", async (words, message, field) => {
    const [command = "", ...rest] = words;
    const json = command === "nodes" ? [command, ...rest, "--json"] : [command, "--json", ...rest];
    const { code, error } = await refused(...json);
    expect([code, error["field"]]).toEqual([command === "run" ? 125 : 64, field]);
    expect(error["message"]).toStartWith(message);
  });

  test("but the same label twice is one", async () => {
    const { code } = await cluster.runCli(["submit", "--label", "job=a", "--label", "job=a", "true"]);
    expect(code).toBe(0);
  });

  test("a profile is found though the environment names another cluster", async () => {
    const env = { CLAW_NATS_URL: "nats://127.0.0.1:1", CLAW_CLUSTER: "other" };
    const { code, stderr } = await cluster.runCli(["ls", "--profile", "lab"], { env });
    expect([code, stderr.split("\n")[0]]).toEqual([
      69,
      "claw: no coordinator runs on this machine for the profile lab",
    ]);
  });
});

test("a word that is no UTF-8 is refused, for the task would be given another one; U+FFFD itself is a character", async () => {
  const main = join(import.meta.dir, "../../src/main.ts");
  const line = `"$0" "$1" run -- printf %s "$(printf 'a\\377b')"; echo $?; "$0" "$1" ls "$(printf '\\357\\277\\275')"; echo $?`;
  const shell = Bun.spawnSync(["sh", "-c", line, process.execPath, main], { env: { ...process.env, ...cluster.env } });
  const text = shell.stderr.toString();
  expect(text).toContain("claw: word 5 is no UTF-8, and claw never changes one silently: a\ufffdb");
  expect(text.split("no UTF-8")).toHaveLength(2);
  expect(shell.stdout.toString().split("\n")[0]).toBe("125");
});

test("config reads the file that is named before it as the one that is named behind it", async () => {
  const [bad, good] = ["bad.yaml", "good.yaml"].map((name) => join(cluster.cwd, name)) as [string, string];
  writeFileSync(bad, "no_such_setting: 1\n");
  writeFileSync(good, "");
  const check = (...words: string[]) => cluster.runCli(words);
  expect(await check("--config", bad, "config", "check", "coordinator")).toMatchObject({
    code: 78,
    stderr: expect.stringContaining("no_such_setting"),
  });
  const show = await check("--config", bad, "config", "show", "coordinator");
  expect([show.code, show.stderr]).toEqual([78, expect.stringContaining("no_such_setting")]);
  const both = await check("--config", bad, "config", "check", "coordinator", "--config", good);
  expect([both.code, both.stdout]).toEqual([0, `${good}\nall good\n`]);
  expect((await check("--config", good, "config", "check")).stderr).toContain("whose settings is this file?");
});

describe("claw's options stand before the command, and the command's are its own", () => {
  test("what follows a script is the script's, whatever it is called", async () => {
    expect(await argv("run", "words.ts", "--name", "x", "--json", "-d", "-k")).toEqual([
      "--name",
      "x",
      "--json",
      "-d",
      "-k",
    ]);
    expect(await argv("run", "--name", "n", "words.ts", "--", "--help")).toEqual(["--", "--help"]);
    expect(await argv("run", "--", "./words.ts", "-h")).toEqual(["-h"]);
  });

  test("run ls --json gives --json to ls", async () => {
    const { code, stdout, stderr } = await cluster.runCli(["run", "ls", "--json"]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toStartWith("ls: unrecognized option '--json'");
  });

  test("claw's own before it are claw's", async () => {
    const { code, stdout } = await cluster.runCli(["run", "--json", "--name", "mine", "--", "echo", "--quiet"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ stdout_tail: "--quiet\n", specification: { name: "mine" } });
  });

  test("a word behind -- is the name of a program, also with a blank in it; without -- it is a shell line", async () => {
    const program = await cluster.runCli(["run", "--", "echo a; echo b"]);
    expect(program.code).toBe(127);
    expect(program.stderr).toContain("'echo a; echo b' was not found on worker-1 in PATH /");
    expect(program.stderr).toContain("claw run --shell 'echo a; echo b'");
    const line = await cluster.runCli(["run", "echo a; echo b"]);
    expect([line.code, line.stdout]).toEqual([0, "a\nb\n"]);
    const shell = await cluster.runCli(["run", "--shell", "--", "echo", "a;", "echo", "b"]);
    expect([shell.code, shell.stdout]).toEqual([0, "a\nb\n"]);
  });

  test("several words are a command and never a shell line", async () => {
    const { stdout } = await cluster.runCli(["run", "echo", "$HOME", "a;b", "*", "x  y"]);
    expect(stdout).toBe("$HOME a;b * x  y\n");
  });

  test("--each is given its command as one word, and other options may follow it", async () => {
    const { code, stdout } = await cluster.runCli(["run", "--each", "sleep 0.{}; echo {}", "--keep-order"], {
      stdin: "2\n0\n",
    });
    expect([code, stdout]).toEqual([0, "2\n0\n"]);
    const words = await cluster.runCli(["run", "--each", "gzip", "-t", "{}"], { stdin: "a\n" });
    expect(words.code).toBe(125);
    const after = await refused("run", "--json", "--each", "gzip -t", "{}");
    expect([after.code, after.error["field"]]).toEqual([125, "--each"]);
    expect(after.error["hint"]).toContain("claw run --each 'gzip -t {}'");
    const dashes = await refused("run", "--json", "--each", "--", "gzip", "-t", "{}");
    expect([dashes.code, dashes.error["field"]]).toEqual([125, "--each"]);
    expect(dashes.error["hint"]).toContain("claw run --each 'gzip -t {}'");
  });

  test("which cluster may be said before the command and behind it", async () => {
    for (const words of [
      ["--profile", "lab", "run", "true"],
      ["run", "--profile", "lab", "true"],
      ["run", "--profile=lab", "true"],
    ]) {
      const { code, stderr } = await cluster.runCli(words);
      expect([words, code, stderr.split("\n")[0]]).toEqual([
        words,
        125,
        "claw: no coordinator runs on this machine for the profile lab",
      ]);
    }
    expect((await cluster.runCli(["--cluster", "default", "ls", "--quiet"])).code).toBe(0);
    const both = await cluster.runCli(["--profile", "one", "ls", "--profile", "two"]);
    expect(both.stderr).toContain("for the profile two");
    expect((await cluster.runCli(["--profile", "No Good", "ls"])).code).toBe(64);
  });

  test("-a, -k, -d, -0 and -f are --each, --keep-order, --detach, --null and --follow", async () => {
    const { code, stdout } = await cluster.runCli(["run", "-ka", "echo {}", "-0"], { stdin: "a\0b\0" });
    expect([code, stdout]).toEqual([0, "a\nb\n"]);
    const { stdout: id } = await cluster.runCli(["run", "-d", "--", "echo", "late"]);
    expect(id).toMatch(/^task_[0-9a-f]{8}\n$/);
    expect((await cluster.runCli(["logs", "-f", id.trim()])).stdout).toBe("late\n");
  });
});

describe("what cannot be typed", () => {
  test("a command that does not exist: 64, and the nearest one", async () => {
    const { code, stderr } = await cluster.runCli(["lss"]);
    expect([code, stderr]).toEqual([64, "claw: there is no command 'lss'\n  did you mean `claw ls`?\n"]);
    const far = await cluster.runCli(["frobnicate"]);
    expect(far.code).toBe(64);
    expect(far.stderr).toContain("the commands are up, run, submit, plan,");
    for (const word of ["drian", "lss", "shwo"]) {
      const { code: nodes, stderr: said, stdout } = await cluster.runCli(["nodes", word, "node_1"]);
      expect([nodes, stdout]).toEqual([64, ""]);
      expect(said).toContain(`'nodes ${word}'`);
    }
    const config = await cluster.runCli(["config", "shwo"]);
    expect([config.code, config.stderr.split("\n")[0]]).toEqual([
      64,
      "claw: unknown command 'shwo'; did you mean show?",
    ]);
  });

  test("an option that does not exist: 64, run 125, and the nearest one", async () => {
    const { code, stderr } = await cluster.runCli(["ls", "--jsno"]);
    expect([code, stderr]).toEqual([
      64,
      "claw: unknown option '--jsno'; did you mean --json?\n  see `claw ls --help`\n",
    ]);
    const run = await cluster.runCli(["run", "--timeuot", "5s", "true"]);
    expect([run.code, run.stderr]).toEqual([
      125,
      "claw: unknown option '--timeuot'; did you mean --timeout?\n  see `claw run --help`\n",
    ]);
    const missing = await cluster.runCli(["submit", "--cpu"]);
    expect([missing.code, missing.stderr.includes("--cpu <cores>")]).toEqual([64, true]);
  });

  test("with --json it is said as JSON, wherever --json stands", async () => {
    const { code, error } = await refused("ls", "--bogus", "--json");
    expect(code).toBe(64);
    expect(error).toEqual({
      code: 400,
      error: "usage",
      message: "unknown option '--bogus'",
      hint: "see `claw ls --help`",
      field: "--bogus",
    });
    expect((await refused("run", "--bogus", "--json", "true")).error["field"]).toBe("--bogus");
    expect((await refused("run", "--json", "--bogus", "true")).code).toBe(125);
    const text = await cluster.runCli(["run", "--bogus", "--", "true", "--json"]);
    expect(text.stderr).toStartWith("claw: unknown option");
  });

  test("words for a command that takes none", async () => {
    for (const name of ["ls", "status", "version", "up"]) {
      const { code, stdout, stderr } = await cluster.runCli([name, "extra"]);
      expect([name, code, stdout]).toEqual([name, 64, ""]);
      expect(stderr).toContain(`claw ${name} --help`);
    }
  });

  test("nothing to run, and no task named", async () => {
    expect(await refused("run", "--json")).toMatchObject({ code: 125, error: { message: "what shall be run?" } });
    expect(await refused("submit", "--json")).toMatchObject({ code: 64, error: { hint: "claw run -- uname -a" } });
    expect((await cluster.runCli(["cancel"])).stderr).toContain("which task?");
    for (const name of ["show", "logs", "wait"]) {
      const { code, stderr } = await cluster.runCli([name]);
      expect([name, code, stderr.includes("'ids'")]).toEqual([name, 64, true]);
    }
  });
});

describe("a bad value names its option", () => {
  const RUN: [option: string, value: string, says: string][] = [
    ["--timeout", "5", "'5' is no duration"],
    ["--timeout", "5 m", "'5 m' is no duration"],
    ["--grace", "soon", "'soon' is no duration"],
    ["--memory", "5X", "'5X' is no size"],
    ["--memory", "", "'' is no size"],
    ["--cpu", "many", "a number from 0 to 10000, not 'many'"],
    ["--cpu", "-1", "not '-1'"],
    ["--cpu", "", "not ''"],
    ["--cpu", "1e9", "not '1e9'"],
    ["--gpu", "1.5", "a whole number from 0 to 1024, not '1.5'"],
    ["--resource", "license", "NAME=VALUE, not 'license'"],
    ["--resource", "license=x", "a whole number"],
    ["--env", "NAME", "NAME=VALUE, not 'NAME'"],
    ["--env", "=value", "NAME=VALUE, not '=value'"],
    ["--env", "PATH=/tmp", "PATH may not be set"],
    ["--env", "LD_PRELOAD=/tmp/x.so", "LD_PRELOAD may not be set"],
    ["--env", "BUN_BE_BUN=1", "BUN_BE_BUN may not be set"],
    ["--label", "name", "NAME=VALUE, not 'name'"],
    ["--type", "bach", "one of interactive, batch, compute, io, daemon, not 'bach'"],
    ["--priority", "urgent", "one of critical, high, normal, low, not 'urgent'"],
  ];
  test.each(RUN)("%s '%s'", async (option, value, says) => {
    const { code, error } = await refused("run", "--json", option, value, "true");
    expect(code).toBe(125);
    expect(error).toMatchObject({ code: 400, error: "usage", field: option });
    expect(error["message"]).toContain(option);
    expect(error["message"]).toContain(says);
    expect((await refused("submit", "--json", option, value, "true")).code).toBe(64);
  });

  const OTHERS: [words: string[], field: string][] = [
    [["ls", "--json", "--limit", "x"], "--limit"],
    [["ls", "--json", "--limit", "0"], "--limit"],
    [["ls", "--json", "--limit", "1001"], "--limit"],
    [["ls", "--json", "--status", "done"], "--status"],
    [["ls", "--json", "--label", "x"], "--label"],
    [["submit", "--json", "--array", "0", "true"], "--array"],
    [["submit", "--json", "--array", "1.5", "true"], "--array"],
    [["wait", "--json", "--timeout", "5", "35f0"], "--timeout"],
    [["credentials", "export", "--json"], "--role"],
    [["credentials", "export", "--json", "--role", "boss"], "--role"],
    [["submit", "--json", "--each", "true", "--halt", "often"], "--halt"],
  ];
  test.each(OTHERS)("%p", async (words, field) => {
    const { code, error } = await refused(...words);
    expect([code, error["field"]]).toEqual([64, field]);
    expect(`${error["message"]} ${error["hint"]}`).toContain(field);
  });

  test("what has to be one at least is said to begin with one", async () => {
    const cases = [
      ["ls", "--limit", "0"],
      ["submit", "--array", "0", "true"],
      ["submit", "--pids", "0", "true"],
    ];
    for (const words of cases) {
      const { stderr } = await cluster.runCli(words);
      expect(stderr).toMatch(/ is a whole number from 1 to \d+, not '0'/);
    }
  });

  test("what is too large for the cluster is said by the option that was typed", async () => {
    for (const words of [
      ["--start-after", "9999-01-01T00:00:00Z"],
      ["--memory", "3000000G"],
    ]) {
      const { code, stderr } = await cluster.runCli(["submit", ...words, "true"]);
      expect([code, stderr]).toEqual([64, expect.stringContaining(`claw: ${words[0]} is too large`)]);
    }
  });

  test("what must not be empty is said so", async () => {
    const tag = await cluster.runCli(["nodes", "set", "worker-1", "--tag", ""]);
    expect([tag.code, tag.stderr.split("\n")[0]]).toEqual([64, "claw: --tag must not be empty"]);
    const reason = await cluster.runCli(["nodes", "cordon", "worker-1", "--reason", ""]);
    expect([reason.code, reason.stderr.split("\n")[0]]).toEqual([64, "claw: --reason must not be empty"]);
  });

  test("neither may what says where a task runs, or what it is called", async () => {
    for (const option of ["--cwd", "--name", "--node"]) {
      const { code, stderr } = await cluster.runCli(["submit", option, "", "--", "true"]);
      expect([code, stderr.split("\n")[0]]).toEqual([64, `claw: ${option} must not be empty`]);
    }
  });

  test("a key that is given twice is refused, unless it is the same", async () => {
    const two = await cluster.runCli(["submit", "--key", "a", "--key=b", "--", "true"]);
    expect([two.code, two.stdout]).toEqual([64, ""]);
    expect(two.stderr).toBe("claw: --key has two values: 'a' and 'b'\n  leave one of them away: a task has one key\n");
    expect((await cluster.runCli(["submit", "--key", "a", "--key", "a", "--", "true"])).code).toBe(0);
  });

  test("-- is no option's value, of whichever command", async () => {
    const cases = [
      ["--spread", "run", "--spread", "--", "true"],
      ["--label", "submit", "--label", "--", "true"],
      ["--reason", "nodes", "drain", "--reason", "--", "worker-1"],
      ["--color", "ls", "--color", "--"],
      ["--profile", "up", "--profile", "--"],
    ];
    for (const [option, ...words] of cases) {
      const { code, stderr } = await cluster.runCli(words);
      expect([words, code]).toEqual([words, words[0] === "run" ? 125 : 64]);
      expect(stderr).toMatch(new RegExp(`^claw: option '${option} <[^']*>' argument missing\n`));
    }
  });

  test("a choice is listed", async () => {
    const { code, stderr } = await cluster.runCli(["ls", "--color", "blue"]);
    expect([code, stderr.includes("auto, always, never")]).toEqual([64, true]);
    const role = await cluster.runCli(["--role", "boss"]);
    expect([role.code, role.stderr.includes("coordinator, worker, all")]).toEqual([64, true]);
  });

  test("what passes arrives as it was said", async () => {
    const given = ["--type", "compute", "--priority", "high", "--cpu", "0.25", "--memory", "1.5M", "--gpu", "0"];
    const more = ["--env", "A=b=c", "--env", "B=", "--label", "team=x y", "--timeout", "1m30s", "--grace", "250ms"];
    const { code, stdout } = await cluster.runCli([
      "run",
      "--json",
      ...given,
      ...more,
      "--",
      "sh",
      "-c",
      'echo "$A|$B"',
    ]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      stdout_tail: "b=c|\n",
      specification: {
        type: "compute",
        priority: "high",
        needs: { cpu_millis: 250, memory_mib: 2, gpus: 0 },
        env: { A: "b=c", B: "" },
        labels: { team: "x y" },
        timeout_ms: 90_000,
        grace_ms: 250,
      },
    });
  });
});

describe("roles", () => {
  test("up and --role hand over what was given, wherever it stands", async () => {
    const started: unknown[] = [];
    const startRole = (options: unknown): Promise<number> => {
      started.push(options);
      return Promise.resolve(7);
    };
    const common = { CLAW_HOME: cluster.home };
    const up = await runCli(["--profile", "lab", "up", "--port", "4000", "--listen", "0.0.0.0"], {
      env: common,
      startRole,
    });
    expect([up.code, up.stdout, up.stderr]).toEqual([7, "", ""]);
    const worker = [
      "--role",
      "worker",
      "--nats",
      "nats://h:1",
      "--creds",
      "w.creds",
      "--name",
      "n",
      "--log-level",
      "debug",
    ];
    expect((await runCli(worker, { env: common, startRole })).code).toBe(7);
    expect(started).toEqual([
      {
        role: "all",
        profile: "lab",
        flags: expect.objectContaining({ listen: "0.0.0.0", "nats.port": 4000, "nats.url": undefined }),
      },
      {
        role: "worker",
        flags: expect.objectContaining({
          "nats.url": "nats://h:1",
          "nats.creds": "w.creds",
          "log.level": "debug",
          name: "n",
        }),
      },
    ]);
  });

  test("a word behind --role is refused", async () => {
    const { code, stderr } = await runCli(["--role", "worker", "statsu"], { startRole: () => Promise.resolve(0) });
    expect([code, stderr.includes("claw status")]).toEqual([64, true]);
  });
});
