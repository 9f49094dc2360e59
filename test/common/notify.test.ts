// Against a real datagram socket. Bun has none, so python3 listens; it says when it is ready and repeats what it gets.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { notify, throughProgram } from "../../src/common/notify.ts";

const python = Bun.which("python3");
const scratch = mkdtempSync(join(tmpdir(), "claw-notify-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const LISTENER = `
import json, socket, sys
name = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
listener.settimeout(20)
listener.bind("\\0" + name[1:] if name.startswith("@") else name)
print("ready", flush=True)
while True:
    print(json.dumps(listener.recv(4096).decode()), flush=True)
`;

class Listener {
  readonly #child;
  readonly #lines;

  constructor(readonly socket: string) {
    this.#child = Bun.spawn([python ?? "", "-c", LISTENER, socket], {
      stdout: "pipe",
      stderr: "inherit",
      stdin: "ignore",
    });
    this.#lines = this.#read();
  }

  async *#read(): AsyncGenerator<string> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  }

  async next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error("the listener ended");
    return value;
  }

  async message(): Promise<unknown> {
    return JSON.parse(await this.next());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
  }

  static async open(socket: string): Promise<Listener> {
    const listener = new Listener(socket);
    expect(await listener.next()).toBe("ready");
    return listener;
  }
}

describe.skipIf(python === null || process.platform !== "linux")("notify, with somebody listening", () => {
  test("reaches a socket of the filesystem, message by message", async () => {
    await using listener = await Listener.open(join(scratch, "socket"));
    const env = { NOTIFY_SOCKET: listener.socket };
    expect(notify(env, "READY=1")).toBe(true);
    expect(await listener.message()).toBe("READY=1");
    expect(notify(env, "STATUS=zwölf Knoten\nSTOPPING=1")).toBe(true);
    expect(await listener.message()).toBe("STATUS=zwölf Knoten\nSTOPPING=1");
  });

  test("reaches an abstract socket", async () => {
    await using listener = await Listener.open(`@claw-notify-${process.pid}`);
    expect(notify({ NOTIFY_SOCKET: listener.socket }, "READY=1")).toBe(true);
    expect(await listener.message()).toBe("READY=1");
  });

  test("reaches the longest name that there can be, and refuses a longer one", async () => {
    const longest = `@claw-${process.pid}-`.padEnd(108, "x");
    await using listener = await Listener.open(longest);
    expect(notify({ NOTIFY_SOCKET: longest }, "READY=1")).toBe(true);
    expect(await listener.message()).toBe("READY=1");
    expect(notify({ NOTIFY_SOCKET: `${longest}x` }, "READY=1")).toBe(false);
    expect(notify({ NOTIFY_SOCKET: `/${"x".repeat(107)}` }, "READY=1")).toBe(false);
  });

  test.skipIf(Bun.which("systemd-notify") === null)("systemd's program says the same for this process", async () => {
    await using listener = await Listener.open(join(scratch, "program"));
    expect(notify({ NOTIFY_SOCKET: listener.socket }, "READY=1", [() => undefined, throughProgram])).toBe(true);
    expect(String(await listener.message()).split("\n")).toContain("READY=1");
  });

  test("is false once the listener has gone", async () => {
    const path = join(scratch, "gone");
    await (await Listener.open(path))[Symbol.asyncDispose]();
    expect(existsSync(path)).toBe(true);
    expect(notify({ NOTIFY_SOCKET: path }, "READY=1")).toBe(false);
  });
});

describe("notify, with nobody listening", () => {
  test.each([
    [{}],
    [{ NOTIFY_SOCKET: "" }],
    [{ NOTIFY_SOCKET: "@" }],
    [{ NOTIFY_SOCKET: "relative/socket" }],
    [{ NOTIFY_SOCKET: join(scratch, "nothing") }],
  ])("%j is false", (env) => expect(notify(env, "READY=1")).toBe(false));

  test("is false where no way of sending exists", () => {
    expect(notify({ NOTIFY_SOCKET: "/run/x" }, "READY=1", [() => undefined])).toBe(false);
  });

  test("the first way that exists decides", () => {
    expect(notify({ NOTIFY_SOCKET: "/run/x" }, "READY=1", [() => false, () => true])).toBe(false);
  });
});
