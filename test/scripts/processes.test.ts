import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { canFindProcesses, endProcesses, findProcesses, waitForNone } from "../../scripts/processes.ts";

const END_MS = 10_000;

/** A process that lives until it is ended, and has said that it runs its program. */
async function startSleeper(argv: string[], options: { cwd?: string; env: Record<string, string> }) {
  const child = Bun.spawn(argv, { ...options, stdin: "pipe", stdout: "pipe", stderr: "ignore" });
  await child.stdout.getReader().read();
  return child;
}

describe.skipIf(!canFindProcesses)("processes that a run left", () => {
  test("are found by environment, by arguments and by folder, ended, and gone", async () => {
    const folder = mkdtempSync(join(tmpdir(), "left-"));
    const mark = basename(folder);
    const script = "echo up; read line; exit 0";
    const children = await Promise.all([
      startSleeper(["sh", "-c", script], { env: { MARK: mark } }),
      startSleeper(["sh", "-c", script, mark], { env: {} }),
      startSleeper(["sh", "-c", script], { cwd: folder, env: {} }),
    ]);
    try {
      const pids = children.map((child) => child.pid).sort((a, b) => a - b);
      const left = await waitForNone(mark, 0);
      expect(left.map(({ pid }) => pid).sort((a, b) => a - b)).toEqual(pids);
      expect(left[0]?.command).toStartWith("sh -c echo up");
      endProcesses(left);
      expect(await waitForNone(mark, END_MS)).toEqual([]);
      endProcesses(left); // ended already: no error
    } finally {
      for (const child of children) child.kill();
      rmSync(folder, { recursive: true });
    }
  });

  test("a mark that nothing carries finds nothing", () => {
    expect(findProcesses(`claw-test-${crypto.randomUUID()}`)).toEqual([]);
  });
});
