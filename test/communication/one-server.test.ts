// Two servers on one store silently lose what they acknowledged. So coordinators are started and killed as fast as they
// go, several at once, their servers too: everything that was acknowledged is there in the end, and at no moment did two
// servers hold the store.

import { afterEach, expect, test } from "bun:test";
import { readdirSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { findServer, openBench, serversOn, until } from "./server-bench.ts";

const ROUNDS = 18;
const started = new Set<Bun.Subprocess>();

afterEach(async () => {
  for (const child of started) {
    child.kill("SIGKILL");
    await child.exited;
  }
  started.clear();
});

interface Appender {
  child: Bun.Subprocess;
  lines: string[];
  /** Until it has said that many lines, or has ended and all that it said has been read. */
  said(count: number): Promise<void>;
  /** SIGKILL; resolves when all that it said has been read. */
  kill(): Promise<void>;
}

function startAppender(folder: string, round: string): Appender {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "appender.ts"), folder, findServer(), round], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
  });
  started.add(child);
  const lines: string[] = [];
  let silent = false;
  const reading = (async () => {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
    }
    silent = true;
  })();
  return {
    child,
    lines,
    async said(count) {
      await until(() => (lines.length >= count || silent ? true : undefined), `${round}: ${count} lines`);
    },
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
      await reading;
      started.delete(child);
    },
  };
}

/** Servers that have a file of the store open: whatever they were started with, they could write to it. */
function writersOf(folder: string): number[] {
  const store = join(folder, "jetstream");
  return serversOn(folder).filter((pid) => {
    try {
      return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${store}/`));
    } catch {
      return false;
    }
  });
}

interface Watch {
  /** The most servers that were seen alive at once, and those that had the store open. */
  most: number;
  most_writers: number;
  looks: number;
  stop(): Promise<void>;
}

function watch(folder: string): Watch {
  let over = false;
  const seen: Watch = { most: 0, most_writers: 0, looks: 0, stop: () => Promise.resolve() };
  const looking = (async () => {
    while (!over) {
      seen.most = Math.max(seen.most, serversOn(folder).length);
      seen.most_writers = Math.max(seen.most_writers, writersOf(folder).length);
      seen.looks += 1;
      await Bun.sleep(5);
    }
  })();
  seen.stop = async () => {
    over = true;
    await looking;
  };
  return seen;
}

test("whatever is killed when, one server has the store and nothing acknowledged is lost", async () => {
  const bench = openBench();
  const acknowledged = new Map<number, string>();
  const seen = watch(bench.folder);
  const servers = new Set<string>();
  let refused = 0;
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const appender = startAppender(bench.folder, String(round));
      // Killed while it starts, right after, or in the middle of appends; sometimes beside a second one, or with its server.
      await appender.said([0, 1, 2, 20][round % 4] ?? 0);
      if (round % 4 === 3) {
        const second = startAppender(bench.folder, `${round}b`);
        await second.said(1);
        expect(second.lines.join()).toContain("already uses");
        refused += 1;
        await second.kill();
      }
      if (round % 6 === 5) {
        const before = appender.lines.length;
        for (const pid of serversOn(bench.folder)) process.kill(pid, "SIGKILL");
        if (round % 4 === 3)
          await until(
            () => (appender.lines.length > before || appender.child.exitCode !== null ? true : undefined),
            "appends after the server's end",
          );
      }
      await appender.kill();
      for (const line of appender.lines) {
        const [word, sequence, text] = line.split(" ");
        if (word === "server") servers.add(sequence as string);
        if (word !== "acknowledged") continue;
        expect(acknowledged.has(Number(sequence))).toBe(false);
        acknowledged.set(Number(sequence), text as string);
      }
    }
    await bench.server.start();
    const own = readCredentials(bench.identity.localCredentials("coordinator"));
    const connection = await openConnection({ url: bench.server.url, name: "reader", ...own, timeout_ms: 5_000 });
    const manager = await connection.jetstreamManager();
    for (const [sequence, text] of acknowledged) {
      expect((await manager.streams.getMessage("APPENDED", { seq: sequence })).string()).toBe(text);
    }
    await connection.close();
    await seen.stop();
    expect(acknowledged.size).toBeGreaterThan(ROUNDS);
    expect(servers.size).toBeGreaterThan(ROUNDS / 2);
    expect(refused).toBeGreaterThan(2);
    expect(seen.looks).toBeGreaterThan(ROUNDS);
    expect(seen.most).toBe(1);
    expect(seen.most_writers).toBe(1);
    await bench.server.stop();
    expect(serversOn(bench.folder)).toEqual([]);
  } finally {
    await seen.stop();
    await bench.close();
    for (const pid of serversOn(bench.folder)) process.kill(pid, "SIGKILL");
    rmSync(bench.folder, { recursive: true, force: true });
  }
}, 240_000); // a minute of it on a machine with ten other things to do
