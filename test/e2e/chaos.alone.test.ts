// A minute of scripts/chaos: what was acknowledged under random kills and stops is there, done, and recorded once.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { findServer } from "../communication/server-bench.ts";

test("a minute of kills and stops, and the ledger at its end", async () => {
  const seed = String(Math.floor(performance.timeOrigin) % 1_000_000);
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "chaos.ts"), "--minutes", "1", "--seed", seed], {
    env: { ...process.env, NATS_SERVER: findServer() },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect([code, err, out]).toEqual([0, "", out]);
  expect(out).toMatch(/^submitted and acknowledged +[1-9]\d{2,}$/m);
  expect(out).toMatch(/^lost +0$/m);
  expect(out).toMatch(/killed for/);
}, 300_000);
