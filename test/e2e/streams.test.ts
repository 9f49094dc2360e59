// Standard streams and terminals that go away: a clear message or a quiet end, the right exit code, and the work goes on.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { closeMachines, type Machine, machine, until } from "./binary.ts";

interface Task {
  id: string;
  status: string;
}

let here: Machine;
beforeAll(async () => {
  here = machine();
  await here.up();
  expect((await here.claw(["submit", "--noop", "--array", "50", "--quiet", "x"])).code).toBe(0);
  for (let task = 0; task < 3; task++) await here.claw(["run", "--", "true"]);
});
afterAll(closeMachines);
afterEach(async () => {
  const { out } = await here.claw(["ls", "--quiet", "--status", "pending,scheduled,running"]);
  if (out !== "") await here.claw(["cancel", "-"], { stdin: out });
});

/** Exit codes of a pipeline's parts, in bash's own words. */
const parts = (line: string) => here.bash(`${line}; echo "codes \${PIPESTATUS[*]}"`);

describe("a closed standard output", () => {
  test("ls, show and logs end quietly", async () => {
    const { out, err } = await parts("claw ls | head -1");
    expect(out).toMatch(/^TASK .*\ncodes (0|141) 0\n$/);
    expect(err).toBe("");
    const closed = await parts("claw ls --json | true");
    expect(closed.out).toMatch(/^codes (0|141) 0\n$/);
    expect(closed.err).toBe("");
  });

  test("run -- yes | head -1 ends", async () => {
    const { out, err } = await parts("claw run -- yes | head -1");
    expect(out).toMatch(/^y\ncodes (0|141|1) 0\n$/);
    expect(err).not.toMatch(/EPIPE|at .*\.ts|bug/);
  });

  test("run --each | head -1 ends, and its tasks do", async () => {
    const { out } = await parts("seq 200 | claw run --each 'echo {}' | head -1");
    expect(out).toMatch(/^\d+\ncodes 0 (0|141|1) 0\n$/);
    await until("the array is over", async () => {
      const tasks = await here.json<Task[]>(["ls", "--status", "pending,scheduled,running"]);
      return tasks.length === 0 ? true : undefined;
    });
  });

  test("no standard output, and no standard error, at all", async () => {
    expect((await here.bash("claw run -- sh -c 'exit 3' >&-")).code).toBe(3);
    expect((await here.bash("claw run -- sh -c 'exit 3' 2>&-")).code).toBe(3);
    expect((await here.bash("claw run -- sh -c 'echo x; exit 4' >&- 2>&- <&-")).code).not.toBe(0);
    expect((await here.bash("claw ls >&-")).err).not.toMatch(/at .*\.ts|bug/);
  });

  test("a full device is said, and is no success", async () => {
    const { code, err } = await here.bash("claw ls > /dev/full");
    expect(code).not.toBe(0);
    expect(err).toMatch(/space|full|write/i);
  });
});

describe("a closed standard input", () => {
  test("run and submit do not want one", async () => {
    expect(await here.bash("claw run -- echo hi <&-")).toMatchObject({ code: 0, out: "hi\n", err: "" });
    expect((await here.bash("claw submit -- true <&-")).code).toBe(0);
  });

  test("--each sees no lines", async () => {
    const { code, out, err } = await here.bash("claw run --each 'echo {}' <&-");
    expect(out).toBe("");
    expect(err).not.toMatch(/at .*\.ts|bug/);
    expect([0, 64, 74, 125]).toContain(code);
  });

  test("one that is a folder is refused", async () => {
    const { code, err } = await here.bash("claw run --each 'echo {}' < .");
    expect(code).not.toBe(0);
    expect(err).toMatch(/^claw: .*(input|directory|EISDIR)/im);
  });
});

describe("a terminal that goes away", () => {
  /** Runs a line on a terminal of its own and closes that when the file is there, and the word; gives what it showed. */
  async function hangUp(line: string, begun: string, says = ""): Promise<string> {
    let shown = "";
    const decoder = new TextDecoder();
    const child = Bun.spawn(["bash", "-c", `exec ${line}`], {
      env: here.env(),
      cwd: here.work,
      terminal: {
        data: (_terminal, bytes) => {
          shown += decoder.decode(bytes, { stream: true });
        },
      },
    });
    await until(`${begun} is there`, () => existsSync(join(here.work, begun)) || undefined);
    if (says !== "") await until(`it says ${says}`, () => shown.includes(says) || undefined);
    child.terminal?.close();
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await child.exited;
    clearTimeout(timer);
    expect(child.signalCode).not.toBe("SIGKILL");
    return shown;
  }

  test("run: the task goes on, and is found", async () => {
    const script = "touch begun-a; until [ -e go-a ]; do sleep 0.02; done; echo late";
    const shown = await hangUp(`claw run --name a-task -- sh -c '${script}'`, "begun-a", "task_");
    const [task] = await here.json<Task[]>(["ls", "--name", "a-task"]);
    expect(["scheduled", "running"]).toContain(task!.status);
    expect(shown).toContain(task!.id);
    writeFileSync(join(here.work, "go-a"), "");
    expect((await here.claw(["wait", task!.id])).code).toBe(0);
    expect((await here.claw(["logs", task!.id])).out).toBe("late\n");
  });

  test("run --each: the tasks that were sent go on", async () => {
    writeFileSync(join(here.work, "lines"), "1\n2\n3\n4\n5\n6\n7\n8\n");
    const script = "touch begun-b; until [ -e go-b ]; do sleep 0.02; done; echo {}";
    await hangUp(`claw run --name b-task --each '${script}' < lines`, "begun-b");
    const [task] = await here.json<Task[]>(["ls", "--name", "b-task"]);
    writeFileSync(join(here.work, "go-b"), "");
    expect((await here.claw(["wait", task!.id, "--timeout", "20s"])).code).toBe(0);
    expect(await here.json<object>(["show", task!.id])).toMatchObject({ counts: { total: 8, completed: 8 } });
  });
});
