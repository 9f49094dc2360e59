// What a command has of its own process: output that waits for its reader, a reader that goes away, signals, and input.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { processIo } from "../../src/client/io.ts";
import { systemRuntime } from "../../src/common/runtime.ts";

const IO = join(import.meta.dir, "../../src/client/io.ts");
const RUNTIME = join(import.meta.dir, "../../src/common/runtime.ts");

/** A process that does this with an Io of its own. */
function child(body: string, { stdin, full }: { stdin?: Blob; full?: boolean } = {}) {
  const code = `
    const { processIo, OutputClosed } = await import(${JSON.stringify(IO)});
    const { systemRuntime } = await import(${JSON.stringify(RUNTIME)});
    const io = processIo(systemRuntime);
    ${body}`;
  const argv =
    full === true
      ? ["sh", "-c", 'exec "$0" -e "$1" > /dev/full', process.execPath, code]
      : [process.execPath, "-e", code];
  return Bun.spawn(argv, { stdin: stdin ?? "ignore", stdout: "pipe", stderr: "pipe" });
}

describe("output", () => {
  test("arrives whole, in order, on both ways, and waits for a reader that takes its time", async () => {
    const running = child(`
      for (let at = 0; at < 40; at++) await io.out(String(at % 10).repeat(50_000));
      await io.passError(new Uint8Array([0, 255, 10]));
      io.err("said \\x1b[31mred\\n");
      io.draw("50%\\x07");
      process.exit(0);
    `);
    const parts: Uint8Array[] = [];
    for await (const part of running.stdout) {
      if (parts.length < 3) await Bun.sleep(20);
      parts.push(part);
    }
    const wanted = Array.from({ length: 40 }, (_, at) => String(at % 10).repeat(50_000)).join("");
    expect(Buffer.concat(parts).toString() === wanted).toBe(true);
    const error = Buffer.from(await new Response(running.stderr).arrayBuffer());
    expect([...error.subarray(0, 3)]).toEqual([0, 255, 10]);
    expect(error.subarray(3).toString()).toBe("said \\u001b[31mred\n\r\x1b[2K50%\\u0007");
    expect(await running.exited).toBe(0);
  });

  test("of which nobody reads more is told as that, each time", async () => {
    const running = child(`
      let closed = 0;
      for (let at = 0; at < 1000 && closed < 2; at++) {
        await io.out("x".repeat(70_000)).catch((error) => { closed += error instanceof OutputClosed ? 1 : 100; });
      }
      io.err(String(closed));
      process.exit(0);
    `);
    const reader = running.stdout.getReader();
    await reader.read();
    await reader.cancel();
    expect(await new Response(running.stderr).text()).toBe("2");
  });

  test.skipIf(process.platform !== "linux")("that a full disk takes no more is an error that says so", async () => {
    const running = child(
      `await io.out("x").catch((error) => io.err(error.code + ": " + error.message)); process.exit(0);`,
      { full: true },
    );
    expect(await new Response(running.stderr).text()).toStartWith("io: cannot write the output: ");
  });
});

test("input comes as it is", async () => {
  const running = child(`await io.out(Buffer.from(await new Response(io.input()).arrayBuffer())); process.exit(0);`, {
    stdin: new Blob([Uint8Array.of(0, 200, 10, 65)]),
  });
  expect(Buffer.from(await new Response(running.stdout).arrayBuffer())).toEqual(Buffer.from([0, 200, 10, 65]));
});

test("signals are told until nobody wants to know any more", async () => {
  const io = processIo(systemRuntime);
  const heard: string[] = [];
  const second = Promise.withResolvers<void>();
  const before = process.listenerCount("SIGHUP");
  const end = io.onSignal((signal) => {
    heard.push(signal);
    if (heard.length === 2) second.resolve();
  });
  process.kill(process.pid, "SIGHUP");
  process.kill(process.pid, "SIGTERM");
  await second.promise;
  end();
  expect(heard.sort()).toEqual(["SIGHUP", "SIGTERM"]);
  expect(process.listenerCount("SIGHUP")).toBe(before);
  expect([io.cwd, io.env["PATH"]]).toEqual([process.cwd(), process.env["PATH"]]);
});
