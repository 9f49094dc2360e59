// `run` and `submit`: the exit code is the task's own, its output arrives byte for byte and both streams apart, and only
// Ctrl-C ends the work.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXAMPLES } from "../../src/client/examples.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

const TASK_BYTES = 2 * 1024 * 1024;

let cluster: Cluster;
beforeAll(async () => {
  // A worker keeps two MiB of a task's output.
  cluster = await openCluster({ worker: { "output.task_size": "2M" } });
});
afterAll(() => cluster.close());

const sh = (line: string, ...options: string[]) => cluster.runCli(["run", ...options, "--", "sh", "-c", line]);
const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** What of a command's own file is there by now. */
const written = (name: string): string => join(cluster.cwd, name);

test("variables that the examples of --help name are there", async () => {
  // Within single quotes they are a task's, everywhere else the reader's own shell's.
  const quoted = [
    ...Object.values(EXAMPLES)
      .join("")
      .matchAll(/'[^'\n]*'/g),
  ]
    .map(([text]) => text)
    .join(" ");
  const names = new Set([...quoted.matchAll(/\$(\w+)/g)].map(([, name = ""]) => name));
  expect([...names]).toContain("CLAW_NODE");
  for (const name of names) {
    const { code, stderr } = await sh(`: "\${${name}:?}"`);
    expect([name, code, stderr]).toEqual([name, 0, ""]);
  }
});

test("a command too large for a message is refused, whoever of the two would refuse it", async () => {
  for (const words of [5, 11]) {
    const { code, stderr } = await cluster.runCli(["submit", "--", "echo", ...Array(words).fill("a".repeat(100_000))]);
    expect([words, code]).toEqual([words, 65]);
    expect(stderr).toMatch(/^claw: .* has \d+ bytes, at most \d+\n$/);
  }
});

describe("the exit code", () => {
  test("is the task's own", async () => {
    for (const wanted of [0, 1, 42, 255]) {
      const { code, stdout, stderr } = await sh(`exit ${wanted}`);
      expect([code, stdout, stderr]).toEqual([wanted, "", ""]);
    }
  });

  test("is 128 and the signal's number when a signal ended it", async () => {
    expect((await sh("kill -KILL $$")).code).toBe(137);
    expect((await sh("kill -TERM $$")).code).toBe(143);
    expect((await sh("kill -SEGV $$", "--json")).code).toBe(139);
  });

  test("is 124 when its timeout ended it, which is said", async () => {
    const { code, stdout, stderr } = await sh("echo begun; exec sleep 60", "--timeout", "1s");
    expect([code, stdout]).toEqual([124, "begun\n"]);
    expect(stderr).toMatch(/^claw: task_\w{8}: its timeout ended it\n$/);
  });

  test("is 127 for a program that is not there, naming it, the node and the PATH", async () => {
    const { code, stderr } = await cluster.runCli(["run", "--", "no-such-program", "x"]);
    expect(code).toBe(127);
    expect(stderr).toMatch(/^claw: task_\w{8}: 'no-such-program' was not found on worker-1 in PATH \/\S+\n$/);
  });

  test("is 126 for a file that cannot be executed, as a shell has it", async () => {
    writeFileSync(written("plain.txt"), "x", { mode: 0o644 });
    const { code, stderr } = await cluster.runCli(["run", "--", "./plain.txt"]);
    expect(code).toBe(126);
    expect(stderr).toContain("/plain.txt");
  });

  test("is that of the signal when somebody cancelled it from elsewhere", async () => {
    const run = cluster.startCli(["run", "--name", "elsewhere", "--", "sh", "-c", "echo up; exec sleep 60"]);
    await run.says("up");
    const { stdout: id } = await cluster.runCli(["ls", "--quiet", "--name", "elsewhere"]);
    expect((await cluster.runCli(["cancel", "--quiet", id.trim()])).code).toBe(0);
    const { code, stderr } = await run.done;
    expect(code).toBe(143);
    expect(stderr).toContain(`${id.trim()}: `);
  });
});

describe("--json, --detach and submit", () => {
  test("run --json is one document, snake_case, with times in ISO-8601", async () => {
    const { code, stdout, stderr } = await sh("echo out; echo oh >&2; exit 3", "--json", "--name", "doc");
    expect([code, stderr, stdout.trim().split("\n").length]).toEqual([3, "", 1]);
    const document = JSON.parse(stdout) as Record<string, unknown>;
    expect(document).toMatchObject({
      status: "failed",
      exit_code: 3,
      stdout_tail: "out\n",
      stderr_tail: "oh\n",
      node_name: "worker-1",
      attempt: 1,
    });
    for (const field of ["submitted_at", "started_at", "finished_at"]) {
      expect(String(document[field])).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    }
    expect(document["duration_ms"]).toBeNumber();
    expect(stdout).not.toMatch(/"[a-z]+[A-Z]\w*":/);
  });

  test("-d and submit print the id alone and do not wait", async () => {
    for (const words of [["run", "-d"], ["submit"], ["run", "--detach", "--quiet"]]) {
      const { code, stdout, stderr } = await cluster.runCli([...words, "--", "sleep", "60"]);
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout).toMatch(/^task_[0-9a-f]{8}\n$/);
      expect((await cluster.runCli(["cancel", stdout.trim()])).code).toBe(0);
    }
    const { stdout } = await cluster.runCli(["submit", "--json", "--array", "3", "true"]);
    expect(JSON.parse(stdout)).toEqual({ id: expect.stringMatching(/^task_/), count: 3 });
    const { stdout: lone } = await cluster.runCli(["run", "-d", "--json", "true"]);
    expect(JSON.parse(lone)).toEqual({ id: expect.stringMatching(/^task_/) });
  });

  test("the members of submit --array know their place", async () => {
    const { stdout } = await cluster.runCli([
      "submit",
      "--array",
      "3",
      "--",
      "sh",
      "-c",
      "echo member $CLAW_TASK_INDEX",
    ]);
    expect((await cluster.runCli(["wait", stdout.trim()])).code).toBe(0);
    const { stdout: member } = await cluster.runCli(["logs", `${stdout.trim()}.2`]);
    expect(member).toBe("member 2\n");
  });

  test("on a terminal the id is said first, on standard error, unless --quiet", async () => {
    const terminal = { terminal: { err: true } };
    const loud = await cluster.runCli(["run", "--", "echo", "x"], terminal);
    expect([loud.stdout, /^task_[0-9a-f]{8}\n$/.test(loud.stderr)]).toEqual(["x\n", true]);
    expect((await cluster.runCli(["run", "--quiet", "--", "true"], terminal)).stderr).toBe("");
  });
});

describe("output", () => {
  test("standard output and standard error stay apart", async () => {
    const { stdout, stderr } = await sh("echo a; echo b >&2; echo c; echo d >&2");
    expect([stdout, stderr]).toEqual(["a\nc\n", "b\nd\n"]);
  });

  test("short output is true to the byte: no newline, NUL, and what is no UTF-8", async () => {
    const { stdout_bytes, stderr_bytes } = await sh("printf 'a\\000\\377\\200b'; printf '\\303' >&2");
    expect([...stdout_bytes]).toEqual([97, 0, 0xff, 0x80, 98]);
    expect([...stderr_bytes]).toEqual([0xc3]);
  });

  test("around the size that rides in the report", async () => {
    for (const bytes of [1, 1023, 1024, 1025, 70_000]) {
      const { code, stdout, stderr } = await sh(`head -c ${bytes} /dev/zero | tr '\\0' y`);
      expect([bytes, code, stdout === "y".repeat(bytes), stderr]).toEqual([bytes, 0, true, ""]);
    }
  });

  test("a megabyte and a half of noise on both streams at once", async () => {
    const half = TASK_BYTES / 2 - 1024;
    const noise = (seed: string) =>
      `head -c ${half} /dev/zero | openssl enc -aes-128-ctr -nosalt -k ${seed} 2>/dev/null`;
    const line = `(${noise("one")}) & (${noise("two")}) >&2; wait`;
    const { code, stdout_bytes, stderr_bytes } = await sh(line);
    const real = (seed: string) => sha256(Bun.spawnSync(["sh", "-c", noise(seed)]).stdout);
    expect([code, stdout_bytes.length, stderr_bytes.length]).toEqual([0, half, half]);
    expect([sha256(stdout_bytes), sha256(stderr_bytes)]).toEqual([real("one"), real("two")]);
  });

  test("is seen while the task still runs", async () => {
    const run = cluster.startCli([
      "run",
      "--",
      "sh",
      "-c",
      "echo first; while [ ! -e go ]; do sleep 0.02; done; echo last",
    ]);
    await run.says("first");
    expect(run.stdout).toBe("first\n");
    writeFileSync(written("go"), "");
    expect((await run.done).stdout).toBe("first\nlast\n");
  });

  test("what is cut at the task's limit is said, and the exit code is the task's own", async () => {
    const { code, stdout_bytes, stderr } = await sh(`head -c ${TASK_BYTES + 5000} /dev/zero | tr '\\0' z; exit 6`);
    expect(code).toBe(6);
    expect(stdout_bytes.length).toBe(TASK_BYTES);
    expect(stderr).toMatch(/^claw: task_\w{8}: 5000 bytes of its output were cut/);
  });
});

describe("signals and readers that leave", () => {
  const LONG = ["run", "--", "sh", "-c", "echo up; exec sleep 60"];

  async function statusOf(id: string): Promise<string> {
    const { stdout } = await cluster.runCli(["show", "--json", id]);
    return (JSON.parse(stdout) as { status: string }).status;
  }

  const idIn = (text: string): string => /task_[0-9a-f]{8}/.exec(text)?.[0] ?? "none";

  test("Ctrl-C cancels, waits for the end, and shows the output that came until then", async () => {
    const run = cluster.startCli([
      "run",
      "--",
      "sh",
      "-c",
      "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.02; done",
    ]);
    await run.says("up");
    run.signal("SIGINT");
    const { code, stdout, stderr } = await run.done;
    expect(stdout).toBe("up\nbye\n");
    expect(code).toBe(9);
    expect(stderr).toContain("cancelling task_");
    expect(await statusOf(idIn(stderr))).toBe("cancelled");
  });

  test("a second Ctrl-C leaves a task that takes its time", async () => {
    const run = cluster.startCli([
      "run",
      "--grace",
      "60s",
      "--",
      "sh",
      "-c",
      "trap 'echo stopping' TERM; echo up; while [ ! -e end ]; do sleep 0.02; done",
    ]);
    await run.says("up");
    run.signal("SIGINT");
    await run.says("stopping");
    run.signal("SIGINT");
    const { code, stderr } = await run.done;
    const id = idIn(stderr);
    expect([code, stderr.includes(`${id} goes on without this command`)]).toEqual([130, true]);
    expect(await statusOf(id)).toBe("running");
    writeFileSync(written("end"), "");
    expect((await cluster.runCli(["wait", "--quiet", id])).code).toBe(1);
  });

  test.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("%s leaves the work alone and says its id", async (signal, wanted) => {
    const run = cluster.startCli(LONG);
    await run.says("up");
    run.signal(signal);
    const { code, stderr } = await run.done;
    const id = idIn(stderr);
    expect(code).toBe(wanted);
    expect(stderr).toContain(`claw wait ${id}`);
    expect(await statusOf(id)).toBe("running");
    await cluster.runCli(["cancel", "--quiet", id]);
  });

  test("Ctrl-C before it runs anywhere", async () => {
    const run = cluster.startCli(["run", "--node", "nowhere", "--", "true"]);
    await run.listening();
    run.signal("SIGINT");
    const { code, stderr } = await run.done;
    expect(code).toBe(130);
    expect(await statusOf(idIn(stderr))).toBe("cancelled");
  });

  test("a reader that goes away: 141, a line with the id, and the task goes on", async () => {
    const line = "echo up; while [ ! -e on ]; do sleep 0.02; done; echo more; touch done";
    const run = cluster.startCli(["run", "--", "sh", "-c", line]);
    await run.says("up");
    run.closeOutput();
    writeFileSync(written("on"), "");
    const { code, stdout, stderr } = await run.done;
    expect([code, stdout]).toEqual([141, "up\n"]);
    expect(stderr).toContain("goes on without this command");
    await until(() => existsSync(written("done")), "the task to go on");
    expect((await cluster.runCli(["wait", idIn(stderr)])).code).toBe(0);
  });

  test("whoever submitted something is told its id where the output cannot be written", async () => {
    const submit = cluster.startCli(["submit", "--", "true"]);
    submit.closeOutput();
    const { code, stderr } = await submit.done;
    expect(code).toBe(0);
    expect((await cluster.runCli(["wait", idIn(stderr)])).code).toBe(0);
  });

  test.skipIf(process.platform !== "linux").each([
    ["submit -- true", 74],
    ["submit --each 'echo {}'", 74],
    ["run -d --json -- true", 125],
    ["run -- echo x", 125],
    ["run --each 'echo {}'", 125],
  ])("a full disk takes no output: %s says the id", async (line, wanted) => {
    const main = join(import.meta.dir, "../../src/main.ts");
    const shell = Bun.spawn(["sh", "-c", `echo x | "$0" "$1" ${line} > /dev/full`, process.execPath, main], {
      env: { ...process.env, ...cluster.env },
      stdout: "ignore",
      stderr: "pipe",
    });
    const stderr = await new Response(shell.stderr).text();
    expect(await shell.exited).toBe(wanted);
    expect(stderr).toMatch(/^claw: (task_\w{8}) is not undone by that; claw show \1, .*\n.*cannot write the output/);
    expect((await cluster.runCli(["wait", idIn(stderr)])).code).toBe(0);
  });
});
