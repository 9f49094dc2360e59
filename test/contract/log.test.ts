// The log's contract, held by the real one on a real server and by the simulated one alike: what the simulation proves of
// the leader holds for production only as far as the two logs cannot be told apart.

import { afterEach, describe, expect, test } from "bun:test";
import type { NatsConnection } from "nats";
import { LIMITS } from "../../src/common/limits.ts";
import { systemRuntime } from "../../src/common/runtime.ts";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { type AppendResult, type Log, type LogPatience, type LogUpkeep, openLog } from "../../src/communication/log.ts";
import { openSnapshots } from "../../src/communication/snapshots.ts";
import { subjects } from "../../src/communication/subjects.ts";
import { countingProxy } from "../communication/proxy.ts";
import { CLUSTER, openBench, until } from "../communication/server-bench.ts";
import { Chance } from "../sim/chance.ts";
import { Clock } from "../sim/clock.ts";
import { SimLog } from "../sim/log.ts";

/** A log, and what a test of it has to be able to do to it. */
interface Bench {
  /** Two writers' doors to one log. */
  log: LogUpkeep;
  other: LogUpkeep;
  /** Lets time pass until it is there. */
  settled<T>(promise: Promise<T>): Promise<T>;
  /** The next append is stored and its acknowledgement lost; whoever asks later is answered. */
  loseAcknowledgement(appending: () => Promise<AppendResult>): Promise<AppendResult>;
  /** The next append is stored in the end, but nobody hears of it, however he asks. */
  leaveUnanswered(appending: () => Promise<AppendResult>): Promise<AppendResult>;
  /** The next append never reaches the log. */
  loseRequest(appending: () => Promise<AppendResult>): Promise<AppendResult>;
  close(): Promise<void>;
}

/** For what nobody answers; whoever is answered has as long as in production. */
const HASTE: LogPatience = { append_ms: 400, ask_ms: 2_000, look_ms: 600 };

async function realBench(patience?: LogPatience): Promise<Bench> {
  const server = openBench();
  await server.server.start();
  const proxy = await countingProxy(server.server.port);
  const { authenticator, inbox_prefix } = readCredentials(server.identity.localCredentials("coordinator"));
  const join = (url: string): Promise<NatsConnection> =>
    openConnection({ url, name: "log", authenticator, inbox_prefix, timeout_ms: 5_000 });
  const [near, far] = [await join(server.server.url), await join(`nats://127.0.0.1:${proxy.port}`)];
  const other = await openLog(near, systemRuntime, CLUSTER, 1);
  const log = await openLog(far, systemRuntime, CLUSTER, 1, undefined, patience);
  const unheard = async (appending: () => Promise<AppendResult>): Promise<{ result: Promise<AppendResult> }> => {
    const before = await other.last();
    proxy.deafen();
    const result = appending();
    await until(async () => ((await other.last()) > before ? true : undefined), "the append at the server");
    return { result };
  };
  const reconnected = async (): Promise<void> => {
    await until(
      async () =>
        await far.flush().then(
          () => true,
          () => undefined,
        ),
      "the connection",
    );
  };
  return {
    log,
    other,
    settled: (promise) => promise,
    async loseAcknowledgement(appending) {
      const { result } = await unheard(appending);
      proxy.heal();
      return await result;
    },
    async leaveUnanswered(appending) {
      const { result } = await unheard(appending);
      const answer = await result;
      proxy.heal();
      await reconnected();
      return answer;
    },
    async loseRequest(appending) {
      proxy.mute();
      const answer = appending();
      await until(() => (proxy.held() > 0 ? true : undefined), "the request on its way");
      proxy.heal();
      return await answer;
    },
    async close() {
      await far.close();
      await near.close();
      proxy.close();
      await server.close();
    },
  };
}

/** Chance that does what the test says: the simulated log draws `lost`, `unheard` and `late` by their odds. */
class Scripted extends Chance {
  lost = false;
  unheard = false;
  late = false;

  override once(of: number): boolean {
    if (of === 40) return this.lost;
    return of === 30 ? this.unheard : this.late;
  }

  override between(low: number): number {
    return low;
  }
}

function simulatedBench(): Promise<Bench> {
  const clock = new Clock();
  const chance = new Scripted(1);
  const log = new SimLog(clock, chance);
  const settled = async <T>(promise: Promise<T>): Promise<T> => {
    let over = false;
    const done = promise.finally(() => {
      over = true;
    });
    for (let turn = 0; !over && turn < 10_000; turn++) {
      await clock.step(Number.POSITIVE_INFINITY);
      for (let microtask = 0; microtask < 8; microtask++) await Promise.resolve();
    }
    return await done;
  };
  const during = (fault: Partial<Scripted>) => async (appending: () => Promise<AppendResult>) => {
    Object.assign(chance, fault);
    const result = appending();
    Object.assign(chance, { lost: false, unheard: false, late: false });
    const answer = await settled(result);
    while (await clock.step(Number.POSITIVE_INFINITY)) {
      // what is on its way arrives
    }
    return answer;
  };
  return Promise.resolve({
    log,
    other: log,
    settled,
    loseAcknowledgement: during({ unheard: true }),
    // It arrives when everybody has given it up: in the simulation the question is answered, and truthfully, too early.
    leaveUnanswered: (appending) => {
      const late = during({ lost: true, late: true });
      chance.between = (low, high = low) => high;
      return late(appending).finally(() => {
        chance.between = (low) => low;
      });
    },
    loseRequest: during({ lost: true }),
    close: () => Promise.resolve(),
  });
}

const benches: Bench[] = [];

afterEach(async () => {
  for (const bench of benches.splice(0)) await bench.close();
});

const batch = (text: string): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ v: 1, cluster_id: "c", epoch: 1, prev: text, at: 1, events: [] }));

async function read(log: Log, sequence: number): Promise<[number, string][]> {
  const found: [number, string][] = [];
  for await (const entry of log.read(sequence)) {
    found.push([entry.sequence, (JSON.parse(new TextDecoder().decode(entry.payload)) as { prev: string }).prev]);
  }
  return found;
}

for (const [name, open] of [
  ["the real log", realBench],
  ["the simulated log", simulatedBench],
] as const) {
  describe(name, () => {
    const bench = async (patience?: LogPatience): Promise<Bench> => {
      const opened = await open(patience);
      benches.push(opened);
      return opened;
    };

    test("stores at the expected sequence, and is read from any on", async () => {
      const { log, other, settled } = await bench();
      expect(await log.last()).toBe(0);
      expect(await read(log, 1)).toEqual([]);
      for (const [at, text] of ["a", "b", "c"].entries()) {
        expect(await settled(log.append(at + 1, "mine", batch(text)))).toBe("stored");
      }
      expect([await log.last(), await other.last()]).toEqual([3, 3]);
      expect(await read(other, 1)).toEqual([
        [1, "a"],
        [2, "b"],
        [3, "c"],
      ]);
      expect(await read(log, 3)).toEqual([[3, "c"]]);
      expect(await read(log, 4)).toEqual([]);
      expect(other.created).toBe(log.created);
    });

    test("is shortened from below, and goes on as if nothing had happened", async () => {
      const { log, other, settled } = await bench();
      expect(await log.extent()).toMatchObject({ first: 1, last: 0, bytes: 0 });
      for (const [at, text] of ["a", "b", "c", "d"].entries()) {
        expect(await settled(log.append(at + 1, "mine", batch(text)))).toBe("stored");
      }
      const { bytes, ...before } = await other.extent();
      expect(before).toEqual({ first: 1, last: 4 });
      await log.truncate(2);
      const after = await other.extent();
      expect([after.first, after.last, after.bytes < bytes]).toEqual([3, 4, true]);
      expect(await read(other, 3)).toEqual([
        [3, "c"],
        [4, "d"],
      ]);
      const lost = await read(other, 2).catch((error: { code: string }) => error.code);
      expect(lost).toBe("behind");
      await log.truncate(4);
      expect(await log.extent()).toMatchObject({ first: 5, last: 4, bytes: 0 });
      expect(await read(log, 5)).toEqual([]);
      expect(await settled(log.append(4, "mine", batch("x")))).not.toBe("stored");
      expect(await settled(log.append(5, "mine", batch("e")))).toBe("stored");
      expect(await read(other, 5)).toEqual([[5, "e"]]);
    });

    test("is followed from any sequence on, until whoever follows has enough", async () => {
      const { log, other, settled } = await bench();
      expect(await settled(log.append(1, "mine", batch("a")))).toBe("stored");
      expect(await settled(log.append(2, "mine", batch("b")))).toBe("stored");
      const stop = new AbortController();
      const heard: number[] = [];
      const following = (async () => {
        for await (const { sequence } of other.follow(2, stop.signal)) heard.push(sequence);
      })();
      await settled(until(() => (heard.length > 0 ? true : undefined), "what is there"));
      for (const at of [3, 4]) expect(await settled(log.append(at, "mine", batch("c")))).toBe("stored");
      await settled(until(() => (heard.length === 3 ? true : undefined), "what came"));
      stop.abort();
      await settled(following);
      expect(await settled(log.append(5, "mine", batch("d")))).toBe("stored");
      expect(heard).toEqual([2, 3, 4]);
      await log.truncate(3);
      const late = (async () => {
        for await (const { sequence } of other.follow(2, new AbortController().signal)) heard.push(sequence);
      })().catch((error: { code: string }) => error.code);
      expect(await settled(late)).toBe("behind");
    });

    test("stores several in flight in their order", async () => {
      const { log, settled } = await bench();
      const length = LIMITS.appends_in_flight;
      const all = Array.from({ length }, (_, at) => log.append(at + 1, "mine", batch(String(at))));
      expect(new Set(await settled(Promise.all(all)))).toEqual(new Set(["stored"]));
      expect((await read(log, 1)).map(([, text]) => text)).toEqual(Array.from({ length }, (_, at) => String(at)));
    });

    test("refuses a writer whose place another has taken, and keeps nothing of his", async () => {
      const { log, other, settled } = await bench();
      expect(await settled(log.append(1, "old", batch("a")))).toBe("stored");
      expect(await settled(other.append(2, "new", batch("b")))).toBe("stored");
      expect(await settled(log.append(2, "old", batch("c")))).toBe("deposed");
      expect(await settled(log.append(1, "new", batch("d")))).toBe("deposed");
      expect(await read(log, 1)).toEqual([
        [1, "a"],
        [2, "b"],
      ]);
    });

    test("does not store behind a gap, and says no more than it knows", async () => {
      const { log, settled } = await bench();
      expect(await settled(log.append(5, "mine", batch("a")))).toBe("unknown");
      expect(await log.last()).toBe(0);
    });

    test("a batch that is sent again counts as stored, and stands there once", async () => {
      const { log, settled } = await bench();
      expect(await settled(log.append(1, "mine", batch("a")))).toBe("stored");
      expect(await settled(log.append(1, "mine", batch("a")))).toBe("stored");
      expect(await settled(log.append(2, "mine", batch("b")))).toBe("stored");
      expect(await settled(log.append(1, "mine", batch("a")))).toBe("stored");
      expect(await read(log, 1)).toEqual([
        [1, "a"],
        [2, "b"],
      ]);
    });

    test("one whose acknowledgement was lost is looked for, and found", async () => {
      const { log, loseAcknowledgement, settled } = await bench();
      expect(await settled(log.append(1, "mine", batch("a")))).toBe("stored");
      expect(await loseAcknowledgement(() => log.append(2, "mine", batch("b")))).toBe("stored");
      expect(await read(log, 1)).toEqual([
        [1, "a"],
        [2, "b"],
      ]);
    });

    test("one of which nobody can say anything is unknown, and may be in the log all the same", async () => {
      const { log, leaveUnanswered, settled } = await bench(HASTE);
      expect(await leaveUnanswered(() => log.append(1, "mine", batch("a")))).toBe("unknown");
      expect(await log.last()).toBe(1);
      expect(await settled(log.append(1, "another", batch("b")))).toBe("deposed");
      expect(await settled(log.append(1, "mine", batch("a")))).toBe("stored");
    });

    test("one that never arrived is unknown, and its place is free", async () => {
      const { log, loseRequest, other, settled } = await bench();
      expect(await loseRequest(() => log.append(1, "mine", batch("a")))).toBe("unknown");
      expect(await log.last()).toBe(0);
      expect(await settled(other.append(1, "another", batch("b")))).toBe("stored");
      expect(await read(log, 1)).toEqual([[1, "b"]]);
    });
  });
}

describe("the real log, beside the contract", () => {
  async function single() {
    const server = openBench();
    await server.server.start();
    const { authenticator, inbox_prefix } = readCredentials(server.identity.localCredentials("coordinator"));
    const url = server.server.url;
    const connection = await openConnection({ url, name: "log", authenticator, inbox_prefix, timeout_ms: 5_000 });
    const close = async (): Promise<void> => {
      await connection.close();
      await server.close();
    };
    return { connection, close, manager: await connection.jetstreamManager() };
  }

  async function silentBench() {
    const server = openBench();
    await server.server.start();
    const proxy = await countingProxy(server.server.port);
    const { authenticator, inbox_prefix } = readCredentials(server.identity.localCredentials("coordinator"));
    const url = `nats://127.0.0.1:${proxy.port}`;
    const connection = await openConnection({ url, name: "log", authenticator, inbox_prefix, timeout_ms: 5_000 });
    const log = await openLog(connection, systemRuntime, CLUSTER, 1, undefined, HASTE);
    await log.append(1, "mine", batch("a"));
    const close = async (): Promise<void> => {
      proxy.heal();
      await connection.close();
      proxy.close();
      await server.close();
    };
    return { log, deafen: proxy.deafen, close };
  }

  test("says when it begins behind what is wanted, and leaves no consumer however reading ends", async () => {
    const { connection, close, manager } = await single();
    try {
      const log = await openLog(connection, systemRuntime, CLUSTER, 1);
      for (let at = 1; at <= 5; at++) await log.append(at, "mine", batch(String(at)));
      const stream = subjects.logStream(CLUSTER);
      for await (const { sequence } of log.read(1)) if (sequence === 2) break;
      expect(await manager.consumers.list(stream).next()).toEqual([]);
      await manager.streams.purge(stream, { seq: 3 });
      expect(await read(log, 3)).toHaveLength(3);
      const error = await read(log, 2).catch((reason: { code: string; message: string }) => reason);
      expect(error).toMatchObject({ code: "behind", message: "the log begins at 3, the view needs it from 2" });
    } finally {
      await close();
    }
  });

  test("a broker that does not answer is said to be one, and nothing is said of the log", async () => {
    const { log, close, deafen } = await silentBench();
    try {
      deafen();
      for (const question of [log.last(), read(log, 1)]) {
        expect(await question.catch((error: { code: string }) => error.code)).toBe("broker");
      }
    } finally {
      await close();
    }
  });

  test("is read to its end although the server is killed on the way", async () => {
    const server = openBench();
    await server.server.start();
    const { authenticator, inbox_prefix } = readCredentials(server.identity.localCredentials("coordinator"));
    const url = server.server.url;
    const connection = await openConnection({ url, name: "log", authenticator, inbox_prefix, timeout_ms: 5_000 });
    try {
      const log = await openLog(connection, systemRuntime, CLUSTER, 1);
      const count = 2_000;
      const all = Array.from({ length: count }, (_, at) => log.append(at + 1, "mine", batch(String(at))));
      expect(new Set(await Promise.all(all))).toEqual(new Set(["stored"]));
      let expected = 0;
      for await (const { sequence } of log.read(1)) {
        expected += 1;
        expect(sequence).toBe(expected);
        if (expected !== 20) continue;
        process.kill(server.server.pid as number, "SIGKILL");
        await server.event("up");
      }
      expect(expected).toBe(count);
    } finally {
      await connection.close();
      await server.close();
    }
  }, 60_000);

  test("is one, however many open it at once where there was none", async () => {
    const { connection, close } = await single();
    try {
      const all = await Promise.all(Array.from({ length: 8 }, () => openLog(connection, systemRuntime, CLUSTER, 1)));
      expect(new Set(all.map(({ created }) => created)).size).toBe(1);
      for (const [at, log] of all.entries()) expect(await log.append(at + 1, String(at), batch("a"))).toBe("stored");
      await Promise.all(Array.from({ length: 4 }, () => openSnapshots(connection, systemRuntime, CLUSTER, 1)));
    } finally {
      await close();
    }
  });

  test("keeps its subject and its beginning when it is opened again, and its stream forgets nothing by itself", async () => {
    const { connection, close, manager } = await single();
    try {
      const first = await openLog(connection, systemRuntime, CLUSTER, 1);
      const stream = subjects.logStream(CLUSTER);
      const before = (await manager.streams.info(stream)).config;
      const again = await openLog(connection, systemRuntime, CLUSTER, 1);
      expect(again.created).toBe(first.created);
      expect(await again.append(1, "mine", batch("a"))).toBe("stored");
      expect((await manager.streams.info(stream)).config).toEqual(before);
      expect(before).toMatchObject({ storage: "file", discard: "new", deny_delete: true, max_age: 0, max_msgs: -1 });
      expect(before).toMatchObject({ max_bytes: -1, max_msgs_per_subject: -1, retention: "limits" });
    } finally {
      await close();
    }
  });
});
