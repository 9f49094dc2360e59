// What a server must be, and what an address may look like, before anything rests on it.

import { describe, expect, test } from "bun:test";
import { ClawError, type ErrorCode } from "../../src/common/errors.ts";
import { LIMITS } from "../../src/common/limits.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { checkServerVersion, isListening, openConnection, watchEnd } from "../../src/communication/connection.ts";
import { senderOf, subjects } from "../../src/communication/subjects.ts";
import { until } from "./server-bench.ts";

/** A server that says what it is, takes a login when `admits` says so, and is told to end all connections by `drop`. */
function playedServer(info: object, admits: (login: number) => boolean) {
  const open = new Set<Bun.Socket<undefined>>();
  let logins = 0;
  const text = JSON.stringify({
    server_id: "x",
    version: "2.15.2",
    proto: 1,
    max_payload: 1_048_576,
    headers: true,
    ...info,
  });
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open: (socket) => {
        open.add(socket);
        socket.write(`INFO ${text}\r\n`);
      },
      close: (socket) => void open.delete(socket),
      data: (socket, bytes) => {
        const said = bytes.toString();
        if (said.includes("CONNECT")) {
          logins += 1;
          if (!admits(logins)) {
            socket.end("-ERR 'Authorization Violation'\r\n");
            return;
          }
        }
        if (said.includes("PING")) socket.write("PONG\r\n");
      },
    },
  });
  return {
    url: `nats://127.0.0.1:${server.port}`,
    logins: () => logins,
    open: () => open.size,
    drop: () => {
      for (const socket of open) socket.end();
    },
    close: () => server.stop(true),
  };
}

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
    const old = playedServer({ version: "2.10.1" }, () => true);
    try {
      const error: unknown = await openConnection({ url: old.url, name: "x", timeout_ms: 5_000 }).catch(
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(ClawError);
      expect((error as ClawError).code).toBe("broker_version");
      expect((error as ClawError).message).toContain("2.10.1");
      expect(await until(() => (old.open() === 0 ? true : undefined), "the end of the connection")).toBe(true);
    } finally {
      old.close();
    }
  });
});

test("a server that would not take our largest message is refused, by what has to be set", async () => {
  const least = Math.max(LIMITS.message_bytes, LIMITS.batch_bytes) + LIMITS.header_bytes;
  for (const [max_payload, code] of [
    [131_072, "unsupported"],
    [least - 1, "unsupported"],
    [least, undefined],
  ] as const) {
    const server = playedServer({ max_payload }, () => true);
    try {
      const wait = () => Promise.reject(new Error("waited"));
      const opened = await openConnection({ url: server.url, name: "x", timeout_ms: 5_000, wait }).catch(
        (reason: unknown) => reason as ClawError,
      );
      expect("code" in opened ? opened.code : undefined).toBe(code);
      if ("code" in opened) expect(opened.hint).toContain(`set max_payload in the server's configuration to ${least}`);
      else await opened.close();
      await until(() => (server.open() === 0 ? true : undefined), "the end of the connection");
    } finally {
      server.close();
    }
  }
});

describe("a login that is refused", () => {
  test("for a while is no end of a lasting connection", async () => {
    const server = playedServer({}, (login) => login === 1 || login > 5);
    try {
      const connection = await openConnection({ url: server.url, name: "x", timeout_ms: 5_000, lasting: true });
      const ends: ClawError[] = [];
      let asked = false;
      watchEnd(
        connection,
        () => asked,
        (error) => ends.push(error),
      );
      server.drop();
      await until(() => (server.logins() === 6 ? true : undefined), "the login that is taken");
      await connection.flush();
      asked = true;
      await connection.close();
      await connection.closed();
      expect(ends).toEqual([]);
    } finally {
      server.close();
    }
  });

  test("twice is the end of any other, and whoever lives by it is told", async () => {
    const server = playedServer({}, (login) => login === 1);
    try {
      const connection = await openConnection({ url: server.url, name: "x", timeout_ms: 5_000 });
      const ends: ClawError[] = [];
      watchEnd(
        connection,
        () => false,
        (error) => ends.push(error),
      );
      server.drop();
      const error = await until(() => ends[0], "the end of the connection");
      expect([error.code, error.message]).toEqual([
        "broker",
        "the connection to NATS has ended for good: 'Authorization Violation'",
      ]);
    } finally {
      server.close();
    }
  });

  test("at the first connection is an error, however long one waits for a server", async () => {
    const server = playedServer({}, () => false);
    try {
      const wait = () => Promise.reject(new Error("waited"));
      const options = { url: server.url, name: "x", timeout_ms: 5_000, lasting: true, wait };
      const error: unknown = await openConnection(options).catch((reason: unknown) => reason);
      expect((error as ClawError).code).toBe("refused");
    } finally {
      server.close();
    }
  });

  test("a server that is not there yet is waited for", async () => {
    const place = playedServer({}, () => true);
    place.close();
    const tries: string[] = [];
    const wait = (): Promise<void> => {
      tries.push("again");
      return tries.length < 3 ? Promise.resolve() : Promise.reject(new Error("enough"));
    };
    const error: unknown = await openConnection({ url: place.url, name: "x", timeout_ms: 5_000, wait }).catch(
      (reason: unknown) => reason,
    );
    expect([(error as Error).message, tries.length]).toEqual(["enough", 3]);
  });
});

describe("an address", () => {
  test("is listened on or not, whoever would be let in: one of several is enough", async () => {
    const listening = (urls: string): Promise<boolean> => isListening(urls, systemRuntime, 2_000);
    const server = playedServer({}, () => false);
    const { host } = new URL(server.url);
    try {
      expect(await listening(`nats://me:pw@${host}`)).toBe(true);
      expect(await listening(`nats://127.0.0.1:1,${host}`)).toBe(true);
      expect(await listening("nats://127.0.0.1:1,tls://[::1]:1")).toBe(false);
    } finally {
      server.close();
    }
    expect(await listening(host)).toBe(false);
  });

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
