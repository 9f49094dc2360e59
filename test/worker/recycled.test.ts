// A process id that the kernel gives out again: whoever has it now is a stranger, and is not ended with the task that had it.

import { expect, test } from "bun:test";
import { join } from "node:path";

const UNSHARE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
const TRY = "echo 500 > /proc/sys/kernel/ns_last_pid";
const can_choose =
  process.platform === "linux" &&
  Bun.which("unshare") !== null &&
  Bun.which("setsid") !== null &&
  Bun.spawnSync([...UNSHARE, "sh", "-c", TRY], { stderr: "ignore" }).exitCode === 0;
if (!can_choose) console.log("skipped: this machine does not let a test choose the number of a process");

test.skipIf(!can_choose)(
  "a stranger under the number of a task that ended is left alone, and what it left under a lower one is found",
  async () => {
    const child = Bun.spawn([...UNSHARE, process.execPath, join(import.meta.dir, "recycled.ts")], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect(err).toBe("");
    expect(JSON.parse(out)).toEqual({
      same_pid: true,
      other_key: true,
      lives_after_end: true,
      lives_after_sweep: true,
      swept: [],
      swept_ours: ["node_0123abcd/0123456789abcdef/1.0.1"],
      below: true,
      left: true,
    });
  },
  30_000,
);
