// Log lines: one JSON object each, or readable text; with what one needs to know, and never with a secret.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ClawError } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { createLogger, type Logger, type LoggerOptions } from "../../src/common/logging.ts";
import { systemRuntime } from "../../src/common/runtime.ts";

const runtime = { ...systemRuntime, wall_ms: () => 1_764_000_000_000 };

function logging(more: Partial<LoggerOptions> = {}): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const options = { role: "worker", level: "debug", format: "json", runtime, write, isTerminal: false } as const;
  return { logger: createLogger({ ...options, ...more }), lines };
}

function entryOf(log: (logger: Logger) => void): Record<string, unknown> {
  const { logger, lines } = logging();
  log(logger);
  expect(lines).toHaveLength(1);
  return JSON.parse(lines[0]!) as Record<string, unknown>;
}

describe("JSON", () => {
  test("has level, time, role and message, and the fields beside them", () => {
    expect(entryOf((logger) => logger.warn("it is late", { node: "n1", task: 7 }))).toEqual({
      level: "warn",
      time: "2025-11-24T16:00:00.000Z",
      role: "worker",
      message: "it is late",
      node: "n1",
      task: 7,
    });
  });

  test("a child's fields are in all of its lines, and those of a line do not replace claw's own", () => {
    const entry = entryOf((logger) =>
      logger.child({ node: "n1" }).child({ task: 1 }).info("x", { role: "y", time: 0 }),
    );
    expect(entry).toMatchObject({ node: "n1", task: 1, role: "worker", role_: "y", time_: 0 });
  });

  test("nothing under the level", () => {
    const { logger, lines } = logging({ level: "warn" });
    logger.debug("a");
    logger.info("b");
    logger.child({}).info("c");
    logger.error("d");
    expect(lines).toHaveLength(1);
  });

  test("an error of the world has its code, a bug its stack", () => {
    const entry = entryOf((logger) => {
      logger.error("both", { world: new ClawError("disk_full", "no room"), bug: new Error("oops") });
    });
    expect(entry["world"]).toEqual({ code: "disk_full", message: "no room" });
    expect(entry["bug"]).toMatchObject({ message: "oops", stack: expect.stringContaining("logging.test.ts") });
  });

  test("what cannot be said in JSON, or has no end, is cut", () => {
    const circle: Record<string, unknown> = { a: 1 };
    circle["self"] = circle;
    const long = "x".repeat(LIMITS.log_text_chars + 7);
    const many = Array.from({ length: LIMITS.log_items + 3 }, (_, at) => at);
    const entry = entryOf((logger) => {
      logger.info("x", { circle, long, many, big: 7n, bytes: new Uint8Array(9), nothing: null });
    });
    expect(JSON.stringify(entry["circle"])).toContain("(deeper)");
    expect(entry["long"]).toEndWith("… (7 more)");
    expect((entry["many"] as unknown[]).at(-1)).toBe("and 3 more");
    expect(entry).toMatchObject({ big: "7", bytes: "(9 bytes)", nothing: null });
  });

  test("no secret, whatever its name, its shape, or how deep", () => {
    const seed = `SU${"A".repeat(56)}`;
    const jwt = `eyJ${"a".repeat(20)}.${"b".repeat(20)}.${"c".repeat(20)}`;
    const { logger, lines } = logging();
    logger.info(`Bearer abcdefgh123 and ${seed} at nats://me:hunter2@host`, {
      token: "hunter2",
      creds: "hunter2",
      nested: { list: [{ http_token: "hunter2", url: "nats://hunter2@a" }] },
      error: new Error(`with ${seed} and ${jwt}`),
    });
    logger.child({ password: "hunter2" }).info("x");
    const all = lines.join("");
    for (const secret of ["hunter2", seed, jwt, "abcdefgh123"]) expect(all).not.toContain(secret);
    expect(all).toContain("(secret)");
  });
});

describe("readable lines", () => {
  const pretty = (log: (logger: Logger) => void, more: Partial<LoggerOptions> = {}): string => {
    const { logger, lines } = logging({ format: "pretty", ...more });
    log(logger);
    return lines.join("");
  };

  test("say time, role and message, then the fields", () => {
    expect(pretty((logger) => logger.info("ready", { node: "n1", text: "two words", count: 3, none: null }))).toBe(
      '16:00:00 worker: ready  node=n1 text="two words" count=3\n',
    );
    expect(pretty((logger) => logger.warn("late"))).toBe("warn: 16:00:00 worker: late\n");
  });

  test("several lines of a field stand below, and nothing speaks to the terminal", () => {
    const text = pretty((logger) => logger.error("a\x1b[2Jb", { stack: "one\ntwo\x07" }));
    expect(text).toBe("error: 16:00:00 worker: a\\u001b[2Jb\n  one\n  two\\u0007\n");
  });

  test("are the format of a terminal, in colour unless NO_COLOR", () => {
    const before = process.env["NO_COLOR"];
    try {
      delete process.env["NO_COLOR"];
      const more = { format: "auto", isTerminal: true } as const;
      expect(pretty((logger) => logger.warn("late"), more)).toBe("\x1b[33mwarn: 16:00:00 worker: late\x1b[0m\n");
      process.env["NO_COLOR"] = "1";
      expect(pretty((logger) => logger.warn("late"), more)).toBe("warn: 16:00:00 worker: late\n");
      expect(pretty((logger) => logger.warn("late"), { format: "auto" })).toStartWith("{");
    } finally {
      if (before === undefined) delete process.env["NO_COLOR"];
      else process.env["NO_COLOR"] = before;
    }
  });
});

describe("standard error", () => {
  const script = `
    const { createLogger } = await import(${JSON.stringify(join(import.meta.dir, "../../src/common/logging.ts"))});
    const { systemRuntime } = await import(${JSON.stringify(join(import.meta.dir, "../../src/common/runtime.ts"))});
    const logger = createLogger({ role: "r", level: "info", format: "json", runtime: systemRuntime });
    for (let at = 0; at < Number(process.argv.at(-1)); at++) logger.info("x".repeat(1000), { at });
    process.stdout.write("done");
    process.exit(0);`;

  test("has every line, the last before an end too", async () => {
    const child = Bun.spawn([process.execPath, "-e", script, "500"], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [lines, said] = await Promise.all([child.stderr.text(), child.stdout.text()]);
    expect(said).toBe("done");
    const found = lines
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { at: number }).at);
    expect(found).toEqual(Array.from({ length: 500 }, (_, at) => at));
  });

  test("that is closed stops nobody", async () => {
    const argv = ["sh", "-c", 'exec "$@" 2>&-', "sh", process.execPath, "-e", script, "5"];
    const child = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
    expect(await child.stdout.text()).toBe("done");
    expect(await child.exited).toBe(0);
  });
});
