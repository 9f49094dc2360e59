// The lease's contract, held by the real one on a real server and by the simulated one alike.

import { afterEach, describe, expect, test } from "bun:test";
import { openConnection } from "../../src/communication/connection.ts";
import { readCredentials } from "../../src/communication/credentials.ts";
import { type Lease, type LeaseRecord, openLease } from "../../src/communication/lease.ts";
import { CLUSTER, openBench, until } from "../communication/server-bench.ts";
import { Chance } from "../sim/chance.ts";
import { Clock } from "../sim/clock.ts";
import { SimLease } from "../sim/lease.ts";

interface Bench {
  /** Two doors to one lease. */
  lease: Lease;
  other: Lease;
  settled<T>(promise: Promise<T>): Promise<T>;
  /** The server is killed and started anew: what it had in memory is gone. */
  forget(): Promise<void>;
  close(): Promise<void>;
}

async function realBench(): Promise<Bench> {
  const server = openBench();
  await server.server.start();
  const { authenticator, inbox_prefix } = readCredentials(server.identity.localCredentials("coordinator"));
  const join = () =>
    openConnection({ url: server.server.url, name: "lease", authenticator, inbox_prefix, timeout_ms: 5_000 });
  const connections = await Promise.all([join(), join()]);
  const [lease, other] = await Promise.all(connections.map((one) => openLease(one, CLUSTER, 1, 2_000)));
  return {
    lease: lease!,
    other: other!,
    settled: (promise) => promise,
    async forget() {
      process.kill(server.server.pid as number, "SIGKILL");
      await server.event("up");
      for (const one of connections) {
        await until(
          async () =>
            await one.flush().then(
              () => true,
              () => undefined,
            ),
          "the connection",
        );
      }
    },
    async close() {
      for (const one of connections) await one.close();
      await server.close();
    },
  };
}

function simulatedBench(): Promise<Bench> {
  const clock = new Clock();
  const lease = new SimLease(clock, new Chance(1));
  lease.faulty = false;
  return Promise.resolve({
    lease,
    other: lease,
    async settled(promise) {
      let over = false;
      const done = promise.finally(() => {
        over = true;
      });
      while (!over) {
        await clock.step(Number.POSITIVE_INFINITY);
        await new Promise(setImmediate);
      }
      return await done;
    },
    forget: () => Promise.resolve(lease.forget()),
    close: () => Promise.resolve(),
  });
}

const benches: Bench[] = [];

afterEach(async () => {
  for (const bench of benches.splice(0)) await bench.close();
});

const record = (holder: string): LeaseRecord => ({
  v: 1,
  holder,
  name: holder,
  lease_ms: 2_000,
  beat: 1,
  released: false,
});

for (const [name, open] of [
  ["the real lease", realBench],
  ["the simulated lease", simulatedBench],
] as const) {
  describe(name, () => {
    const bench = async (): Promise<Bench> => {
      const opened = await open();
      benches.push(opened);
      return opened;
    };

    test("is not there at first, and is whose who wrote over what is there", async () => {
      const { lease, other, settled } = await bench();
      expect(await settled(lease.read())).toMatchObject({ record: undefined, revision: 0 });
      const first = await settled(lease.write(record("a"), 0));
      expect(await settled(other.write(record("b"), 0))).toBeUndefined();
      expect(await settled(other.read())).toEqual({ record: record("a"), ...first! });
      const second = await settled(lease.write(record("a"), first!.revision));
      expect(second!.revision).toBeGreaterThan(first!.revision);
      expect(second!.bucket).toBe(first!.bucket);
      expect(await settled(other.write(record("b"), first!.revision))).toBeUndefined();
      const third = await settled(other.write(record("b"), second!.revision));
      expect(third!.revision).toBeGreaterThan(second!.revision);
    });

    test("whoever watches hears of a write, until he has enough", async () => {
      const { lease, other, settled } = await bench();
      const heard = Promise.withResolvers<void>();
      const unwatch = other.watch(heard.resolve);
      await settled(other.read()); // behind the subscription, on the same connection
      await settled(lease.write(record("a"), 0));
      await settled(heard.promise);
      unwatch();
    });

    test("is forgotten by a server that is started anew, and written again from the beginning", async () => {
      const { lease, other, settled, forget } = await bench();
      const { bucket } = await settled(lease.read());
      expect(bucket).toBeTruthy();
      expect((await settled(other.read())).bucket).toBe(bucket);
      const first = await settled(lease.write(record("a"), 0));
      await forget();
      expect(await settled(lease.write(record("a"), first!.revision))).toBeUndefined();
      const after = await settled(other.read());
      expect(after).toMatchObject({ record: undefined, revision: 0 });
      expect(after.bucket).not.toBe(bucket);
      // Who has not looked since learns from the answer that it is another one.
      const again = await settled(lease.write(record("a"), 0));
      expect(again!.bucket).toBe(after.bucket);
    });
  });
}
