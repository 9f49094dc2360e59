import { describe, expect, test } from "bun:test";
import { ClawError, ERRORS, type ErrorCode, messageOf } from "../../src/common/errors.ts";
import { nearest } from "../../src/common/nearest.ts";
import { redactAddresses, redactText } from "../../src/common/redact.ts";
import {
  blockFor,
  isoTime,
  longTimer,
  randomHex,
  randomU32,
  sleep,
  systemRuntime,
  type Timer,
} from "../../src/common/runtime.ts";
import { type Service, stopAll } from "../../src/common/service.ts";

describe("the runtime", () => {
  test("has clocks, timers and chance", async () => {
    expect(Math.abs(systemRuntime.wall_ms() - Date.now())).toBeLessThan(1_000);
    const before_ms = systemRuntime.monotonic_ms();
    await sleep(systemRuntime, 5);
    blockFor(5);
    expect(systemRuntime.monotonic_ms() - before_ms).toBeGreaterThan(8);
    expect(randomHex(systemRuntime, 8)).toMatch(/^[0-9a-f]{16}$/);
    const fixed = { ...systemRuntime, random_bytes: () => new Uint8Array([0xff, 0, 0, 1]) };
    expect(randomU32(fixed)).toBe(0xff00_0001);
    expect(isoTime(0)).toBe("1970-01-01T00:00:00.000Z");
  });

  test("a timer that was cancelled does not fire, and may be cancelled again", async () => {
    const fired: string[] = [];
    const timer = systemRuntime.after(1, () => fired.push("cancelled"));
    timer.cancel();
    await new Promise<void>((resolve) => {
      systemRuntime.after(2, resolve);
      systemRuntime.soon(() => fired.push("soon"));
    });
    timer.cancel();
    expect(fired).toEqual(["soon"]);
  });
});

describe("a long timer", () => {
  const MOST_MS = 2 ** 31 - 1;

  /** Timers as the system has them: each fires when it is told to. */
  function played() {
    const set: { delay_ms: number; fire: () => void; cancelled: boolean }[] = [];
    const after = (delay_ms: number, action: () => void): Timer => {
      const one = { delay_ms, fire: () => (one.cancelled ? undefined : action()), cancelled: false };
      set.push(one);
      return {
        cancel: () => {
          one.cancelled = true;
        },
      };
    };
    return { set, after, delays: () => set.map(({ delay_ms }) => delay_ms) };
  }

  test("is made of as many as it takes, none longer than the system can wait", () => {
    for (const [delay_ms, parts] of [
      [5, [5]],
      [MOST_MS, [MOST_MS]],
      [MOST_MS + 1, [MOST_MS, 1]],
      [2 * MOST_MS + 7, [MOST_MS, MOST_MS, 7]],
    ] as const) {
      const { set, after, delays } = played();
      let fired = 0;
      longTimer(after, delay_ms, () => {
        fired += 1;
      });
      for (let at = 0; at < parts.length; at++) {
        expect(fired).toBe(0);
        set[at]!.fire();
      }
      expect([fired, delays()]).toEqual([1, [...parts]]);
    }
  });

  test("is what the runtime sets: 25 days are not over at once", async () => {
    const timer = systemRuntime.after(25 * 86_400_000, () => expect.unreachable());
    await sleep(systemRuntime, 5);
    timer.cancel();
  });

  test("is cancelled whichever of them runs", () => {
    for (const fire of [0, 1, 2]) {
      const { set, after } = played();
      const timer = longTimer(after, 3 * MOST_MS, () => expect.unreachable());
      for (let at = 0; at < fire; at++) set[at]!.fire();
      timer.cancel();
      timer.cancel();
      expect(set.map(({ cancelled }) => cancelled)).toEqual([...Array<boolean>(fire).fill(false), true]);
    }
  });
});

describe("services", () => {
  test("stop in the reverse order of their start, all of them, and the first error is told", async () => {
    const stopped: string[] = [];
    const service = (name: string, fails = false): Service => ({
      name,
      start: () => Promise.resolve(),
      stop: () => {
        stopped.push(name);
        return fails ? Promise.reject(new Error(`${name} fails`)) : Promise.resolve();
      },
    });
    const failure = await stopAll([service("a", true), service("b"), service("c", true)]).catch(messageOf);
    expect([stopped, failure]).toEqual([["c", "b", "a"], "c fails"]);
    await stopAll([service("d")]);
    expect(stopped.at(-1)).toBe("d");
  });
});

describe("errors", () => {
  test("cross the wire with their code, hint and field", () => {
    const error = new ClawError("not_found", "no such task", { field: "refs" });
    const again = ClawError.fromWire(JSON.parse(JSON.stringify(error.toWire())) as ReturnType<ClawError["toWire"]>);
    expect(again).toBeInstanceOf(ClawError);
    expect([again.code, again.message, again.hint, again.field]).toEqual([
      "not_found",
      "no such task",
      ERRORS.not_found.hint,
      "refs",
    ]);
    const newer = { code: "from_the_future" as ErrorCode, message: "text" };
    expect([ClawError.fromWire(newer).code, ClawError.fromWire(newer).message]).toEqual(["unsupported", "text"]);
    expect(new ClawError("io", "x").toWire()).toEqual({ code: "io", message: "x" });
    expect(new ClawError("io", "x", { cause: "y" }).cause).toBe("y");
    expect([messageOf(new Error("a")), messageOf("b")]).toEqual(["a", "b"]);
  });

  test("have each an HTTP status and an exit code of the design's", () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      expect(ERRORS[code].http).toBeGreaterThanOrEqual(400);
      expect([64, 65, 66, 69, 70, 74, 75, 76, 77, 78]).toContain(ERRORS[code].exit);
    }
    expect([ERRORS.no_coordinator.exit, ERRORS.bad_config.exit, ERRORS.usage.exit]).toEqual([69, 78, 64]);
  });
});

describe("words", () => {
  test("the nearest valid name, if one is near", () => {
    const valid = ["nats.port", "listen", "log.level"];
    expect(
      ["prot", "port", "lsiten", "log.levl", "zebra", "x".repeat(300)].map((name) => nearest(name, valid)),
    ).toEqual(["nats.port", "nats.port", "listen", "log.level", undefined, undefined]);
    expect(nearest("lisxyz", valid, 1)).toBeUndefined();
    const fields = ["env", "cpu_millis", "gpus", "name", "nodes"];
    expect(["cpu", "gpu", "n", "no"].map((name) => nearest(name, fields))).toEqual([
      "cpu_millis",
      "gpus",
      "env",
      "nodes",
    ]);
  });

  test("what looks like a secret is replaced, what does not stays", () => {
    expect(redactText("nats://u:p/w@host:1 and a:b@host")).not.toContain("p/w");
    expect(redactText("see http://host/path?x=1 at 12:30, me@example.org")).toBe(
      "see http://host/path?x=1 at 12:30, me@example.org",
    );
    expect(redactAddresses("u:p@a:1, nats://token@b,c:2")).toBe("(secret)@a:1, nats://(secret)@b,c:2");
  });
});
