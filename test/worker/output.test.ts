import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { LIMITS } from "../../src/common/limits.ts";
import { Outcome } from "../../src/common/models.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { DEFAULT_OUTPUT_CAPS, OutputPump } from "../../src/worker/output.ts";
import { listProcesses } from "../../src/worker/processes.ts";
import { type Bench, openBench, until } from "./attempt.ts";

let bench: Bench;
beforeEach(() => {
  bench = openBench();
});
afterEach(() => {
  expect(bench.living()).toEqual([]);
  bench.close();
});

/** Output is held back for its report until the task ends, however long it takes. */
const UNHURRIED = { ...DEFAULT_OUTPUT_CAPS, hold_ms: 60_000 };

const sha = (data: string | Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(data).digest("hex").slice(0, 16);

test("more than 1 KiB is published in order, the tail is kept", async () => {
  const text = Array.from({ length: 1000 }, (_, n) => `${n + 1}\n`).join("");
  const outcome = Outcome.parse(await bench.command(["seq", "1000"]).done);
  expect(Buffer.concat(bench.published.stdout).toString()).toBe(text);
  expect(outcome.inline).toBeUndefined();
  expect(outcome.stdout).toEqual({ bytes: text.length, hash: sha(text) });
  expect(outcome.stdout_tail).toBe(text.slice(-1024));
});

test("exactly 1 KiB of both rides in the report", async () => {
  const text = "head -c 1000 /dev/zero | tr '\\0' a; head -c 24 /dev/zero | tr '\\0' b >&2";
  const outcome = await bench.shell(text, {}, { output_caps: UNHURRIED }).done;
  expect(outcome).toMatchObject({ inline: true, stdout_tail: "a".repeat(1000), stderr_tail: "b".repeat(24) });
  expect(bench.published.stdout).toEqual([]);
});

test("tails share 1 KiB: each has at least half when it wants it", async () => {
  const outcome = await bench.shell("head -c 5000 /dev/zero | tr '\\0' a; head -c 5000 /dev/zero | tr '\\0' b >&2")
    .done;
  expect([outcome.stdout_tail?.length, outcome.stderr_tail?.length]).toEqual([512, 512]);
});

test("output of a task that goes on is seen soon", async () => {
  const attempt = bench.shell("echo a; sleep 300");
  await until("the line is published", () => bench.published.stdout.length > 0);
  expect(Buffer.concat(bench.published.stdout).toString()).toBe("a\n");
  expect(attempt.output_bytes.stdout).toBe(2);
  attempt.stop("cancelled");
  expect((await attempt.done).inline).toBeUndefined();
});

test("short output that is no text is published: JSON would not keep it", async () => {
  const outcome = await bench.command(["printf", "\\377\\000x"]).done;
  expect(outcome.inline).toBeUndefined();
  expect(Buffer.concat(bench.published.stdout)).toEqual(Buffer.from([0xff, 0, 0x78]));
});

test("a character is never cut in two by the tail, nor by chunks", async () => {
  const outcome = await bench.shell("i=0; while [ $i -lt 700 ]; do printf 🎈; i=$((i+1)); done; printf x").done;
  expect(outcome.stdout_tail).toBe(`${"🎈".repeat(255)}x`);
  const split = await bench.shell("printf '\\360\\237'; sleep 0.05; printf '\\216\\210'").done;
  expect(split.stdout_tail).toBe("🎈");
});

test("100 MB: memory stays bounded, the cut is said, another task is not blocked", async () => {
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  let largest = 0;
  let chunk_bytes = 0;
  const task_bytes = 1024 * 1024;
  const publish = (_: string, chunk: Uint8Array): boolean => {
    chunk_bytes = Math.max(chunk_bytes, chunk.length);
    return true;
  };
  const output_caps = { ...DEFAULT_OUTPUT_CAPS, task_bytes };
  const flood = bench.command(["head", "-c", "100000000", "/dev/zero"], {}, { publish, output_caps });
  let over = false;
  const watch = (async () => {
    while (!over) {
      largest = Math.max(largest, process.memoryUsage.rss());
      await Bun.sleep(2);
    }
  })();
  await until("it flows", () => flood.output_bytes.stdout > 0);
  expect((await bench.command(["echo", "other"]).done).stdout_tail).toBe("other\n");
  const outcome = Outcome.parse(await flood.done);
  over = true;
  await watch;
  expect(outcome.stdout).toEqual({
    bytes: 100_000_000,
    cut_bytes: 100_000_000 - task_bytes,
    hash: sha(new Uint8Array(100_000_000)),
  });
  expect(chunk_bytes).toBe(LIMITS.output_chunk_bytes);
  expect((largest - before) / (1024 * 1024)).toBeLessThan(64);
});

test("slow publishing pauses its own task only, and keeps everything", async () => {
  const gate = Promise.withResolvers<boolean>();
  const kept: Buffer[] = [];
  const publish = (_: string, chunk: Uint8Array): Promise<boolean> => {
    kept.push(Buffer.from(chunk));
    return gate.promise;
  };
  const slow = bench.command(["head", "-c", "3000000", "/dev/zero"], {}, { publish });
  await until("a chunk waits", () => kept.length === 1);
  expect((await bench.command(["true"]).done).status).toBe("completed");
  expect(slow.output_bytes.stdout).toBeLessThan(3_000_000);
  gate.resolve(true);
  expect((await slow.done).stdout).toEqual({ bytes: 3_000_000, hash: sha(new Uint8Array(3_000_000)) });
  expect(Buffer.concat(kept).length).toBe(3_000_000);
});

test("when nobody takes it, output is cut and the task goes on", async () => {
  const output_caps = { ...DEFAULT_OUTPUT_CAPS, stall_ms: 50, finish_ms: 50 };
  const publish = (): Promise<boolean> => new Promise(() => undefined);
  const outcome = await bench.command(["head", "-c", "1000000", "/dev/zero"], {}, { publish, output_caps }).done;
  expect(outcome.stdout).toMatchObject({ bytes: 1_000_000, cut_bytes: 1_000_000 });
});

test("a chunk taken late was kept; what came meanwhile was too, in its order, as far as there was room for it", async () => {
  const output_caps = { ...DEFAULT_OUTPUT_CAPS, stall_ms: 20, aside_bytes: 3000 };
  const first = Promise.withResolvers<boolean>();
  const published: string[] = [];
  const publish = (_stream: string, chunk: Uint8Array): Promise<boolean> | boolean => {
    published.push(new TextDecoder().decode(chunk));
    return published.length === 1 ? first.promise : true;
  };
  // Each part is written when the one before it was read.
  const part = (name: string, bytes: number): string =>
    `until [ -e ${name} ]; do sleep 0.02; done; printf '${name}%.0s' $(seq ${bytes})`;
  const text = [part("a", 2000), part("b", 3000), part("c", 500), part("d", 4000)].join("; ");
  const attempt = bench.shell(text, {}, { publish, output_caps });
  for (const [name, bytes] of [
    ["a", 2000],
    ["b", 5000],
    ["c", 5500],
  ] as const) {
    await Bun.write(`${bench.root}/${name}`, "");
    await until(`${name} was read`, () => attempt.output_bytes.stdout === bytes);
  }
  first.resolve(true);
  await Bun.write(`${bench.root}/d`, "");
  expect((await attempt.done).stdout).toMatchObject({ bytes: 9500, cut_bytes: 500 });
  expect(published.join("").replace(/(.)\1*/g, (run) => `${run[0]}${run.length} `)).toBe("a2000 b3000 d4000 ");
});

test("the end of a task waits for what was kept aside as long as it may, and not at all when it is in a hurry", async () => {
  const publish = async (_stream: string, chunk: Uint8Array): Promise<boolean> => {
    if (published.push(chunk.length) === 1) await stall.promise;
    else await new Promise((resolve) => setTimeout(resolve, 20));
    return true;
  };
  let stall = Promise.withResolvers<void>();
  let published: number[] = [];
  const write = async (pump: OutputPump): Promise<void> => {
    stall = Promise.withResolvers<void>();
    published = [];
    const lines = new TransformStream<Uint8Array, Uint8Array>();
    pump.attach("stdout", lines.readable);
    const writer = lines.writable.getWriter();
    await writer.write(new Uint8Array(2_000));
    for (let line = 0; line < 2_000; line++) await writer.write(new Uint8Array(40));
    await writer.close();
    stall.resolve();
  };
  const caps = { ...DEFAULT_OUTPUT_CAPS, stall_ms: 1, drain_ms: 50 };
  const patient = new OutputPump(systemRuntime, publish, caps);
  await write(patient);
  expect((await patient.finish()).stdout).toMatchObject({ bytes: 82_000 });
  // Lines that were kept aside go together.
  expect(published.length).toBeLessThan(20);
  const hasty = new OutputPump(systemRuntime, () => new Promise(() => undefined), caps);
  await write(hasty);
  hasty.hurry();
  expect((await hasty.finish()).stdout).toMatchObject({ bytes: 82_000, cut_bytes: 82_000 });
});

test("a stranger who goes on writing is cut off, however slowly it is published", async () => {
  const output_caps = { ...DEFAULT_OUTPUT_CAPS, drain_ms: 1_000, drain_most_ms: 1_000 };
  const pump = new OutputPump(
    systemRuntime,
    () => new Promise((resolve) => setTimeout(() => resolve(true), 25)),
    output_caps,
  );
  let left = false;
  const endless = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      controller.enqueue(new Uint8Array(1_100));
    },
    cancel() {
      left = true;
    },
  });
  pump.attach("stdout", endless);
  expect((await pump.finish()).message).toContain("cut off");
  expect(left).toBe(true);
});

test("publishing that refuses, throws or rejects counts as cut", async () => {
  const answers = [
    () => false,
    () => Promise.reject(new Error("gone")),
    () => {
      throw new Error("closed");
    },
  ];
  for (const publish of answers) {
    const outcome = await bench.command(["head", "-c", "2000", "/dev/zero"], {}, { publish }).done;
    expect(outcome.stdout).toMatchObject({ bytes: 2000, cut_bytes: 2000 });
  }
});

test("a pipe that somebody outside the tree holds does not hang the end", async () => {
  const output_caps = { ...DEFAULT_OUTPUT_CAPS, drain_ms: 50 };
  // Without the marker and outside the group nothing tells that it was ours: it lives on, the pipe is closed.
  const attempt = bench.shell(
    "env -i setsid sh -c 'echo $$ > pid; exec sleep 300' & until [ -s pid ]; do :; done; echo hi",
    {},
    { output_caps },
  );
  const outcome = await attempt.done;
  expect(outcome).toMatchObject({ status: "completed", stdout_tail: "hi\n" });
  process.kill(Number(await Bun.file(`${bench.root}/pid`).text()), "SIGKILL");
});

describe("somebody outside the tree who goes on writing", () => {
  // As before, and without a pause that could be taken for silence. The closed pipe ends it, by SIGPIPE.
  const TALKER = "env -i setsid sh -c 'echo $$ > pid; while :; do echo x; sleep 0.01; done' &";
  const talker = `${TALKER} until [ -s pid ]; do :; done; echo main`;
  const talkerGone = (): Promise<void> =>
    until("the end of who wrote", () => {
      const pid = Number(readFileSync(`${bench.root}/pid`, "utf8"));
      return !listProcesses().some((row) => row.pid === pid);
    });

  test("does not hang the end, and that output was cut off is said", async () => {
    const output_caps = { ...DEFAULT_OUTPUT_CAPS, drain_ms: 1_000, drain_most_ms: 1_000 };
    const outcome = Outcome.parse(await bench.shell(talker, {}, { output_caps }).done);
    expect(outcome).toMatchObject({ status: "completed", exit_code: 0 });
    expect(outcome.message).toStartWith("its output was cut off");
    expect(Buffer.concat(bench.published.stdout).toString()).toContain("main\n");
    await talkerGone();
  });

  test("is not waited for by a stop, nor by the timeout of a task that has ended", async () => {
    const output_caps = { ...DEFAULT_OUTPUT_CAPS, drain_ms: 1_000, drain_most_ms: 600_000 };
    for (const timeout_ms of [undefined, 3_000]) {
      rmSync(`${bench.root}/pid`, { force: true });
      const attempt = bench.shell(talker, timeout_ms === undefined ? {} : { timeout_ms }, { output_caps });
      if (timeout_ms === undefined) {
        const { pid } = attempt;
        await until("the main process to be collected", () => !existsSync(`/proc/${pid}`));
        attempt.stop("cancelled");
      }
      const outcome = await attempt.done;
      expect(outcome).toMatchObject({ status: "completed", exit_code: 0 });
      expect(outcome.message).toStartWith("its output was cut off");
      await talkerGone();
    }
  });

  test("is not waited for when the task itself was stopped", async () => {
    const output_caps = { ...DEFAULT_OUTPUT_CAPS, drain_ms: 1_000, drain_most_ms: 600_000 };
    const attempt = bench.shell(`${talker}; sleep 300`, {}, { output_caps });
    await until("it runs", () => bench.published.stdout.length > 0);
    attempt.stop("cancelled");
    expect(await attempt.done).toMatchObject({ status: "cancelled", signal: "SIGTERM" });
    await talkerGone();
  });
});
