// What a server must be, and what an address may look like, before anything rests on it.

import { describe, expect, test } from "bun:test";
import { ClawError, type ErrorCode } from "../../src/common/errors.ts";
import { checkServerVersion, openConnection } from "../../src/communication/connection.ts";
import { senderOf, subjects } from "../../src/communication/subjects.ts";
import { until } from "./server-bench.ts";

function codeOf(action: () => void): ErrorCode | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof ClawError) return error.code;
    throw error;
  }
}

describe("a server", () => {
  test.each(["2.14.5", "2.14.6", "2.15.0", "3.0.0", "2.14.5-beta.1", "10.0.0"])("of version %s will do", (version) => {
    expect(codeOf(() => checkServerVersion(version))).toBeUndefined();
  });

  test.each(["2.14.4", "2.9.30", "1.99.99", "", "latest", "2"])("of version '%s' will not", (version) => {
    expect(codeOf(() => checkServerVersion(version))).toBe("broker_version");
  });

  test("that says an old version is refused, however willing it is", async () => {
    const info = { server_id: "x", version: "2.10.1", proto: 1, max_payload: 1_048_576, headers: true };
    let opened = 0;
    const old = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => {
          opened += 1;
          socket.write(`INFO ${JSON.stringify(info)}\r\n`);
        },
        close: () => {
          opened -= 1;
        },
        data: (socket, bytes) => {
          if (bytes.toString().includes("PING")) socket.write("PONG\r\n");
        },
      },
    });
    try {
      const url = `nats://127.0.0.1:${old.port}`;
      const error: unknown = await openConnection({ url, name: "x", timeout_ms: 5_000 }).catch(
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(ClawError);
      expect((error as ClawError).code).toBe("broker_version");
      expect((error as ClawError).message).toContain("2.10.1");
      expect(await until(() => (opened === 0 ? true : undefined), "the end of the connection")).toBe(true);
    } finally {
      old.stop(true);
    }
  });
});

describe("an address", () => {
  test.each(["http://x", "nats://", "nats://u:hunter2@[", "::"])(
    "'%s' is none, and its password is not repeated",
    async (url) => {
      const error: unknown = await openConnection({ url, name: "x", timeout_ms: 100 }).catch(
        (reason: unknown) => reason,
      );
      expect((error as ClawError).code).toBe("bad_config");
      expect((error as ClawError).message).not.toContain("hunter2");
    },
  );
});

describe("subjects", () => {
  test("say who sends", () => {
    expect(senderOf(subjects.command("c", "client_1", "task.submit"))).toEqual({
      who: "client_1",
      rest: "cmd.task.submit",
    });
    expect(senderOf(subjects.up("c", "node_1"))).toEqual({ who: "node_1", rest: "up" });
    expect(senderOf("short")).toEqual({ who: "", rest: "" });
  });
});
