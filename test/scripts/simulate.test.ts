// scripts/simulate's program: what it says of clean seeds, of one that finds something, and of mistakes in its options.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");

async function simulate(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const command = [process.execPath, join(ROOT, "test/sim/runner.ts"), ...args];
  const child = Bun.spawn(command, { cwd: ROOT, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, out, err };
}

describe("scripts/simulate", () => {
  test("runs seeds over several processes and says how fast", async () => {
    const { code, out } = await simulate("--seeds", "4", "--jobs", "2");
    expect(out).toMatch(/^4 of 4 seeds, 0 failed, [\d.]+ seeds\/s, [\d.]+ virtual hours a minute\n$/);
    expect(code).toBe(0);
  }, 240_000); // as in sim.test.ts: what is only computed takes as long as the machine does

  test("shrinks what it finds, and its last words repeat it", async () => {
    const canary = "promise_before_log";
    const { code, out } = await simulate("--seeds", "2", "--canary", canary);
    expect(code).toBe(1);
    expect(out).toContain("2 of 2 seeds, 2 failed");
    const again = /^again: scripts\/simulate (.+)$/m.exec(out)?.[1]?.split(" ") ?? [];
    expect(again).toContain("--off");
    expect(again).toContain(canary);
    const repeated = await simulate(...again);
    expect(repeated.code).toBe(1);
    // It finds the same, at the same virtual time.
    const shrunk = out.slice(out.indexOf("shrunk:"));
    const last = /^ +\d+\.\d{3} .*$/gm;
    expect(repeated.out.match(last)?.at(-1)).toBe(shrunk.match(last)?.at(-1) ?? "");
    expect(repeated.out).toContain(/^seed \d+: .*$/m.exec(shrunk)?.[0] ?? "nothing");
    const clean = await simulate(...again.filter((word) => word !== "--canary" && word !== canary));
    expect(clean.code).toBe(0);
  }, 240_000);

  test("refuses what it does not know", async () => {
    for (const args of [
      ["--sedes", "3"],
      ["--seeds", "many"],
      ["--seed", "1", "--off", "gravity"],
    ]) {
      const { code, err } = await simulate(...args);
      expect([code, err]).toEqual([64, expect.stringMatching(/^simulate: .*\n {2}see scripts\/simulate --help\n$/s)]);
    }
  });
});
