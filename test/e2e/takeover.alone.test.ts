// How long a cluster with a NATS of its own is without a leader, at the default settings: measured from outside, on
// processes, by the clock of whoever waits.

import { afterEach, expect, test } from "bun:test";
import { closeMachines, machine, ownNats, type Service, until } from "./binary.ts";

afterEach(closeMachines);

const KILLED_MS = 3_000;
const STOPPED_MS = 300;

test("another leads within 3 s when the leader is killed, and within 300 ms when it is asked to stop", async () => {
  const { url } = await ownNats();
  let services = await Promise.all(
    [machine(), machine(), machine(), machine()].map((one) => one.coordinator(["--nats", url])),
  );
  const leads = ({ log }: Service): boolean => log.includes('"message":"leads"');
  const lead = (): Promise<Service> => until("a leader", () => services.find(leads));
  /** Milliseconds until another of them leads. */
  const without = async (end: (leader: Service) => unknown): Promise<number> => {
    const leader = await lead();
    services = services.filter((one) => one !== leader);
    const began = performance.now();
    end(leader);
    await Promise.race(services.map((one) => one.says('"message":"leads"').catch(() => undefined)));
    return performance.now() - began;
  };
  const stopped = await without((leader) => process.kill(leader.pid, "SIGTERM"));
  const killed = await without((leader) => process.kill(leader.pid, "SIGKILL"));
  const again = await without((leader) => process.kill(leader.pid, "SIGTERM"));
  console.log(`without a leader: ${[stopped, killed, again].map(Math.round).join(", ")} ms`);
  expect(Math.max(stopped, again)).toBeLessThan(STOPPED_MS);
  expect(killed).toBeLessThan(KILLED_MS);
}, 60_000);
