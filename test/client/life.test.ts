// A task's life as a user sees it: retries with their waits, starts that are put off, deadlines, daemons, and what of it
// `show` tells.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { lifeOf } from "../../src/client/life.ts";
import { type Cluster, openCluster } from "../cluster.ts";
import { until } from "../until.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await openCluster();
});
afterAll(() => cluster.close());

async function submit(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.runCli(["submit", ...words]);
  expect([code, stderr]).toEqual([0, ""]);
  return stdout.trim();
}

async function show(id: string): Promise<Record<string, unknown>> {
  const { code, stdout } = await cluster.runCli(["show", id, "--json"]);
  expect(code).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}

const text = async (id: string): Promise<string> => (await cluster.runCli(["show", id])).stdout;
const wait = async (id: string): Promise<number> => (await cluster.runCli(["wait", id])).code;

describe("retries", () => {
  test("go on until one succeeds, and every attempt is told", async () => {
    const id = await submit(
      "--retries",
      "5",
      "--backoff",
      "10ms",
      "--",
      "sh",
      "-c",
      "echo x >> tries; test $(wc -l < tries) = 3",
    );
    expect(await wait(id)).toBe(0);
    const task = await show(id);
    expect(task).toMatchObject({ status: "completed", attempt: 3 });
    expect(task["attempts"]).toMatchObject([
      { attempt: 1, reason: "exit", exit_code: 1, node_name: "worker-1" },
      { attempt: 2, reason: "exit", exit_code: 1, node_name: "worker-1" },
    ]);
    expect(await text(id)).toMatch(
      /attempt 1 +exit code 1 on worker-1 after [\d.]+m?s \(it had waited [\d.]+m?s\), 20/,
    );
    rmSync(join(cluster.cwd, "tries"));
  });

  test("end at their number, with the last one's result", async () => {
    const { code } = await cluster.runCli(["run", "--retries", "2", "--backoff", "1ms", "--", "sh", "-c", "exit 7"]);
    expect(code).toBe(7);
    const { stdout } = await cluster.runCli(["ls", "--limit", "1", "--quiet"]);
    expect(await show(stdout.trim())).toMatchObject({ status: "failed", attempt: 3, exit_code: 7 });
  });

  test("are only for what they were asked for", async () => {
    const id = await submit(
      "--retries",
      "2",
      "--backoff",
      "1ms",
      "--retry-on",
      "75,timeout",
      "--",
      "sh",
      "-c",
      "exit 3",
    );
    expect(await wait(id)).toBe(1);
    expect(await show(id)).toMatchObject({ attempt: 1, exit_code: 3 });
  });

  test("wait, which is told; a cancel ends the waiting", async () => {
    const id = await submit("--retries", "2", "--backoff", "1h", "--", "false");
    await until(async () => (await show(id))["not_before"] !== undefined, "a task that waits for its next attempt");
    expect(await text(id)).toMatch(/waits +for its next attempt, not before 20/);
    await cluster.runCli(["cancel", id]);
    expect(await show(id)).toMatchObject({ status: "cancelled" });
  });

  test.each([
    ["137", "failed", ["sh", "-c", "kill -9 $$"]],
    ["126", "failed", ["/etc/passwd"]],
    ["127", "failed", ["no-such-program"]],
    ["124", "timeout", ["sleep", "60"]],
  ])("on %s are for what claw itself says so of", async (code, status, command) => {
    const options = ["--timeout", "300ms", "--retries", "1", "--backoff", "1ms", "--retry-on", code];
    const id = await submit(...options, "--", ...command);
    expect(await wait(id)).toBe(1);
    expect(await show(id)).toMatchObject({ status, attempt: 2 });
  });

  test("of an array are its members' own", async () => {
    const line = "test $CLAW_TASK_INDEX != 1 || { echo x >> of1; test $(wc -l < of1) = 2; }";
    const id = await submit("--array", "3", "--retries", "3", "--backoff", "1ms", "--", "sh", "-c", line);
    expect(await wait(id)).toBe(0);
    expect(await show(`${id}.0`)).toMatchObject({ attempt: 1 });
    expect(await show(`${id}.1`)).toMatchObject({ attempt: 2, attempts: [{ attempt: 1, exit_code: 1 }] });
    rmSync(join(cluster.cwd, "of1"));
  });
});

describe("a start that is put off", () => {
  test("waits, which is told", async () => {
    const id = await submit("--start-after", "1h", "--", "true");
    const { status, submitted_at, not_before } = (await show(id)) as Record<string, string>;
    expect([status, Date.parse(not_before!) - Date.parse(submitted_at!)]).toEqual(["pending", 3_600_000]);
    expect(await text(id)).toMatch(/waits +to be started, not before 20/);
    await cluster.runCli(["cancel", id]);
  });

  test("comes, and not before", async () => {
    const id = await submit("--start-after", "400ms", "--", "true");
    expect(await wait(id)).toBe(0);
    const { submitted_at, started_at } = (await show(id)) as Record<string, string>;
    expect(Date.parse(started_at!) - Date.parse(submitted_at!)).toBeGreaterThanOrEqual(400);
  });
});

test("a start that is past is said to be, unless nothing is to be said", async () => {
  const past = ["--start-after", "2025-12-24T18:00:00Z"];
  const said = "claw: --start-after 2025-12-24T18:00:00Z is past: it starts at once\n";
  const ran = await cluster.runCli(["run", ...past, "--", "echo", "begun"]);
  expect([ran.code, ran.stdout, ran.stderr]).toEqual([0, "begun\n", said]);
  const each = await cluster.runCli(["run", ...past, "--each", "echo {}"], { stdin: "x\n" });
  expect([each.code, each.stdout]).toEqual([0, "x\n"]);
  expect(each.stderr).toStartWith(said);
  const plan = await cluster.runCli(["plan", ...past, "--", "true"]);
  expect([plan.code, plan.stderr]).toEqual([0, said]);
  expect(await wait(await submit(...past, "--quiet", "--", "true"))).toBe(0);
});

describe("a deadline", () => {
  test("ends what runs", async () => {
    const { code, stderr } = await cluster.runCli(["run", "--deadline", "300ms", "--", "sleep", "60"]);
    expect(code).toBe(124);
    expect(stderr).toMatch(/^claw: task_\w{8}: its deadline passed\n$/);
  });

  test("ends what waits", async () => {
    const id = await submit("--deadline", "200ms", "--tag", "nowhere", "--", "true");
    expect(await wait(id)).toBe(1);
    expect(await show(id)).toMatchObject({ status: "timeout", reason: "deadline" });
  });
});

test("a daemon is kept running until it is cancelled", async () => {
  const id = await submit(
    "--type",
    "daemon",
    "--backoff",
    "10ms",
    "--",
    "sh",
    "-c",
    "echo x >> lives; test $(wc -l < lives) = 3 && exec sleep 60",
  );
  await until(
    async () => (await show(id))["attempt"] === 3 && (await show(id))["status"] === "running",
    "its third life",
  );
  expect((await show(id))["attempts"]).toHaveLength(2);
  await cluster.runCli(["cancel", id]);
  expect(await wait(id)).toBe(1);
  expect(await show(id)).toMatchObject({ status: "cancelled", attempt: 3 });
  expect(existsSync(join(cluster.cwd, "lives"))).toBe(true);
});

describe("what can be typed", () => {
  test.each([
    [{ retries: "3" }, { retry: { limit: 3, backoff_ms: 1_000, backoff_max_ms: 300_000 } }],
    [{ retries: "3", backoff: "30s" }, { retry: { limit: 3, backoff_ms: 30_000, backoff_max_ms: 30_000 } }],
    [{ retries: "1", backoff: "1s..1m" }, { retry: { limit: 1, backoff_ms: 1_000, backoff_max_ms: 60_000 } }],
    [{ retries: "0" }, {}],
    [{ startAfter: "2h" }, { start_after_ms: 7_200_000 }],
    [{ startAfter: "2026-12-24T18:00:00Z" }, { start_at: Date.UTC(2026, 11, 24, 18) }],
    [{ startAfter: "2028-02-29T23:00:00-02:00" }, { start_at: Date.UTC(2028, 2, 1, 1) }],
    [
      { deadline: "1h", onLost: "fail" },
      { deadline_ms: 3_600_000, on_lost: "fail" },
    ],
  ] as const)("%p", (options, wanted) => {
    expect(lifeOf(options, "batch")).toEqual(wanted);
  });

  test.each([
    [{ retries: "-1" }, "--retries is a whole number"],
    [{ backoff: "1s" }, "--backoff without --retries"],
    [{ retryOn: ["75"] }, "--retry-on without --retries"],
    [{ retries: "1", backoff: "1m..1s" }, "is no wait"],
    [{ retries: "1", backoff: "1s..2s..3s" }, "is no wait"],
    [{ retries: "1", retryOn: ["0"] }, "that is a success"],
    [
      { retries: "1", retryOn: ["sunday"] },
      "--retry-on is an exit code from 1 to 255, or exit, timeout, not_found, spawn, memory, not 'sunday'",
    ],
    [{ deadline: "0s" }, "over before it begins"],
    [{ startAfter: "2026-13-45" }, "is no instant that there is"],
    [{ startAfter: "2026-02-31T00:00:00Z" }, "is no instant that there is"],
    [{ startAfter: "2026-11-31" }, "is no instant that there is"],
    [{ startAfter: "2027-02-29T12:00:00+01:00" }, "is no instant that there is"],
    [{ startAfter: "2026-02-31 10:00" }, "is no instant that there is"],
    [{ startAfter: "2026-12-24 soon" }, "is neither a duration nor an instant"],
    [{ startAfter: "yesterday" }, "is neither a duration nor an instant"],
    [{ startAfter: "1x" }, "is neither a duration nor an instant"],
    [{ onLost: "cry" }, "--on-lost is one of retry, fail"],
  ] as const)("%p is refused", (options, message) => {
    expect(() => lifeOf(options as Parameters<typeof lifeOf>[0], "batch")).toThrow(message);
  });

  test("a retry may be for whatever a failure can be for", () => {
    const { retry } = lifeOf({ retries: "1", retryOn: ["75,memory", "spawn"] }, "batch");
    expect(retry?.on).toEqual([75, "memory", "spawn"]);
  });

  test("a daemon has no number of retries", () => {
    expect(() => lifeOf({ retries: "3" }, "daemon")).toThrow("a daemon is kept running");
    expect(lifeOf({ backoff: "5s" }, "daemon").retry).toMatchObject({ backoff_ms: 5_000 });
  });
});
