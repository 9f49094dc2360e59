import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { Outcome } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { baseEnvironment } from "../../src/worker/executors/environment.ts";
import { noopExecutor } from "../../src/worker/executors/noop.ts";
import { spawnProblem } from "../../src/worker/executors/program.ts";
import { scriptExecutor } from "../../src/worker/executors/script.ts";
import { shellExecutor } from "../../src/worker/executors/shell.ts";
import { DEFAULT_OUTPUT_CAPS } from "../../src/worker/output.ts";
import { listByPs, listProcesses, processesNow } from "../../src/worker/processes.ts";
import { endTree, sweepEarlierLives } from "../../src/worker/tree.ts";
import { type Bench, NODE, openBench, specification, until } from "./attempt.ts";

const linux = process.platform === "linux";
let bench: Bench;
beforeEach(() => {
  bench = openBench();
});
afterEach(() => {
  const left = bench.living();
  for (const pid of left) process.kill(pid, "SIGKILL");
  bench.close();
  expect(left).toEqual([]);
});

const file = (name: string): string => join(bench.root, name);

describe("how it ended", () => {
  test("success without output has nothing else to tell", async () => {
    const outcome = await bench.command(["true"]).done;
    expect(Outcome.parse(outcome)).toMatchObject({ status: "completed", reason: "exit", exit_code: 0 });
    expect(outcome.stdout).toBeUndefined();
    expect(outcome.ended_at).toBeGreaterThanOrEqual(outcome.started_at);
    expect(outcome.cpu_ms).toBeLessThan(1000);
  });

  test("exit code and both tails, inline", async () => {
    // Held back for the report until the end, however long that takes.
    const output_caps = { ...DEFAULT_OUTPUT_CAPS, hold_ms: 60_000 };
    const outcome = Outcome.parse(await bench.shell("echo out; echo err >&2; exit 7", {}, { output_caps }).done);
    expect(outcome).toMatchObject({ status: "failed", exit_code: 7, inline: true });
    expect([outcome.stdout_tail, outcome.stderr_tail]).toEqual(["out\n", "err\n"]);
    expect(outcome.stdout).toEqual({
      bytes: 4,
      hash: new Bun.CryptoHasher("sha256").update("out\n").digest("hex").slice(0, 16),
    });
    expect(bench.published).toEqual({ stdout: [], stderr: [] });
  });

  test("a signal has a name and no exit code", async () => {
    const outcome = await bench.shell("kill -SEGV $$").done;
    expect(outcome).toMatchObject({ status: "failed", reason: "exit", signal: "SIGSEGV" });
    expect(outcome.exit_code).toBeUndefined();
  });

  test("closed pipes do not end it", async () => {
    expect(await bench.shell("exec >&- 2>&-; sleep 0.05; exit 4").done).toMatchObject({ exit_code: 4 });
  });

  test("its output can be opened by its name", async () => {
    const outcome = await bench.shell("echo out > /dev/stdout; echo err | tee /dev/stderr > /dev/null").done;
    expect(outcome).toMatchObject({ status: "completed", stdout_tail: "out\n", stderr_tail: "err\n" });
  });

  test.skipIf(!linux)("no descriptor stays, of a task that ran, was silent, or could not be started", async () => {
    const open = (): number => readdirSync("/proc/self/fd").length;
    await bench.shell("echo x").done;
    const before = open();
    for (let round = 0; round < 10; round++) {
      await Promise.all([bench.shell("echo x").done, bench.command(["true"]).done]);
      await bench.command(["echo", "x".repeat(200_000)]).done;
    }
    await until("all are closed", () => open() <= before);
  });

  test("however many say nothing, nobody waits for them", async () => {
    const silent = Array.from({ length: 64 }, () => bench.command(["sleep", "300"]));
    expect(await bench.shell("echo hi; exec cat /dev/null").done).toMatchObject({ stdout_tail: "hi\n" });
    expect((await stat(bench.root)).isDirectory()).toBe(true);
    for (const one of silent) one.stop("cancelled", 0);
    await Promise.all(silent.map((one) => one.done));
  });

  test("stdin is empty", async () => {
    expect((await bench.command(["cat"]).done).status).toBe("completed");
  });

  test("peak memory of a large process", async () => {
    const floor_mib = Math.ceil(process.resourceUsage().maxRSS / 1024);
    const text = `head -c ${(floor_mib + 100) * 1024 * 1024} /dev/zero | tail -c ${(floor_mib + 100) * 1024 * 1024} | wc -c`;
    const outcome = await bench.shell(text).done;
    expect(outcome.peak_memory_mib).toBeGreaterThan(floor_mib);
  });

  test("noop is over at once, and knows no process", async () => {
    const attempt = bench.start(noopExecutor, specification("noop", []));
    attempt.stop("cancelled");
    expect(attempt.pid).toBeUndefined();
    expect(Outcome.parse(await attempt.done).status).toBe("completed");
  });
});

describe("what cannot be started", () => {
  test("a program that is not there names node and PATH: 127", async () => {
    const outcome = Outcome.parse(await bench.command(["no-such-program-here"]).done);
    expect(outcome).toMatchObject({ status: "failed", reason: "not_found", exit_code: 127 });
    expect(outcome.message).toContain("testnode");
    expect(outcome.message).toContain("/usr/bin");
    expect((await bench.command(["./nothing"]).done).message).toContain(bench.root);
    expect((await bench.command([]).done).exit_code).toBe(127);
  });

  test("a file that is no program: 126", async () => {
    writeFileSync(file("data"), "x", { mode: 0o644 });
    expect(await bench.command(["./data"]).done).toMatchObject({ reason: "not_found", exit_code: 126 });
    expect(await bench.command(["./"]).done).toMatchObject({ exit_code: 126 });
  });

  test("an interpreter that is not there", async () => {
    writeFileSync(file("tool"), "#!/no/such/interpreter\n", { mode: 0o755 });
    const outcome = await bench.command(["./tool"]).done;
    expect(outcome).toMatchObject({ exit_code: 127 });
    expect(outcome.message).toContain("interpreter");
  });

  test("a path relative to the working folder", async () => {
    mkdirSync(file("bin"));
    writeFileSync(file("bin/tool"), "#!/bin/sh\necho found\n", { mode: 0o755 });
    expect((await bench.command(["bin/tool"]).done).stdout_tail).toBe("found\n");
  });

  test("too large for the system", async () => {
    const outcome = await bench.command(["echo", "x".repeat(200_000)]).done;
    expect(outcome).toMatchObject({ status: "failed", reason: "spawn" });
    expect(outcome.message).toContain("too large");
  });

  test("what else a system may say", () => {
    const where = { folder: "/", path: "/bin", node_name: "n" };
    expect(spawnProblem({ code: "EACCES" }, "p", where).exit_code).toBe(126);
    expect(spawnProblem({ code: "ENOEXEC" }, "p", where).message).toContain("not a program");
    expect(spawnProblem({ code: "EAGAIN" }, "p", where)).toMatchObject({ reason: "spawn" });
  });

  test("a line that no argument can hold, or with NUL", async () => {
    const each = { each: true };
    const long = await bench.shell("wc -c", each, { input: "x".repeat(140_000) }).done;
    expect(long).toMatchObject({ status: "failed", reason: "input" });
    expect((await bench.shell("echo", each, { input: "a\0b" }).done).reason).toBe("input");
    expect((await bench.shell("printf %s {}", each, { input: "$(id) 'x'" }).done).stdout_tail).toBe("$(id) 'x'");
  });
});

describe("environment", () => {
  test("nothing of the worker's but the harmless, the caller's without what changes the code that runs", async () => {
    process.env["NATS_SECRET"] = "s3cret";
    const env = { HELLO: "world", PATH: "/evil", LD_PRELOAD: "/evil.so", BASH_ENV: "/evil", CLAW_NODE: "fake" };
    const outcome = await bench.command(["env"], { env }).done;
    delete process.env["NATS_SECRET"];
    const seen = Object.fromEntries((outcome.stdout_tail ?? "").split("\n").map((line) => line.split("=", 2)));
    expect(seen).toMatchObject({
      HELLO: "world",
      TERM: "dumb",
      TMPDIR: bench.root,
      CLAW_TASK_ID: "task_35f04cf1.17",
      CLAW_TASK_INDEX: "0",
      CLAW_NODE: "testnode",
      CLAW_ATTEMPT: `${NODE}/${bench.incarnation}/3.0.1`,
    });
    expect(Object.keys(seen)).not.toContain("LD_PRELOAD");
    expect(outcome.stdout_tail).not.toMatch(/evil|s3cret|BASH_ENV/);
  });

  test("a worker without a PATH still finds programs, and relative folders are left out of it", () => {
    expect(baseEnvironment({})["PATH"]).toContain("/usr/bin");
    expect(baseEnvironment({ PATH: ".:/opt/x::/bin" })["PATH"]).toMatch(/^\/opt\/x:\/bin:/);
  });
});

describe("script", () => {
  const script = { name: "hello.ts", sha256: "a".repeat(64), size_bytes: 1 };
  test("runs by the Bun that runs claw, with its arguments, and is not Bun to its own children", async () => {
    writeFileSync(
      file("bundle.js"),
      `console.log(process.argv.slice(2).join("|"), process.env.BUN_BE_BUN, import.meta.main);
       console.log(require("node:child_process").execSync("echo [$BUN_BE_BUN]").toString());`,
    );
    const executor = scriptExecutor(async () => file("bundle.js"));
    const spec = { ...specification("script", ["--name", "x y"]), script };
    const outcome = await bench.start(executor, spec).done;
    expect(outcome.stderr_tail).toBeUndefined();
    expect(outcome.stdout_tail).toBe("--name|x y undefined true\n[]\n\n");
    expect(existsSync(file("claw-preload.cjs"))).toBe(false);
  });

  test("what the system refuses while it is prepared is its end, and not the worker's", async () => {
    const executor = scriptExecutor(async () => file("bundle.js"));
    const spec = { ...specification("script", []), script };
    const outcome = await bench.start(executor, spec, { tmp: "/nonexistent/tmp" }).done;
    expect(outcome).toMatchObject({ status: "failed", reason: "spawn" });
    expect(outcome.message).toContain("could not be prepared: ENOENT");
  });

  test("what no system takes is its end as well: a NUL in an argument, in a variable", async () => {
    const nul = [bench.command(["echo", "a\0b"]), bench.command(["true"], { env: { A: "\0" } })];
    for (const one of nul) expect(await one.done).toMatchObject({ status: "failed", reason: "spawn" });
  });

  test("stopped while its bundle is fetched, it never starts; without a script it says so", async () => {
    const fetched = Promise.withResolvers<string>();
    const executor = scriptExecutor(() => fetched.promise);
    const attempt = bench.start(executor, { ...specification("script", []), script });
    attempt.stop("cancelled");
    fetched.resolve(file("bundle.js"));
    expect(await attempt.done).toMatchObject({ status: "cancelled", reason: "cancelled" });
    expect((await bench.start(executor, specification("script", [])).done).status).toBe("failed");
  });
});

describe("ending the whole tree", () => {
  const grandchildren =
    "sh -c 'sleep 300 & sleep 300' & setsid sh -c 'sleep 300 & wait' >/dev/null 2>&1 & touch up; wait";

  test("cancel: grandchildren and those that left the group", async () => {
    const attempt = bench.shell(grandchildren);
    await until("all run", () => bench.living().length >= 6);
    attempt.stop("cancelled");
    attempt.stop("timeout");
    const outcome = await attempt.done;
    expect(outcome).toMatchObject({ status: "cancelled", reason: "cancelled", signal: "SIGTERM" });
    expect(bench.living()).toEqual([]);
  });

  test("timeout", async () => {
    const outcome = await bench.shell(grandchildren, { timeout_ms: 300 }).done;
    expect(outcome).toMatchObject({ status: "timeout", reason: "timeout" });
    expect(bench.living()).toEqual([]);
  });

  test("who ignores SIGTERM gets SIGKILL after the grace, not before", async () => {
    const attempt = bench.shell("trap '' TERM; touch up; while :; do sleep 0.05; done", { grace_ms: 250 });
    await until("the trap stands", () => existsSync(file("up")));
    const began = performance.now();
    attempt.stop("superseded");
    expect(await attempt.done).toMatchObject({ status: "cancelled", signal: "SIGKILL" });
    expect(performance.now() - began).toBeGreaterThan(240);
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test("who is being stopped can be given less time, and not more", async () => {
    const attempt = bench.shell("trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done", { grace_ms: 600_000 });
    await until("it runs", () => existsSync(file("pid")));
    attempt.stop("cancelled");
    attempt.stop("superseded", 50);
    attempt.stop("cancelled", 600_000);
    expect(await attempt.done).toMatchObject({ status: "cancelled", signal: "SIGKILL" });
  });

  test("what a success leaves behind ends with it, group or not, pipe held or not", async () => {
    const text = "sleep 300 & setsid sleep 300 & setsid sleep 300 >/dev/null 2>&1 </dev/null & echo hi";
    const outcome = await bench.shell(text).done;
    expect(outcome).toMatchObject({ status: "completed", exit_code: 0, stdout_tail: "hi\n" });
    expect(bench.living()).toEqual([]);
  });

  test("an escapee alone is found among the younger processes", async () => {
    const outcome = await bench.shell(
      "setsid sh -c 'echo $$ > pid; exec sleep 300' >/dev/null 2>&1 & until [ -s pid ]; do :; done",
    ).done;
    expect(outcome.status).toBe("completed");
    const pid = Number(readFileSync(file("pid"), "utf8"));
    expect(listProcesses().filter((row) => row.pid === pid)).toEqual([]);
  });

  test("one that becomes another program all the time is found in the middle of it", async () => {
    const again = 'exec sh -c "$0" "$0"';
    for (let round = 0; round < 20; round++) {
      const begin = `setsid sh -c 'echo $$ > pid${round}; ${again}' '${again}' >/dev/null 2>&1 &`;
      await bench.shell(`${begin} until [ -s pid${round} ]; do :; done`).done;
      const pid = Number(readFileSync(file(`pid${round}`), "utf8"));
      expect(listProcesses().filter((row) => row.pid === pid)).toEqual([]);
    }
  });

  test("however many are ended in a turn, the machine's processes are listed once", async () => {
    let looks = 0;
    const runtime = {
      ...systemRuntime,
      soon: (action: () => void) => {
        looks += 1;
        systemRuntime.soon(action);
      },
    };
    const end = (index: number): Promise<unknown> =>
      endTree(
        runtime,
        { marker: `${NODE}/${bench.incarnation}/9.${index}.1` },
        () => 0,
        () => "wait",
      );
    expect(await Promise.all(Array.from({ length: 50 }, (_, index) => end(index)))).toHaveLength(50);
    expect(looks).toBe(1);
    // Who asks later sees what came meanwhile.
    const attempt = bench.command(["sleep", "300"]);
    await until("exec is done", () => bench.living().length === 1);
    expect((await processesNow(runtime)).map(({ pid }) => pid)).toContain(attempt.pid!);
    expect(looks).toBe(2);
    attempt.stop("cancelled", 0);
    await attempt.done;
  });

  test("processes of an earlier life, and only those", async () => {
    const mine = bench.command(["sleep", "300"]);
    const env = { ...baseEnvironment(), CLAW_ATTEMPT: `${NODE}/${bench.incarnation}old/1.2.3` };
    const old = Bun.spawn(["setsid", "sh", "-c", "sleep 300 & wait"], { env, detached: true });
    await until(
      "both run",
      () => bench.living().length === 1 && listByPs().some((row) => row.attempt() === env.CLAW_ATTEMPT),
    );
    const swept = await sweepEarlierLives(systemRuntime, NODE, (life) => life !== bench.incarnation, 1000);
    expect(swept).toEqual({ attempts: [env.CLAW_ATTEMPT], left: [] });
    await old.exited;
    expect(bench.living()).toEqual([mine.pid!]);
    mine.stop("cancelled");
    await mine.done;
  });

  test("ps sees what /proc sees", async () => {
    const attempt = bench.command(["sleep", "300"]);
    await until("exec is done", () => bench.living().length === 1);
    const row = listByPs().find((other) => other.pid === attempt.pid);
    expect(row).toMatchObject({ pgid: attempt.pid! });
    attempt.stop("cancelled");
    await attempt.done;
    expect(listByPs().filter((other) => other.pid === attempt.pid)).toEqual([]);
  });

  // What cannot be ended, as a process in the kernel's hands: whenever one is killed, strangers put another in its place.
  test("who cannot be ended is told, and the attempt is not over before it is gone", async () => {
    // Half a minute passes in some milliseconds: the fewer looks, the less likely that two of them find nobody.
    const runtime = { ...systemRuntime, monotonic_ms: () => systemRuntime.monotonic_ms() * 1000 };
    const context = bench.context(
      specification("shell", [
        // Two of them: while one puts another in the place of what was killed, nobody is there of it.
        `exec 3>&- >/dev/null 2>&1; M=$CLAW_ATTEMPT
        for n in 1 2; do
          env -u CLAW_ATTEMPT setsid sh -c \
            ': >there$1; while [ -e there$1 ] && [ ! -e stop ]; do CLAW_ATTEMPT=$0 sleep 300; done; rm -f there$1' "$M" $n &
        done
        sleep 300`,
      ]),
      { runtime },
    );
    const told: (readonly number[])[] = [];
    const attempt = shellExecutor.start(context, { started: () => undefined, stuck: (pids) => told.push(pids) });
    let over = false;
    const done = attempt.done.finally(() => {
      over = true;
    });
    const there = (): number => ["there1", "there2"].filter((name) => existsSync(file(name))).length;
    // Before that they still have the attempt's mark and are as easily ended as anybody.
    await until("the strangers are there", () => there() === 2 && bench.living().length >= 4);
    attempt.stop("cancelled", 0);
    try {
      await until("it was told", () => told.length > 0);
      // Beside it there may be what was killed a moment ago, on a busy machine.
      expect(told[0]?.length).toBeGreaterThan(0);
      expect(over).toBe(false);
    } finally {
      // Whatever was found: they go with what is killed next.
      writeFileSync(file("stop"), "");
    }
    const outcome = Outcome.parse(await done);
    expect(outcome).toMatchObject({ status: "cancelled", signal: "SIGKILL" });
    expect(outcome.message).toContain(String(told[0]?.[0]));
    expect(told.length).toBe(1);
    await until("the strangers went", () => {
      // Each may have put one more in the place of the last, before it saw the file, when the last look had found nobody.
      for (const pid of bench.living()) process.kill(pid, "SIGKILL");
      return there() === 0;
    });
  });
});
