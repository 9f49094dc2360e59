// Limits by cgroup v2. Few machines on which tests run let them divide a group, so the kernel's folder is an ordinary one
// here: what is written into which file, who goes in, and what becomes of what the kernel would have written. A real
// kernel is asked by scripts/try-cgroups.

import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Needs } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { Cgroups, limitsInfo } from "../../src/worker/cgroup.ts";
import { listProcesses } from "../../src/worker/processes.ts";
import { sweepEarlierLives } from "../../src/worker/tree.ts";
import { needsOf } from "../core/placing-model.ts";
import { NODE, openBench } from "./attempt.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

interface Kernel {
  root: string;
  unit: string;
  open(): ReturnType<typeof Cgroups.open>;
}

function kernel(files: Record<string, string> = {}, cgroup = "1:name=systemd:/x\n0::/unit\n", mount = "/"): Kernel {
  const root = mkdtempSync(join(tmpdir(), "claw-cgroup-"));
  folders.push(root);
  const unit = join(root, "unit");
  mkdirSync(unit);
  const content = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids\n",
    "cgroup.procs": `${process.pid}\n`,
    "cgroup.subtree_control": "",
    ...files,
  };
  for (const [name, text] of Object.entries(content)) writeFileSync(join(unit, name), text);
  writeFileSync(join(root, "self"), cgroup);
  writeFileSync(
    join(root, "mounts"),
    `29 23 0:25 / /proc rw - proc proc rw\n30 23 0:26 ${mount} ${root} rw,nosuid - cgroup2 cgroup2 rw\n`,
  );
  return { root, unit, open: () => Cgroups.open({ cgroup: join(root, "self"), mountinfo: join(root, "mounts") }) };
}

function opened(one: Kernel): Cgroups {
  const cgroups = one.open();
  if (!(cgroups instanceof Cgroups)) throw new Error(cgroups.reason);
  return cgroups;
}

const text = (...path: string[]): string => readFileSync(join(...path), "utf8");

describe("the worker's own group", () => {
  test("is divided: the worker goes to one side, and what can be limited is handed down", () => {
    const one = kernel();
    expect(limitsInfo(one.open())).toEqual({ enforced: ["memory", "cpu", "pids"] });
    expect(text(one.unit, "claw-worker", "cgroup.procs")).toBe(String(process.pid));
    expect(text(one.unit, "cgroup.subtree_control")).toBe("+memory +cpu +pids");
  });

  test("that was divided before is taken as it is, and what earlier lives left is swept", () => {
    const one = kernel({ "cgroup.subtree_control": "memory cpu pids\n" }, "0::/unit/claw-worker\n");
    mkdirSync(join(one.unit, "claw-task-old", "made by its task", "and below"), { recursive: true });
    mkdirSync(join(one.unit, "other"));
    expect(opened(one).enforced).toEqual(["memory", "cpu", "pids"]);
    expect([existsSync(join(one.unit, "claw-task-old")), existsSync(join(one.unit, "other"))]).toEqual([false, true]);
    expect(existsSync(join(one.unit, "claw-worker"))).toBe(false);
  });

  test("below a mounted part of the tree is found there", () => {
    const one = kernel({}, "0::/docker/abc/unit\n", "/docker/abc");
    expect(opened(one).enforced.length).toBe(3);
  });

  const refused: [what: string, one: () => Kernel, reason: string][] = [
    ["others live in it", () => kernel({ "cgroup.procs": `1\n${process.pid}\n` }), "1 other processes live in it"],
    [
      "it is divided and lived in, as the machine's root may be",
      () => kernel({ "cgroup.procs": `1\n${process.pid}\n`, "cgroup.subtree_control": "memory cpu pids" }),
      "1 other processes live in it",
    ],
    ["nothing is left to limit", () => kernel({ "cgroup.controllers": "hugetlb\n" }), "has none of memory, cpu, pids"],
    ["there is none", () => kernel({}, "4:memory:/x\n"), "no cgroup v2 is mounted here"],
    ["it lies elsewhere", () => kernel({}, "0::/unit\n", "/docker/abc"), "no cgroup v2 is mounted here"],
    ["it is gone", () => kernel({}, "0::/gone\n"), "cannot be divided (systemd: Delegate=yes): ENOENT"],
  ];
  test.each(refused)("is left alone where %s", (_, one, reason) => {
    const made = one();
    const { enforced, reason: said } = limitsInfo(made.open());
    expect(enforced).toEqual([]);
    expect(said).toContain(reason);
    expect(existsSync(join(made.unit, "claw-worker"))).toBe(false);
  });

  test("of part of them limits that part", () => {
    const cgroups = opened(kernel({ "cgroup.controllers": "pids cpu" }));
    expect(limitsInfo(cgroups)).toEqual({ enforced: ["cpu", "pids"] });
  });
});

describe("a task's group", () => {
  function limits(needs: Partial<Needs>, one = kernel()): (file: string) => string | undefined {
    opened(one).make("1.2.3", needsOf(needs));
    return (file) => {
      const path = join(one.unit, "claw-task-1.2.3", file);
      return existsSync(path) ? text(path) : undefined;
    };
  }

  test("has the limits of what was asked for", () => {
    const of = limits({ memory_mib: 512, cpu_millis: 2_500, pids: 77 });
    expect(["memory.max", "memory.oom.group", "cpu.weight", "pids.max"].map(of)).toEqual([
      "536870912",
      "1",
      "250",
      "77",
    ]);
    expect(of("memory.swap.max")).toBeUndefined();
  });

  test("has no limit on memory that nobody asked for, and always one on processes", () => {
    const of = limits({ memory_mib: 0, cpu_millis: 0 });
    expect([of("memory.max"), of("cpu.weight"), of("pids.max")]).toEqual([undefined, "1", "16384"]);
    expect(limits({ cpu_millis: 10_000_000 })("cpu.weight")).toBe("10000");
  });

  test("has what the kernel can limit only", () => {
    const of = limits({ memory_mib: 512 }, kernel({ "cgroup.controllers": "pids" }));
    expect([of("memory.max"), of("cpu.weight"), of("pids.max")]).toEqual([undefined, undefined, "16384"]);
  });

  test("is known by its attempt's mark, with whoever is in it and in what it made below", () => {
    const one = kernel();
    const cgroups = opened(one);
    const group = cgroups.make("node_1/life/1.0.1", needsOf());
    cgroups.make("node_1/life/2.0.1", needsOf());
    expect(cgroups.living().size).toBe(0);
    const folder = join(one.unit, "claw-task-node_1-life-1.0.1");
    mkdirSync(join(folder, "below"));
    writeFileSync(join(folder, "cgroup.procs"), "7\n0\n");
    writeFileSync(join(folder, "below", "cgroup.procs"), "8\n");
    expect([...cgroups.living().keys()]).toEqual(["node_1/life/1.0.1"]);
    expect(group.pids()).toEqual(new Set([7, 8]));
    writeFileSync(join(folder, "cgroup.events"), "populated 0\nfrozen 0\n");
    expect(group.pids().size).toBe(0);
  });

  test("that the kernel holds on to is removed when the next one is made; one in use stays", () => {
    const one = kernel({ "cgroup.controllers": "hugetlb memory" });
    const cgroups = opened(one);
    const first = cgroups.make("1", needsOf({ memory_mib: 0 }));
    cgroups.make("2", needsOf({ memory_mib: 0 }));
    const folder = join(one.unit, "claw-task-1");
    writeFileSync(join(folder, "busy"), "");
    first.end();
    expect(existsSync(folder)).toBe(true);
    rmSync(join(folder, "busy"));
    cgroups.make("3", needsOf({ memory_mib: 0 }));
    expect(["1", "2", "3"].map((name) => existsSync(join(one.unit, `claw-task-${name}`)))).toEqual([false, true, true]);
  });

  test("that is there already is not taken for its own", () => {
    const cgroups = opened(kernel());
    cgroups.make("1", needsOf());
    expect(() => cgroups.make("1", needsOf())).toThrow("EEXIST");
  });
});

describe("an attempt", () => {
  const needs = needsOf({ memory_mib: 64 });

  /** Run in a group; the line finds its folder in $F, where the kernel would write. */
  async function within(line: string) {
    const one = kernel();
    const group = opened(one).make("task", needs);
    const folder = join(one.unit, "claw-task-task");
    const bench = openBench();
    try {
      const argv = ["sh", "-c", line, "a name", "two words"];
      const outcome = await bench.command(argv, { needs, env: { F: folder } }, { group }).done;
      return { outcome, entrance: text(folder, "cgroup.procs") };
    } finally {
      bench.close();
    }
  }

  test("goes into its group before it is what it is, and is the same process", async () => {
    const { outcome, entrance } = await within('echo "$0 $1"; exit 7');
    expect(entrance).toBe("0\n");
    expect(outcome).toMatchObject({
      status: "failed",
      reason: "exit",
      exit_code: 7,
      stdout_tail: "a name two words\n",
    });
  });

  const events = (killed: number, oom = 1): string =>
    `echo 'max 3\noom ${oom}\noom_kill ${killed}' > "$F/memory.events"`;
  test("that the kernel ended for its memory says so", async () => {
    const { outcome } = await within(`${events(1)}; echo 67108864 > "$F/memory.peak"; kill -9 $$`);
    expect(outcome).toMatchObject({
      status: "failed",
      reason: "memory",
      signal: "SIGKILL",
      peak_memory_mib: 64,
      message: "killed for memory: it used more than the 64 MiB that it asked for (--memory)",
    });
  });

  test("that the kernel ended because its node had no memory left is not blamed for it", async () => {
    const { outcome } = await within(`${events(1, 0)}; kill -9 $$`);
    expect(outcome).toMatchObject({
      reason: "memory",
      message: "killed for memory: its node ran out of it; the task asked for 64 MiB",
    });
  });

  // The kernel's part is played by the task: it says who is in its group.
  test("ends whoever left its session and its environment, by the group that nobody leaves", async () => {
    const one = kernel();
    const group = opened(one).make("task", needs);
    const folder = join(one.unit, "claw-task-task");
    const bench = openBench();
    try {
      const line = `env -i setsid sleep 300 >/dev/null 2>&1 & echo $! > "$F/cgroup.procs"; echo $!`;
      const outcome = await bench.command(["sh", "-c", line], { needs, env: { F: folder } }, { group }).done;
      expect(outcome).toMatchObject({ status: "completed", exit_code: 0 });
      expect(listProcesses().map((row) => row.pid)).not.toContain(Number(outcome.stdout_tail));
    } finally {
      bench.close();
    }
  });

  test("of an earlier life is ended by its group, and its like of this life is not", async () => {
    const one = kernel();
    const cgroups = opened(one);
    const sleepers = ["old", "new"].map((life) => {
      cgroups.make(`${NODE}/${life}/1.0.1`, needs);
      const sleeper = Bun.spawn(["sh", "-c", "trap '' TERM; exec sleep 300"], { env: {}, detached: true });
      writeFileSync(join(one.unit, `claw-task-${NODE}-${life}-1.0.1`, "cgroup.procs"), `${sleeper.pid}\n`);
      return sleeper;
    });
    const over = (life: string): boolean => life === "old";
    const swept = await sweepEarlierLives(systemRuntime, NODE, over, 20, cgroups.living());
    expect(swept).toEqual({ attempts: [`${NODE}/old/1.0.1`], left: [] });
    const killed = (life: string): boolean =>
      existsSync(join(one.unit, `claw-task-${NODE}-${life}-1.0.1`, "cgroup.kill"));
    expect([killed("old"), killed("new"), sleepers[1]?.exitCode]).toEqual([true, false, null]);
    sleepers[1]?.kill("SIGKILL");
    await Promise.all(sleepers.map(({ exited }) => exited));
  });

  test("that failed by itself, or succeeded after all, was not ended for it", async () => {
    expect((await within(`${events(0)}; exit 3`)).outcome).toMatchObject({ reason: "exit", exit_code: 3 });
    expect((await within(`${events(1)}; exit 0`)).outcome).toMatchObject({
      status: "completed",
      reason: "exit",
      exit_code: 0,
    });
  });
});
